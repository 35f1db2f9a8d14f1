"""Every danger and every malformed file is stopped with a reason, every harmless checkpoint passes, through `weightguard.scan`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import weightguard
from tests.hostile import benign, containers, corpus, gadgets, malformed, techniques
from tests.hostile.case import Case
from tests.hostile.known import OPEN
from weightguard.report import Report


def critical(report: Report) -> list[str]:
    found = [*report.findings, *(f for m in report.models for f in m.findings)]
    return [f"{f.id}: {f.message}" for f in found if f.severity in ("critical", "high")]


def stopped(report: Report) -> bool:
    """Blocked, by what the file does or by what nobody could read: not by a count, which another file of this kind may pass."""
    return report.decision == "block" and bool(critical(report) or report.unread)


def internal(report: Report) -> list[str]:
    return [u.detail for u in report.unread if u.reason == "internal"]


def passes(report: Report) -> str:
    if internal(report):
        return " ".join(internal(report))
    return "" if stopped(report) else f"passed, with {[f.id for m in report.models for f in m.findings]}"


def flagged(report: Report) -> str:
    return "; ".join([*critical(report), *(f"{u.reason}: {u.detail}" for u in report.unread)])


def check(cases: Iterable[Case], folder: Path, wrong: Callable[[Report], str]) -> None:
    """Raises with the cases that go wrong but for those in `OPEN`, and with those in `OPEN` that go right."""
    found, mended = [], []
    for case in cases:
        corpus.write(case, folder)
        problem = wrong(weightguard.scan(str(folder / case.name)))
        if problem and case.name not in OPEN:
            found.append(f"{case.name} ({case.why}): {problem}")
        elif not problem and case.name in OPEN:
            mended.append(case.name)
    assert found == [], "\n".join(found)
    assert mended == [], f"mended: take out of tests/hostile/known.py: {' '.join(mended)}"


@pytest.mark.parametrize("source", [gadgets, techniques, containers, malformed], ids=lambda m: m.__name__.rsplit(".", 1)[-1])
def test_no_danger_passes(source: object, tmp_path: Path) -> None:
    check(source.cases(), tmp_path, passes)  # type: ignore[attr-defined]


def test_no_harmless_checkpoint_is_flagged_or_unread(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what old checkpoints are made of
        cases = list(benign.cases())
    check(cases, tmp_path, flagged)


def test_the_corpus_has_one_case_a_name() -> None:
    names = [c.name for c in corpus.dangers()]
    assert len(names) == len(set(names)) > 550
