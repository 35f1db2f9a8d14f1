"""Who may move which end of the interval."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from weightguard.operations.narrow import narrow
from weightguard.operations.runs import Lineage
from weightguard.values import Claim, Interval, Operations

amounts = st.integers(1, 10**27).map(Fraction)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    low, best, high = sorted(draw(st.tuples(amounts, amounts, amounts)))
    return Interval(low, draw(st.sampled_from([best, None])), draw(st.sampled_from([high, high, None])))


def claim(amount: Fraction) -> Claim:
    return Claim("training operations", amount, amount, "trainer_state.json", "trainer_state.json: total_flos", "claimed")


def lineage(interval: Interval) -> Lineage:
    return Lineage(interval, None, interval, ())


def narrowed(bound: Interval, claims: list[Fraction], clearing: Interval | None, raising: Interval | None) -> Interval:
    operations = Operations(bound, "weights")
    return narrow(
        operations,
        None,
        tuple(map(claim, claims)),
        lineage(clearing) if clearing else None,
        lineage(raising) if raising else None,
        "weightguard.toml",
        contradicted=False,
        context=8192,
    ).operations.interval


bounds = amounts.map(lambda high: Interval(Fraction(0), None, high))


@given(bounds, st.lists(amounts, max_size=3))
def test_a_claim_never_lowers_high_and_never_raises_low(bound: Interval, claims: list[Fraction]) -> None:
    found = narrowed(bound, claims, None, None)
    assert found.low == 0
    assert found.high is not None and bound.high is not None
    assert found.high >= bound.high
    assert found.best == (max(claims) if claims else None)
    assert found.high >= max([bound.high, *claims])


@given(bounds, st.lists(amounts, max_size=3), intervals())
def test_a_declaration_that_is_not_trusted_only_raises(bound: Interval, claims: list[Fraction], declared: Interval) -> None:
    without = narrowed(bound, claims, None, None)
    found = narrowed(bound, claims, None, declared)
    assert found.low == max(without.low, declared.low)
    if declared.high is None:
        assert found.high is None
    else:
        assert found.high is not None and without.high is not None
        assert found.high == max(without.high, declared.high)


@given(bounds, intervals())
def test_a_trusted_declaration_sets_all_three(bound: Interval, declared: Interval) -> None:
    assert narrowed(bound, [], declared, None) == declared


@given(bounds, st.lists(amounts, min_size=1, max_size=3), intervals())
def test_where_a_claim_is_above_the_declaration_the_wider_interval_holds(
    bound: Interval, claims: list[Fraction], declared: Interval
) -> None:
    found = narrowed(bound, claims, declared, None)
    if declared.high is not None and max(claims) > declared.high:
        assert found.high is not None and bound.high is not None
        assert found.high >= max(bound.high, *claims)
