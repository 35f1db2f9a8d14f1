"""The opcodes of one tensor in one step: torch.save writes the same thirty for each, so a pattern can take them at once.

It is the machine's shortcut, and must never give another answer than its loop (`tests/formats/test_torch.py`
runs both). What makes that so: the pattern fixes every opcode; the six memo entries that it doesn't store must be
new, in order, and higher than any before, so that nothing stored is out of date; and a pickle that fetches one of
them, or counts its memo, is run again by the loop alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from struct import Struct

from weightguard.formats._pickle.abstract import CALLED, Global, Object, Persistent, Value

_INTEGER = rb"(?:K.|M..|J....)"
_PUT = rb"(q.|r....)"
_LENGTHS = rb"(\(?" + _INTEGER + rb"+[\x85-\x87t])" + _PUT

# After GET rebuild, MARK and MARK, by torch/_tensor.py and torch/serialization.py: ("storage", class, key, location,
# count) BINPERSID, offset, sizes, strides, requires_grad, OrderedDict(), TUPLE, REDUCE.
match: Callable[[bytes, int], re.Match[bytes] | None] = re.compile(
    rb"h(.)h(.)X(.)\0\0\0(\d{1,9})"
    + _PUT
    + rb"h(.)("
    + _INTEGER
    + rb")t"
    + _PUT
    + rb"Q("
    + _INTEGER
    + rb")"
    + _LENGTHS
    + _LENGTHS
    + rb"([\x88\x89])h(.)\)R"
    + _PUT
    + rb"t"
    + _PUT
    + rb"R",
    re.DOTALL,
).match

SKIPPED = 6  # memo entries of a match that aren't stored, but for the key, which is
# Six puts as one number, by their length in bytes: what an index adds, and what its place in the row adds.
_EACH = {w: sum(1 << 8 * (w * i + 1) for i in range(SKIPPED)) for w in (2, 5)}
_STEPS = {w: sum((op | i << 8) << 8 * w * i for i in range(SKIPPED)) for w, op in ((2, 0x71), (5, 0x72))}
_COUNTS = {0x85: 1, 0x86: 2, 0x87: 3}
_U16 = Struct("<H").unpack_from
_I32 = Struct("<i").unpack_from


def in_order(puts: bytes, first: int) -> bool:
    """Whether six puts of one kind, end to end, have the indices first, first + 1, ... first + 5."""
    width = 5 if len(puts) == 5 * SKIPPED else 2
    return int.from_bytes(puts, "little") == first * _EACH[width] + _STEPS[width]


def integers(raw: bytes) -> list[int]:
    """The integers of a run of BININT1, BININT2 and BININT opcodes."""
    found = []
    at = 0
    while at < len(raw):
        op = raw[at]
        if op == 0x4B:
            found.append(raw[at + 1])
            at += 2
        elif op == 0x4D:
            found.append(_U16(raw, at + 1)[0])
            at += 3
        else:
            found.append(_I32(raw, at + 1)[0])
            at += 5
    return found


def lengths(raw: bytes) -> tuple[int, ...] | None:
    """The tuple that a run of integers and its closing opcode make; None if the two don't belong together."""
    closing = raw[-1]
    marked = raw[0] == 0x28
    found = integers(raw[1 if marked else 0 : -1])
    if marked:
        return tuple(found) if closing == 0x74 else None
    return tuple(found) if _COUNTS.get(closing) == len(found) else None


class Shortcut:
    """Takes one tensor at a time, by `match`, and remembers what the last ones had in common."""

    __slots__ = ("_counts", "_hooks", "_lengths", "taken")

    def __init__(self) -> None:
        self.taken = 0
        self._lengths: dict[bytes, tuple[int, ...] | None] = {}
        self._counts: dict[bytes, int] = {}
        self._hooks = Object(Global("", ""), ())

    def take(
        self, parts: tuple[bytes, ...], rebuild: Value, memo: dict[int, Value], top: int, persistent: list[Persistent]
    ) -> Object | None:
        """The call rebuild(...) that the opcodes of a match make, or None if they need the loop. KeyError as in the loop."""
        a, b, length, key, put1, c, count, put2, offset, sizes, put3, strides, put4, grad, d, put5, put6 = parts
        known = self._lengths
        size = known[sizes] if sizes in known else known.setdefault(sizes, lengths(sizes))
        stride = known[strides] if strides in known else known.setdefault(strides, lengths(strides))
        dictionary = memo[d[0]]
        if (
            size is None
            or stride is None
            or len(key) != length[0]
            or not in_order(b"".join((put1, put2, put3, put4, put5, put6)), top)
            or type(rebuild) is not Global
            or rebuild.through is not None
            or type(dictionary) is not Global
            or dictionary.through is not None
        ):
            return None
        word, storage = memo[a[0]], memo[b[0]]  # before the key is put, as the opcodes stand
        name = memo[top] = key.decode()
        counts = self._counts
        elements = counts[count] if count in counts else counts.setdefault(count, integers(count)[0])
        first = counts[offset] if offset in counts else counts.setdefault(offset, integers(offset)[0])
        reference = Persistent((word, storage, name, memo[c[0]], elements))
        persistent.append(reference)
        if self._hooks.callee is not dictionary:  # one does for all: nothing can fetch it to change it
            self._hooks = Object(dictionary, ())
        dictionary.uses |= CALLED
        rebuild.uses |= CALLED
        self.taken += 1
        return Object(rebuild, (reference, first, size, stride, grad == b"\x88", self._hooks))
