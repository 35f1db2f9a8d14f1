"""The storages that the persistent ids of torch's files name, and how much of each its tensors account for.

A persistent id of torch is ("storage", type, key, location, number of elements), in the legacy form with a sixth
entry for a view: None or (key, first element, number of elements) (PyTorch, `torch/serialization.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import Global, Persistent, Run
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES

_MOST = (1 << 63) - 1

# torch's storage classes, by name: the dtype of their elements as a name of `tensors.DTYPES`.
_STORAGES = {
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
    "QInt8Storage": "I8",
    "QUInt8Storage": "U8",
    "QInt32Storage": "I32",
    "UntypedStorage": "U8",
    "_UntypedStorage": "U8",
}
_DTYPES = {
    "float32": "F32",
    "float": "F32",
    "float64": "F64",
    "double": "F64",
    "float16": "F16",
    "half": "F16",
    "bfloat16": "BF16",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "short": "I16",
    "uint16": "U16",
    "int32": "I32",
    "int": "I32",
    "uint32": "U32",
    "int64": "I64",
    "long": "I64",
    "uint64": "U64",
    "bool": "BOOL",
    "complex64": "C64",
    "cfloat": "C64",
    "complex128": "C128",
    "cdouble": "C128",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float4_e2m1fn_x2": "F4",
    "qint8": "I8",
    "quint8": "U8",
    "qint32": "I32",
}
_BYTES = [max(int(bits) // 8, 1) for bits in DTYPE_BITS]  # torch addresses F4 by the byte, two elements in each
PAIRED = DTYPE_CODES["F4"]


class Dtype(NamedTuple):
    """code: into `tensors.DTYPES`. bytes: of one element as the container counts them."""

    code: int
    bytes: int


STORAGE_DTYPES = {name: Dtype(DTYPE_CODES[d], _BYTES[DTYPE_CODES[d]]) for name, d in _STORAGES.items()}
TORCH_DTYPES = {name: Dtype(DTYPE_CODES[d], _BYTES[DTYPE_CODES[d]]) for name, d in _DTYPES.items()}


class Slice(NamedTuple):
    """What a storage reference stands for: bytes `begin` to `begin + bytes` of storage number `storage`."""

    storage: int
    dtype: Dtype
    begin: int
    bytes: int


_new = tuple.__new__  # half the time of Slice(...), once a tensor


class Storages:
    """Numbered storages. keys: number by (scope and) key. sizes: bytes of each. dtypes: element type of each.

    whole: those that one tensor accounts for entirely. runs: by scope, in order, (first key, end, number) of storages whose
    keys are consecutive numbers; `keys` doesn't hold them.
    """

    def __init__(self) -> None:
        self.keys: dict[str, int] = {}
        self.sizes: list[int] = []
        self.dtypes: list[Dtype] = []
        self.whole: set[int] = set()
        self.runs: dict[str, list[tuple[int, int, int]]] = {}
        self._parts: dict[int, dict[tuple[int, int, int], None]] = {}

    def add(self, dtype: Dtype, size: int) -> int:
        """A new storage of `size` bytes that no key names; its number."""
        self.sizes.append(size)
        self.dtypes.append(dtype)
        return len(self.sizes) - 1

    def add_run(self, run: Run, scope: str) -> None:
        """The storages of a run. Runs come first, in the order of their keys."""
        run.storage = len(self.sizes)
        self.runs.setdefault(scope, []).append((run.key, run.key + len(run.names), run.storage))
        widths = np.array([kind.bytes for kind in run.kinds], np.int64)
        self.sizes += (run.elements * widths[run.dtypes]).tolist()
        self.dtypes += map(run.kinds.__getitem__, run.dtypes.tolist())

    def _in_runs(self, key: str, scope: str) -> int | None:
        """The number of the storage of a run that has this key; None if there is none."""
        runs = self.runs.get(scope, ())
        if runs and len(key) < 10 and key.isascii() and key.isdigit() and str(int(key)) == key:
            number = int(key)
            first, end, storage = runs[max(0, bisect_right(runs, (number, _MOST, 0)) - 1)]
            if first <= number < end:
                return storage + number - first
        return None

    def look_up(self, id: tuple[object, ...], storage_class: str, scope: str) -> Slice:
        """The slice that a ("storage", ...) id means; `storage_class` is the name of the class that it carries.

        Raises `Unreadable` ("malformed", "unsupported", "inconsistent").
        """
        key, count = id[2], id[4]
        if type(key) is not str:
            key = _text_key(key)
        dtype = STORAGE_DTYPES.get(storage_class)
        if dtype is None:
            raise Unreadable("unsupported", f"a storage of type {storage_class[:80]!r}")
        if type(count) is not int or not 0 <= count <= _MOST:
            raise Unreadable("malformed", f"storage {key[:80]!r}: not a number of elements")
        size = count * dtype[1]
        keys, sizes = self.keys, self.sizes
        number = self._in_runs(key, scope) if self.runs else None
        if number is None:
            number = keys.setdefault(scope + key, len(sizes))
        if number == len(sizes):
            sizes.append(size)
            self.dtypes.append(dtype)
        elif sizes[number] != size or self.dtypes[number] != dtype:
            raise Unreadable("inconsistent", f"storage {key[:80]!r} is described in two ways")
        if len(id) == 5 or id[5] is None:
            return _new(Slice, (number, dtype, 0, size))
        view = id[5]
        if type(view) is not tuple or len(view) != 3:
            raise Unreadable("malformed", f"storage {key[:80]!r}: a bad view")
        first, length = view[1], view[2]
        if type(first) is not int or type(length) is not int or first < 0 or length < 0 or first + length > count:
            raise Unreadable("inconsistent", f"storage {key[:80]!r}: a view that leaves it")
        return Slice(number, dtype, first * dtype.bytes, length * dtype.bytes)

    def cover(self, storage: int, begin: int, length: int, distinct: int) -> None:
        """Records that a tensor accounts for `distinct` bytes among the `length` bytes from `begin`."""
        if distinct == self.sizes[storage]:
            self.whole.add(storage)
        elif distinct:
            self._parts.setdefault(storage, {})[begin, begin + length, distinct] = None

    def uncovered(self) -> int:
        """Bytes of storages that no tensor shows: what a slice saved with the whole of its storage leaves behind."""
        if len(self.whole) == len(self.sizes):
            return 0
        return sum(s - self._covered(i) for i, s in enumerate(self.sizes) if s and i not in self.whole)

    def _covered(self, storage: int) -> int:
        total = reached = 0
        for begin, end, distinct in sorted(self._parts.get(storage, ())):
            if distinct < end - begin:  # a view with holes: what it counts as elements it accounts for
                total += distinct
                continue
            total += max(end - max(begin, reached), 0)
            reached = max(reached, end)
        return min(total, self.sizes[storage])

    def overlapping(self) -> bool:
        """Whether two different views show the same bytes, so that the rows of a storage add up to more than it holds."""
        for parts in self._parts.values():
            reached = 0
            for begin, end, _ in sorted(parts):
                if begin < reached:
                    return True
                reached = end
        return any(i in self.whole for i in self._parts)


def _text_key(key: object) -> str:
    """Old files number their storages; Python 2 wrote keys as bytes."""
    if type(key) is int and abs(key) < 1 << 64:
        return str(key)
    if type(key) is bytes and len(key) < 256:
        return key.decode("latin-1")
    raise Unreadable("malformed", "a storage's key is neither text nor a number")


def storage_dtype(kind: Global) -> Dtype | None:
    """The dtype of a storage class of torch; None for any other name."""
    return STORAGE_DTYPES.get(kind.name) if kind.module == "torch" or kind.module.startswith("torch.") else None


def register(references: Iterable[Persistent], storages: Storages, scope: str = "") -> None:
    """Looks up what torch's persistent ids stand for; raises `Unreadable`."""
    look_up = storages.look_up
    for reference in references:
        id = reference.id
        if type(id) is tuple and 5 <= len(id) <= 6 and id[0] == "storage" and type(id[1]) is Global:
            kind = id[1]
            if kind.module != "torch" and not kind.module.startswith("torch."):
                raise Unreadable("unsupported", f"a storage of type {kind.path[:80]!r}")
            reference.slice = look_up(id, kind.name, scope)
        elif not (type(id) is tuple and len(id) > 1 and id[0] == "module"):
            raise Unreadable("unsupported", "a pickle with references that torch doesn't write")
