"""Zip archives that are no container of their own: members stored as they are, or deflated. The rules are in `formats._zip`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from weightguard.archives.entries import Contents, Entry, beside, safe_name, unique
from weightguard.archives.streams import FREE, Unpacked
from weightguard.errors import Unreadable
from weightguard.formats._zip import DEFLATED, Archive, Member
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.stores.slices import Slice

_CHUNK = 1 << 20


def unpack(source: ByteSource, limits: Limits, budget: list[int]) -> Contents:
    """The members of a zip archive. Raises `Unreadable`."""
    archive = Archive(source, limits)
    contents = Contents("zip", unexplained=archive.unexplained)
    openers: dict[str, Callable[[], ByteSource]] = {}
    for member in archive.members:
        name = safe_name(member.name, source.name, contents)
        if member.name.endswith("/") and member.size == 0:
            continue
        path = unique(name, openers)
        openers[path] = partial(_open, source, archive, member, path, limits, budget, openers)
    contents.entries = [Entry(name, opener) for name, opener in openers.items()]
    return contents


def _open(
    source: ByteSource,
    archive: Archive,
    member: Member,
    path: str,
    limits: Limits,
    budget: list[int],
    openers: dict[str, Callable[[], ByteSource]],
) -> ByteSource:
    stored = Slice(source, archive.offset(member), member.stored, f"{source.name}/{path}", beside(openers, path))
    if member.method != DEFLATED:
        return stored
    if member.size > FREE + limits.unpacked_ratio * member.stored or member.size > budget[0]:
        raise Unreadable("limit", f"zip: {member.name[:80]!r} unpacks to {member.size} bytes from {member.stored}")
    budget[0] -= member.size
    out = Unpacked(stored.name, stored.beside)
    for piece in archive.inflated(member):
        out.write(piece)
    return out
