"""Part of an object as an object of its own: a member of an archive that is stored as it is."""

from __future__ import annotations

from collections.abc import Callable

from weightguard.errors import Unreadable
from weightguard.stores import ByteSource

Beside = Callable[[str], ByteSource]


class Slice:
    """A `ByteSource` over `length` bytes of another from `offset`; `beside` opens what lies beside it."""

    def __init__(self, whole: ByteSource, offset: int, length: int, name: str, beside: Beside | None = None) -> None:
        if offset < 0 or length < 0 or offset + length > whole.size:
            raise Unreadable("truncated", f"{name[:200]!r} needs bytes {offset} to {offset + length} of {whole.size}")
        self.name = name
        self.size = length
        self._whole = whole
        self._offset = offset
        self._beside = beside

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Unreadable("truncated", f"needs bytes {offset} to {offset + length} of a member of {self.size} bytes")
        return self._whole.read(self._offset + offset, length)

    def beside(self, path: str) -> ByteSource:
        if self._beside is None:
            raise Unreadable("missing", f"{path[:200]!r} is not there")
        return self._beside(path)
