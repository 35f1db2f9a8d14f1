"""What holds of every file that a reader is given, right or wrong: an `Unreadable`, or accounts that add up, in a few seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from math import prod

from weightguard.errors import Unreadable
from weightguard.formats import identify
from weightguard.formats.protocol import Container, Format
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPES

SECONDS = 5.0


def attempt(reader: Format, data: bytes, others: Mapping[str, bytes] | None = None) -> Container | Unreadable:
    """What reading ends in; fails on any other exception, on accounts that don't add up, and after `SECONDS`."""
    began = time.monotonic()
    try:
        container = reader.read(InMemory("model", data, others), LIMITS)
    except Unreadable as error:
        return error
    finally:
        assert time.monotonic() - began < SECONDS
    a = container.accounts
    assert min(a.tensors, a.headers, a.padding, a.unexplained) >= 0
    assert a.tensors + a.headers + a.padding + a.unexplained >= len(data)
    assert a.tensors + a.headers + a.padding <= len(data)
    if not container.parts:
        assert int(container.tensors.spans.max(initial=0)) <= len(data)
    return container


def identified(data: bytes, name: str, form: str | None = None, others: Mapping[str, bytes] | None = None) -> Container:
    """The container that the file is (of this format), each of its bytes accounted for once."""
    container = identify(InMemory(name, data, others), LIMITS)
    assert container is not None and form in (None, container.format)
    a = container.accounts
    assert a.tensors + a.headers + a.padding + a.unexplained == len(data)
    return container


def rows(container: Container) -> dict[str, tuple[str, tuple[int, ...]]]:
    """name -> (dtype, shape); names are unique, all of one file, and elements as many as the shapes say."""
    t = container.tensors
    found = {n: (DTYPES[t.dtypes[i]][0], t.shape(i)) for i, n in enumerate(t.names)}
    assert len(found) == len(t) and t.files.tolist() == [0] * len(t)
    assert t.elements.tolist() == [prod(shape) for _, shape in found.values()]
    return found


def counted(found: Container | Unreadable) -> list[tuple[str, tuple[int, ...], int, int]] | None:
    """(name, shape, dtype, logical) of each row; None for an `Unreadable`."""
    if isinstance(found, Unreadable):
        return None
    t = found.tensors
    return [(t.names[i], t.shape(i), int(t.dtypes[i]), int(t.logical[i])) for i in range(len(t))]


def check_truncations(reader: Format, data: bytes, step: int = 1, others: Mapping[str, bytes] | None = None) -> None:
    """A file cut short anywhere is unread, or counts as the whole does: never as less."""
    whole = counted(attempt(reader, data, others))
    assert whole is not None
    for cut in range(0, len(data), step):
        found = attempt(reader, data[:cut], others)
        assert counted(found) in (None, whole), cut


def words(data: bytes, values: tuple[int, ...] = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000), step: int = 4) -> Iterator[bytes]:
    """The file with each 4-byte word replaced by each of the values."""
    for at in range(0, len(data) - 3, step):
        for value in values:
            yield data[:at] + value.to_bytes(4, "little") + data[at + 4 :]


def unexplained(found: Container | Unreadable, least: int) -> bool:
    """Whether `least` bytes that were hidden show: as unexplained, or as a file that is not read."""
    return isinstance(found, Unreadable) or found.unexplained >= least
