"""What "published" takes (§ 734.7(a)), and what else was said about it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weightguard.toml_lines import Checker, Key, shown

# Licences whose own words limit who may use or pass on the weights, or for what: by design never "published" (§ 734.7(a)
# "without restrictions upon its further dissemination"). Compared with the lower-case licence, as whole words.
RESTRICTED_LICENCES = (
    "llama", "gemma", "nc", "noncommercial", "nd", "openrail", "openrail++", "bigscience", "rail", "research", "evaluation",
    "proprietary", "gated", "nda", "other", "unknown", "custom", "none",
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """Where, since when and under which licence the weights are public without restriction, as declared."""

    url: str
    date: dt.date
    licence: str


@dataclass(frozen=True)
class Unclear:
    """Something was said about publication that does not clear; `reason` says why, in one clause."""

    reason: str


def read_published(check: Checker, model: Mapping[str, Any], as_of: dt.date) -> Published | Unclear | None:
    """[model] published: only a whole table clears; false or nothing is None; all else is unclear, with its reason."""
    key: Key = ("model", "published")
    value = model.get("published", False)
    if value is False:
        return None
    if not isinstance(value, dict):
        return Unclear("published is stated without evidence: it takes a table with url, date, licence and unrestricted = true")
    check.known_keys(value, key, ("url", "date", "licence", "unrestricted"))
    url, day, licence = value.get("url"), value.get("date"), value.get("licence")
    if not isinstance(url, str) or not url.lower().startswith(("https://", "http://")) or len(url) < 12:
        return Unclear("published has no url where anyone can get the weights (https://...)")
    if not isinstance(day, dt.date) or isinstance(day, dt.datetime):
        return Unclear("published has no date (written 2026-01-31, without quotes or a time)")
    if day > as_of:
        return Unclear(f"published is dated {day}, after {as_of}")
    if not isinstance(licence, str) or not licence.strip():
        return Unclear("published has no licence")
    if value.get("unrestricted") is not True:
        return Unclear("published does not say unrestricted = true (anyone may get the weights and pass them on)")
    if restricts(licence):
        return Unclear(f"the licence {shown(licence)} limits who may use or pass on the weights, or is not named")
    return Published(url, day, licence)


def restricts(licence: str) -> bool:
    """Whether a licence is one of those known to limit use or further dissemination, or is no licence's name."""
    words = "".join(c if c.isalnum() or c == "+" else " " for c in licence.lower()).split()
    return any(word.rstrip("0123456789") in RESTRICTED_LICENCES for word in words)
