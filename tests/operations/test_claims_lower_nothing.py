"""What a config claims of windows, linear layers and layers that are passed by moves the best figure, never the bound."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests.layouts import Tensor, write_json, write_sparse
from tests.test_oracle import header, truth_of

LAYERS = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return truth_of("llama", tmp_path / "m", num_hidden_layers=LAYERS).folder


def high(folder: Path) -> Fraction:
    [model] = weightguard.scan(str(folder)).models
    found = model.training_operations.interval.high
    assert found is not None, model.missing
    return found


@pytest.mark.parametrize(
    "claim",
    [
        {"layer_types": ["linear_attention"] * LAYERS},
        {"layer_types": ["sliding_attention"] * LAYERS, "sliding_window": 1},
        {"model_type": "mllama_text_model", "cross_attention_layers": list(range(LAYERS))},
        {"model_type": "nemotron_h", "layers_block_type": ["mlp"] * LAYERS},
        {"model_type": "mistral", "sliding_window": 1},
        {"model_type": "deepseek_v4", "sliding_window": 1, "layer_types": ["heavily_compressed_attention"] * LAYERS},
    ],
    ids=lambda claim: str(claim)[:40],
)
def test_a_claim_lowers_no_bound(folder: Path, claim: dict[str, Any]) -> None:
    honest = high(folder)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, **claim})
    assert high(folder) >= honest


def renamed(folder: Path, tensors: list[Tensor]) -> None:
    (folder / "model.safetensors").unlink()
    write_sparse(folder / "model.safetensors", tensors)


@pytest.mark.parametrize("model_type", ["llama", "glm4_moe"])
def test_queries_of_another_name_still_attend(folder: Path, model_type: str) -> None:
    """All layers but one have their queries renamed: they are bounded by the config's heads, or as wide as the model."""
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "model_type": model_type})
    honest = high(folder)
    tensors = header(folder / "model.safetensors")
    renamed(folder, [(n if ".0." in n else n.replace("q_proj", "questions"), d, s) for n, d, s in tensors])
    assert high(folder) >= honest


def test_a_small_tensor_beside_makes_no_layer_linear(folder: Path) -> None:
    honest = high(folder)
    tensors = header(folder / "model.safetensors")
    marks: list[Tensor] = [(f"model.layers.{n}.self_attn.A_log", "BF16", (32,)) for n in range(LAYERS)]
    renamed(folder, [*tensors, *marks])
    assert high(folder) >= honest
