"""A temporary folder that is gone when the command ends, by whatever end but SIGKILL."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator
from typing import NoReturn

from weightguard.errors import ConfigurationError


@contextlib.contextmanager
def temporary_folder(prefix: str, inside: str | None = None) -> Iterator[str]:
    """A new folder in `inside` (None: where the system wants it). Raises `ConfigurationError` where none can be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix, dir=inside)
    except OSError as error:
        raise ConfigurationError(f"no temporary folder can be made: {error.strerror}; name one with TMPDIR") from error
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with folder as path:
            yield path
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
