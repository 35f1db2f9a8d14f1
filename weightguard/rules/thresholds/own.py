"""Regimes that a policy states: [[regime]] with [[regime.level]], in the form of those that ship."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from weightguard.rules.provenance import COMPARISONS
from weightguard.rules.regime import SHIPPED
from weightguard.rules.thresholds import COUNTS, Level, Threshold
from weightguard.toml_lines import Checker, Key, shown

_FORM = """[[regime.level]] value = 1e25, comparison = ">=", counts = "training", effect = "..." """.strip()


def own_regimes(check: Checker, key: Key, table: Mapping[str, Any]) -> tuple[Threshold, ...]:
    """The regimes of a policy; every problem by its line."""
    found: dict[str, Threshold] = {}
    for item_key, item in check.tables(table, key, ("id", "title", "blocks", "level")):
        id = check.string(item, (*item_key, "id"), required=True)
        title = check.string(item, (*item_key, "title"), required=True)
        blocks = check.boolean(item, (*item_key, "blocks"))
        levels = _levels(check, item_key, item, id or "")
        if id is not None and (id in SHIPPED or id in found or id in ("all", "bounds")):
            check.problem((*item_key, "id"), f'the id {shown(id)} is taken: choose another, such as "acme-internal"')
        elif id is not None and title is not None:
            found[id] = Threshold(id, title, "", ("this policy",), levels, blocks if blocks is not None else True, ())
    return tuple(found.values())


def _levels(check: Checker, regime: Key, item: Mapping[str, Any], id: str) -> tuple[Level, ...]:
    key: Key = (*regime, "level")
    found = []
    if not item.get("level"):
        check.problem(regime, f"a regime needs a level: write {_FORM}")
    for at, entry in check.tables(item, key, ("value", "comparison", "counts", "effect")):
        if "value" not in entry:
            check.problem(at, f"a level needs a value: write {_FORM}")
            continue
        value = check.number(entry["value"], (*at, "value"))
        comparison = check.choice(entry, (*at, "comparison"), COMPARISONS) or ">="
        counts = check.choice(entry, (*at, "counts"), COUNTS) or "training"
        effect = check.string(entry, (*at, "effect")) or "this policy's threshold"
        if value is not None:
            found.append(Level(id, Fraction(value), comparison, counts, id, effect))
    return tuple(sorted(found, key=lambda level: -level.value))
