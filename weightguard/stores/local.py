"""Local files: opened without following a link, never a pipe or device, and watched for change while read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from types import TracebackType

from weightguard.errors import Reason, Unreadable
from weightguard.stores import Opened

_OPEN_AT_ONCE = 64  # files beside one
_SAME = ("st_dev", "st_ino", "st_size", "st_mtime_ns")
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class LocalFile:
    """A `ByteSource` over one regular file.

    Parameters: `path` is where the file is, `name` how it was reached from the target, `beside` opens what its readers ask for.
    Raises `Unreadable` ("permission", "missing", "link", "not-a-file").
    """

    def __init__(self, path: str, name: str, beside: Callable[[str], Opened] | None = None) -> None:
        self.name = name
        self._path = path
        self._beside = beside
        self._opened_beside: list[Opened] = []
        self._fd = self._open()
        self._opened = os.fstat(self._fd)
        self._last: tuple[int, int, bytes] = (0, 0, b"")  # a reader asks for the head again that was sniffed
        self.size = self._opened.st_size
        if not stat.S_ISREG(self._opened.st_mode):
            self.close()
            raise Unreadable("not-a-file", "a pipe, device, socket or folder, not a file")

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; raises `Unreadable` ("truncated", "changed")."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Unreadable("truncated", f"needs bytes {offset} to {offset + length} of a file of {self.size} bytes")
        if self._last[:2] == (offset, length):
            return self._last[2]
        if self._fd < 0:
            self._fd = self._open()
            self.check_unchanged()
        try:
            data = os.pread(self._fd, length, offset)
            while len(data) < length:
                more = os.pread(self._fd, length - len(data), offset + len(data))
                if not more:
                    raise Unreadable("changed", "the file became shorter while it was read")
                data += more
        except OSError as error:
            raise unreadable(error) from error
        self._last = (offset, length, data)
        return data

    def check_unchanged(self) -> None:
        """Raises `Unreadable` ("changed") if size or modification time differ from those at opening."""
        for other in self._opened_beside:
            other.check_unchanged()
        try:
            now = os.fstat(self._fd) if self._fd >= 0 else os.stat(self._path, follow_symlinks=False)
        except OSError as error:
            raise unreadable(error) from error
        if any(getattr(now, field) != getattr(self._opened, field) for field in _SAME):
            raise Unreadable("changed", "the file changed while it was read")

    def beside(self, path: str) -> Opened:
        """Another file, by its path relative to this one's folder; it closes with this one."""
        if self._beside is None:
            raise Unreadable("missing", f"{path[:200]!r} is not part of what is scanned")
        other = self._beside(path)
        self._opened_beside.append(other)
        if len(self._opened_beside) > _OPEN_AT_ONCE:  # systems limit the files that are open; it opens again when it is read
            self._opened_beside[-1 - _OPEN_AT_ONCE].park()
        return other

    def park(self) -> None:
        """Gives the file back to the system until it is read again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        self.park()
        for other in self._opened_beside:
            other.close()

    def _open(self) -> int:
        try:
            return os.open(self._path, _OPEN | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise unreadable(error) from error

    def __enter__(self) -> LocalFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def unreadable(error: OSError) -> Unreadable:
    """The `Unreadable` that stands for an error of the operating system."""
    reason: Reason = "permission"
    if isinstance(error, FileNotFoundError):
        reason = "missing"
    elif error.errno == errno.ELOOP:  # O_NOFOLLOW met a link
        reason = "link"
    elif error.errno in (errno.ENXIO, errno.EISDIR):
        reason = "not-a-file"
    return Unreadable(reason, (error.strerror or str(error)).lower())
