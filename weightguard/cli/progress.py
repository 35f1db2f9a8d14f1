"""Progress on standard error: a bar on a terminal, a plain line now and then elsewhere, nothing for a short scan."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_FIRST_AFTER = 1.0  # seconds before anything is said
_EVERY = 5.0  # seconds between plain lines


@contextmanager
def progress_on(stream: TextIO, *, quiet: bool) -> Iterator[Progress | None]:
    """What `scan` calls before each file; None when quiet."""
    if quiet:
        yield None
        return
    shown = _Bar(stream) if stream.isatty() else _Lines(stream)
    try:
        yield shown
    finally:
        shown.close()


class _Lines:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = time.monotonic()
        self._next = self._start + _EVERY

    def __call__(self, done: int, total: int, path: str) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY
            rate = done / (now - self._start)
            left = f", {rate:.0f} a second, {(total - done) / rate:.0f} s left" if done else ""
            print(f"weightguard: {done} of {total} files{left}", file=self._stream, flush=True)

    def close(self) -> None:
        pass


class _Bar:
    """A rich progress bar, imported once the scan has run for a second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = time.monotonic() + _FIRST_AFTER
        self._bar: object | None = None

    def __call__(self, done: int, total: int, path: str) -> None:
        if time.monotonic() < self._start:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            speed = TextColumn("{task.fields[rate]}")
            columns = (TextColumn("scanning"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._progress.start()
            self._bar = self._progress.add_task("scan", total=total, rate="")
        rate = f"{done / (time.monotonic() - self._start + _FIRST_AFTER):,.0f} a second"
        self._progress.update(self._bar, completed=done, total=total, rate=rate)  # type: ignore[arg-type]

    def close(self) -> None:
        if self._bar is not None:
            self._progress.stop()


Progress = _Lines | _Bar
