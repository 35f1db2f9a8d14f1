"""The text report: 80 columns, the decision first, then why, then what to do; nothing in a name can steer a terminal."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import weightguard
from weightguard.demo import corpus
from weightguard.report import Report
from weightguard.reports import derivation
from weightguard.reports._words import amount, printable
from weightguard.reports.text import render, wants_colour


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("demo")
    corpus.write(str(folder))
    (folder / "notes.bin").write_bytes(bytes(range(256)) * 1024)
    return weightguard.scan(str(folder))


def test_no_line_is_wider_than_80_columns(report: Report) -> None:
    for text in (render(report), render(report, quiet=True), derivation.render(report)):
        assert [line for line in text.splitlines() if len(line) > 80] == []


def test_the_decision_comes_first_then_why_then_what_to_do(report: Report) -> None:
    lines = render(report).splitlines()
    assert lines[0].startswith("BLOCK: ")
    first = next(i for i, line in enumerate(lines) if line.startswith("BLOCK  "))
    labels = [line[2:8].strip() for line in lines[first + 1 : first + 15] if line[:2] == "  " and line[2:8].strip()]
    assert labels.index("what") < labels.index("why") < labels.index("do")


def test_quiet_names_only_what_is_blocked_or_unread(report: Report) -> None:
    text = render(report, quiet=True)
    assert "ALLOW" not in text
    assert text.count("BLOCK  ") == report.blocked > 0
    assert "UNREAD" in text


def test_every_blocked_model_says_what_would_settle_it_or_what_was_found(report: Report) -> None:
    for model in report.models:
        if model.decision == "block":
            assert any(v.to_settle for v in model.verdicts) or model.findings


def test_there_is_colour_only_where_it_is_asked_for(report: Report) -> None:
    assert "\x1b" not in render(report)
    assert "\x1b[" in render(report, colour=True)
    assert not wants_colour(io.StringIO())


@given(st.text())
def test_printed_text_has_no_control_character(text: str) -> None:
    assert printable(text).isprintable()


def test_a_name_with_terminal_codes_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "\x1b[2Jmodel.safetensors").write_bytes(b"not weights")
    text = render(weightguard.scan("."))
    assert "\x1b" not in text
    assert "\\x1b[2Jmodel.safetensors" in text


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0"), (999, "999"), (1000, "1k"), (70_553_706_496, "70.6B"), (Fraction(3, 2), "1.5"), (12 * 10**25, "1.2e+26")],
)
def test_amounts_are_said_as_people_say_them(number: int | Fraction, said: str) -> None:
    assert amount(number) == said
