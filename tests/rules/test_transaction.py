"""Transactions with an item of 4E091: worked cases, and that saying less never permits more."""

from __future__ import annotations

import datetime as dt
import tomllib
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.layouts import ROOT
from weightguard.decision import decide
from weightguard.policy import built_in
from weightguard.rules.regime import Facts, Transaction
from weightguard.rules.us_ear_4e091.entry import classify
from weightguard.rules.us_ear_4e091.transaction import license
from weightguard.values import Interval

AS_OF = dt.date(2026, 11, 25)
CASES: list[dict[str, Any]] = tomllib.loads((ROOT / "tests/cases/transactions.toml").read_text())["case"]
CONTROLLED = Facts(True, Interval(Fraction(2 * 10**26), None, Fraction(2 * 10**26)))


def transaction(case: dict[str, Any]) -> Transaction:
    return Transaction(
        case.get("destination"),
        case.get("hq"),
        case.get("parent"),
        case.get("facility", False),
        case.get("deemed", False),
        case.get("encrypted", False),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_case(case: dict[str, Any]) -> None:
    found = license(transaction(case))
    assert (found.answer, found.clause) == (case["answer"], case["clause"]), f"{case['why']}\n{found.reason}"
    assert bool(found.conditions) == found.permits and bool(found.to_settle) != found.permits
    if "review" in case:
        assert ("denial" in found.review) == case["review"]


def test_there_are_enough_and_ids_are_unique() -> None:
    assert len({case["id"] for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_controlled_item_goes_only_where_the_transaction_permits(case: dict[str, Any]) -> None:
    verdict = classify(replace(CONTROLLED, transaction=transaction(case)), AS_OF)
    assert verdict.status == "controlled" and verdict.license == license(transaction(case))
    permitted = case["answer"] in ("not_required", "exception")
    assert decide((verdict,), (), built_in()) == ("allow" if permitted else "block")
    # the transaction's conditions are the user's word: a strict policy asks for more
    assert decide((verdict,), (), replace(built_in(), undeclared_conditions="block")) == "block"


def test_without_a_transaction_and_without_an_item_nothing_is_said() -> None:
    assert classify(CONTROLLED, AS_OF).license is None
    small = Facts(True, Interval(Fraction(0), None, Fraction(10**20)), transaction=Transaction("CN"))
    assert classify(small, AS_OF).license is None


def test_an_incomplete_model_is_never_permitted() -> None:
    inside = Transaction("US", "US", "US")
    verdict = classify(replace(CONTROLLED, complete=False, transaction=inside), AS_OF)
    assert verdict.license is None and decide((verdict,), (), built_in()) == "block"


COUNTRIES = st.sampled_from([None, "US", "DE", "AE", "CN", "HK", "MO", "RU", "IR", "BR"])
TRANSACTIONS = st.builds(Transaction, COUNTRIES, COUNTRIES, COUNTRIES, st.booleans(), st.booleans(), st.booleans())
LESS: dict[str, Any] = {
    "destination": None,
    "consignee_hq": None,
    "consignee_parent": None,
    "facility": False,
    "deemed_export": False,
    "encrypted": False,
}


@given(TRANSACTIONS, st.sampled_from(sorted(LESS)))
def test_saying_less_never_permits_more(given_: Transaction, name: str) -> None:
    if license(replace(given_, **{name: LESS[name]})).permits:
        assert license(given_).permits


@given(TRANSACTIONS)
def test_macau_china_and_hong_kong_never_take_aia(given_: Transaction) -> None:
    if given_.destination in ("CN", "HK", "MO", "RU", "IR"):
        assert license(given_).answer != "exception"
