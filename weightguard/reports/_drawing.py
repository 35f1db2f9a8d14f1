"""Drawings of a report as SVG inside a page: the interval on its axis, shares as a bar, the provenance graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from html import escape
from math import log10

from weightguard.evidence.provenance import amount
from weightguard.report import ModelReport
from weightguard.reports._words import printable
from weightguard.reports.derivation import interval
from weightguard.rules.provenance import values
from weightguard.rules.regime import SHIPPED, regime
from weightguard.rules.thresholds import Threshold
from weightguard.values import Ancestor, Operations

LEFT, RIGHT, TOP, HEIGHT, WIDTH = 20, 700, 34, 96, 720
_THRESHOLD = "heading_operations"
_BOX, _TALL, _GAP = 210, 46, 34  # of a node of the graph: width, height, space around it
_DRAWN = 40  # nodes


def text(words: str) -> str:
    """Words as text of a page."""
    return escape(printable(words))


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


def interval_axis(m: ModelReport) -> str:
    o = m.training_operations
    marks = thresholds(v.regime for v in m.verdicts)
    span = axis(o, [value for _, value in marks])
    low = place(float(o.interval.low), span)
    high = RIGHT if o.interval.high is None else place(float(o.interval.high), span)
    y = TOP + 16
    drawn = [f"<title>Training operations: {text(interval(o.interval))}</title>"]
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
            f"<title>{text(', '.join(ids))}</title></line>"
        )
        drawn.append(f'<text x="{x:.1f}" y="{TOP - 18}" text-anchor="middle">{text(name)}: {value:.0e}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(drawn)}</svg>'


def stack(kinds: Sequence[tuple[str, Fraction, float]]) -> str:
    x, drawn = float(LEFT), ["<title>Forward operations by kind of layer</title>"]
    for n, (label, _, share) in enumerate(kinds):
        width = share * (RIGHT - LEFT)
        drawn.append(
            f'<rect x="{x:.1f}" y="4" width="{width:.1f}" height="16" fill="hsl({(230 + 67 * n) % 360} 45% 55%)">'
            f"<title>{text(label)}: {share:.1%}</title></rect>"
        )
        x += width
    return f'<svg viewBox="0 0 {WIDTH} 24" role="img">{"".join(drawn)}</svg>'


def graph(nodes: Sequence[Ancestor]) -> str:
    """What a model came from: the last run at the top, below each node what it came from. Beyond 40 nodes the nearest."""
    drawn = nodes[:_DRAWN]
    ids = {node.id for node in drawn}
    depth = {node.id: 0 for node in drawn[:1]}
    for _ in drawn:  # the longest way down; a circle ends with the rounds
        for node in drawn:
            for source, _ in node.sources:
                if source in ids and node.id in depth and depth.get(source, -1) < depth[node.id] + 1 <= len(drawn):
                    depth[source] = depth[node.id] + 1
    levels: dict[int, list[Ancestor]] = {}
    for node in drawn:
        levels.setdefault(depth.get(node.id, 0), []).append(node)
    at: dict[str, tuple[int, int]] = {}
    for row, level in enumerate(levels[n] for n in sorted(levels)):
        for column, node in enumerate(level):
            at[node.id] = (_GAP // 2 + row % 2 * (_BOX // 2) + column * (_BOX + _GAP), _GAP // 2 + row * (_TALL + 2 * _GAP))
    wide = max(x for x, _ in at.values()) + _BOX + _GAP // 2
    high = max(y for _, y in at.values()) + _TALL + _GAP // 2
    lines = []
    for node in drawn:
        x, y = at[node.id]
        for n, (source, way) in enumerate((source, way) for source, way in node.sources if source in at):
            a, b = at[source]
            start, end = x + _BOX // 2 + 16 * n, a + _BOX // 2 - 16 * n
            lines.append(
                f'<path d="M{start} {y + _TALL} C{start} {y + _TALL + _GAP} {end} {b - _GAP} {end} {b}" fill="none"'
                f' stroke="currentColor"><title>{text(node.text)} {text(way)} {text(source)}</title></path>'
                f'<text x="{start + 6}" y="{y + _TALL + 14 + 14 * n}">{text(_cut(way, 34))}</text>'
            )
    boxes = []
    for node in drawn:
        x, y = at[node.id]
        public = "" if node.published is None else ", published" if node.published else ", not published"
        words = f"{node.kind} {node.text}{public}"
        boxes.append(
            f"<g><title>{text(words)}: {text(amount(node.operations))}</title>"
            f'<rect class="{node.kind}" x="{x}" y="{y}" width="{_BOX}" height="{_TALL}" rx="6"/>'
            f'<text x="{x + 8}" y="{y + 18}">{text(_cut(words, 36))}</text>'
            f'<text x="{x + 8}" y="{y + 35}">{text(amount(node.operations))}</text></g>'
        )
    more = f"<p>{len(nodes) - _DRAWN} more are not drawn.</p>" if len(nodes) > _DRAWN else ""
    return (
        f'<svg class="graph" viewBox="0 0 {max(wide, WIDTH)} {high}" role="img"><title>What the declaration says the model came from'
        f"</title>{''.join(lines)}{''.join(boxes)}</svg>{more}"
    )


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 3] + "..."
