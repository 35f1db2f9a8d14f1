"""`weightguard demo`: a corpus written on the spot and scanned, one of each verdict; no network, no data, nothing executed."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from weightguard.cli.temporary import temporary_folder
from weightguard.errors import ConfigurationError

if TYPE_CHECKING:
    from weightguard.demo.corpus import Case
    from weightguard.report import Report

UNEXPECTED = 1
"""Exit status when a verdict is not the one expected."""
_SHOWN = "dense-405b"  # the first case of this target is printed in full


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", metavar="DIR", help="write the corpus into DIR, new or empty, and leave it there")


def run(args: argparse.Namespace) -> int:
    from weightguard.demo import corpus
    from weightguard.reports import text
    from weightguard.reports._words import amount, printable

    start = time.perf_counter()
    # in the folder, so that reports name the cases as a user would
    with _folder(args.keep) as folder, contextlib.chdir(folder), _uncompiled():
        try:
            trained = corpus.write(".")
        except OSError as error:
            raise ConfigurationError(f"the corpus can't be written: {error.strerror}; name a folder with --keep") from error
        reports = [(case, _scan(case)) for case in corpus.CASES]
    print(_row("", "case", "params", "expected", "found"))
    wrong = 0
    for case, report in reports:
        outcome, parameters = found(report), sum(m.parameters.total for m in report.models)
        right = (outcome, parameters) == (case.outcome, case.parameters)
        wrong += not right
        print(_row("ok" if right else "NO", case.title, amount(parameters), case.outcome, outcome))
        if parameters != case.parameters:
            print(f"   {parameters:,} parameters were counted, {case.parameters:,} are there")
    print(f"\nThe last was trained for this table: {trained.first_loss:.2f} to {trained.last_loss:.2f} nats a character.")
    print("The large ones are headers of true size over data that is a hole. In full:\n")
    shown = next(report for case, report in reports if case.target == _SHOWN)
    print(f"$ weightguard scan {_SHOWN}")
    print(text.render(shown, colour=text.wants_colour(sys.stdout)))
    if args.keep:
        print(f"Kept in {printable(args.keep)}; its *.toml are declarations to scan with.")
    verdict = f"{wrong} of {len(reports)} verdicts are WRONG" if wrong else f"all {len(reports)} verdicts are as expected"
    print(f"{verdict}, {time.perf_counter() - start:.1f} s")
    return UNEXPECTED if wrong else 0


def found(report: Report) -> str:
    """A report in one phrase, "decision: what decided"."""
    from weightguard.demo.hostile import HOSTILE_CALL

    models = report.models
    calls = [f for f in (*report.findings, *(f for m in models for f in m.findings)) if f.severity == "critical"]
    if calls:
        named = any(HOSTILE_CALL in f.message for f in calls)
        return f"{report.decision}: {HOSTILE_CALL if named else calls[0].id}"
    if report.unread or not models:
        return f"{report.decision}: unread"
    if not all(m.complete for m in models):
        return f"{report.decision}: incomplete"
    verdict = models[0].verdicts[0]
    if verdict.status != "not_controlled":
        return f"{report.decision}: {verdict.status}"
    return f"{report.decision}: " + (verdict.clause if "734.7" in verdict.clause else "below 1e26")


def _scan(case: Case) -> Report:
    from weightguard.evidence.attached import read_given
    from weightguard.pipeline import Request, scan
    from weightguard.policy import built_in

    declarations = [read_given(case.declaration)] if case.declaration else []
    return scan(Request([case.target], built_in(), datetime.date.today(), declarations))


def _row(mark: str, title: str, parameters: str, expected: str, outcome: str) -> str:
    return f"{mark:<3}{title:<28}{parameters:>8}  {expected:<20}{outcome}".rstrip()


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    """Kernels as plain Python: on a first run, Numba would take seconds to compile what takes a tenth of one to run."""
    from weightguard.kernels import _jit

    before, _jit.COMPILE_ABOVE = _jit.COMPILE_ABOVE, sys.maxsize
    try:
        yield
    finally:
        _jit.COMPILE_ABOVE = before


@contextlib.contextmanager
def _folder(keep: str | None) -> Iterator[str]:
    """The folder to write into: `keep`, or a temporary one that is removed whatever happens."""
    if keep is not None:
        try:
            os.makedirs(keep, exist_ok=True)
            if os.listdir(keep):
                raise ConfigurationError(f"--keep {keep}: is not empty")
        except OSError as error:
            raise ConfigurationError(f"--keep {keep}: {error.strerror}") from error
        yield keep
        return
    with temporary_folder("weightguard-demo-") as folder:
        yield folder
