"""Whole GGUF models through the command line: counts, bounds, splits, and what stands beside them."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest

from tests.formats._gguf_files import I32, U16, V3, Info, Key, gguf, llama, mixture, write_sparse
from tests.layouts import scan_json, write_small

ARCH = V3.string("general.architecture", "llama")
TOTAL_70B = 70_553_706_496  # Llama 3.1 70B and 405B, Mixtral 8x7B: counted by their classes in transformers
TOTAL_405B = 405_853_388_800
TOTAL_MIXTRAL = 46_702_792_704
MIXTRAL = {
    "model_type": "mixtral",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}


def scan(folder: Path) -> tuple[int, dict[str, Any]]:
    return scan_json(folder.name, cwd=folder.parent)


def only(report: dict[str, Any]) -> dict[str, Any]:
    [model] = report["models"]
    return model


def missing(report: dict[str, Any]) -> list[str]:
    return [f["message"] for f in only(report)["findings"] if f["id"] == "part-missing"]


def without(tensors: list[Info], *stems: str) -> int:
    return sum(prod(dims) for name, dims, _ in tensors if not any(stem in name for stem in stems))


# ---- counts and bounds


def test_a_70b_q4_k_m_is_cleared_by_its_weights(tmp_path: Path) -> None:
    write_sparse(tmp_path / "m" / "m.gguf", llama(80, 8192, 1024, 28672, 128256), [ARCH])
    status, report = scan(tmp_path / "m")
    model = only(report)
    assert (status, model["decision"], report["unread"]) == (0, "allow", [])
    assert model["parameters"]["total"] == TOTAL_70B and model["parameters"]["quantization"] == "Q4_K"
    assert model["files"][0]["format"] == "gguf"
    assert model["training_operations"]["high"] < 1e26
    by_dtype = model["parameters"]["by_dtype"]
    assert sum(by_dtype.values()) == model["parameters"]["stored_elements"] == TOTAL_70B + 64
    assert set(by_dtype) == {"Q4_K", "Q6_K", "F32"}
    assert model["parameters"]["by_role"]["buffer"] == 64


def test_a_405b_is_undetermined(tmp_path: Path) -> None:
    write_sparse(tmp_path / "m" / "m.gguf", llama(126, 16384, 1024, 53248, 128256), [ARCH])
    status, report = scan(tmp_path / "m")
    model = only(report)
    assert (status, model["decision"], model["verdicts"][0]["status"]) == (1, "block", "undetermined")
    assert model["complete"] and model["parameters"]["total"] == TOTAL_405B
    assert model["training_operations"]["high"] >= 1e26


def test_an_embedding_without_a_head_multiplies_as_the_head(tmp_path: Path) -> None:
    """A missing output.weight is tied: the embedding is counted once, and is a matrix of every token."""
    tensors = llama(4, 512, 256, 1024, 32000, head=False)
    write_sparse(tmp_path / "m" / "m.gguf", tensors, [ARCH])
    model = only(scan(tmp_path / "m")[1])
    assert model["parameters"]["total"] == without(tensors, "rope_freqs")
    assert model["forward_operations"]["matmul_per_token"] >= 2 * 512 * 32000
    (tmp_path / "m" / "config.json").write_text(
        json.dumps(
            {
                "model_type": "llama",
                "num_hidden_layers": 4,
                "hidden_size": 512,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "intermediate_size": 1024,
                "vocab_size": 32000,
                "tie_word_embeddings": True,
            }
        )
    )
    model = only(scan(tmp_path / "m")[1])
    assert model["architecture"]["model_type"] == "llama"
    matrices = sum(prod(dims) for name, dims, _ in tensors if len(dims) == 2)
    assert model["forward_operations"]["matmul_per_token"] == 2 * matrices


def test_stacked_experts_are_experts(tmp_path: Path) -> None:
    tensors = mixture(32, 4096, 1024, 14336, 32000, 8)
    write_sparse(tmp_path / "m" / "m.gguf", tensors, [ARCH])
    status, report = scan(tmp_path / "m")
    model = only(report)
    assert status == 0 and model["parameters"]["total"] == TOTAL_MIXTRAL == without(tensors, "exp_probs_b")
    all_active = model["training_operations"]["high"]
    assert all_active < 6 * TOTAL_MIXTRAL * 1e14 * 1.5 * 1.2, "not taken as kernels, applied 1,024 times"
    (tmp_path / "m" / "config.json").write_text(json.dumps(MIXTRAL))
    model = only(scan(tmp_path / "m")[1])
    assert model["parameters"]["total"] == TOTAL_MIXTRAL
    assert model["parameters"]["active"] == 12_879_925_248  # Mixtral 8x7B: 12.9B active
    assert model["training_operations"]["high"] < all_active / 3


def test_a_config_that_says_fewer_experts_clears_nothing(tmp_path: Path) -> None:
    write_sparse(tmp_path / "m" / "m.gguf", mixture(32, 4096, 1024, 14336, 32000, 8), [ARCH])
    (tmp_path / "m" / "config.json").write_text(json.dumps({**MIXTRAL, "num_local_experts": 4, "num_experts_per_tok": 1}))
    model = only(scan(tmp_path / "m")[1])
    assert model["parameters"]["active"] == TOTAL_MIXTRAL


def test_a_large_tensor_named_as_a_buffer_counts(tmp_path: Path) -> None:
    tensors = [*llama(2, 512, 256, 1024, 4096), ("rope_factors_long.weight", (100_000, 1000), 0)]
    write_sparse(tmp_path / "m" / "m.gguf", [t for t in tensors if t[0] != "rope_freqs.weight"], [ARCH])
    model = only(scan(tmp_path / "m")[1])
    assert model["parameters"]["total"] == without(tensors, "rope_freqs")


def test_a_cut_model_is_undetermined(tmp_path: Path) -> None:
    whole = llama(80, 8192, 1024, 28672, 128256)
    write_sparse(tmp_path / "m" / "m.gguf", [t for t in whole if not t[0].startswith("blk.17.")], [ARCH])
    status, report = scan(tmp_path / "m")
    assert status == 1 and not only(report)["complete"]
    assert "blk.* has no number 17" in missing(report)[0]


def test_an_adapter_is_not_a_model(tmp_path: Path) -> None:
    pair: list[Info] = [("attn_q.weight.lora_a", (512, 8), 0), ("attn_q.weight.lora_b", (8, 512), 0)]
    tensors = [(f"blk.{i}.{name}", dims, kind) for i in range(4) for name, dims, kind in pair]
    write_sparse(tmp_path / "m" / "a.gguf", tensors, [ARCH, V3.string("general.type", "adapter")])
    status, report = scan(tmp_path / "m")
    assert status == 1 and missing(report) == ["an adapter without its base model"]


def test_a_projector_beside_its_model_is_a_model_of_its_own(tmp_path: Path) -> None:
    """llama.cpp's mmproj files: the config.json beside them is of the language model."""
    block = (
        *(("attn_q.weight", (64, 64), 1), ("attn_k.weight", (64, 64), 1), ("attn_v.weight", (64, 64), 1)),
        *(("attn_out.weight", (64, 64), 1), ("ln1.weight", (64,), 0), ("ln2.weight", (64,), 0)),
        *(("ffn_up.weight", (64, 256), 1), ("ffn_down.weight", (256, 64), 1)),
    )
    tensors: list[Info] = [(f"v.blk.{i}.{name}", dims, kind) for i in range(3) for name, dims, kind in block]
    tensors += [("v.patch_embd.weight", (14, 14, 3, 64), 0), ("v.post_ln.weight", (64,), 0), ("mm.0.weight", (64, 128), 1)]
    write_sparse(tmp_path / "m" / "mmproj.gguf", tensors, [V3.string("general.architecture", "clip")])
    write_sparse(tmp_path / "m" / "m.gguf", llama(4, 512, 256, 1024, 4096), [ARCH])
    config = {"model_type": "llama", "num_hidden_layers": 4, "hidden_size": 512, "num_attention_heads": 4, "vocab_size": 4096}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    status, report = scan(tmp_path / "m")
    assert status == 0 and len(report["models"]) == 2 and all(m["complete"] for m in report["models"])


def test_gguf_beside_safetensors_is_not_a_part_of_it(tmp_path: Path) -> None:
    write_small(tmp_path / "m")
    tensors = llama(2, 256, 256, 512, 1024)
    write_sparse(tmp_path / "m" / "m.gguf", tensors, [ARCH])
    totals = {m["parameters"]["total"] for m in scan(tmp_path / "m")[1]["models"]}
    assert without(tensors, "rope_freqs") in totals and len(totals) == 2


def test_a_file_of_a_vocabulary_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "vocab.gguf").write_bytes(gguf([], [ARCH, V3.strings("tokenizer.ggml.tokens", ["a", "b"])]))
    status, report = scan(tmp_path / "m")
    assert status == 0 and report["models"] == [] and report["unread"] == []


# ---- splits


def write_splits(folder: Path, names: list[str], **wrong: int) -> list[Info]:
    """A model in three files, the first without tensors, as gguf-split --no-tensor-first-split writes it."""
    tensors = llama(4, 512, 256, 1024, 4096)
    parts = [tensors[:0], tensors[:20], tensors[20:]]
    for number, (name, part) in enumerate(zip(names, parts, strict=True)):
        said: list[Key] = [
            ARCH,
            ("split.no", U16, number.to_bytes(2, "little")),
            ("split.count", U16, wrong.get("count", 3).to_bytes(2, "little")),
            ("split.tensors.count", I32, wrong.get("tensors", len(tensors)).to_bytes(4, "little")),
        ]
        write_sparse(folder / name, part, said)
    return tensors


NAMES = [f"m-{n:05}-of-00003.gguf" for n in (1, 2, 3)]


def test_splits_are_one_model(tmp_path: Path) -> None:
    tensors = write_splits(tmp_path / "m", NAMES)
    status, report = scan(tmp_path / "m")
    model = only(report)
    assert status == 0 and model["complete"] and len(model["files"]) == 3
    assert model["parameters"]["total"] == without(tensors, "rope_freqs")
    status, report = scan_json(f"m/{NAMES[1]}", cwd=tmp_path)
    assert status == 0 and len(only(report)["files"]) == 3, "one split stands for its set"


def test_splits_of_the_library_are_one_model(tmp_path: Path) -> None:
    library = pytest.importorskip("gguf")
    import numpy as np

    (tmp_path / "m").mkdir()
    writer = library.GGUFWriter(tmp_path / "m" / "m.gguf", "llama", split_max_tensors=9)
    tensors = llama(4, 256, 256, 256, 512, rope=False)
    for name, dims, _ in tensors:
        writer.add_tensor(name, np.zeros(dims[::-1], np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    status, report = scan(tmp_path / "m")
    model = only(report)
    assert status == 0 and model["complete"] and len(model["files"]) == -(-len(tensors) // 9)
    assert model["parameters"]["total"] == without(tensors)
    (tmp_path / "m" / "m-00002-of-00005.gguf").unlink()
    status, report = scan(tmp_path / "m")
    assert status == 1 and not only(report)["complete"]


def test_a_split_that_is_not_there_makes_the_model_incomplete(tmp_path: Path) -> None:
    for lost in (0, 1, 2):
        folder = tmp_path / str(lost)
        write_splits(folder, NAMES)
        (folder / NAMES[lost]).unlink()
        status, report = scan(folder)
        assert status == 1 and not only(report)["complete"], lost


def test_a_renamed_split_is_incomplete(tmp_path: Path) -> None:
    write_splits(tmp_path / "m", NAMES)
    (tmp_path / "one").mkdir()
    (tmp_path / "m" / NAMES[2]).rename(tmp_path / "one" / "model.gguf")
    status, report = scan(tmp_path / "one")
    assert status == 1 and "1 of 3 splits are there" in missing(report)


@pytest.mark.parametrize("wrong", [{"count": 4}, {"count": 65535}, {"tensors": 99}])
def test_splits_that_say_more_than_there_is_are_incomplete(tmp_path: Path, wrong: dict[str, int]) -> None:
    write_splits(tmp_path / "m", NAMES, **wrong)
    status, report = scan(tmp_path / "m")
    assert status == 1 and not only(report)["complete"]


# ---- danger


def test_a_template_that_reaches_for_python_blocks(tmp_path: Path) -> None:
    bad = V3.string("tokenizer.chat_template.tool_use", "{{ cycler.__init__.__globals__.os.popen('id').read() }}")
    write_sparse(tmp_path / "m" / "m.gguf", llama(2, 256, 256, 512, 1024), [ARCH, bad])
    status, report = scan(tmp_path / "m")
    model = only(report)
    assert status == 1 and model["decision"] == "block"
    [finding] = [f for f in model["findings"] if f["id"] == "chat-template-code"]
    assert finding["severity"] == "critical" and "tokenizer.chat_template.tool_use" in finding["message"]


@pytest.mark.parametrize("magic", [b"lmgg", b"fmgg", b"tjgg", b"algg"])
def test_what_came_before_gguf_is_unread_by_name(tmp_path: Path, magic: bytes) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.bin").write_bytes(magic + bytes(range(1, 256)) * 99)
    status, report = scan(tmp_path / "m")
    [unread] = report["unread"]
    assert status == 3 and unread["reason"] == "unsupported" and "GG" in unread["detail"]
