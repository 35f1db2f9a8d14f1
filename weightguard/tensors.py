"""The tensor table: one row a stored tensor, one array a column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import overload

import numpy as np
import numpy.typing as npt

from weightguard.errors import Unreadable

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

# (name, bits a stored element). Never renumber: append. First the names of the safetensors format and of torch, then those of
# other containers; for ggml's block types the bits of a whole block, divided and rounded up.
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
    ("I4", 4),
    ("U4", 4),
    ("I2", 2),
    ("U2", 2),
    ("C32", 32),
    ("F128", 128),
    ("STRING", 8),  # text or bytes: elements are bytes
    # ggml.h, enum ggml_type, and ggml-common.h, the structures block_*
    ("Q4_0", 5),
    ("Q4_1", 5),
    ("Q4_2", 6),
    ("Q4_3", 6),
    ("Q5_0", 6),
    ("Q5_1", 6),
    ("Q8_0", 9),
    ("Q8_1", 10),
    ("Q2_K", 3),
    ("Q3_K", 4),
    ("Q4_K", 5),
    ("Q5_K", 6),
    ("Q6_K", 7),
    ("Q8_K", 10),
    ("IQ1_S", 2),
    ("IQ1_M", 2),
    ("IQ2_XXS", 3),
    ("IQ2_XS", 3),
    ("IQ2_S", 3),
    ("IQ3_XXS", 4),
    ("IQ3_S", 4),
    ("IQ4_NL", 5),
    ("IQ4_XS", 5),
    ("TQ1_0", 2),
    ("TQ2_0", 3),
    ("MXFP4", 5),
    ("NVFP4", 5),
    ("Q1_0", 2),
)
DTYPE_CODES: dict[str, int] = {name: code for code, (name, _) in enumerate(DTYPES)}
DTYPE_BITS: Int64 = np.array([bits for _, bits in DTYPES], dtype=np.int64)
SAFETENSORS_DTYPES = DTYPE_CODES["C128"] + 1
BLOCKS: frozenset[int] = frozenset(range(DTYPE_CODES["Q4_0"], len(DTYPES)))
FLOATING: frozenset[int] = frozenset(c for c, (n, _) in enumerate(DTYPES) if n[0] in "FC" or n == "BF16") | BLOCKS


class Names(Sequence[str]):
    """Names that lie in a text, made into strings once they are asked for.

    text: UTF-8, checked by the caller. places: array of int64, shape (n, 2): first byte and length.
    """

    def __init__(self, text: bytes, places: Int64) -> None:
        self._text = text
        self._places = places
        self._all: list[str] | None = None

    def _decoded(self) -> list[str]:
        if self._all is None:
            places = self._places.tolist()
            if self._text.isascii():
                text = self._text.decode("ascii")
                self._all = [text[at : at + length] for at, length in places]
            else:
                self._all = [self._text[at : at + length].decode() for at, length in places]
        return self._all

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        return self._decoded()[row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())


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
    logical: array of int64, shape (n,), the parameters that the container itself says a row holds, where it does (a packed
        or quantised tensor whose logical shape is written down; 0 for its scales), else -1.
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
    logical: Int64

    def __len__(self) -> int:
        return len(self.names)

    def shape(self, row: int) -> tuple[int, ...]:
        """Shape of one row, as stored."""
        return tuple(self.dims[self.starts[row] : self.starts[row + 1]].tolist())

    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of all rows, as stored."""
        dims = self.dims.tolist()
        return [tuple(dims[begin:end]) for begin, end in pairwise(self.starts.tolist())]

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
        logical=np.concatenate([t.logical for t in tables]),
    )


def from_rows(
    names: Sequence[str],
    dtypes: Sequence[int],
    shapes: Sequence[Sequence[int]],
    spans: Sequence[int],
    logical: Sequence[int] = (),
) -> TensorTable:
    """The table of a container whose tensors share no bytes: each is a storage of its own.

    dtypes: codes into `DTYPES`. spans: bytes of each tensor in the file. logical: see `TensorTable`; empty for none.
    Raises `Unreadable` ("malformed", "inconsistent") for a dimension below 0 or a product above 2^63.
    """
    elements = []
    for name, shape in zip(names, shapes, strict=True):
        count = prod(shape)
        if any(not 0 <= d < 1 << 63 for d in shape) or not 0 <= count < 1 << 63:
            raise Unreadable("inconsistent", f"tensor {name[:80]!r} has a shape that no file can fill")
        elements.append(count)
    n = len(names)
    zeros = np.zeros(n, np.int64)
    starts = np.zeros(n + 1, np.int64)
    np.cumsum([len(s) for s in shapes], out=starts[1:])
    return TensorTable(
        names=names,
        dtypes=np.array(dtypes, np.uint8),
        dims=np.array([d for s in shapes for d in s], np.int64),
        starts=starts,
        elements=np.array(elements, np.int64),
        storages=np.arange(n, dtype=np.int64),
        begins=zeros,
        spans=np.array(spans, np.int64),
        files=zeros,
        logical=np.array(logical, np.int64) if logical else np.full(n, -1, np.int64),
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
    logical=np.zeros(0, np.int64),
)
