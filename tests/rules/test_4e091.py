"""ECCN 4E091: worked cases, the law's own properties, and text and code cited both ways."""

from __future__ import annotations

import datetime as dt
import os
import re
import tomllib
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightguard.evidence.declaration import Published, Recorded, Unclear
from weightguard.rules.provenance import bounds, latest, sentences, standing, values
from weightguard.rules.regime import SHIPPED, Facts, Origin, Reading, law, regime, written
from weightguard.rules.us_ear_4e091 import entry
from weightguard.values import Interval, Verdict

AS_OF = dt.date(2026, 11, 24)
FULL = Published("https://example.org/weights", dt.date(2026, 1, 31), "apache-2.0")
UNCLEAR = Unclear("published is stated without evidence")
STRICTNESS = {"not_controlled": 0, "undetermined": 1, "controlled": 2}

with open(os.path.join(os.path.dirname(__file__), "..", "cases", "4e091.toml"), "rb") as _file:
    CASES: list[dict[str, Any]] = tomllib.load(_file, parse_float=Decimal)["case"]


def interval(value: Any) -> Interval:
    """A number, [low, high] or [low]."""
    if not isinstance(value, list):
        return Interval(Fraction(value), Fraction(value), Fraction(value))
    return Interval(Fraction(value[0]), None, Fraction(value[1]) if len(value) == 2 else None)


def facts_of(case: dict[str, Any]) -> Facts:
    return Facts(
        complete=case.get("complete", True),
        incomplete="" if case.get("complete", True) else "shard 2 of 3 is missing",
        operations=interval(case["operations"]),
        published={"full": FULL, "unclear": UNCLEAR, None: None}[case.get("published")],
        base=interval(case["base"]) if "base" in case else None,
        additional=interval(case["additional"]) if "additional" in case else None,
        whole=case.get("whole", False),
        data_complete=case.get("data_complete", False),
        uncounted=("the generator teacher",) if case.get("uncounted") else (),
    )


def verdict(**facts: Any) -> Verdict:
    return entry.classify(Facts(**{"complete": True, **facts}), AS_OF)


# ---- the table


def test_table_is_large_and_ids_are_unique() -> None:
    ids = [case["id"] for case in CASES]
    assert len(ids) == len(set(ids)) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case: dict[str, Any]) -> None:
    answer = entry.classify(facts_of(case), AS_OF)
    assert (answer.status, answer.clause) == (case["status"], case["clause"]), f"{case['why']}\n{answer.reason}"
    assert answer.reason and answer.not_assessed and answer.regime == "us-ear-4e091"
    if "unattested" in case:
        assert len(answer.unattested) == case["unattested"]
    assert set(answer.unattested) <= set(answer.conditions)
    if answer.status == "undetermined":
        assert answer.to_settle


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_unclear_publication_never_changes_a_clear_model(case: dict[str, Any]) -> None:
    without = entry.classify(facts_of({**case, "published": None}), AS_OF)
    unclear = entry.classify(facts_of({**case, "published": "unclear"}), AS_OF)
    assert (unclear.status == "not_controlled") == (without.status == "not_controlled")


# ---- what verdicts say


def test_below_threshold_conditions_are_printed_and_attestable() -> None:
    open_, closed = verdict(operations=interval(1)), verdict(operations=interval(1), whole=True, data_complete=True)
    assert open_.conditions == closed.conditions
    assert any("Technical Note 3" in text for text in open_.unattested) and any("whole" in text for text in open_.unattested)
    assert closed.unattested == ()


def test_earlier_conditions_are_kept_with_their_attestation() -> None:
    answer = verdict(operations=interval(1), conditions=("a", "b"), unattested=("b",), whole=True, data_complete=True)
    assert answer.conditions[:2] == ("a", "b") and answer.unattested == ("b",)


def test_reason_shows_numbers_on_the_right_side_of_the_threshold() -> None:
    assert "9.9999999999999999999999999e25" in verdict(operations=interval(10**26 - 1)).reason
    assert "1.00000000000000000000000001e26" in verdict(operations=interval(10**26 + 1)).reason
    assert "heading not met" in verdict(operations=interval(10**25)).reason


def test_both_readings_are_shown_where_they_differ() -> None:
    answer = verdict(operations=interval(26 * 10**25), base=interval(2 * 10**26), additional=interval(6 * 10**25))
    assert "5e25" in answer.reason and "6.5e25" in answer.reason


def test_controlled_suggests_note_2_by_request_only() -> None:
    answer = verdict(operations=interval(10**26))
    assert any("§ 748.3(f)" in text for text in answer.to_settle)


def test_open_says_what_to_write() -> None:
    text = " ".join(verdict(operations=interval([0])).to_settle)
    assert "weightguard declare PATH" in text and "weightguard.toml" in text


def test_incomplete_asks_for_its_parts_only() -> None:
    answer = verdict(complete=False, incomplete="shard 2 of 3 is missing", operations=interval(1))
    assert answer.to_settle == ("put all parts of the model together and scan again (shard 2 of 3 is missing)",)


def test_every_verdict_names_what_was_not_assessed() -> None:
    text = " ".join(verdict(operations=interval(0)).not_assessed)
    assert "part 744" in text and "sanctions" in text and "not legal advice" in text


# ---- the law's properties

COUNTS = st.one_of(
    st.integers(0, 4 * 10**26),
    st.sampled_from([0, 25 * 10**24, 25 * 10**24 + 1, 10**26 - 1, 10**26, 10**26 + 1, 5 * 10**25, 2 * 10**26]),
).map(Fraction)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    low = draw(COUNTS)
    return Interval(low, None, draw(st.one_of(st.none(), COUNTS.map(lambda more: low + more))))


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    base, additional = draw(st.one_of(st.none(), intervals())), draw(intervals())
    return Facts(
        complete=draw(st.booleans()),
        operations=additional if base is None else base + additional,
        published=draw(st.sampled_from([None, UNCLEAR, FULL])),
        base=base,
        additional=additional,
        whole=draw(st.booleans()),
        data_complete=draw(st.booleans()),
        uncounted=draw(st.sampled_from([(), ("a generator",)])),
        readings=tuple(Reading(name, draw(intervals()), (), name) for name in draw(st.sampled_from([(), ("a",), ("a", "b")]))),
        note_2=draw(st.one_of(st.none(), COUNTS.map(lambda n: Recorded("guidance", "r", AS_OF, n)))),
        origin=draw(st.sampled_from([None, Origin("US", ()), Origin("DE", (("r", "V100-SXM"),)), Origin("DE", ())])),
    )


def changed(facts: Facts, **changes: Any) -> Facts:
    return Facts(**{**facts.__dict__, **changes})


def with_additional(facts: Facts, additional: Interval) -> Facts:
    total = additional if facts.base is None else facts.base + additional
    return changed(facts, additional=additional, operations=total)


@given(any_facts(), COUNTS, COUNTS)
def test_more_operations_never_turn_a_verdict_looser(facts: Facts, more_low: Fraction, more_high: Fraction) -> None:
    """Heading "or more" and Note 1 s.2 "more than": more training never leads out of the entry."""
    assert facts.additional is not None
    old = facts.additional
    high = None if old.high is None else old.high + more_low + more_high
    more = with_additional(facts, Interval(old.low + more_low, None, high))
    before, after = entry.classify(facts, AS_OF).status, entry.classify(more, AS_OF).status
    assert STRICTNESS[after] >= STRICTNESS[before]


@given(any_facts(), COUNTS, COUNTS, COUNTS, st.booleans())
def test_a_wider_interval_never_decides_more(
    facts: Facts, down: Fraction, up: Fraction, base_up: Fraction, open_: bool
) -> None:
    assert facts.additional is not None

    def wider(old: Interval, down: Fraction, up: Fraction) -> Interval:
        return Interval(max(Fraction(0), old.low - down), None, None if open_ or old.high is None else old.high + up)

    base = None if facts.base is None else wider(facts.base, down, base_up)
    wide = with_additional(changed(facts, base=base), wider(facts.additional, down, up))
    before, after = entry.classify(facts, AS_OF).status, entry.classify(wide, AS_OF).status
    assert after in (before, "undetermined")


@given(any_facts())
def test_incomplete_or_uncounted_is_never_cleared_by_a_bound(facts: Facts) -> None:
    partial = changed(facts, complete=False)
    assert entry.classify(partial, AS_OF).status != "not_controlled"
    uncounted = changed(facts, uncounted=("a generator",), published=None, origin=None)
    assert entry.classify(uncounted, AS_OF).status != "not_controlled"


@given(any_facts())
def test_attestations_change_no_status(facts: Facts) -> None:
    for whole in (False, True):
        for data in (False, True):
            other = changed(facts, whole=whole, data_complete=data)
            assert entry.classify(other, AS_OF).status == entry.classify(facts, AS_OF).status


@given(COUNTS, COUNTS)
def test_the_readings_of_note_1_are_ordered(base: Fraction, added: Fraction) -> None:
    """A quarter of the total is never less than a quarter of the original: the second reading never excludes less."""
    point, more = Interval(base, base, base), Interval(added, added, added)
    if entry.note_1_base_original(point, more).value == "yes":
        assert entry.note_1_base_total(point, more).value == "yes"


@given(COUNTS, COUNTS, COUNTS)
def test_exact_numbers_give_exact_answers(base: Fraction, added: Fraction, other: Fraction) -> None:
    """The arithmetic of section 6 of the facts, done again in integers."""
    point, more = Interval(base, base, base), Interval(added, added, added)
    floor = Fraction(25 * 10**24)
    assert (entry.note_1_base_original(point, more).value == "no") == (added > max(floor, base / 4))
    assert (entry.note_1_base_total(point, more).value == "no") == (added > max(floor, (base + added) / 4))


@given(st.fractions(0, 10**27), st.sampled_from([Fraction(10**26), Fraction(25 * 10**24)]))
def test_written_numbers_stay_on_their_side(number: Fraction, threshold: Fraction) -> None:
    near = Fraction(Decimal(written(number, threshold)))
    assert (near < threshold, near > threshold) == (number < threshold, number > threshold)


# ---- dated status


def test_status_is_the_last_entry_not_after_the_day() -> None:
    dated = standing(entry.FOLDER)
    assert "not required before 2025-05-15" in law(dated, dt.date(2025, 5, 14)).status
    assert "compliance date reached" in law(dated, dt.date(2025, 5, 15)).status
    assert "not enforced" not in law(dated, dt.date(2025, 5, 12)).enforcement
    assert "not enforced" in law(dated, dt.date(2025, 5, 13)).enforcement
    today = law(dated, AS_OF)
    assert "codified" in today.status and "not enforced" in today.enforcement
    assert today.enforcement_as_of <= AS_OF and today.text_as_of <= AS_OF


def test_before_the_first_entry_it_says_so() -> None:
    dated = standing(entry.FOLDER)
    assert latest(dated.legal, dt.date(2025, 1, 12)) is None
    answer = entry.classify(Facts(True, interval(10**26)), dt.date(2025, 1, 12))
    assert answer.status == "controlled"
    assert "2025-01-13" in answer.law.status and "not in force" in answer.law.status


# ---- text and code


def test_no_number_of_the_law_stands_in_code() -> None:
    with open(entry.__file__, encoding="utf-8") as file:
        code = re.sub(r'"""[\s\S]*?"""|#.*', "", file.read())
    assert not re.search(r"1e26|10\*\*26|2\.5e25|0\.25|0\.10?\b|\b25 percent|\bten percent", code)


def test_values_are_the_text_s() -> None:
    found = values(entry.FOLDER)
    assert {id: (value.comparison, value.value) for id, value in found.items()} == {
        "heading_operations": (">=", 10**26),
        "generated_data_share": (">", Fraction(1, 10)),
        "derived_operations": (">", 25 * 10**24),
        "derived_share": (">", Fraction(1, 4)),
    }
    for value in found.values():
        assert value.citation in sentences(entry.FOLDER)
        assert value.in_force_from <= value.checked_on


def test_bounds_have_sources() -> None:
    assert {symbol: bound.value for symbol, bound in bounds().items()} == {
        "maximum_training_tokens": 10**14,
        "bound_context": 8192,
        "post_training_factor": Fraction(3, 2),
        "kernel_positions": 1024,
        "maximum_training_pixels": 10**16,
        "unexplained_bytes": 65536,
        "maximum_data_age": 120,
    }
    assert all(bound.source and bound.unit and bound.means for bound in bounds().values())


@pytest.mark.parametrize("id", SHIPPED)
def test_shipped_regimes_have_what_a_regime_has(id: str) -> None:
    found = regime(id)
    assert (found.ID, bool(found.TITLE), bool(found.SOURCES)) == (id, True, True)
    assert found.classify(Facts(True, interval(0)), AS_OF).regime == id
