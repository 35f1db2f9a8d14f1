"""Absurd configs: a finding or a bound, never an exception, never a number below what the weights alone can have taken."""

from __future__ import annotations

import json
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests.layouts import write_small

TYPES = [
    "llama",
    "zamba",
    "hrm_text",
    "dory",
    "deepseek_v4",
    "longcat_flash",
    "mllama",
    "t5",
    "gemma3_text",
    "nemotron_h",
    "nothing",
    None,
]
OFTEN = ("llama", "zamba")
KEYS = (
    "num_hidden_layers hidden_size num_attention_heads vocab_size head_dim num_experts num_experts_per_tok layer_types sliding_window"
    " H_cycles L_cycles n_recurrent_loops cross_attention_layers layers_block_type num_hidden_groups unpadded_vocab_size chunk_size"
    " text_config qk_nope_head_dim num_decoder_layers zero_expert_num num_nextn_predict_layers"
).split()
VALUES: list[Any] = [0, -1, 10**9, 10**30, "4096", None, True, [], {}, [1, 2], 1.5, float("nan"), float("inf"), "x" * 10**5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("absurd") / "m")


@pytest.fixture(scope="module")
def config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


@pytest.fixture(scope="module")
def least(folder: Path) -> Fraction:
    """The least that the weights bound: 3 x 2 operations x every parameter x the largest tokens and factor."""
    [model] = weightguard.scan(str(folder)).models
    assert model.forward_operations is not None
    return 3 * Fraction(model.forward_operations.matmul) * 10**14 * Fraction(3, 2)


@pytest.mark.parametrize("model_type", [t if t in OFTEN else pytest.param(t, marks=pytest.mark.full) for t in TYPES], ids=str)
@pytest.mark.parametrize("key", KEYS)
def test_an_absurd_value(folder: Path, config: dict[str, Any], least: Fraction, model_type: str | None, key: str) -> None:
    for value in VALUES:
        (folder / "config.json").write_text(json.dumps({**config, "model_type": model_type, key: value}))
        report = weightguard.scan(str(folder))
        assert not any(u.reason == "internal" for u in report.unread), (value, report.unread)
        for model in report.models:
            high = model.training_operations.interval.high
            assert high is None or high >= least, value


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[" * 10_000 + "]" * 10_000,
        '{"text_config":' * 10_000 + "{}" + "}" * 10_000,
        '{"num_hidden_layers": NaN}',
        "{",
        "",
    ],
)
def test_a_config_that_is_none(folder: Path, least: Fraction, text: str) -> None:
    (folder / "config.json").write_text(text)
    report = weightguard.scan(str(folder))
    assert not any(u.reason == "internal" for u in report.unread)
    for model in report.models:
        high = model.training_operations.interval.high
        assert high is None or high >= least
        assert high is not None or model.missing


def test_a_number_of_layers_takes_no_memory(folder: Path, config: dict[str, Any]) -> None:
    for model_type in ("llama", "nothing", "zamba"):
        (folder / "config.json").write_text(json.dumps({**config, "model_type": model_type, "num_hidden_layers": 10**9}))
        tracemalloc.start()
        weightguard.scan(str(folder))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 64 << 20
