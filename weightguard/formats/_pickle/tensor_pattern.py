"""The opcodes of one tensor, or of many, in one step: torch.save writes the same thirty for each.

It is the machine's shortcut, and must never give another answer than its loop (`tests/formats/test_torch_shortcut.py`
runs both). What makes that so: the pattern fixes every opcode; the memo entries that it doesn't store must be new, in
order, and higher than any before, so that nothing stored is out of date; and a pickle that fetches one of them, or counts
its memo, is run again by the loop alone. Of a `Run` names and keys can be fetched: they are texts, which nothing alters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from struct import Struct

import numpy as np

from weightguard.formats._pickle.abstract import ASKED, CALLED, HOOKS, Global, Memo, Object, Persistent, Run, Value
from weightguard.formats._pickle.storages import storage_dtype
from weightguard.kernels.torch_entries import DIMS, PADDING, scan_torch_entries
from weightguard.tensors import Int64, UInt8

_INTEGER = rb"(?:K.|M..|J....)"
_GET = rb"(h.|j....)"
_PUT = rb"(q.|r....)"
_LENGTHS = rb"(\(?" + _INTEGER + rb"+[\x85-\x87t])" + _PUT

# After GET rebuild, MARK and MARK, by torch/_tensor.py and torch/serialization.py: ("storage", class, key, location,
# count) BINPERSID, offset, sizes, strides, requires_grad, OrderedDict(), TUPLE, REDUCE.
match: Callable[[bytes, int], re.Match[bytes] | None] = re.compile(
    _GET
    + _GET
    + rb"X(.)\0\0\0(\d{1,9})"
    + _PUT
    + _GET
    + rb"("
    + _INTEGER
    + rb")t"
    + _PUT
    + rb"Q("
    + _INTEGER
    + rb")"
    + _LENGTHS
    + _LENGTHS
    + rb"([\x88\x89])"
    + _GET
    + rb"\)R"
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
_U32 = Struct("<I").unpack_from
_I32 = Struct("<i").unpack_from


_CLASSES = 32
_FEWEST = 32  # a shorter run costs more than its tensors
_SMALLEST = 60  # bytes of an item that the kernel takes
# Names that mean something to the machine or to the walk where a dictionary has them: only the loop takes their values.
_MEANT = HOOKS | ASKED | {"_parameters", "_buffers", "_modules"}


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


def fetched(get: bytes) -> int:
    """The memo index of a BINGET or LONG_BINGET."""
    return get[1] if len(get) == 2 else int.from_bytes(get[1:], "little")


class Shortcut:
    """Takes one tensor at a time, by `match`, and remembers what the last ones had in common.

    columns: whether runs of them may be taken at once, which is for those who know what a `Run` is, and for large pickles.
    """

    __slots__ = ("_classes", "_counts", "_hooks", "_lengths", "_run_from", "_scratch", "columns", "taken")

    def __init__(self, columns: bool = False) -> None:
        self.taken = 0
        self.columns = columns
        self._classes: dict[int, Global] = {}
        self._run_from = 0, 0  # offset and storage key before which no run is looked for
        self._scratch: tuple[UInt8, UInt8, Int64, Int64] | None = None
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
        dictionary = memo[fetched(d)]
        if (
            size is None
            or stride is None
            or len(key) != length[0]
            or not in_order(b"".join((put1, put2, put3, put4, put5, put6)), top)
            or type(rebuild) is not Global
            or not rebuild.plain
            or type(dictionary) is not Global
            or not dictionary.plain
        ):
            return None
        word, storage = memo[fetched(a)], memo[fetched(b)]  # before the key is put, as the opcodes stand
        name = memo[top] = key.decode()
        counts = self._counts
        elements = counts[count] if count in counts else counts.setdefault(count, integers(count)[0])
        first = counts[offset] if offset in counts else counts.setdefault(offset, integers(offset)[0])
        reference = Persistent((word, storage, name, memo[fetched(c)], elements))
        persistent.append(reference)
        if self._hooks.callee is not dictionary:  # one does for all: nothing can fetch it to change it
            self._hooks = Object(dictionary, ())
        dictionary.uses |= CALLED
        rebuild.uses |= CALLED
        self.taken += 1
        return Object(rebuild, (reference, first, size, stride, grad == b"\x88", self._hooks))

    def note(self, named: Global, put: bytes) -> None:
        """Remembers the memo index that a storage class gets from the opcode after it, if that is BINPUT or LONG_BINPUT."""
        if self.columns and put[:1] in (b"q", b"r") and named.name.endswith("Storage") and len(self._classes) < _CLASSES:
            self._classes[fetched(put[:2] if put[:1] == b"q" else put)] = named

    def run(
        self, data: bytes, found: re.Match[bytes], made: Object, at: int, top: int, memo: Memo
    ) -> tuple[Run, int, int] | None:
        """The tensors that follow the one just taken, up to the last SETITEMS that the kernel reaches: (run, offset, top)."""
        if at < self._run_from[0]:
            return None
        get_word, _, _, key, _, get_location, *_, get_dictionary, _, _ = found.groups()
        start = found.start() - 2
        function = data[start - 1] if data[start - 2] == 0x68 else _U32(data, start - 4)[0]
        word, location, dictionary = map(fetched, (get_word, get_location, get_dictionary))
        number = int(key) + 1
        dtypes = {i: storage_dtype(known) for i, known in self._classes.items() if memo.get(i) is known}
        classes = {i: dtype for i, dtype in dtypes.items() if dtype is not None}
        hooks = memo.get(dictionary)
        if (
            made.callee.path != "torch._utils._rebuild_tensor_v2"
            or memo.get(function) is not made.callee
            or memo.get(word) != "storage"
            or type(memo.get(location)) is not str
            or type(hooks) is not Global
            or hooks.path != "collections.OrderedDict"
            or number < self._run_from[1]
        ):
            return None
        if self._scratch is None:
            padded = np.frombuffer(data + bytes(PADDING), np.uint8)
            numbers, items = len(data) // 4 + 2 * DIMS, len(data) // _SMALLEST + 1
            self._scratch = (
                *(padded, np.empty(len(padded), np.uint8)),
                *(np.empty(numbers, np.int64), np.empty((items, 4), np.int64)),
            )
        padded, text, dims, rows = self._scratch
        info = np.zeros(5, np.int64)
        refs = np.array([function, word, location, dictionary, *classes], np.int64)
        count = scan_torch_entries.compiled(padded, at, top, number, refs, text, dims, rows, info)
        end, after, characters, dimensions, ended = info.tolist()
        self._run_from = ended, number + count
        if count < _FEWEST:
            return None
        names = text[:characters].tobytes().decode("ascii").split("\n")[:-1]
        known_names = set(names)
        if len(known_names) < count or not known_names.isdisjoint(_MEANT):
            return None
        rows = rows[:count].copy()
        indices = np.append(rows[:, 3], after)
        self.taken += 1
        run = Run(names, number, tuple(classes.values()), rows[:, 0], rows[:, 1], rows[:, 2], dims[:dimensions].copy(), indices)
        return run, end, after
