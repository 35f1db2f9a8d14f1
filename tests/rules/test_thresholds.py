"""The regimes beside 4E091: worked cases, and what holds of any of them."""

from __future__ import annotations

import datetime as dt
import tomllib
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.layouts import ROOT
from weightguard.evidence.declaration import Published
from weightguard.rules.provenance import sentences, standing
from weightguard.rules.regime import CODED, SHIPPED, Facts, Reading, regime
from weightguard.rules.thresholds import Threshold, shipped
from weightguard.values import ZERO, Interval

AS_OF = dt.date(2026, 11, 25)
CASES: list[dict[str, Any]] = tomllib.loads((ROOT / "tests/cases/regimes.toml").read_text(), parse_float=Decimal)["case"]
STRICTNESS = {"not_controlled": 0, "undetermined": 1, "controlled": 2}


def interval(value: Any) -> Interval:
    """A number, [low, high] or [low]."""
    if not isinstance(value, list):
        return Interval(Fraction(value), Fraction(value), Fraction(value))
    return Interval(Fraction(value[0]), None, Fraction(value[1]) if len(value) == 2 else None)


def facts_of(case: dict[str, Any]) -> Facts:
    def number(name: str) -> Interval | None:
        return interval(case[name]) if name in case else None

    return Facts(
        complete=case.get("complete", True),
        operations=interval(case["operations"]),
        published=Published("https://example.org/w", dt.date(2026, 1, 31), "mit") if case.get("published") else None,
        readings=(Reading("each", interval(case["added"]), (), "a teacher"),) if "added" in case else (),
        generation=number("generation") or ZERO,
        original=number("original"),
        modification=number("modification"),
        generates=tuple(case["generates"]) if "generates" in case else None,
        biological=case.get("biological"),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case: dict[str, Any]) -> None:
    answer = regime(case["regime"]).classify(facts_of(case), case.get("as_of", AS_OF))
    assert (answer.status, answer.clause) == (case["status"], case["clause"]), f"{case['why']}\n{answer.reason}"
    assert answer.reason and not answer.blocks
    assert bool(answer.to_settle) or answer.status != "undetermined"


def test_every_regime_has_cases_and_a_file() -> None:
    assert set(SHIPPED) == {*CODED, *shipped()} == {*CODED, *(case["regime"] for case in CASES)}
    assert len({case["id"] for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("id", shipped())
def test_every_number_has_its_words_and_dates(id: str) -> None:
    found = regime(id)
    assert isinstance(found, Threshold)
    words = sentences(found.FOLDER)
    for level in found.levels:
        assert level.citation in words and level.source and level.effect
    assert standing(found.FOLDER).legal and found.asks


COUNTS = st.one_of(
    st.integers(0, 4 * 10**26),
    st.sampled_from([10**n + d for n in (23, 24, 25, 26) for d in (-1, 0, 1)]),
).map(Fraction)
POINTS = COUNTS.map(lambda x: Interval(x, None, x))
BASES = st.one_of(st.none(), POINTS)
KINDS = st.sampled_from([None, ("text",), ("other",)])


@given(st.sampled_from(shipped()), COUNTS, COUNTS, COUNTS, BASES, KINDS, st.sampled_from([None, True, False]))
def test_more_operations_are_never_looser(
    id: str, low: Fraction, more: Fraction, generation: Fraction, base: Interval | None, kinds: Any, biological: bool | None
) -> None:
    def status(amount: Fraction) -> str:
        point = Interval(amount, None, amount)
        facts = Facts(
            True,
            point,
            generation=Interval(generation, None, generation),
            original=base,
            modification=point,
            generates=kinds,
            biological=biological,
        )
        return regime(id).classify(facts, AS_OF).status

    assert STRICTNESS[status(low + more)] >= STRICTNESS[status(low)]


@given(st.sampled_from(shipped()), COUNTS, COUNTS, COUNTS, st.booleans(), BASES, KINDS, st.sampled_from([None, True, False]))
def test_a_wider_interval_never_says_more(
    id: str,
    at: Fraction,
    down: Fraction,
    up: Fraction,
    endless: bool,
    base: Interval | None,
    kinds: Any,
    biological: bool | None,
) -> None:
    def status(amount: Interval) -> str:
        facts = Facts(True, amount, original=base, modification=amount, generates=kinds, biological=biological)
        return regime(id).classify(facts, AS_OF).status

    point = status(Interval(at, None, at))
    wide = status(Interval(max(Fraction(0), at - down), None, None if endless else at + up))
    assert wide in (point, "undetermined") or (id == "us-outbound-850" and wide == "controlled" == point)


@given(st.sampled_from(shipped()), POINTS, st.sampled_from([True, False]), st.sampled_from([("text",), ("other",)]))
def test_saying_less_of_a_model_never_says_more(id: str, amount: Interval, biological: bool, kinds: tuple[str, ...]) -> None:
    told = regime(id).classify(Facts(True, amount, generates=kinds, biological=biological), AS_OF).status
    silent = regime(id).classify(Facts(True, amount), AS_OF).status
    assert silent in (told, "undetermined")
