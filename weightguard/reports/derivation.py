"""The derivation of a report as a tree: every number with its formula and inputs, every clause with its words and source.

It walks the same terms that the verdict used; nothing is computed here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from fractions import Fraction

from weightguard.report import ModelReport, Report
from weightguard.reports.text import WIDTH, accounted, amount, printable
from weightguard.rules.provenance import sentences
from weightguard.rules.regime import regime, written
from weightguard.values import Interval, Operations, Term, Verdict


def render(report: Report) -> str:
    """One tree a model, 80 columns."""
    lines: list[str] = []
    for m in report.models:
        lines += [*_model(m), ""]
    for u in report.unread:
        lines += [*_line(0, f"unread: {u.path}: {u.reason}: {u.detail}"), ""]
    lines += _line(0, "policy: " + ", ".join(f"{k} = {v}" for k, v in report.policy.items() if k not in ("waivers", "signers")))
    return "\n".join(lines) + "\n"


def _model(m: ModelReport) -> list[str]:
    lines = [*_line(0, f"{m.path}: {m.decision.upper()}")]
    lines += _line(1, f"files: {len(m.files)}, {sum(f.bytes for f in m.files):,} bytes, {_counted(f.format for f in m.files)}")
    lines += _line(2, f"bytes: {accounted(m)}")
    for text in m.missing:
        lines += _line(2, f"missing: {text}")
    p = m.parameters
    lines += _line(1, f"parameters: {p.total:,}, of which {p.active:,} act on a token")
    lines += _line(2, f"stored elements {p.stored_elements:,}: " + ", ".join(f"{k} {v:,}" for k, v in p.by_role.items() if v))
    lines += _line(2, "stored as " + ", ".join(f"{k} {v:,}" for k, v in p.by_dtype.items()))
    if p.quantization:
        lines += _line(2, f"unpacked by the rules of {p.quantization}")
    a = m.architecture
    if a is None:
        lines += _line(1, "architecture: none known; bounded tensor by tensor")
    elif a.source == "shapes":
        lines += _line(1, "architecture: by names and shapes; bounded tensor by tensor")
        lines += _line(2, f"{a.layers} layers, hidden {a.hidden_size}")
    else:
        lines += _line(1, f"architecture: {a.model_type}, from config.json, checked against the shapes")
        heads = f", {a.attention.heads} heads of {a.attention.qk} and {a.attention.v}" if a.attention else ""
        experts = f", {int(a.experts.max())} experts of which {a.experts_per_token} a token" if a.experts_per_token else ""
        lines += _line(2, f"{a.layers} layers, hidden {a.hidden_size}{heads}{experts}, context {a.context}")
    f = m.forward_operations
    if f is not None:
        lines += _line(1, f"forward operations a {f.unit}: {f.matmul:,} + {f.attention:,} a key")
        lines += _line(2, f"by matrix multiplication between {f.matmul_range[0]:,} and {f.matmul_range[1]:,}")
        lines += [line for t in f.terms for line in _term(t)]
    lines += _operations(m.training_operations)
    for v in m.verdicts:
        lines += _verdict(v)
    for x in m.findings:
        lines += _line(1, f"finding {x.id} ({x.severity}): {x.message} ({x.path})")
    return lines


def _operations(o: Operations) -> list[str]:
    lines = _line(1, f"training operations: {interval(o.interval)}, by {o.method}")
    lines += [line for t in o.terms for line in _term(t)]
    for c in o.evidence:
        amounts = written(c.low) if c.low == c.high else f"{written(c.low)} to {written(c.high)}"
        lines += _line(2, f"evidence ({c.trust}): {c.quantity} {amounts}, {c.source}, {c.where}")
    for text in o.assumptions:
        lines += _line(2, f"assumed: {text}")
    return lines


def _verdict(v: Verdict) -> list[str]:
    lines = _line(1, f"{v.regime}: {v.status}, {v.clause}: {v.reason}")
    for text in v.conditions:
        lines += _line(2, f"rests on{' (not attested)' if text in v.unattested else ''}: {text}")
    for text in v.to_settle:
        lines += _line(2, f"to settle: {text}")
    for id, sentence in sentences(regime(v.regime).FOLDER).items():
        if id.startswith(v.clause if v.clause != "4E091" else "4E091 heading"):
            lines += _line(2, f'{id}: "{sentence.words}" [{sentence.source}]')
    law = v.law
    lines += _line(2, f"law: {law.status} (text as of {law.text_as_of}); {law.enforcement} (as of {law.enforcement_as_of})")
    return lines


def interval(i: Interval) -> str:
    """An interval as people read it."""
    high = "no upper bound" if i.high is None else written(i.high)
    best = "" if i.best is None else f", best {written(i.best)}"
    return f"{written(i.low)} to {high}{best}"


def _term(t: Term) -> list[str]:
    value = (
        amount(t.value)
        if t.value >= 1000
        else f"{float(t.value):g}"
        if t.value.denominator > 1
        else str(int(Fraction(t.value)))
    )
    return _line(2, f"{t.label}: {value} {t.unit} = {t.formula} [{t.source}]")


def _counted(words: Iterable[str]) -> str:
    return ", ".join(sorted(set(words)))


def _line(depth: int, text: str) -> list[str]:
    indent = "  " * depth
    return textwrap.wrap(
        printable(text), WIDTH, initial_indent=indent, subsequent_indent=indent + "    ", break_on_hyphens=False
    )
