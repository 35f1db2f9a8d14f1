"""The report as JSON lines, for pipes: a line a model, a line an unread part, a line a finding of no model; the last is the summary.

Each line has one key: "model", "unread", "finding" or "summary", with the value that the JSON report has there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from weightguard.report import Report


def render(report: Report) -> str:
    """One object a line."""
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in _lines(report.to_dict()))


def _lines(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from ({"model": model} for model in content["models"])
    yield from ({"unread": unread} for unread in content["unread"])
    yield from ({"finding": finding} for finding in content["findings"])
    yield {"summary": {**content["summary"], **{k: content[k] for k in ("schema", "tool", "policy")}}}
