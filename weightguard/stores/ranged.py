"""An object of a store, read by ranges: the first 64 KiB in one request, what was read kept for a while, never the whole."""

from __future__ import annotations

from collections import OrderedDict
from types import TracebackType

from weightguard.errors import Unreadable
from weightguard.limits import LIMITS
from weightguard.stores import ByteSource
from weightguard.stores.found import Beside, Found, Store

FIRST = 64 << 10
_MOST_AHEAD = 4 << 20
_KEPT = 16 << 20  # bytes of pieces that are held, the last read last


class RangedFile:
    """A `ByteSource` over one object. Every request asks for the version that was listed, so it can't change unseen."""

    def __init__(self, file: Found, store: Store, name: str, beside: Beside | None) -> None:
        self.name = name
        self.size = file.size
        self._file = file
        self._store = store
        self._beside = beside
        self._pieces: OrderedDict[int, bytes] = OrderedDict()
        self._held = 0
        self._asked = 0
        self._next = 0  # where a reader that goes on would read, and
        self._ahead = FIRST  # how much it gets then

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; raises `Unreadable` ("truncated", "changed", "limit", "unavailable", ...)."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Unreadable("truncated", f"needs bytes {offset} to {offset + length} of an object of {self.size} bytes")
        if length == 0:
            return b""
        for start, piece in reversed(self._pieces.items()):
            if start <= offset < start + len(piece):
                self._pieces.move_to_end(start)
                have = piece[offset - start : offset - start + length]
                if len(have) == length:
                    return have
                return have + self.read(offset + len(have), length - len(have))
        return self._fetch(offset, length)[:length]

    def _fetch(self, offset: int, length: int) -> bytes:
        goes_on = offset == self._next and offset > 0
        self._ahead = min(2 * self._ahead, _MOST_AHEAD) if goes_on else FIRST
        wanted = min(max(length, self._ahead), self.size - offset)
        self._asked += wanted
        if self._asked > LIMITS.ranged_bytes:
            raise Unreadable("limit", f"needs more than {LIMITS.ranged_bytes} bytes of the object to be read")
        data = self._store.read(self._file, offset, wanted)
        if len(data) != wanted:
            raise Unreadable("unavailable", f"the store sent {len(data)} bytes where {wanted} were asked for")
        self._next = offset + wanted
        if wanted <= _KEPT:
            self._pieces[offset] = data
            self._held += wanted
            while self._held > _KEPT:
                self._held -= len(self._pieces.popitem(last=False)[1])
        return data

    def beside(self, path: str) -> ByteSource:
        """Another object, by its path relative to this one's folder."""
        if self._beside is None:
            raise Unreadable("missing", f"{path[:200]!r} is not part of what is scanned")
        return self._beside(path)

    def check_unchanged(self) -> None:
        """Nothing to do: each request named the version."""

    def park(self) -> None:
        """Nothing to do: nothing of the system's is held."""

    def close(self) -> None:
        self._pieces.clear()

    def __enter__(self) -> RangedFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
