"""Quantiles of a scan: within the bounds, the same again, and none where nobody says tokens."""

from __future__ import annotations

import json
from pathlib import Path

import weightguard
from tests.layouts import write_small
from weightguard.reports.json import render


def found(folder: Path) -> dict[str, float] | None:
    [model] = json.loads(render(weightguard.scan(str(folder))))["models"]
    distribution: dict[str, float] | None = model["training_operations"]["distribution"]
    if distribution is not None:
        operations = model["training_operations"]
        assert operations["low"] <= distribution["low"] <= distribution["high"] <= operations["high"]
    return distribution


def test_claimed_tokens_have_a_distribution(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "m")
    assert found(folder) is None
    (folder / "README.md").write_text("Trained on 300B tokens.")
    first = found(folder)
    assert first is not None and (first["level"], first["seed"]) == (0.9, 0)
    assert first["low"] < first["high"] < 8 * first["low"]
    assert found(folder) == first


def test_declared_tokens_have_one_too(tmp_path: Path) -> None:
    folder = write_small(tmp_path / "m")
    (folder / "weightguard.toml").write_text(
        'schema = "weightguard/declaration/1"\n[model]\nname = "m"\nrun = "p"\n[[run]]\nid = "p"\nkind = "pre-training"\n'
        "starts_from = []\ntokens = 1e12\ncontext = 4096\n"
    )
    assert found(folder) is not None
