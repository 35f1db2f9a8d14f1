"""The decision log of a service: JSON lines, appended and synced, each with the SHA-256 of the line before it.

Whoever changes, drops or reorders a line breaks the chain from there on; whoever cuts off its end does not, unless the last hash is
kept elsewhere (`DecisionLog.head`, in every answer of the service).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.errors import ConfigurationError

START = "0" * 64
_LARGEST = 16 << 20  # bytes of a line


class DecisionLog:
    """An open log. One process at a time; `append` may be called from several threads."""

    def __init__(self, path: str) -> None:
        """Open or create. Raises `ConfigurationError` where the chain is broken, or another process holds it.

        A last line that was not written to its end (the machine stopped) was never answered: it is set aside as PATH.torn.
        """
        self.path = path
        self._lock = threading.Lock()
        try:
            # unbuffered, so that nothing of a line that failed is written with the next
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 open as long as the service runs
            _hold(self._file.fileno())
        except OSError as error:
            raise ConfigurationError(f"{path}: can't open the decision log: {error.strerror}") from error
        self.head = START
        self.entries: dict[str, tuple[int, int]] = {}  # decision id -> where its line begins, and how long it is
        end = 0
        for at, line, entry in _entries(path):
            if entry is None:
                break
            self.head, end = _hash(line), at + len(line)
            self.entries[entry["id"]] = at, len(line)
        if end < os.path.getsize(path):
            self._set_aside(end)

    def append(self, entry: Mapping[str, Any]) -> str:
        """Write one decision, which has an "id", and sync it; returns the hash of its line. OSError where that fails."""
        with self._lock:
            line = json.dumps({**entry, "previous": self.head}, sort_keys=True, allow_nan=False).encode() + b"\n"
            if len(line) > _LARGEST:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            at = self._file.seek(0, os.SEEK_END)
            try:
                left = memoryview(line)
                while left:
                    left = left[self._file.write(left) :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(at)
                raise
            self.head = _hash(line)
            self.entries[str(entry["id"])] = at, len(line)
            return self.head

    def read(self, id: str) -> dict[str, Any] | None:
        """A decision by its id; None for one that was never made."""
        found = self.entries.get(id)
        if found is None:
            return None
        at, length = found
        entry: dict[str, Any] = json.loads(os.pread(self._file.fileno(), length, at))
        return entry

    def close(self) -> None:
        self._file.close()

    def _set_aside(self, end: int) -> None:
        with open(self.path, "rb") as file:
            file.seek(end)
            torn = file.read()
        if b"\n" in torn.rstrip(b"\n"):
            raise ConfigurationError(
                f"{self.path}: the chain of decisions is broken at byte {end}: keep the file, start another"
            )
        with open(f"{self.path}.torn", "ab") as file:
            file.write(torn)
        self._file.truncate(end)


def broken(path: str) -> str:
    """Where the chain of a log is broken, or "" where it holds from the first line to the last."""
    for at, _, entry in _entries(path):
        if entry is None:
            return f"{path}: the chain of decisions is broken at byte {at}"
    return ""


def _entries(path: str) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """Offset, line and entry of each line; None, and no more, for the first that doesn't continue the chain."""
    head, at = START, 0
    with open(path, "rb") as file:
        while line := file.readline(_LARGEST):
            entry = _entry(line, head)
            yield at, line, entry
            if entry is None:
                return
            head, at = _hash(line), at + len(line)


def _entry(line: bytes, head: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    good = isinstance(entry, dict) and entry.get("previous") == head and isinstance(entry.get("id"), str)
    return entry if good else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _hold(descriptor: int) -> None:
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
