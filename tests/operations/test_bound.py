"""The bound that whole weights give, against derivations done by hand."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

import weightguard
from weightguard.demo.layouts import deepseek_v3, llama
from weightguard.demo.write import write_model, write_safetensors
from weightguard.policy import built_in, strict
from weightguard.report import ModelReport


def scanned(folder: Path) -> ModelReport:
    (model,) = weightguard.scan(str(folder)).models
    return model


def test_llama_70b_by_hand(tmp_path: Path) -> None:
    write_model(str(tmp_path), llama(80, 8192, 64, 8, 28672, 128256))
    model = scanned(tmp_path)
    # a layer: q and o 2 x 8192^2, k and v 2 x 8192 x 1024, feed-forward 3 x 8192 x 28672, two norms of 8192
    matrices = 2 * 8192**2 + 2 * 8192 * 1024 + 3 * 8192 * 28672
    embedding = 128256 * 8192
    assert model.parameters.total == 80 * (matrices + 2 * 8192) + 2 * embedding + 8192 == 70_553_706_496
    assert model.forward_operations is not None
    assert model.forward_operations.matmul == 2 * (80 * matrices + embedding)
    assert model.forward_operations.attention == 80 * 2 * 64 * (128 + 128)
    # every key of 8192 attended to; embeddings and norms bounded as if they multiplied; 1e14 tokens, times 1.5
    per_token = 2 * model.parameters.total + 80 * 32768 * 8192
    assert model.training_operations.interval.high == 3 * per_token * 10**14 * Fraction(3, 2)
    assert model.training_operations.interval.low == 0
    assert model.training_operations.interval.best is None


def test_deepseek_v3_by_hand(tmp_path: Path) -> None:
    write_model(str(tmp_path), deepseek_v3())
    model = scanned(tmp_path)
    # facts computed by transformers' class on the meta device under torch's FlopCounterMode
    assert model.parameters.total == 671_026_404_352
    assert model.forward_operations is not None
    assert model.forward_operations.matmul == 73_249_193_984
    assert model.forward_operations.attention == 4_997_120
    # idle: 248 of 256 experts of 58 layers, each 3 x 7168 x 2048
    assert model.parameters.active == 671_026_404_352 - 58 * 248 * 3 * 7168 * 2048


def test_strict_bounds_a_mixture_with_every_expert_active(tmp_path: Path) -> None:
    write_model(str(tmp_path), deepseek_v3())
    usual = scanned(tmp_path).training_operations.interval.high
    (model,) = weightguard.scan(str(tmp_path), policy=strict(built_in())).models
    high = model.training_operations.interval.high
    assert usual is not None and high is not None
    assert high > 10 * usual
    assert model.decision == "block"


@pytest.mark.parametrize("name", ["renamed", "no config"])
def test_names_that_say_nothing_never_lower_the_bound(tmp_path: Path, name: str) -> None:
    layout = llama(80, 8192, 64, 8, 28672, 128256)
    known, bare = tmp_path / "known", tmp_path / "bare"
    write_model(str(known), layout)
    bare.mkdir()
    tensors = layout.tensors if name == "no config" else [(f"t{i}", d, s) for i, (_, d, s) in enumerate(layout.tensors)]
    write_safetensors(str(bare / "model.safetensors"), tensors)
    matmul_only = 3 * 2 * 70_553_706_496 * 10**14 * Fraction(3, 2)
    high = scanned(bare).training_operations.interval.high
    assert high is not None
    assert high >= matmul_only
    if name == "no config":  # the query projections are known by their names
        assert high == scanned(known).training_operations.interval.high


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": "eighty"},
        {"num_hidden_layers": float("nan")},
        {"hidden_size": 64},
        {"num_attention_heads": 0},
        {"num_attention_heads": 1, "head_dim": 1},
        {"vocab_size": 10**8},
        {"num_hidden_layers": 2},
    ],
)
def test_an_absurd_config_never_makes_a_small_number(tmp_path: Path, wrong: dict[str, object]) -> None:
    layout = llama(80, 8192, 64, 8, 28672, 128256)
    write_model(str(tmp_path), type(layout)({**layout.config, **wrong}, layout.tensors))
    model = scanned(tmp_path)
    assert model.parameters.total == 70_553_706_496
    high = model.training_operations.interval.high
    assert high is None or high >= 3 * 2 * 70_553_706_496 * 10**14 * Fraction(3, 2)
    assert model.findings


def test_layers_that_share_weights_are_charged_as_often_as_the_config_says(tmp_path: Path) -> None:
    """ALBERT: one group of weights for 12 layers. By hand: 4 x 256 a key and layer for 256-wide queries, over 512 keys."""
    block = "albert.encoder.albert_layer_groups.0.albert_layers.0."
    tensors = [(f"{block}attention.{n}.weight", "F32", (256, 256)) for n in ("query", "key", "value", "dense")]
    write_safetensors(str(tmp_path / "model.safetensors"), tensors)
    config = {"model_type": "albert", "num_hidden_layers": 12, "num_hidden_groups": 1, "max_position_embeddings": 512}
    (tmp_path / "config.json").write_text(json.dumps(config))
    high = scanned(tmp_path).training_operations.interval.high
    assert high == 3 * 12 * (2 * 4 * 256 * 256 + 4 * 256 * 512) * 10**14 * Fraction(3, 2)
