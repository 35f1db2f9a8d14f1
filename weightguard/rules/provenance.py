"""Legal texts, values, statuses and policy bounds as dated data with their sources, and the loader that refuses unknown keys.

Every entry says where it stands (`source`), how surely (`confidence`: "verbatim" the words were seen, "fragment" a part of
them, "secondary" somebody reported them, "judgement" ours, its reason in `source`) and when a person last checked it.
"""

from __future__ import annotations

import functools
import os
import tomllib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

CONFIDENCES = ("verbatim", "fragment", "secondary", "judgement")
COMPARISONS = (">=", ">")


@dataclass(frozen=True)
class Sentence:
    """One sentence of a legal text. `not_evaluated` says why no code implements it; None where code does.

    `in_force_from` is None where the date was not looked up.
    """

    id: str
    words: str
    source: str
    confidence: str
    checked_on: date
    in_force_from: date | None = None
    not_evaluated: str | None = None


@dataclass(frozen=True)
class Value:
    """A number of the law: `comparison` is how a quantity in `unit` is held against it, by the sentence `citation`."""

    id: str
    value: Fraction
    unit: str
    comparison: str
    citation: str
    source: str
    confidence: str
    in_force_from: date
    checked_on: date

    def meets(self, quantity: Fraction) -> bool:
        """Whether `quantity` meets or exceeds the value, as the sentence compares."""
        return quantity >= self.value if self.comparison == ">=" else quantity > self.value


@dataclass(frozen=True)
class Event:
    """What was so from `date` on, by `source`. `in_force`: whether the text holds then; of legal events only."""

    date: date
    text: str
    source: str
    confidence: str
    in_force: bool = True


@dataclass(frozen=True)
class Standing:
    """A regime's legal status and its enforcement: two lists of events, each in the order of its dates."""

    legal: tuple[Event, ...]
    enforcement: tuple[Event, ...]
    checked_on: date


@dataclass(frozen=True)
class Bound:
    """A number that a policy bounds training with; `symbol` is its key in a policy."""

    symbol: str
    value: Fraction
    unit: str
    means: str
    source: str
    confidence: str
    checked_on: date


@dataclass(frozen=True)
class Group:
    """A group of countries, ISO 3166 alpha-2, as its source printed it."""

    id: str
    title: str
    members: tuple[str, ...]
    in_force_from: date
    source: str
    confidence: str
    checked_on: date


def latest(events: tuple[Event, ...], as_of: date) -> Event | None:
    """The last event not after `as_of`; None before the first."""
    found = None
    for event in events:
        if event.date <= as_of:
            found = event
    return found


@functools.cache
def sentences(folder: str) -> dict[str, Sentence]:
    """text.toml of a regime's folder, or its one file: every sentence by its id, in printed order."""
    entries = _entries(_file(folder, "text.toml"), "sentence")
    return {entry["id"]: Sentence(**entry) for entry in entries}


@functools.cache
def values(folder: str) -> dict[str, Value]:
    """values.toml of a regime's folder: every number of the law by its id; none of one file, whose numbers are its levels."""
    if folder.endswith(".toml"):
        return {}
    found = {}
    for entry in _entries(_file(folder, "values.toml"), "value"):
        value = Value(**{**entry, "value": Fraction(entry["value"])})
        if value.comparison not in COMPARISONS:
            raise ValueError(f"{folder}: {value.id}: comparison must be one of {COMPARISONS}")
        found[value.id] = value
    return found


@functools.cache
def standing(folder: str) -> Standing:
    """status.toml of a regime's folder, or its one file."""
    path = _file(folder, "status.toml")
    legal = tuple(Event(**entry) for entry in _entries(path, "legal"))
    enforcement = tuple(Event(**entry) for entry in _entries(path, "enforcement"))
    for events in (legal, enforcement):
        if not events or list(events) != sorted(events, key=lambda event: event.date):
            raise ValueError(f"{path}: both lists must have entries, in the order of their dates")
    return Standing(legal, enforcement, load(path)["checked_on"])


@functools.cache
def bounds() -> dict[str, Bound]:
    """bounds.toml: the numbers with which the built-in policy bounds training, by their key in a policy."""
    entries = _entries(os.path.join(os.path.dirname(__file__), "bounds.toml"), "bound")
    return {entry["symbol"]: Bound(**{**entry, "value": Fraction(entry["value"])}) for entry in entries}


@functools.cache
def country_groups() -> dict[str, Group]:
    """country_groups.toml, by id."""
    entries = _entries(os.path.join(os.path.dirname(__file__), "country_groups.toml"), "group")
    return {entry["id"]: Group(**{**entry, "members": tuple(entry["members"])}) for entry in entries}


def _file(folder: str, name: str) -> str:
    """A regime of one file has all its tables there."""
    return folder if folder.endswith(".toml") else os.path.join(folder, name)


@functools.cache
def load(path: str) -> dict[str, Any]:
    """A data file's tables, its numbers as decimals."""
    with open(path, "rb") as file:
        return tomllib.load(file, parse_float=Decimal)


def _entries(path: str, name: str) -> list[dict[str, Any]]:
    """The tables [[name]] of a file. Unknown keys are refused by the dataclasses, an unknown confidence here."""
    entries: list[dict[str, Any]] = load(path)[name]
    for entry in entries:
        if entry.get("confidence") not in CONFIDENCES:
            raise ValueError(f"{path}: {entry}: confidence must be one of {CONFIDENCES}")
    return entries
