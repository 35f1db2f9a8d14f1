"""ECCN 3A090: paragraphs .a and .b in printed order, then Note 2; then `classify`. Numbers come from values.toml.

Performance figures are intervals: makers' figures are rounded, and a device may have a faster rate than those known. 4A090 takes
computers that contain such circuits, so a device's class is that of the computers it runs in.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from weightguard.evidence.devices import Device
from weightguard.rules.provenance import values
from weightguard.values import Interval

ROUNDED = Fraction("0.02")
FOLDER = os.path.dirname(__file__)


@dataclass(frozen=True)
class Class:
    """Whether 3A090 specifies a circuit, by which paragraph, and why. `paragraph` is "" where it is none or not settled."""

    specified: Literal["yes", "no", "open"]
    paragraph: str
    reason: str


def paragraph_a(tpp: Fraction, density: Fraction) -> bool:
    """3A090.a: a 'total processing performance' of 4800 or more, or of 1600 or more and a 'performance density' of 5.92 or more."""
    return _meets("a_tpp", tpp) or (_meets("a_tpp_dense", tpp) and _meets("a_density", density))


def paragraph_b(tpp: Fraction, density: Fraction) -> bool:
    """3A090.b: from 2400 to less than 4800 with a density from 1.6 to less than 5.92, or of 1600 or more with one from 3.2 to less
    than 5.92.
    """
    below_a = not _meets("a_density", density)
    middle = _meets("b_tpp", tpp) and not _meets("a_tpp", tpp) and _meets("b_density", density)
    return below_a and (middle or (_meets("b_tpp_dense", tpp) and _meets("b_density_dense", density)))


def note_2(tpp: Fraction, *, datacenter: bool) -> bool:
    """3A090 Note 2: whether .a and .b apply at all: not to items that are not for datacenters and have less than 4800."""
    return datacenter or _meets("a_tpp", tpp)


def classify(tpp: Interval, density: Interval, datacenter: bool | None) -> Class:
    """The class of a circuit. tpp: its 'total processing performance'; density: that a mm2 of die; None: no upper end known.

    datacenter: whether it is designed or marketed for datacenters; None: not known. More performance never leads out of the
    entry (.a and .b together), so the ends of the intervals decide.
    """
    endless = Fraction(10) ** 12
    most = (tpp.high if tpp.high is not None else endless, density.high if density.high is not None else endless)
    answers = {_specified(*corner, datacenter=d) for corner in ((tpp.low, density.low), most) for d in _either(datacenter)}
    if answers == {""}:
        return Class("no", "", "below the limits of 3A090.a and .b, or outside of them by Note 2")
    if len(answers) == 1:
        (paragraph,) = answers
        return Class("yes", paragraph, f"{paragraph} by its figures")
    if "" not in answers:
        return Class("yes", "3A090.a", "3A090.a or .b: the figures don't say which")
    if datacenter is None and _specified(tpp.low, density.low, datacenter=True):
        return Class("open", "", "Note 2: market not known")
    return Class("open", "", "a rate, area or rounding decides")


def of_device(known: Device) -> Class:
    """The class of a device. Its figures are makers', rounded or from other hands: within `ROUNDED` of a limit they settle nothing."""
    tpp, density = known.total_processing_performance, known.performance_density
    high = tpp * (1 + ROUNDED) if known.all_rates else None
    dense = Interval(Fraction(0), None, None)
    if density is not None:
        dense = Interval(density * (1 - ROUNDED), None, None if high is None else density * (1 + ROUNDED))
    return classify(Interval(tpp * (1 - ROUNDED), None, high), dense, known.datacenter)


def _either(datacenter: bool | None) -> tuple[bool, ...]:
    return (True, False) if datacenter is None else (datacenter,)


def _specified(tpp: Fraction, density: Fraction, *, datacenter: bool) -> str:
    if not note_2(tpp, datacenter=datacenter):
        return ""
    return "3A090.a" if paragraph_a(tpp, density) else "3A090.b" if paragraph_b(tpp, density) else ""


def _meets(id: str, quantity: Fraction) -> bool:
    return values(FOLDER)[id].meets(quantity)
