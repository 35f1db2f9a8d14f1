"""What a gate says to whom it stops."""

from __future__ import annotations

from weightguard.report import ModelReport, Report


def why(report: Report) -> str:
    """One line of why a report doesn't allow, for a client that shows no more."""
    for m in report.models:
        if m.decision == "block":
            return f"weightguard blocked {m.path}: {reason(m)}"
    for u in report.unread:
        return f"weightguard could not read {u.path}: {u.reason}"
    for f in report.findings if report.dangerous else ():
        return f"weightguard blocked {f.path}: {f.message}"
    return "weightguard found no model to decide on"


def reason(m: ModelReport) -> str:
    """What blocks a model, in a few words."""
    v = m.deciding
    if not m.complete or v is None:
        return "; ".join(m.missing[:3]) or "it is not complete"
    if v.status == "not_controlled":
        return "; ".join(v.unattested[:3]) or "a finding or a rule blocks it"
    return f"{v.status} under {v.clause}"
