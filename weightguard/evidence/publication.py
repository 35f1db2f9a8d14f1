"""What "published" takes (§ 734.7(a)), and what else was said about it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weightguard.toml_lines import Checker, Key, shown

# Licences that let anyone pass the weights on, for any use (§ 734.7(a) "without restrictions upon its further dissemination"), by
# their SPDX or Hub identifiers. A list of those that restrict would always lack the next one.
OPEN_LICENCES = frozenset(
    """
    apache-2.0 mit mit-0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear 0bsd isc zlib unlicense cc0-1.0 cc-by-2.0
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 mpl-2.0 gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 agpl-3.0
    gpl-2.0-only gpl-2.0-or-later gpl-3.0-only gpl-3.0-or-later lgpl-3.0-only lgpl-3.0-or-later agpl-3.0-only
    agpl-3.0-or-later epl-2.0 eupl-1.2 artistic-2.0 bsl-1.0 ms-pl ecl-2.0 afl-3.0 osl-3.0 postgresql ncsa wtfpl odc-by
    odbl pddl cdla-permissive-1.0 cdla-permissive-2.0 openmdw openmdw-1.0
    """.split()
)


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
        return Unclear(f"the licence {shown(licence)} is not one known to let anyone pass on the weights (apache-2.0, mit ...)")
    return Published(url, day, licence)


def restricts(licence: str) -> bool:
    """Whether a licence is not one of those known to let anyone pass the weights on, for any use."""
    return licence.strip().lower() not in OPEN_LICENCES
