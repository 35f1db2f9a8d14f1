"""Files that hold files: unpacked member by member, each then read as any file is.

A member that is stored as it is becomes a slice of its archive; a compressed one is unpacked into memory or, above 4 MiB, into a
temporary file, within `limits.unpacked_bytes` and `limits.unpacked_ratio`. Nothing is written under a name that an archive gives.
"""

from __future__ import annotations

from weightguard.archives.entries import Contents, Entry
from weightguard.limits import Limits
from weightguard.stores import ByteSource


def unpack(source: ByteSource, head: bytes, limits: Limits, budget: list[int]) -> Contents | None:
    """What an archive holds; None if these first bytes are none's. Raises `Unreadable`.

    budget: one number, the bytes that may still be unpacked below one file of a target.
    """
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        from weightguard.archives import zips

        return zips.unpack(source, limits, budget)
    if head[257:262] == b"ustar" or head[148:156].strip(b"\0 ").isdigit():
        from weightguard.archives import tar

        if tar.sniff(head):
            return tar.unpack(source, limits)
    from weightguard.archives import streams

    kind = streams.kind_of(head)
    return streams.unpack(source, kind, limits, budget) if kind else None


__all__ = ["Contents", "Entry", "unpack"]
