"""3A090 by its numbers from both sides, the devices known, and what a declaration's hardware makes of jurisdiction."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightguard.decision import decide
from weightguard.evidence.devices import device, devices
from weightguard.policy import built_in
from weightguard.rules.regime import Facts, Origin
from weightguard.rules.us_ear_3a090 import classify, of_device
from weightguard.rules.us_ear_4e091 import entry
from weightguard.rules.us_ear_4e091.jurisdiction import jurisdiction
from weightguard.values import Interval

AS_OF = dt.date(2026, 11, 25)


def point(number: str | int) -> Interval:
    return Interval(Fraction(number), None, Fraction(number))


@pytest.mark.parametrize(
    ("tpp", "density", "datacenter", "paragraph"),
    [
        # .a: 4800 or more, whatever the density
        ("4800", "0", True, "3A090.a"),
        ("4800", "0", False, "3A090.a"),
        ("4799", "1.59", True, ""),
        ("4799", "1.6", True, "3A090.b"),
        # .a: 1600 or more with 5.92 or more
        ("1600", "5.92", True, "3A090.a"),
        ("1599", "5.92", True, ""),
        ("1600", "5.91", True, "3A090.b"),
        # .b: 2400 to under 4800 with 1.6 to under 5.92
        ("2400", "1.6", True, "3A090.b"),
        ("2399", "1.6", True, ""),
        ("2400", "1.59", True, ""),
        ("4799", "5.92", True, "3A090.a"),
        # .b: 1600 or more with 3.2 to under 5.92
        ("1600", "3.2", True, "3A090.b"),
        ("1600", "3.19", True, ""),
        ("1599", "3.2", True, ""),
        # Note 2: not for datacenters and under 4800
        ("4799", "5.92", False, ""),
        ("2400", "1.6", False, ""),
        ("5000", "8", False, "3A090.a"),
    ],
)
def test_limits(tpp: str, density: str, datacenter: bool, paragraph: str) -> None:
    found = classify(point(tpp), point(density), datacenter)
    assert (found.specified, found.paragraph) == ("yes" if paragraph else "no", paragraph)


def test_what_is_not_known_is_open() -> None:
    endless = Interval(Fraction(0), None, None)
    assert classify(point(2000), endless, True).specified == "open"
    assert classify(Interval(Fraction(1000), None, None), point(1), True).specified == "open"
    assert classify(Interval(Fraction(5000), None, None), endless, None).paragraph == "3A090.a"
    assert classify(point(3000), point(4), None).specified == "open"
    assert classify(point(1500), endless, None).specified == "no"


NUMBERS = st.fractions(0, 10000, max_denominator=100)
DENSITIES = st.fractions(0, 10, max_denominator=100)


@given(NUMBERS, NUMBERS, DENSITIES, DENSITIES, st.booleans())
def test_more_performance_never_leads_out(
    tpp: Fraction, more: Fraction, density: Fraction, denser: Fraction, market: bool
) -> None:
    first = classify(Interval(tpp, None, tpp), Interval(density, None, density), market)
    top = tpp + more, density + denser
    second = classify(Interval(top[0], None, top[0]), Interval(top[1], None, top[1]), market)
    assert first.specified == "no" or second.specified == "yes"
    between = classify(Interval(tpp, None, top[0]), Interval(density, None, top[1]), market)
    assert between.specified in ("open", first.specified)


@pytest.mark.parametrize(
    ("name", "specified", "paragraph"),
    [
        ("H100-SXM", "yes", "3A090.a"),
        ("A100", "yes", "3A090.a"),
        ("A800", "yes", "3A090.a"),
        ("H800", "yes", "3A090.a"),
        ("RTX-4090", "yes", "3A090.a"),  # no datacenter part, and 4800 or more all the same
        ("V100-SXM", "no", ""),
        ("T4", "no", ""),
        ("H20", "open", ""),  # made to stay below: within the rounding of its figures
        ("A10", "open", ""),
        ("TPU-v5e", "open", ""),
    ],
)
def test_devices(name: str, specified: str, paragraph: str) -> None:
    known = device(name)
    assert known is not None
    found = of_device(known)
    assert (found.specified, found.paragraph) == (specified, paragraph)


def test_the_low_processing_performance_quantity() -> None:
    """The "around 1,700 chips" of the rule's press: 26.9 million by an H100 SXM's dense 16-bit rate."""
    known = device("H100-SXM")
    assert known is not None and known.total_processing_performance == Fraction("15832")
    assert 26_900_000 // known.total_processing_performance == 1699
    assert len({d.name for d in devices()}) == len(devices()) > 25


# ---- jurisdiction

CONTROLLED = Facts(True, Interval(Fraction(2 * 10**26), None, Fraction(2 * 10**26)))


def status(country: str | None, *names: str | None) -> tuple[str, str]:
    origin = Origin(country, tuple((f"r{n}", name) for n, name in enumerate(names)))
    verdict = entry.classify(replace(CONTROLLED, origin=origin), AS_OF)
    return verdict.status, verdict.clause


@pytest.mark.parametrize(
    ("country", "names", "expected"),
    [
        (None, ["V100-SXM"], ("controlled", "4E091")),  # unknown counts as subject to the EAR
        ("US", ["V100-SXM"], ("controlled", "4E091")),
        ("DE", ["H100-SXM"], ("controlled", "4E091")),
        ("DE", ["V100-SXM", "H100-SXM"], ("controlled", "4E091")),
        ("DE", ["V100-SXM", "T4"], ("not_controlled", "§ 734.9(l)")),
        ("DE", ["V100-SXM", None], ("undetermined", "§ 734.9(l)")),
        ("DE", ["V100-SXM", "H20"], ("undetermined", "§ 734.9(l)")),
        ("DE", ["Some-Chip-9"], ("undetermined", "§ 734.9(l)")),
        ("DE", [], ("undetermined", "§ 734.9(l)")),
    ],
)
def test_jurisdiction(country: str | None, names: list[str | None], expected: tuple[str, str]) -> None:
    assert status(country, *names) == expected


def test_what_is_not_reached_rests_on_conditions_that_nobody_attested() -> None:
    verdict = entry.classify(replace(CONTROLLED, origin=Origin("DE", (("a", "V100-SXM"),))), AS_OF)
    assert decide((verdict,), (), built_in()) == "allow"
    assert decide((verdict,), (), replace(built_in(), undeclared_conditions="block")) == "block"
    assert any("US-origin" in text for text in verdict.unattested)


def test_an_incomplete_model_stays_blocked() -> None:
    verdict = entry.classify(replace(CONTROLLED, complete=False, origin=Origin("DE", (("a", "V100-SXM"),))), AS_OF)
    assert decide((verdict,), (), built_in()) == "block"


@given(
    st.sampled_from([None, "US", "DE"]),
    st.lists(st.sampled_from(["V100-SXM", "T4", "H100-SXM", "H20", None]), max_size=4),
    st.integers(0, 3),
)
def test_knowing_less_of_the_hardware_says_no_more(country: str | None, names: list[str | None], at: int) -> None:
    before = status(country, *names)[0]
    if at < len(names) and country == "DE":
        after = status(country, *names[:at], None, *names[at + 1 :])[0]
        assert after in (before, "undetermined")
    assert jurisdiction(None).value == "yes"
