"""Every class of transformers: exact parameters, forward operations within 1 %, with and without the config."""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks.architectures import EXPLAINED, Row, measure, summary

# One of each kind: hybrid, state space, gated delta, indexer, looped, windowed, encoder, mixture with a latent attention.
SAMPLE = ("bamba", "mamba", "qwen3_next", "deepseek_v32", "hrm_text", "olmo3", "bert", "minimax_m2", "gpt_neo")
NO_CONFIG = {"inkling2_text", "inkling2_loop_text"}
"""Whose output head has padding rows that only the config tells from trained ones."""


@cache
def every() -> tuple[Row, ...]:
    return tuple(measure())


@pytest.mark.parametrize("model_type", SAMPLE)
def test_one_of_each_kind(model_type: str) -> None:
    [row] = measure(("causal",), (model_type,))
    assert row.exact and row.bare_exact
    assert row.within <= 0.01
    assert (row.low <= 1 <= row.high) or model_type == "hrm_text"  # how often modules are passed, no shape shows


@pytest.mark.full
def test_parameters_are_exact_on_every_class() -> None:
    rows = every()
    assert len(rows) > 300
    assert [row.model_type for row in rows if not row.exact] == []
    assert {row.model_type for row in rows if not row.bare_exact} <= NO_CONFIG


@pytest.mark.full
def test_forward_operations_of_every_decoder() -> None:
    found = summary(every())
    assert found.with_forward > 150 and found.within_1 >= 0.95
    off = {row.model_type for row in every() if row.matmul == row.matmul and row.within > 0.05}
    assert off <= set(EXPLAINED), off


@pytest.mark.full
def test_by_names_and_shapes_alone() -> None:
    found = summary(every())
    assert found.bare_within_10 >= 0.8
    assert found.in_range >= 0.98
    assert found.median_range <= 1.5
