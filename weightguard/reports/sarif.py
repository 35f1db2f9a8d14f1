"""The report as SARIF 2.1.0 (OASIS, 27 March 2020): one result a model, one for each unread part and each finding of no model.

Paths and fingerprints are stable from run to run, so that a code-scanning view keeps one alert a model.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from weightguard.report import ModelReport, Report
from weightguard.stores.targets import scheme_of
from weightguard.values import Finding, Severity, Unread

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: dict[Severity, str] = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note"}
_RULES = {
    "controlled": ("Controlled by a regime", "The model is at or above a threshold, and no exclusion holds."),
    "undetermined": ("Not determined", "Whether a regime controls the model is open; the message says what would settle it."),
    "unattested": ("A condition that nobody attests", "The model is clear on a condition that the policy wants attested."),
    "blocked": ("Blocked by a finding or a rule", "A finding of the model, or a rule of the policy, blocks it."),
    "allowed": ("Allowed", "No regime that blocks controls the model."),
    "unread": ("Could not be read", "A part that was not accounted for; a gate treats it as a block."),
    "finding": ("Finding", "Something worth saying about a file that is in no model."),
}


def render(report: Report) -> str:
    """Indented JSON with a final newline; the same bytes for the same report."""
    results = [_model(m) for m in report.models]
    results += [_unread(u) for u in report.unread] + [_finding(f) for f in report.findings]
    used = sorted({result["ruleId"] for result in results})
    driver = {
        "name": "weightguard",
        "semanticVersion": report.version,
        "rules": [
            {
                "id": id,
                "shortDescription": {"text": _RULES[id][0]},
                "fullDescription": {"text": _RULES[id][1]},
                "help": {"text": "weightguard explain PATH prints the derivation of every number and clause."},
            }
            for id in used
        ],
    }
    for result in results:
        result["ruleIndex"] = used.index(result["ruleId"])
    run = {"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, allow_nan=False) + "\n"


def _model(m: ModelReport) -> dict[str, Any]:
    lines = [f"{v.regime}: {v.status.replace('_', ' ')}, {v.clause}: {v.reason}" for v in m.verdicts]
    lines += [f"{f.severity}: {f.message}" for f in m.findings if f.severity in ("high", "critical")]
    if m.decision == "block":
        lines += [f"To settle: {text}" for text in dict.fromkeys(t for v in m.verdicts if v.blocks for t in v.to_settle)]
    result = _result(_rule(m), "error" if m.decision == "block" else "none", "\n".join(lines) or m.decision, m.path)
    result["kind"] = "fail" if m.decision == "block" else "pass"
    result["properties"] = {"decision": m.decision, "parameters": m.parameters.total, "complete": m.complete}
    return result


def _rule(m: ModelReport) -> str:
    if m.decision == "allow":
        return "allowed"
    blocking = [v for v in m.verdicts if v.blocks]
    for status in ("controlled", "undetermined"):
        if any(v.status == status for v in blocking):
            return status
    return "unattested" if any(v.unattested for v in blocking) else "blocked"


def _unread(u: Unread) -> dict[str, Any]:
    return _result("unread", "error", f"{u.reason}: {u.detail}", u.path)


def _finding(f: Finding) -> dict[str, Any]:
    return _result("finding", _LEVELS[f.severity], f"{f.id}: {f.message}", f.path)


def _result(rule: str, level: str, message: str, path: str) -> dict[str, Any]:
    digest = hashlib.sha256(f"{rule}\0{path}\0{message if rule == 'finding' else ''}".encode("utf-8", "replace")).hexdigest()
    location = {"physicalLocation": {"artifactLocation": {"uri": _uri(path)}, "region": {"startLine": 1}}}
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": message},
        "locations": [location] if path else [],
        "partialFingerprints": {"weightguard/v1": digest},
    }


def _uri(path: str) -> str:
    """A path as a URI reference; relative as it was reached. An object's URI stays one."""
    if scheme_of(path) is not None:
        return quote(path, safe="/:@%+,;=~")
    text = quote(path.encode("utf-8", "surrogateescape"))
    return f"file://{text}" if path.startswith("/") else text
