"""Files that lie beside the one that names them: where tensors lie in them, and what all their bytes are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weightguard.errors import Unreadable
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.values import Accounts

_LONGEST_GAP = 64 << 10  # alignment is to pages, of 64 KiB at most; longer gaps are not read
_ALL_GAPS = 256 << 20


@dataclass(frozen=True)
class Cover:
    """accounts: what the bytes of a file are. ties: pairs of numbers of tensors that have the same bytes."""

    accounts: Accounts
    ties: Sequence[tuple[int, int]]


def open_beside(beside: Callable[[str], ByteSource], path: str, limits: Limits) -> ByteSource:
    """Another file, for reading; what keeps it from being read says which it was.

    Raises `Unreadable` ("inconsistent") for one that holds tensors in a form of its own: taken for numbers of another type, they would
    seem fewer than they are.
    """
    try:
        other = beside(path)
    except Unreadable as error:
        raise Unreadable(error.reason, f"its tensors lie in {path[:120]!r}: {error.detail}") from error
    found = _container(other, limits)
    if found is not None and len(found.tensors):
        raise Unreadable(
            "inconsistent", f"its tensors lie in {path[:120]!r}, which is {found.format} and holds tensors of its own"
        )
    return other


def _container(other: ByteSource, limits: Limits) -> Container | None:
    from weightguard.formats import read, readers_of  # which import this module's importers

    try:
        readers = readers_of(other)[1]
        return read(readers, other, limits) if readers else None
    except Unreadable:
        return None


def cover(other: ByteSource, path: str, extents: Sequence[tuple[int, int, int]], name: Callable[[int], str]) -> Cover:
    """Tensors in a file that holds nothing else. extents: (begin, end, number of the tensor), in bytes. name: of a tensor.

    Raises `Unreadable` where they leave the file ("truncated") or overlap without being the same ("inconsistent"). What lies between
    them is padding where it is zeros and short.
    """
    accounts = Accounts()
    ties = []
    reached = previous = first = 0
    for begin, end, number in sorted(extents):
        if end > other.size:
            raise Unreadable("truncated", f"{name(number)} ends at {end} in {path[:80]!r} of {other.size} bytes")
        if begin == end:
            continue
        if (begin, end) == (previous, reached):
            ties.append((number, first))
            continue
        if begin < reached:
            raise Unreadable("inconsistent", f"{name(number)} overlaps another in {path[:80]!r}")
        accounts += gap(other, reached, begin, accounts.padding) + Accounts(tensors=end - begin)
        previous, reached, first = begin, end, number
    return Cover(accounts + gap(other, reached, other.size, accounts.padding), ties)


def gap(other: ByteSource, begin: int, end: int, so_far: int = 0) -> Accounts:
    """Bytes that no tensor has: padding if they are zeros. so_far: bytes of padding before them."""
    length = end - begin
    if 0 < length <= _LONGEST_GAP and so_far <= _ALL_GAPS and not any(other.read(begin, length)):
        return Accounts(padding=length)
    return Accounts(unexplained=length)
