"""Exit status (contract). 2 goes before 1, 1 before 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `--help` and a usage error need no NumPy
    from weightguard.report import Report

ALLOWED = 0
"""Every model is allowed."""
BLOCKED = 1
"""At least one model is blocked: controlled, undetermined under the policy, or a finding that blocks."""
USAGE = 2
"""Wrong usage or configuration, no target, a target that doesn't exist."""
UNREAD = 3
"""Nothing is blocked, but something could not be read; a gate treats it as a block."""


def status(report: Report, *, strict: bool) -> int:
    """The exit status of a scan."""
    if report.blocked or report.dangerous:
        return BLOCKED
    if report.unread and report.policy["unread"] == "block":
        return UNREAD
    if not report.models and strict:
        return UNREAD
    return ALLOWED
