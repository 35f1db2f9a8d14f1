"""The report for people: 80 columns, the decision first, then why, then what to do."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable
from typing import TextIO

from weightguard.report import ModelReport, Report
from weightguard.reports._words import WIDTH, accounted, amount, printable
from weightguard.values import SEVERITIES, Finding

_LABEL = 8  # columns before a line's text
_RED, _GREEN, _YELLOW, _RESET = "\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m", "\x1b[0m"
_MOST_FINDINGS = 5
_MOST_UNREAD = 20
_REGIME = 20  # columns of a regime's id in a table


def wants_colour(stream: TextIO | None) -> bool:
    """Colour only on a terminal, and not where NO_COLOR is set to anything."""
    return stream is not None and stream.isatty() and not os.environ.get("NO_COLOR")


def render(report: Report, *, quiet: bool = False, colour: bool = False) -> str:
    """The whole report; `quiet` leaves out models that are allowed."""
    paint = _Paint(colour)
    lines = [_headline(report, paint), ""]
    conditions: dict[str, int] = {}
    for m in sorted(report.models, key=lambda m: m.decision != "block"):
        if m.decision == "block":
            lines += [*_blocked(m, paint), ""]
    allowed = [m for m in report.models if m.decision == "allow"]
    if allowed and not quiet:
        for m in allowed:
            lines += _allowed(m, paint, conditions)
        lines.append("")
    for u in report.unread[:_MOST_UNREAD]:
        lines += [*_path("UNREAD", _YELLOW, u.path, paint), *_labelled("why", f"{u.reason}: {u.detail}")]
    if len(report.unread) > _MOST_UNREAD:
        lines.append(f"  and {len(report.unread) - _MOST_UNREAD} more unread; --format json lists all")
    if report.unread:
        lines.append("")
    lines += _findings(report.findings)
    if conditions:
        lines.append("What these answers rest on:")
        for text, number in conditions.items():
            lines += _wrap(text, f"  [{number}] ", "      ")
        lines.append("")
    if report.models and not (quiet and not report.blocked):
        lines += _law(report)
    return "\n".join(lines).rstrip("\n") + "\n"


class _Paint:
    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, code: str) -> str:
        return f"{code}{text}{_RESET}" if self._colour else text


def _headline(report: Report, paint: _Paint) -> str:
    models = len(report.models)
    plural = "s" if models != 1 else ""
    unread = f"; {len(report.unread)} unread" if report.unread else ""
    if report.blocked:
        return paint("BLOCK", _RED) + f": {report.blocked} of {models} model{plural} blocked{unread}"
    if report.dangerous:
        return paint("BLOCK", _RED) + f": a file that is dangerous to load{unread}; {models} model{plural} allowed"
    if report.decision == "block":
        return paint("BLOCK", _RED) + f": {len(report.unread)} files could not be read; {models} model{plural} allowed"
    if not models:
        return f"No model found in {report.files} files{unread}"
    return paint("ALLOW", _GREEN) + f": {models} model{plural} allowed{unread}"


def _blocked(m: ModelReport, paint: _Paint) -> list[str]:
    lines = [*_path("BLOCK", _RED, m.path, paint), *_labelled("what", _what(m)), *_labelled("bytes", accounted(m))]
    lines += _regimes(m)
    for v in m.verdicts:
        if not v.blocks:
            continue
        if v.status != "not_controlled":
            status = "controlled" if v.status == "controlled" else "undetermined"
            lines += _labelled("why", f"{status} under {v.clause}: {v.reason}")
        for text in v.unattested if v.status == "not_controlled" else ():
            lines += _labelled("why", f"nobody attests: {text}")
    lines += _findings(f for f in m.findings if f.id != "part-missing")  # those are why
    for text in dict.fromkeys(t for v in m.verdicts if v.blocks for t in v.to_settle):
        lines += _labelled("do", text)
    return lines


def _allowed(m: ModelReport, paint: _Paint, conditions: dict[str, int]) -> list[str]:
    lines = [*_path("ALLOW", _GREEN, m.path, paint), *_labelled("what", _what(m)), *_labelled("bytes", accounted(m))]
    lines += _regimes(m)
    for v in m.verdicts:
        if not v.blocks:
            continue
        numbers = [conditions.setdefault(text, len(conditions) + 1) for text in v.conditions]
        rests = f" {''.join(f'[{n}]' for n in numbers)}" if numbers else ""
        status = v.status.replace("_", " ")
        lines += _labelled("why", f"{status}, {v.clause}: {v.reason}{rests}")
    return lines + _findings(m.findings)


def _regimes(m: ModelReport) -> list[str]:
    """With more than one regime, a table: one row a regime."""
    if len(m.verdicts) < 2:
        return []
    names = {"controlled": "meets", "not_controlled": "no", "undetermined": "open"}
    lines = [f"  {'regime':<{_REGIME}} {'answer':<6} by"]
    for v in m.verdicts:
        answer = names[v.status]
        by = f"{v.clause}: {v.reason}" if not v.blocks else v.clause
        lines += _wrap(by, f"  {v.regime:<{_REGIME}} {answer:<6} ", " " * (_REGIME + 10))
    return lines


def _what(m: ModelReport) -> str:
    p = m.parameters
    words = [f"{p.total:,} parameters"]
    if p.active != p.total:
        words.append(f"{amount(p.active)} active a token")
    if p.quantization:
        words.append(p.quantization)
    else:
        words.append("+".join(sorted(p.by_dtype, key=lambda d: -p.by_dtype[d])[:3]))
    if m.architecture:
        words.append(f"{m.architecture.model_type}, {m.architecture.layers} layers")
    if len(m.files) > 1:
        words.append(f"{len(m.files)} files")
    if not m.complete:
        words.append("INCOMPLETE")
    return ", ".join(w for w in words if w)


def _findings(findings: Iterable[Finding]) -> list[str]:
    ranked = sorted(findings, key=lambda f: -SEVERITIES.index(f.severity))
    lines: list[str] = []
    for f in ranked[:_MOST_FINDINGS]:
        lines += _labelled("found", f"{f.severity}: {f.message} ({f.path})")
    if len(ranked) > _MOST_FINDINGS:
        lines += _labelled("found", f"and {len(ranked) - _MOST_FINDINGS} more; --format json lists all")
    return lines


def _law(report: Report) -> list[str]:
    lines: list[str] = []
    for v in report.models[0].verdicts:
        if not v.blocks:
            continue
        law = v.law
        lines += _wrap(
            f"{v.regime}: {law.status} (text as of {law.text_as_of}); {law.enforcement} (as of {law.enforcement_as_of}).",
            "",
            "  ",
        )
        lines += _wrap("Not assessed: " + "; ".join(v.not_assessed) + ".", "", "  ")
    if any(not v.blocks for v in report.models[0].verdicts):
        lines += _wrap("Other regimes block nothing; weightguard rules show ID has what else they ask.", "", "  ")
    return lines


def _path(word: str, code: str, path: str, paint: _Paint) -> list[str]:
    first, *rest = _wrap(path, f"{word:<{_LABEL}}", " " * _LABEL)
    return [paint(word, code) + first[len(word) :], *rest]


def _labelled(label: str, text: str) -> list[str]:
    return _wrap(text, f"  {label:<{_LABEL - 2}}", " " * _LABEL)


def _wrap(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        printable(text), WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=True, break_on_hyphens=False
    ) or [first.rstrip()]
