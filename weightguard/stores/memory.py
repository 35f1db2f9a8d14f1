"""Bytes held in memory as an object of a store: what was decompressed, what git keeps, what tests make."""

from __future__ import annotations

from collections.abc import Mapping

from weightguard.errors import Unreadable


class InMemory:
    """A `ByteSource` over bytes; `others`: what lies beside it, by relative path."""

    def __init__(self, name: str, content: bytes, others: Mapping[str, bytes] | None = None) -> None:
        self.name = name
        self.size = len(content)
        self._content = content
        self._others = others or {}

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Unreadable("truncated", f"needs bytes {offset} to {offset + length} of {self.size}")
        return self._content[offset : offset + length]

    def beside(self, path: str) -> InMemory:
        if path not in self._others:
            raise Unreadable("missing", f"{path[:200]!r} is not there")
        return InMemory(path, self._others[path])
