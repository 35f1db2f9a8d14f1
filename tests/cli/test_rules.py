"""`weightguard rules`: plain text within 80 columns, with dates, sources and the functions that implement the law."""

from __future__ import annotations

import argparse

import pytest

from weightguard.cli import rules
from weightguard.errors import ConfigurationError
from weightguard.rules.provenance import bounds, sentences, values
from weightguard.rules.us_ear_4e091 import entry


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    parser = argparse.ArgumentParser()
    rules.add_arguments(parser)
    assert rules.run(parser.parse_args(arguments)) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines())
    return text


def flat(text: str) -> str:
    return " ".join(text.split())


def test_list_names_each_regime_with_status_and_enforcement(capsys: pytest.CaptureFixture[str]) -> None:
    text = flat(printed(capsys, "list", "--as-of", "2026-11-24"))
    assert "us-ear-4e091" in text and "Legal status: codified" in text and "Enforcement: announced as not enforced" in text
    assert text == flat(printed(capsys, "--as-of", "2026-11-24"))


def test_status_before_the_first_entry_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "none on 2024-12-31; the first entry known is of 2025-01-13" in flat(
        printed(capsys, "list", "--as-of", "2024-12-31")
    )


def test_show_prints_every_sentence_number_and_implementer(capsys: pytest.CaptureFixture[str]) -> None:
    text = flat(printed(capsys, "show", "us-ear-4e091"))
    for sentence in sentences(entry.FOLDER).values():
        assert f"[{sentence.id}]" in text
        assert flat(sentence.words) in text
        assert sentence.not_evaluated is None or flat(sentence.not_evaluated) in text
    for value in values(entry.FOLDER).values():
        assert f"{value.id}: {value.comparison}" in text
    assert "-> heading" in text and ">= 1e26 operations, 4E091 heading" in text and "> 2.5e25 operations" in text


def test_show_bounds_prints_each_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    text = flat(printed(capsys, "show", "bounds"))
    for bound in bounds().values():
        assert f"{bound.symbol} = " in text and flat(bound.source) in text
    assert "maximum_training_tokens = 1e14" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show"], "needs an ID"),
        (["show", "us-ear-4e90"], "did you mean us-ear-4e091?"),
        (["show", "zzz"], "shipped:"),
        (["list", "x"], "show x"),
    ],
)
def test_wrong_usage_says_what_to_write(arguments: list[str], words: str) -> None:
    parser = argparse.ArgumentParser()
    rules.add_arguments(parser)
    with pytest.raises(ConfigurationError, match=words.replace("?", r"\?")):
        rules.run(parser.parse_args(arguments))
