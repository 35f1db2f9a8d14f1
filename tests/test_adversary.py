"""A 405B model without a statement, dressed as less: none of these may be allowed. Each was once allowed by a draft of this code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import weightguard
from weightguard.demo.layouts import Tensor, deepseek_v3, gptq, llama_405b
from weightguard.demo.write import write_safetensors
from weightguard.errors import ConfigurationError

WHOLE = llama_405b()
LAYERS = 126


def layer(name: str) -> int:
    parts = name.split(".")
    return int(parts[2]) if parts[1] == "layers" else -1


def renumbered(prefix: Callable[[int], str], suffix: Callable[[int], str], keep: int) -> list[Tensor]:
    """Layers above `keep` under the numbers of those below, with names that say they are something else."""
    found = []
    for name, dtype, shape in WHOLE.tensors:
        at = layer(name)
        if at >= 0:
            parts = name.split(".")
            parts[2] = str(at % keep)
            name = prefix(at // keep) + ".".join(parts) + suffix(at // keep)
        found.append((name, dtype, shape))
    return found


def write(folder: Path, tensors: list[Tensor], config: object = None, name: str = "model.safetensors") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(str(folder / name), tensors)


def as_optimizer(folder: Path) -> None:
    write(
        folder, renumbered(lambda i: "", lambda i: f".s{i}.exp_avg" if i else "", 22), {**WHOLE.config, "num_hidden_layers": 22}
    )


def as_averages(folder: Path) -> None:
    prefixes = ("", "ema.", "model_ema.", "swa_model.", "ema_model.")
    write(folder, renumbered(lambda i: prefixes[i], lambda i: "", 26), {**WHOLE.config, "num_hidden_layers": 26})


def as_position_ids(folder: Path) -> None:
    packed = [t for t in gptq(WHOLE).tensors if not t[0].endswith((".qzeros", ".scales", ".g_idx"))]
    write(folder, [(n.replace(".qweight", ".position_ids"), d, s) for n, d, s in packed], WHOLE.config)


def as_one_expert_of_a_million(folder: Path) -> None:
    config = {**WHOLE.config, "model_type": "mixtral", "num_local_experts": 1_000_000, "num_experts_per_tok": 1}
    write(folder, [(n.replace(".mlp.", ".mlp.experts.999999."), d, s) for n, d, s in WHOLE.tensors], config)


def as_tied_heads(folder: Path) -> None:
    shape = (128256, 16384)
    heads = [(f"blk{i}.output.weight", "BF16", shape) for i in range(193)]
    config = {**WHOLE.config, "tie_word_embeddings": True, "num_hidden_layers": 1}
    write(folder, [("model.embed_tokens.weight", "BF16", shape), *heads], config)


def as_ranks(folder: Path) -> None:
    for rank in range(8):
        part = [(n, d, (s[0] // 8, *s[1:])) for n, d, s in WHOLE.tensors]
        write(folder / f"iter_0001000/mp_rank_{rank:02}", part, name="model_optim_rng.pt")


def as_fsdp_ranks(folder: Path) -> None:
    for rank in range(8):
        part = [(n, d, (s[0] // 8, *s[1:])) for n, d, s in WHOLE.tensors]
        write(folder, part, WHOLE.config, f"model_world_size_8_rank_{rank}.pt")


def as_layer_files(folder: Path) -> None:
    for at in range(LAYERS):
        part = [(n.split(".", 3)[3], d, s) for n, d, s in WHOLE.tensors if layer(n) == at]
        write(folder, part, WHOLE.config, f"layer_{at + 1:02}-model_00-model_states.pt")


def as_files_by_kind(folder: Path) -> None:
    kinds: dict[str, list[Tensor]] = {}
    for name, dtype, shape in WHOLE.tensors:
        kind = f"{name.split('.')[4]}{layer(name) % 2}" if layer(name) >= 0 and "mlp" in name else "rest"
        kinds.setdefault(kind, []).append((name, dtype, shape))
    for kind, tensors in kinds.items():
        write(folder, tensors, WHOLE.config, f"{kind}.safetensors")
        names = {t[0]: f"{kind}.safetensors" for t in tensors}
        (folder / f"{kind}.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def as_fused_blocks_with_a_gap(folder: Path) -> None:
    tensors: list[Tensor] = [("wte.weight", "BF16", (128256, 16384))]
    for at in (0, 1, 2, *range(121, 126)):
        tensors += [(f"blocks.{at}.att.weight", "BF16", (18432, 16384)), (f"blocks.{at}.ff.weight", "BF16", (106496, 16384))]
    write(folder, tensors)


def with_layers_that_only_an_outer_config_claims(folder: Path) -> None:
    kept = [t for t in WHOLE.tensors if layer(t[0]) < 30]
    write(folder, kept, {**WHOLE.config, "text_config": {"model_type": "bert"}})


def with_a_config_that_cannot_be_parsed(folder: Path) -> None:
    write(folder, [t for t in WHOLE.tensors if layer(t[0]) < 20])
    (folder / "config.json").write_text(json.dumps(dict(WHOLE.config)) + "x")


def in_a_folder_called_git(folder: Path) -> None:
    write(folder / ".git", list(WHOLE.tensors), WHOLE.config)
    write(folder, [("w", "F32", (8, 8))])


def as_kernels_of_a_llama(folder: Path) -> None:
    tensors: list[Tensor] = [(f"up.{i}.conv.weight", "BF16", (4096, 4096, 3, 3, 3)) for i in range(60)]
    write(folder, tensors, {**WHOLE.config, "num_hidden_layers": 1})


def as_a_copy_of_a_lighter_file(folder: Path) -> None:
    packed = gptq(WHOLE)
    write(folder, [(n, "F8_E4M3" if d == "I32" else d, s) for n, d, s in packed.tensors], packed.config, "a.safetensors")
    write(folder, list(packed.tensors), packed.config, "z.safetensors")


def with_a_declaration_of_nothing(folder: Path) -> None:
    write(folder, list(WHOLE.tensors), WHOLE.config)
    (folder / "weightguard.toml").write_text('schema = "weightguard/declaration/1"\n[[run]]\nid = "a"\ntokens = 1\n')


def an_expert_parallel_rank(folder: Path) -> None:
    whole = deepseek_v3()
    part = [t for t in whole.tensors if ".experts." not in t[0] or int(t[0].split(".experts.")[1].split(".")[0]) >= 224]
    write(folder, part, whole.config)


@pytest.mark.parametrize(
    "dress",
    [
        as_optimizer,
        as_averages,
        as_position_ids,
        as_one_expert_of_a_million,
        as_tied_heads,
        as_ranks,
        as_fsdp_ranks,
        as_layer_files,
        as_files_by_kind,
        as_fused_blocks_with_a_gap,
        with_layers_that_only_an_outer_config_claims,
        with_a_config_that_cannot_be_parsed,
        in_a_folder_called_git,
        as_kernels_of_a_llama,
        as_a_copy_of_a_lighter_file,
        with_a_declaration_of_nothing,
        an_expert_parallel_rank,
    ],
)
def test_a_405b_model_dressed_as_less_is_blocked(tmp_path: Path, dress: Callable[[Path], None]) -> None:
    dress(tmp_path)
    report = weightguard.scan(str(tmp_path))
    assert report.decision == "block"
    assert report.blocked
    for model in report.models:
        assert all(len(v.reason) < 2000 for v in model.verdicts)
        assert len(model.findings) < 20


def test_columns_of_one_storage_are_not_ties(tmp_path: Path) -> None:
    wide = torch.zeros(100, 300)
    q, k, v = wide.chunk(3, dim=1)
    even, odd = wide[:, 0::2], wide[:, 1::2]
    torch.save({"q": q, "k": k, "v": v}, tmp_path / "chunks.pt")
    torch.save({"even": even, "odd": odd}, tmp_path / "interleaved.pt")
    torch.save({"whole": wide, "again": wide, "part": wide[:10]}, tmp_path / "ties.pt")
    totals = {m.name: m.parameters.total for m in weightguard.scan(str(tmp_path)).models}
    assert totals == {"chunks.pt": 30_000, "interleaved.pt": 30_000, "ties.pt": 30_000}


@pytest.mark.parametrize(
    "card",
    [
        "train" * 40_000,
        "trained on " + "9" * 200_000,
        "trained on " + "9" * 5_000 + "T tokens",
        "---\n" + "- a\n" * 400_000 + "---\n",
    ],
)
def test_a_card_made_to_be_slow_is_not(tmp_path: Path, card: str) -> None:
    write(tmp_path, [("w", "F32", (8, 8))])
    (tmp_path / "README.md").write_text(card)
    (tmp_path / "trainer_state.json").write_text('{"total_flos": 1e99999999, "num_input_tokens_seen": 1e-99999999}')
    assert weightguard.scan(str(tmp_path)).models[0].decision == "allow"


def test_two_targets_under_one_path_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "small", [("w", "F32", (8, 8))], name="m.safetensors")
    write(tmp_path / "big", list(WHOLE.tensors), name="m.safetensors")
    (tmp_path / "big" / "x").mkdir()
    os.symlink("../big/x", tmp_path / "small" / "link")
    with pytest.raises(ConfigurationError):
        weightguard.scan(str(tmp_path / "small" / "m.safetensors"), f"{tmp_path}/small/link/../m.safetensors")
