"""A GGUF's own hyperparameters are read as a config: written by gguf's writer, which is what llama.cpp's converters use."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

import weightguard
from weightguard.report import ModelReport

LAYERS, HIDDEN, HEADS, EXPERTS, USED, WIDTH, VOCABULARY = 2, 64, 4, 8, 2, 32, 100


def written(path: Path, used: int | None = USED, layers: int = LAYERS) -> ModelReport:
    writer = gguf.GGUFWriter(str(path), "qwen3moe")
    writer.add_block_count(layers)
    writer.add_embedding_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_context_length(512)
    writer.add_expert_count(EXPERTS)
    if used is not None:
        writer.add_expert_used_count(used)
    names = {"token_embd.weight": (VOCABULARY, HIDDEN), "output.weight": (VOCABULARY, HIDDEN), "output_norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            names[f"blk.{layer}.{name}.weight"] = (HIDDEN, HIDDEN)
        names[f"blk.{layer}.ffn_gate_inp.weight"] = (EXPERTS, HIDDEN)
        names[f"blk.{layer}.ffn_gate_exps.weight"] = (EXPERTS, WIDTH, HIDDEN)
        names[f"blk.{layer}.ffn_up_exps.weight"] = (EXPERTS, WIDTH, HIDDEN)
        names[f"blk.{layer}.ffn_down_exps.weight"] = (EXPERTS, HIDDEN, WIDTH)
        names[f"blk.{layer}.attn_norm.weight"] = (HIDDEN,)
    for name, shape in names.items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    [model] = weightguard.scan(str(path)).models
    return model


def test_the_experts_that_a_token_is_sent_to_are_the_files(tmp_path: Path) -> None:
    model = written(tmp_path / "m.gguf")
    assert model.architecture is not None and model.architecture.source == "metadata"
    dense = LAYERS * (4 * HIDDEN**2 + EXPERTS * HIDDEN) + VOCABULARY * HIDDEN
    expert = LAYERS * 3 * HIDDEN * WIDTH
    assert model.forward_operations is not None
    assert model.forward_operations.matmul == 2 * (dense + USED * expert)
    assert model.forward_operations.attention == 4 * LAYERS * HIDDEN
    assert model.parameters.active == model.parameters.total - (EXPERTS - USED) * expert
    assert any("2 of 8 experts" in text for text in model.verdicts[0].conditions)


@pytest.mark.parametrize("change", [{"used": None}, {"layers": 3}, {"layers": 1}])
def test_what_the_file_does_not_say_or_contradicts_bounds_with_every_expert(
    tmp_path: Path, change: dict[str, int | None]
) -> None:
    known, open_ = written(tmp_path / "m.gguf"), written(tmp_path / "o.gguf", **change)  # type: ignore[arg-type]
    assert open_.parameters.active == open_.parameters.total
    a, b = known.training_operations.interval.high, open_.training_operations.interval.high
    assert a is not None and (b is None or b > a)
