"""The tensor table: one row a stored tensor, one array a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

# (name, bits a stored element). Names as in the safetensors format; the rest are torch's. Never renumber: append.
DTYPES: tuple[tuple[str, int], ...] = (
    ("BOOL", 8),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("U8", 8),
    ("I8", 8),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E8M0", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E5M2FNUZ", 8),
    ("I16", 16),
    ("U16", 16),
    ("F16", 16),
    ("BF16", 16),
    ("I32", 32),
    ("U32", 32),
    ("F32", 32),
    ("C64", 64),
    ("F64", 64),
    ("I64", 64),
    ("U64", 64),
    ("C128", 128),
)
DTYPE_CODES: dict[str, int] = {name: code for code, (name, _) in enumerate(DTYPES)}
DTYPE_BITS: Int64 = np.array([bits for _, bits in DTYPES], dtype=np.int64)
FLOATING: frozenset[int] = frozenset(c for c, (n, _) in enumerate(DTYPES) if n[0] in "FC" or n == "BF16")


@dataclass(frozen=True, eq=False)
class TensorTable:
    """Columns of equal length n, one row a stored tensor.

    names: n strings, as stored.
    dtypes: array of uint8, shape (n,), codes into `DTYPES`.
    dims: array of int64, shape (total rank,), all shapes end to end; row i is dims[starts[i]:starts[i + 1]].
    starts: array of int64, shape (n + 1,).
    elements: array of int64, shape (n,), distinct stored elements of the row (a view that repeats its storage
        by a zero stride counts what is stored).
    storages: array of int64, shape (n,), the storage a row lies in; rows of one storage may overlap or be the same.
    begins: array of int64, shape (n,), first element's place within the storage, in bytes.
    spans: array of int64, shape (n,), bytes from the first to the last element, both included: more than the elements fill
        where a view has holes.
    files: array of int64, shape (n,), index of the file a row was read from.
    """

    names: Sequence[str]
    dtypes: UInt8
    dims: Int64
    starts: Int64
    elements: Int64
    storages: Int64
    begins: Int64
    spans: Int64
    files: Int64

    def __len__(self) -> int:
        return len(self.names)

    def shape(self, row: int) -> tuple[int, ...]:
        """Shape of one row, as stored."""
        return tuple(int(d) for d in self.dims[self.starts[row] : self.starts[row + 1]])

    @property
    def ranks(self) -> Int64:
        """Number of dimensions of each row: array of int64, shape (n,)."""
        return np.diff(self.starts)


def concatenate(tables: Sequence[TensorTable]) -> TensorTable:
    """One table of all rows, in order; `storages` and `files` are renumbered so that those of two tables never meet."""
    if not tables:
        return EMPTY
    storages, files, starts = [], [], [np.zeros(1, np.int64)]
    next_storage = next_file = next_start = 0
    for t in tables:
        storages.append(t.storages + next_storage)
        files.append(t.files + next_file)
        starts.append(t.starts[1:] + next_start)
        next_storage += int(t.storages.max()) + 1 if len(t) else 0
        next_file += int(t.files.max()) + 1 if len(t) else 1
        next_start += int(t.starts[-1])
    return TensorTable(
        names=[n for t in tables for n in t.names],
        dtypes=np.concatenate([t.dtypes for t in tables]),
        dims=np.concatenate([t.dims for t in tables]),
        starts=np.concatenate(starts),
        elements=np.concatenate([t.elements for t in tables]),
        storages=np.concatenate(storages),
        begins=np.concatenate([t.begins for t in tables]),
        spans=np.concatenate([t.spans for t in tables]),
        files=np.concatenate(files),
    )


EMPTY = TensorTable(
    names=(),
    dtypes=np.zeros(0, np.uint8),
    dims=np.zeros(0, np.int64),
    starts=np.zeros(1, np.int64),
    elements=np.zeros(0, np.int64),
    storages=np.zeros(0, np.int64),
    begins=np.zeros(0, np.int64),
    spans=np.zeros(0, np.int64),
    files=np.zeros(0, np.int64),
)
