"""The names of a zip's members as far as its last bytes show them: enough to say what a file claims to be."""

from __future__ import annotations

from collections.abc import Iterator


def names(tail: bytes) -> Iterator[bytes]:
    """Those of the directory that ends in these bytes, in lower case (PKWARE APPNOTE 6.3.10, 4.3.12 and 4.3.16)."""
    end = tail.rfind(b"PK\5\6")
    if end < 0 or end + 22 > len(tail):
        return
    length = int.from_bytes(tail[end + 12 : end + 16], "little")
    at = end - length if 0 < length <= end and tail.startswith(b"PK\1\2", end - length) else tail.find(b"PK\1\2")
    while 0 <= at < end and tail.startswith(b"PK\1\2", at):
        name, extra, comment = (int.from_bytes(tail[at + i : at + i + 2], "little") for i in (28, 30, 32))
        yield tail[at + 46 : at + 46 + name].lower()
        at += 46 + name + extra + comment


def first(head: bytes) -> bytes:
    """The name of the first member, in lower case (4.3.7)."""
    return head[30 : 30 + int.from_bytes(head[26:28], "little")].lower() if head.startswith(b"PK\3\4") else b""
