"""The derivation as one HTML file: no script, nothing from elsewhere, the interval drawn against the thresholds on a log axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from html import escape
from math import log10

from weightguard.report import ModelReport, Report
from weightguard.reports._words import accounted, amount, printable
from weightguard.reports.derivation import Node, derivation, interval, parts
from weightguard.rules.provenance import values
from weightguard.rules.regime import SHIPPED, regime
from weightguard.rules.thresholds import Threshold
from weightguard.values import Operations

LEFT, RIGHT, TOP, HEIGHT, WIDTH = 20, 700, 34, 96, 720
_THRESHOLD = "heading_operations"
_STYLE = """
:root { color-scheme: light dark; --line: #8888; --block: #c62828; --allow: #2e7d32; --bar: #5c6bc0; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
article { border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: 1rem 0; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 0; }
.block { color: var(--block); } .allow { color: var(--allow); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid var(--line); }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
details { margin-left: 1rem; } summary { cursor: pointer; } p.leaf { margin: 0 0 0 2rem; }
@media print { details:not([open]) > :not(summary) { display: block; } article { break-inside: avoid; } }
"""


def render(report: Report) -> str:
    """The file, the same bytes for the same report."""
    trees = derivation(report)
    models = "".join(_model(m, tree) for m, tree in zip(report.models, trees, strict=False))
    rest = "".join(_tree(node) for node in trees[len(report.models) :])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>weightguard: {_text(report.decision)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>weightguard: <span class="{report.decision}">{_text(report.decision)}</span></h1>'
        f"{models}<article><h2>The rest</h2>{rest}</article>"
        "<p>An aid to self-classification, not legal advice and not a determination by BIS.</p></body></html>\n"
    )


def _model(m: ModelReport, tree: Node) -> str:
    verdicts = _table(
        ("regime", "status", "clause", "why"), [(v.regime, v.status, v.clause, v.reason) for v in m.verdicts], "Verdicts"
    )
    kinds = parts(m)
    breakdown = ""
    if kinds:
        rows = [(label, amount(value), f"{share:.1%}") for label, value, share in kinds]
        breakdown = _stack(kinds) + _table(("kind of layer", "operations a token", "share"), rows, "Forward operations")
    files = _table(
        ("file", "container", "bytes"), [(f.path, f.format, f"{f.bytes:,}") for f in m.files], f"Files: {accounted(m)}"
    )
    found = _table(("severity", "finding", "where"), [(f.severity, f.message, f.path) for f in m.findings], "Findings")
    return (
        f'<article><h2>{_text(m.path)}: <span class="{m.decision}">{_text(m.decision)}</span></h2>'
        f"<p>{m.parameters.total:,} parameters, {m.parameters.active:,} act on a token</p>"
        f"{verdicts}{_axis(m)}{breakdown}{_tree(tree)}{files}{found if m.findings else ''}</article>"
    )


def thresholds(regimes: Iterable[str]) -> list[tuple[str, float]]:
    """(regime, operations) of each regime that has one."""
    found = []
    for id in regimes:
        asked = regime(id) if id in SHIPPED else None
        value = values(asked.FOLDER).get(_THRESHOLD) if asked is not None else None
        if value is not None:
            found.append((id, float(value.value)))
        elif isinstance(asked, Threshold):
            found += [(id, float(level.value)) for level in asked.levels if level.value]
    return found


def axis(o: Operations, marks: Sequence[float]) -> tuple[float, float]:
    """Decades that the axis spans: all ends above 0, and the thresholds, with one to spare."""
    ends = [float(x) for x in (o.interval.low, o.interval.best, o.interval.high) if x is not None and x > 0]
    all_ends = [*ends, *marks] or [1e26]
    first, last = int(log10(min(all_ends))) - 1, int(log10(max(all_ends))) + 2
    return float(min(first, last - 4)), float(last)


def place(value: float, span: tuple[float, float]) -> float:
    """Where a number of operations stands on the axis, in user units of the drawing; at its edge if it is beyond."""
    share = (log10(value) - span[0]) / (span[1] - span[0]) if value > 0 else 0.0
    return LEFT + min(max(share, 0.0), 1.0) * (RIGHT - LEFT)


def _axis(m: ModelReport) -> str:
    o = m.training_operations
    marks = thresholds(v.regime for v in m.verdicts)
    span = axis(o, [value for _, value in marks])
    low = place(float(o.interval.low), span)
    high = RIGHT if o.interval.high is None else place(float(o.interval.high), span)
    y = TOP + 16
    drawn = [f"<title>Training operations: {_text(interval(o.interval))}</title>"]
    drawn.append(f"<desc>A logarithmic axis from 10^{span[0]:.0f} to 10^{span[1]:.0f} operations</desc>")
    for decade in range(int(span[0]), int(span[1]) + 1):
        x = place(10.0**decade, span)
        drawn.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + 22}" y2="{y + 27}" stroke="currentColor"/>')
        drawn.append(f'<text x="{x:.1f}" y="{y + 40}" text-anchor="middle">10^{decade}</text>')
    drawn.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y + 22}" y2="{y + 22}" stroke="currentColor"/>')
    fade = ' opacity="0.55"' if o.interval.low == 0 or o.interval.high is None else ""
    drawn.append(
        f'<rect class="interval" x="{low:.1f}" y="{y}" width="{max(high - low, 1):.1f}" height="14" fill="var(--bar)"{fade}/>'
    )
    if o.interval.low == 0:
        drawn.append(f'<text x="{LEFT}" y="{y - 4}">from 0</text>')
    if o.interval.high is None:
        drawn.append(f'<text x="{RIGHT}" y="{y - 4}" text-anchor="end">no upper bound</text>')
    if o.distribution is not None:
        a, b = place(o.distribution.low, span), place(o.distribution.high, span)
        drawn.append(
            f'<rect x="{a:.1f}" y="{y + 4}" width="{max(b - a, 1):.1f}" height="6" fill="currentColor" opacity="0.5"/>'
        )
    if o.interval.best is not None:
        x = place(float(o.interval.best), span)
        drawn.append(
            f'<line class="best" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" y2="{y + 17}" stroke="currentColor" stroke-width="2"/>'
        )
    for value in sorted({value for _, value in marks}):
        ids = [id for id, other in marks if other == value]
        name = ids[0] if len(ids) == 1 else f"{len(ids)} thresholds"
        x = place(value, span)
        drawn.append(
            f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 14}" y2="{y + 22}" stroke="var(--block)">'
            f"<title>{_text(', '.join(ids))}</title></line>"
        )
        drawn.append(f'<text x="{x:.1f}" y="{TOP - 18}" text-anchor="middle">{_text(name)}: {value:.0e}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(drawn)}</svg>'


def _stack(kinds: Sequence[tuple[str, Fraction, float]]) -> str:
    x, drawn = float(LEFT), ["<title>Forward operations by kind of layer</title>"]
    for n, (label, _, share) in enumerate(kinds):
        width = share * (RIGHT - LEFT)
        drawn.append(
            f'<rect x="{x:.1f}" y="4" width="{width:.1f}" height="16" fill="hsl({(230 + 67 * n) % 360} 45% 55%)">'
            f"<title>{_text(label)}: {share:.1%}</title></rect>"
        )
        x += width
    return f'<svg viewBox="0 0 {WIDTH} 24" role="img">{"".join(drawn)}</svg>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    heads = "".join(f'<th scope="col">{_text(h)}</th>' for h in head)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><caption>{_text(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _tree(node: Node, *, top: bool = True) -> str:
    if not node.children:
        return f'<p class="leaf">{_text(node.text)}</p>'
    inside = "".join(_tree(child, top=False) for child in node.children)
    return f"<details{' open' if top else ''}><summary>{_text(node.text)}</summary>{inside}</details>"


def _text(text: str) -> str:
    return escape(printable(text))
