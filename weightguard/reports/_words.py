"""Numbers and names as people read them, on a terminal or a page."""

from __future__ import annotations

from fractions import Fraction

from weightguard.report import ModelReport
from weightguard.values import NOTHING

WIDTH = 80


def printable(text: str) -> str:
    """Text with every control, format and surrogate character escaped, so that a file name can't steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def amount(number: int | Fraction) -> str:
    """A number as people say it: 70.6B, 1.2e26."""
    value = float(number)
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if size <= value < 999.5 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def accounted(m: ModelReport) -> str:
    """What the bytes of a model's files are."""
    total = sum((f.accounts for f in m.files), NOTHING)
    return (
        f"{total.tensors:,} in tensors, {total.headers:,} in headers, {total.padding:,} of padding, "
        f"{total.unexplained:,} unexplained"
    )
