"""Parameters exactly, forward operations within 1 %, against transformers' own classes (tests/oracle.py)."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests import oracle
from tests.layouts import Tensor, write_json, write_sparse
from tests.oracle import FAMILIES, SAMPLE, Truth
from weightguard.report import ModelReport

full = pytest.mark.full
MAKE_PY = "WEIGHTGUARD_ORACLE"
"""Folder of an independent run over the same classes, whose expected.jsonl was made by other code than ours."""

# Configurations unlike the class's default; the first of deepseek_v2 has no number of experts a token.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "deepseek_v2 of 6 experts": (
        "deepseek_v2",
        {"num_experts_per_tok": 6, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 1408},
    ),
    "llama tied": ("llama", {"tie_word_embeddings": True}),
    "llama grouped": ("llama", {"num_key_value_heads": 8, "num_hidden_layers": 5}),
    "llama wide heads": ("llama", {"head_dim": 256, "num_hidden_layers": 3}),
    "gpt2 untied": ("gpt2", {"tie_word_embeddings": False}),
    "mixtral of one expert": ("mixtral", {"num_experts_per_tok": 1, "num_hidden_layers": 4}),
    "mistral without a window": ("mistral", {"sliding_window": None}),
    "qwen2 half windowed": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 20, "num_hidden_layers": 40},
    ),
    "qwen3_moe of 2 in 16": (
        "qwen3_moe",
        {"num_experts": 16, "num_experts_per_tok": 2, "num_hidden_layers": 4, "moe_intermediate_size": 128},
    ),
    "qwen2_moe every second layer": ("qwen2_moe", {"decoder_sparse_step": 2, "num_hidden_layers": 6}),
    "deepseek_v3 of plain queries": ("deepseek_v3", {"q_lora_rank": None, "num_hidden_layers": 6, "first_k_dense_replace": 2}),
    "falcon 40B's form": (
        "falcon",
        {"new_decoder_architecture": True, "num_kv_heads": 8, "hidden_size": 1024, "num_attention_heads": 16},
    ),
    "opt with a projection": ("opt", {"word_embed_proj_dim": 512, "hidden_size": 1024, "num_attention_heads": 16}),
    "gpt_oss of 20B": ("gpt_oss", {"num_local_experts": 32, "num_hidden_layers": 24}),
}


@cache
def scanned(folder: Path) -> ModelReport:
    report = weightguard.scan(str(folder))
    assert not report.unread, report.unread
    [model] = report.models
    return model


def assert_agrees(model: ModelReport, truth: Truth) -> None:
    """ "total parameters exact, matmul_per_token and attention_per_token_per_key within 1 %"."""
    assert model.architecture is not None and model.forward_operations is not None, model.findings
    assert model.complete, model.missing
    assert model.parameters.total == truth.parameters
    assert model.forward_operations.matmul == pytest.approx(truth.matmul, rel=0.01)
    assert model.forward_operations.attention == pytest.approx(truth.attention, rel=0.01, abs=0.5)


@cache
def known(model_type: str) -> tuple[Truth, tempfile.TemporaryDirectory[str]]:
    """A family by its class's defaults, made once a run."""
    folder = tempfile.TemporaryDirectory(prefix="weightguard-oracle-")
    return oracle.make(model_type, Path(folder.name) / model_type), folder


def truth_of(model_type: str, folder: Path, **changes: Any) -> Truth:
    """The truth of a family, its files in a folder that a test may change."""
    if changes:
        return oracle.make(model_type, folder, **changes)
    truth, _ = known(model_type)
    folder.mkdir(parents=True)
    shutil.copy(truth.folder / "config.json", folder)
    (folder / "model.safetensors").hardlink_to(truth.folder / "model.safetensors")
    return replace(truth, folder=folder)


def check(tmp_path: Path, model_type: str, **changes: Any) -> ModelReport:
    truth = truth_of(model_type, tmp_path / model_type, **changes)
    model = scanned(truth.folder)
    assert_agrees(model, truth)
    return model


@pytest.mark.parametrize("model_type", SAMPLE)
def test_a_family_counts_as_its_class_does(tmp_path: Path, model_type: str) -> None:
    check(tmp_path, model_type)


@full
@pytest.mark.parametrize("model_type", [f for f in FAMILIES if f not in SAMPLE and f != "deepseek_v2"])
def test_every_family_counts_as_its_class_does(tmp_path: Path, model_type: str) -> None:
    check(tmp_path, model_type)


@full
@pytest.mark.parametrize("variant", VARIANTS)
def test_another_configuration_counts_as_its_class_does(tmp_path: Path, variant: str) -> None:
    model_type, changes = VARIANTS[variant]
    check(tmp_path, model_type, **changes)


def assert_agrees_without(key: str, truth: Truth) -> None:
    """Configs of the Hub are older than the library: a key that is not there means the class's default."""
    config = json.loads((truth.folder / "config.json").read_text())
    write_json(truth.folder / "config.json", {k: v for k, v in config.items() if k != key})
    [model] = weightguard.scan(str(truth.folder)).models
    assert_agrees(model, truth)


@pytest.mark.parametrize("model_type", ["gemma2", "gpt_oss", pytest.param("gemma3_text", marks=full), "mistral"])
def test_windows_are_known_without_layer_types(tmp_path: Path, model_type: str) -> None:
    assert_agrees_without("layer_types", truth_of(model_type, tmp_path / model_type))


@full
def test_half_the_layers_are_windowed_without_layer_types(tmp_path: Path) -> None:
    model_type, changes = VARIANTS["qwen2 half windowed"]
    assert_agrees_without("layer_types", truth_of(model_type, tmp_path / model_type, **changes))


@pytest.mark.parametrize(
    "model_type", [f if f in SAMPLE else pytest.param(f, marks=full) for f in FAMILIES if f != "deepseek_v2"]
)
def test_ties_are_known_without_their_key(tmp_path: Path, model_type: str) -> None:
    """With the head stored too where the class ties it, as some files have it."""
    truth = truth_of(model_type, tmp_path / model_type)
    tensors = header(truth.folder / "model.safetensors")
    inputs = [
        t for t in tensors if t[0].endswith(("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight"))
    ]
    if not any(t[0] in ("lm_head.weight", "embed_out.weight") for t in tensors):
        (truth.folder / "model.safetensors").unlink()  # a link to what other tests read
        write_sparse(truth.folder / "model.safetensors", [*tensors, ("lm_head.weight", *inputs[0][1:])])
    assert_agrees_without("tie_word_embeddings", truth)


def test_tied_heads_count_once_and_multiply_still(tmp_path: Path) -> None:
    """Llama tied and untied: the same operations, one embedding fewer."""
    small = {"num_hidden_layers": 2}
    untied = check(tmp_path / "untied", "llama", **small)
    tied = check(tmp_path / "tied", "llama", **small, tie_word_embeddings=True)
    assert untied.forward_operations is not None and tied.forward_operations is not None
    assert untied.parameters.total - tied.parameters.total == 32000 * 4096
    assert tied.forward_operations.matmul == untied.forward_operations.matmul


def test_a_mixture_has_the_active_parameters_of_its_paper(tmp_path: Path) -> None:
    """DeepSeek-V3 (arXiv 2412.19437): 671B in all, 37B for each token. Mixtral (arXiv 2401.04088): 47B and 13B."""
    deepseek = check(tmp_path, "deepseek_v3").parameters
    assert (round(deepseek.total / 1e9), round(deepseek.active / 1e9)) == (671, 38)  # 37.55 with both embeddings
    mixtral = check(tmp_path, "mixtral").parameters
    assert (round(mixtral.total / 1e9), round(mixtral.active / 1e9)) == (47, 13)


def test_a_nested_config_is_that_of_its_language_model(tmp_path: Path) -> None:
    truth = truth_of("llama", tmp_path / "m", num_hidden_layers=2)
    config = json.loads((truth.folder / "config.json").read_text())
    write_json(
        truth.folder / "config.json", {"model_type": "llava", "text_config": config, "vision_config": {"hidden_size": 7}}
    )
    assert_agrees(scanned(truth.folder), truth)


def test_the_tensors_are_believed_before_the_config(tmp_path: Path) -> None:
    """A config of other widths or fewer experts gives no architecture that is smaller than the weights."""
    truth = truth_of("llama", tmp_path / "m", num_hidden_layers=4)
    config = json.loads((truth.folder / "config.json").read_text())
    for change in ({"hidden_size": 64}, {"num_hidden_layers": 1}, {"num_attention_heads": 1, "head_dim": 2}):
        write_json(truth.folder / "config.json", {**config, **change})
        [model] = weightguard.scan(str(truth.folder)).models
        assert model.parameters.total == truth.parameters
        assert model.findings, change
        high = model.training_operations.interval.high
        assert high is None or high >= 3 * truth.matmul * 10**14, change


def test_a_config_of_fewer_experts_than_stored_bounds_with_all_of_them(tmp_path: Path) -> None:
    truth = truth_of("mixtral", tmp_path / "m", num_hidden_layers=2)
    config = json.loads((truth.folder / "config.json").read_text())
    write_json(truth.folder / "config.json", {**config, "num_local_experts": 2, "num_experts_per_tok": 2})
    [model] = weightguard.scan(str(truth.folder)).models
    assert model.parameters.active == model.parameters.total == truth.parameters
    assert any(f.id == "config-contradicts-weights" for f in model.findings)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "mixtral"])
def test_without_a_config_the_bound_is_no_lower(tmp_path: Path, model_type: str) -> None:
    """ "No architecture: bounded tensor by tensor, every parameter active"."""
    truth = truth_of(model_type, tmp_path / "m", **({"num_hidden_layers": 2} if model_type == "mixtral" else {}))
    known = scanned(truth.folder)
    (truth.folder / "config.json").unlink()
    [bare] = weightguard.scan(str(truth.folder)).models
    assert (
        bare.architecture is not None
        and bare.architecture.source == "shapes"
        and bare.parameters.active == bare.parameters.total
    )
    low, high = known.training_operations.interval.high, bare.training_operations.interval.high
    assert low is not None and high is not None and high >= low


def test_a_head_stored_beside_the_embedding_that_it_is_tied_to_counts_once(tmp_path: Path) -> None:
    truth = truth_of("llama", tmp_path / "m", num_hidden_layers=2, tie_word_embeddings=True)
    untied = truth_of("llama", tmp_path / "u", num_hidden_layers=2)
    (untied.folder / "model.safetensors").replace(truth.folder / "model.safetensors")
    model = scanned(truth.folder)
    assert_agrees(model, truth)
    assert model.parameters.by_role["tied"] == 32000 * 4096
    assert model.parameters.stored_elements == truth.parameters + 32000 * 4096


def test_multi_token_prediction_counts_in_the_total_and_not_in_the_forward_pass(tmp_path: Path) -> None:
    """ "`total` includes stored multi-token-prediction layers"."""
    truth = truth_of("deepseek_v3", tmp_path / "m", num_hidden_layers=4, first_k_dense_replace=1)
    config = json.loads((truth.folder / "config.json").read_text())
    write_json(truth.folder / "config.json", {**config, "num_nextn_predict_layers": 1})
    tensors = header(truth.folder / "model.safetensors")
    last = [(name.replace("layers.3.", "layers.4."), dtype, shape) for name, dtype, shape in tensors if ".layers.3." in name]
    extra = [("model.layers.4.eh_proj.weight", "BF16", (7168, 14336)), ("model.layers.4.enorm.weight", "BF16", (7168,))]
    write_sparse(truth.folder / "model.safetensors", [*tensors, *last, *extra])
    [model] = weightguard.scan(str(truth.folder)).models
    added = sum(prod(shape) for name, _, shape in [*last, *extra] if not name.endswith("e_score_correction_bias"))
    assert model.complete, model.missing
    assert model.parameters.total == truth.parameters + added
    assert model.forward_operations is not None
    assert model.forward_operations.matmul == pytest.approx(truth.matmul, rel=0.01)


def header(path: Path) -> list[Tensor]:
    """The tensors of a file whose data is a hole."""
    with path.open("rb") as file:
        entries = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return [(name, t["dtype"], tuple(t["shape"])) for name, t in entries.items() if name != "__metadata__"]


@full
@pytest.mark.skipif(MAKE_PY not in os.environ, reason=f"{MAKE_PY} names no folder of an independent run")
def test_the_independent_oracle_agrees() -> None:
    folder = Path(os.environ.get(MAKE_PY, ""))
    lines = [json.loads(line) for line in (folder / "expected.jsonl").read_text().splitlines()]
    compared = 0
    for line in lines:
        if line.get("error") or line["auto"] != "causal" or line["model_type"] not in FAMILIES:
            continue
        where = folder / f"causal-{line['model_type']}"
        truth = Truth(
            line["model_type"], where, line["params"], line.get("matmul", 0), line.get("attn", 0) - line.get("attn_windowed", 0)
        )
        model = scanned(where)
        if "matmul" in line:
            assert_agrees(model, truth)
        else:
            assert model.parameters.total == truth.parameters
        compared += 1
    assert compared > 25
