"""What a gate inside another program does: scan before anything leaves, and raise where it must not."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from weightguard.evidence.attached import Statement, read_given
from weightguard.gates.words import reason
from weightguard.pipeline import Request, scan
from weightguard.policy import Policy, built_in, load_given, only_given
from weightguard.report import Report


class Blocked(RuntimeError):
    """Weights that must not leave; `report` says why. The message is one line, then what to do."""

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = report


def check(targets: Sequence[str], policy: Policy | str | None = None, declarations: Sequence[str] = ()) -> Report:
    """Scan files and folders, and raise `Blocked` unless all of it is allowed and read.

    policy: a `Policy`, a policy file's path, or None for the built-in one; what lies beside the weights never clears them.
    declarations: paths of those that may. Raises `ConfigurationError` for what the caller must mend: nothing leaves then either.
    """
    found = built_in() if policy is None else load_given(policy) if isinstance(policy, str) else policy
    given: list[Statement] = [read_given(path) for path in declarations]
    report = scan(Request(list(targets), only_given(found), datetime.date.today(), given))
    if report.decision == "block":
        raise Blocked(_why(report), report)
    return report


def _why(report: Report) -> str:
    """The reason in the first line, what to do in those after it."""
    lines = []
    for m in report.models:
        if m.decision == "block":
            verdict = m.deciding
            in_full = f": {verdict.reason}" if verdict and m.complete else ""
            lines.append(f"weightguard blocked {m.path}: {reason(m)}{in_full}")
            lines += [f"  do: {text}" for text in (verdict.to_settle[:3] if verdict else ())]
    lines += [f"weightguard could not read {u.path}: {u.reason}: {u.detail}" for u in report.unread[:5]]
    lines += [f"weightguard: {f.message} ({f.path})" for f in report.findings if f.severity == "critical"]
    return "\n".join(lines[:12]) or "weightguard blocked this"
