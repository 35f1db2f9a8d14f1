"""Pickles of a zip that no strict reader takes: whatever its directory, flags, checksums and sizes say, some reader may."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct

from weightguard.formats._zip import CENTRAL, DEFLATED
from weightguard.stores import ByteSource

_LOOSE = 16 << 20
_U16 = Struct("<H").unpack_from


def loose_pickles(source: ByteSource) -> Iterator[tuple[bytes, int]]:
    """Best effort for an archive that was refused: where its members named *.pkl, or that look like pickles, begin.

    Yields (bytes, offset). Whatever directory, flags, checksums and sizes say: some reader may take it. Only the
    first and last 16 MB of a large file are looked through, and the first 64 such members.
    """
    size = source.size
    spans = [(0, size)] if size <= 2 * _LOOSE else [(0, _LOOSE), (size - _LOOSE, _LOOSE)]
    left = 64
    for base, length in spans:
        data = source.read(base, length)
        named = {at - base for at in _pickles_in_directory(data)}
        at = data.find(b"PK\3\4")
        while at >= 0 and at + 30 <= len(data) and left:
            name_length, extra_length = _U16(data, at + 26)[0], _U16(data, at + 28)[0]
            name = data[at + 30 : at + 30 + name_length].lower()
            start = at + 30 + name_length + extra_length
            if at in named or name.endswith((b".pkl", b".pickle")) or data[start : start + 1] == b"\x80":
                left -= 1
                yield (_partly(data[start:]), 0) if _U16(data, at + 8)[0] == DEFLATED else (data, start)
            at = data.find(b"PK\3\4", at + 4)


def _pickles_in_directory(data: bytes) -> Iterator[int]:
    """Offsets of the local headers of members that anything like a directory entry names *.pkl."""
    at = data.find(b"PK\1\2")
    while at >= 0 and at + 46 <= len(data):
        entry = CENTRAL.unpack_from(data, at)
        if data[at + 46 : at + 46 + entry[6]].lower().endswith((b".pkl", b".pickle")):
            yield entry[10]
        at = data.find(b"PK\1\2", at + 4)


def _partly(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(-15).decompress(data, _LOOSE)
    except zlib.error:
        return b""
