"""What can go wrong, as types.

`Unreadable` is raised by stores and formats and caught once, in `reading`, where it becomes an `Unread` row of the report.
`ConfigurationError` is the user's to mend (a policy, a declaration, a target): the command line turns it into exit status 2.
"""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "changed",  # the file changed while it was read
    "encrypted",  # bytes that only a key would open
    "inconsistent",  # parts of the file contradict one another or its size
    "internal",  # a fault of ours: never a pass
    "limit",  # larger than weightguard reads
    "link",  # a symbolic link that leaves the target
    "malformed",  # breaks a rule of its format
    "missing",  # named by an index or a link, not there
    "not-a-file",  # a pipe, device or socket
    "permission",  # the system refuses to open it
    "truncated",  # ends before its format says
    "unavailable",  # the store does not answer, or not with what was asked
    "unrecognised",  # no known container, no known other file
    "unsupported",  # a known container that this version does not read
]
REASONS: tuple[str, ...] = get_args(Reason)


class WeightguardError(Exception):
    """Base of every error that weightguard raises on purpose."""


class Unreadable(WeightguardError):
    """A file, or a part of one, that can't be accounted for.

    Attributes: `reason` (one of `Reason`) and `detail` (one line, for people).
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


class ConfigurationError(WeightguardError):
    """Wrong usage or configuration: exit status 2.

    `problems` holds one line a problem, each with file and line number where they are known.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
