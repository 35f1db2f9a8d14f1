"""What unpacking an archive gives."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field

from weightguard.errors import Reason, Unreadable
from weightguard.stores import ByteSource
from weightguard.values import Finding

_LONGEST_NAME = 4096  # characters: PATH_MAX of Linux


@dataclass(frozen=True)
class Entry:
    """A member: `name` with "/" and without a way upwards, and what opens it (which may unpack it, and raise `Unreadable`)."""

    name: str
    open: Callable[[], ByteSource]


@dataclass
class Contents:
    """entries: the regular files. unread: (name, reason, detail) of what is no file and can't be followed.

    unexplained: bytes between and after the members that no rule explains.
    """

    kind: str
    entries: list[Entry] = field(default_factory=list)
    unread: list[tuple[str, Reason, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unexplained: int = 0


def safe_name(name: str, archive: str, contents: Contents) -> str:
    """The member's path below its archive; one that would leave it is a finding, and loses what makes it leave."""
    contents.unexplained += len(name) if len(name) > _LONGEST_NAME else 0
    parts = [p for p in name.replace("\\", "/").split("/") if p not in ("", ".")]
    kept = [p for p in parts if p != ".."]
    if name.startswith(("/", "\\")) or len(kept) < len(parts) or (kept and len(kept[0]) == 2 and kept[0][1] == ":"):
        text = f"a member named {name[:200]!r}, which would be written outside of the folder it is unpacked in"
        contents.findings.append(Finding("archive-path", "critical", text, archive))
    return "/".join(kept) or "member"


def unique(name: str, openers: dict[str, Callable[[], ByteSource]]) -> str:
    """Unpacking lets the last of two members of one name win; here both are read, the later under a name of its own."""
    if name not in openers:
        return name
    at = len(openers)
    while f"{name}#{at}" in openers:
        at += 1
    return f"{name}#{at}"


def beside(entries: dict[str, Callable[[], ByteSource]], name: str) -> Callable[[str], ByteSource]:
    """Opens what lies beside a member in its own archive."""

    def open_beside(path: str) -> ByteSource:
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
        if path.startswith("/") or wanted.startswith("../") or wanted not in entries:
            raise Unreadable("missing", f"{path[:200]!r} is not in the archive")
        return entries[wanted]()

    return open_beside
