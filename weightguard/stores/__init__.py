"""Where bytes come from. A store lists what a target holds and reads by (offset, length); nothing else does I/O."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol


class ByteSource(Protocol):
    """One object of a store, open for reading.

    `name` is the path as reached from the target, with "/". `size` is in bytes and fixed at opening.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; raises `Unreadable` when the object ends earlier or has changed."""
        ...

    def beside(self, path: str) -> ByteSource:
        """Another object, by its path relative to this one's folder; open as long as this one is.

        Raises `Unreadable` ("missing", "link" where the path leads out of what is scanned).
        """
        ...


class Opened(ByteSource, Protocol):
    """A `ByteSource` that holds something of the system's until it is closed."""

    def check_unchanged(self) -> None:
        """Raises `Unreadable` ("changed") if it is not what was opened."""
        ...

    def park(self) -> None:
        """Gives what it holds back to the system until it is read again."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Opened: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None: ...
