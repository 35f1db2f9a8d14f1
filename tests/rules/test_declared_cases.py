"""Worked declarations, from the file beside a model's weights to the verdict; and graphs that are errors, by line."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests.layouts import ROOT
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_model
from weightguard.errors import ConfigurationError

AS_OF = dt.date(2026, 11, 25)
CASES: list[dict[str, Any]] = tomllib.loads((ROOT / "tests/cases/declarations.toml").read_text())["case"]
SCHEMA = 'schema = "weightguard/declaration/1"\n'


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """405B dense, as a hole on disk: its own bound of 4e26 is above every number of the cases."""
    folder = tmp_path_factory.mktemp("model")
    write_model(str(folder), llama_405b())
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case: dict[str, Any], large: Path, tmp_path: Path) -> None:
    given = tmp_path / "d.toml"
    given.write_text(SCHEMA + case["declaration"])
    (model,) = weightguard.scan(str(large), declarations=[str(given)], as_of=AS_OF).models
    (verdict,) = model.verdicts
    assert (verdict.status, verdict.clause) == (case["status"], case["clause"]), f"{case['why']}\n{verdict.reason}"
    assert bool(verdict.to_settle) == (verdict.status != "not_controlled")
    interval = model.training_operations.interval
    if verdict.clause == "4E091" and verdict.status == "controlled":
        assert interval.low >= 10**26  # what the report prints is what the rule counted
    if verdict.clause == "4E091" and verdict.status == "not_controlled":
        assert interval.high is not None and interval.high < 10**26


def test_there_are_enough_and_ids_are_unique() -> None:
    assert len({case["id"] for case in CASES}) == len(CASES) >= 35


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[[run]]\nid = "a"\nstarts_from = ["a"]\noperations = 1\n', 2, "circle"),
        (
            '[model]\nrun = "a"\n[[run]]\nid = "a"\nstarts_from = ["b"]\noperations = 1\n'
            '[[run]]\nid = "b"\nstarts_from = ["a"]\noperations = 1\n',
            4,
            "circle",
        ),
        ('[[run]]\nid = "a"\nstarts_from = ["c"]\noperations = 1\n', 4, "no [[run]] has the id"),
        ('[[run]]\nid = "a"\noperations = 1\n[[run.data]]\nshare = 0.5\ngenerator = "g"\n', 7, "no [[generator]] has the id"),
        (
            '[[run]]\nid = "a"\noperations = 1\n[[run.data]]\nshare = 0.5\ngenerator = "g"\n'
            '[[generator]]\nid = "g"\ntraining_runs = ["a"]\n',
            7,
            "can't train on what it trained itself",
        ),
        (
            '[[run]]\nid = "a"\noperations = 1\n[[run.data]]\nshare = 0.5\ngenerator = "g"\n[[run]]\nid = "b"\nstarts_from = ["a"]\n'
            'operations = 1\n[[generator]]\nid = "g"\ntraining_runs = ["b"]\n',
            2,
            "circle",
        ),
        (
            '[[run]]\nid = "a"\noperations = 1\n[[run.data]]\nshare = 0.6\n[[run.data]]\nshare = 0.5\n',
            8,
            "add up to more than 1",
        ),
        (
            '[[run]]\nid = "a"\nstarts_from = [{model = "x", published = true, operations = 1}]\noperations = 1\n'
            '[[run]]\nid = "b"\nstarts_from = ["a", {model = "x", published = true, operations = 2}]\noperations = 1\n',
            8,
            "stated in another way by the run on line 2",
        ),
        (
            '[[run]]\nid = "a"\nstarts_from = [{model = "x", published = true}]\noperations = 1\n'
            '[[run]]\nid = "b"\nstarts_from = ["a", {model = "x"}]\noperations = 1\n',
            8,
            "stated in another way",
        ),
        ('[note_2]\nkind = "rumour"\nreference = "x"\ndate = 2026-01-01\noperations = 1e26\n', 3, "can't be"),
        ('[note_2]\nkind = "guidance"\nreference = "x"\ndate = 2027-01-01\noperations = 1e26\n', 5, "after 2026-11-25"),
        ('[model]\ngenerates = ["smell"]\n', 3, "must list what the model generates"),
        ('[[run]]\nid = "a"\noperations = 1\naccelerators = "H100"\n', 5, "must list the devices"),
    ],
)
def test_problems_by_line(text: str, line: int, words: str, large: Path, tmp_path: Path) -> None:
    given = tmp_path / "d.toml"
    given.write_text(SCHEMA + text)
    with pytest.raises(ConfigurationError) as raised:
        weightguard.scan(str(large), declarations=[str(given)], as_of=AS_OF)
    (problem,) = raised.value.problems
    assert f"d.toml:{line}: " in problem and words in problem, problem
