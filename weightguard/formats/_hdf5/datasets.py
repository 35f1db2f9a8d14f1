"""Datasets: shape, type, where the data are, and what of them is neither an element nor explained.

Source: HDF5 File Format Specification 3.0, IV.A.2.b "Dataspace", IV.A.2.i "Data Layout", IV.A.2.l "Data Storage - Filter Pipeline".
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from weightguard.errors import Unreadable
from weightguard.formats._hdf5 import chunks as index
from weightguard.formats._hdf5.chunks import Chunks, Grid
from weightguard.formats._hdf5.file import File
from weightguard.formats._hdf5.objects import DATASPACE, DATATYPE, EXTERNAL_FILES, FILL, FILTERS, LAYOUT, OLD_FILL, Message
from weightguard.formats._hdf5.types import Type, parse_type
from weightguard.tensors import UInt8

_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = range(4)
_SINGLE, _IMPLICIT, _FIXED, _EXTENSIBLE, _TREE = range(1, 6)
_DEFLATE, _SHUFFLE, _FLETCHER, _LZF = 1, 2, 3, 32000
_OWN = (_DEFLATE, _SHUFFLE, _FLETCHER, _LZF)
_RATIO = 1032  # the most that deflate makes of a byte
_MOST = (1 << 63) - 1
_PARAMETERS = 64  # of a filter; more could be anything
_EDGE = 64 << 20  # bytes of one chunk that is looked into
_EDGES = 100_000  # chunks of one dataset that are
_SLOW = 16  # how much longer LZF takes than deflate, here


class Space(NamedTuple):
    """dims: lengths; empty for a scalar. most: the largest they may grow to, -1 without limit. null: no element at all."""

    dims: tuple[int, ...]
    most: tuple[int, ...]
    null: bool

    @property
    def elements(self) -> int:
        """Elements."""
        return 0 if self.null else prod(self.dims)


class Dataset(NamedTuple):
    """inline: the data of a compact one. at: of a contiguous one, -1 where it isn't there. chunks: of a chunked one."""

    space: Space
    type: Type
    inline: bytes | None
    at: int
    chunks: Chunks | None
    grid: Grid | None
    filters: tuple[int, ...]
    fill: bytes

    @property
    def stored(self) -> int:
        """Bytes in the file."""
        if self.inline is not None:
            return len(self.inline)
        if self.chunks is not None:
            return sum(self.chunks.sizes.tolist())
        return self.space.elements * self.type.size if self.at >= 0 else 0


def parse_space(data: bytes, lengths: int) -> Space:
    """A dataspace; raises `Unreadable`."""
    if len(data) < 4 or data[0] not in (1, 2):
        raise Unreadable("unsupported", "hdf5: a dataspace of another version")
    rank, flags = data[1], data[2]
    null = data[0] == 2 and data[3] == 2
    at = 8 if data[0] == 1 else 4
    if rank > 32 or at + rank * lengths * (2 if flags & 1 else 1) > len(data):
        raise Unreadable("malformed", "hdf5: a dataspace that ends early")
    numbers = [int.from_bytes(data[at + i * lengths : at + (i + 1) * lengths], "little") for i in range(2 * rank)]
    dims = tuple(numbers[:rank])
    full = (1 << 8 * lengths) - 1
    most = tuple(-1 if m == full else m for m in numbers[rank:]) if flags & 1 else dims
    if prod(dims) > _MOST or any(d > _MOST for d in dims):
        raise Unreadable("inconsistent", "hdf5: a shape that no file can fill")
    if any(0 <= m < d for d, m in zip(dims, most, strict=True)):
        raise Unreadable("inconsistent", "hdf5: a shape that is more than it may become")
    return Space(dims, most, null)


def is_dataset(found: list[Message]) -> bool:
    """Whether an object with these messages has data."""
    return any(m.kind == LAYOUT for m in found)


def parse_dataset(file: File, found: list[Message]) -> Dataset:
    """A dataset from its messages: all its bytes recorded, none of its data read. Raises `Unreadable`."""
    by_kind = {m.kind: m.data for m in found}
    if EXTERNAL_FILES in by_kind:
        raise Unreadable("unsupported", "hdf5: a dataset whose data lie in other files")
    if DATASPACE not in by_kind or DATATYPE not in by_kind:
        raise Unreadable("malformed", "hdf5: a dataset without a shape or a type")
    space = parse_space(by_kind[DATASPACE], file.lengths)
    type, end = parse_type(by_kind[DATATYPE], file.offsets)
    file.hidden(by_kind[DATATYPE][end:])
    if space.elements * type.size > _MOST:
        raise Unreadable("inconsistent", "hdf5: a shape that no file can fill")
    filters = _filters(file, by_kind[FILTERS]) if FILTERS in by_kind else ()
    fill = _fill(file, by_kind, type)
    return _layout(file, by_kind[LAYOUT], Dataset(space, type, None, -1, None, None, filters, fill))


def _fill(file: File, by_kind: dict[int, bytes], type: Type) -> bytes:
    """The value that elements have which were never written; raises `Unreadable`."""
    value = b""
    if OLD_FILL in by_kind:
        data = by_kind[OLD_FILL]
        value = data[4 : 4 + int.from_bytes(data[:4], "little")]
    if FILL in by_kind:
        data = by_kind[FILL]
        if len(data) < 2:
            raise Unreadable("malformed", "hdf5: a fill value that ends early")
        if data[0] == 3:
            there, at = bool(data[1] & 32), 2
        else:
            there, at = len(data) > 3 and (data[0] == 1 or data[3] == 1), 4
        size = int.from_bytes(data[at : at + 4], "little", signed=True) if there else 0
        if size > 0:
            value = data[at + 4 : at + 4 + size]
    if value and len(value) != type.size:
        file.unexplained += len(value)
        return b""
    return value


def _filters(file: File, data: bytes) -> tuple[int, ...]:
    """The filters, in the order of writing."""
    if len(data) < 2 or data[0] not in (1, 2):
        raise Unreadable("unsupported", "hdf5: filters of another version")
    old = data[0] == 1
    at = 8 if old else 2
    found = []
    for _ in range(data[1]):
        number = int.from_bytes(data[at : at + 2], "little")
        named = old or number >= 256
        name = int.from_bytes(data[at + 2 : at + 4], "little") if named else 0
        at += 4 if named else 2
        count = int.from_bytes(data[at + 2 : at + 4], "little")
        at += 4 + (-(-name // 8) * 8 if old else name) + 4 * count + (4 if old and count % 2 else 0)
        if at > len(data):
            raise Unreadable("malformed", "hdf5: a list of filters that ends early")
        file.unexplained += (4 * count if count > _PARAMETERS else 0) + (name if name > 256 else 0)
        found.append(number)
    return tuple(found)


def _layout(file: File, data: bytes, so_far: Dataset) -> Dataset:
    if len(data) < 3:
        raise Unreadable("malformed", "hdf5: a layout that ends early")
    version = data[0]
    if version in (1, 2):
        return _old_layout(file, data, so_far)
    if version not in (3, 4, 5):
        raise Unreadable("unsupported", f"hdf5: version {version} of a layout")
    kind = data[1]
    if kind == _COMPACT:
        size = int.from_bytes(data[2:4], "little")
        return _compact(data[4 : 4 + size], size, so_far)
    if kind == _CONTIGUOUS:
        at, size = file.address(data, 2), file.length(data, 2 + file.offsets)
        return _contiguous(file, at, size, so_far)
    if kind == _VIRTUAL:
        raise Unreadable("unsupported", "hdf5: a dataset made of others (virtual)")
    if kind != _CHUNKED:
        raise Unreadable("unsupported", f"hdf5: a layout of class {kind}")
    if version == 3:
        rank = data[2]
        at = file.address(data, 3)
        place = 3 + file.offsets
        sizes = [int.from_bytes(data[place + 4 * i : place + 4 * i + 4], "little") for i in range(rank)]
        return _chunked(file, at, sizes, so_far)
    return _indexed(file, data, so_far)


def _old_layout(file: File, data: bytes, so_far: Dataset) -> Dataset:
    """Versions 1 and 2."""
    rank, kind = data[1], data[2]
    place = 8
    at = -1
    if kind != _COMPACT:
        at, place = file.address(data, place), place + file.offsets
    sizes = [int.from_bytes(data[place + 4 * i : place + 4 * i + 4], "little") for i in range(rank)]
    place += 4 * rank
    if place > len(data):
        raise Unreadable("malformed", "hdf5: a layout that ends early")
    if kind == _COMPACT:
        size = int.from_bytes(data[place : place + 4], "little")
        return _compact(data[place + 4 : place + 4 + size], size, so_far)
    if kind == _CONTIGUOUS:
        return _contiguous(file, at, so_far.space.elements * so_far.type.size, so_far)
    if kind == _CHUNKED:
        return _chunked(file, at, sizes, so_far)
    raise Unreadable("unsupported", f"hdf5: a layout of class {kind}")


def _compact(data: bytes, size: int, so_far: Dataset) -> Dataset:
    need = so_far.space.elements * so_far.type.size
    if len(data) != size or size != need:
        raise Unreadable("inconsistent", f"hdf5: a dataset of {need} bytes, {size} given in its header")
    return so_far._replace(inline=data)


def _contiguous(file: File, at: int, size: int, so_far: Dataset) -> Dataset:
    need = so_far.space.elements * so_far.type.size
    if at < 0 or not need:
        file.raw(max(at, 0), size if at >= 0 else 0)
        file.unexplained += size if at >= 0 else 0
        return so_far
    if size != need:
        raise Unreadable("inconsistent", f"hdf5: a dataset of {need} bytes, stored in {size}")
    file.raw(at, size)
    return so_far._replace(at=at)


def _grid(sizes: list[int], so_far: Dataset) -> Grid:
    """The last size is that of an element."""
    space, type = so_far.space, so_far.type
    if len(sizes) != len(space.dims) + 1 or min(sizes) < 1 or sizes[-1] != type.size or space.null:
        raise Unreadable("inconsistent", "hdf5: chunks that don't have the rank or the type of their dataset")
    size = prod(sizes)
    if size > _MOST:
        raise Unreadable("inconsistent", "hdf5: chunks that no file can hold")
    return Grid(space.dims, space.most, tuple(sizes[:-1]), size, bool(so_far.filters))


def _chunked(file: File, at: int, sizes: list[int], so_far: Dataset) -> Dataset:
    grid = _grid(sizes, so_far)
    return _stored(file, so_far._replace(chunks=index.old_tree(file, at, grid), grid=grid))


def _indexed(file: File, data: bytes, so_far: Dataset) -> Dataset:
    """Version 4: chunks by one of five indices."""
    flags, rank, width = data[2], data[3], data[4]
    place = 5
    if not 1 <= width <= 8 or place + rank * width + 1 > len(data):
        raise Unreadable("malformed", "hdf5: a layout that ends early")
    sizes = [int.from_bytes(data[place + i * width : place + (i + 1) * width], "little") for i in range(rank)]
    place += rank * width
    kind = data[place]
    place += 1
    grid = _grid(sizes, so_far)
    lengths = {_SINGLE: file.lengths + 4 if flags & 2 else 0, _IMPLICIT: 0, _FIXED: 1, _EXTENSIBLE: 5, _TREE: 6}
    if kind not in lengths:
        raise Unreadable("unsupported", f"hdf5: a chunk index of type {kind}")
    info = data[place : place + lengths[kind]]
    at = file.address(data, place + lengths[kind])
    if kind == _SINGLE and bool(so_far.filters) != bool(info):
        raise Unreadable("inconsistent", "hdf5: a chunk that is filtered, or isn't")
    empty = np.zeros(0, np.int64)
    found = Chunks(empty, empty, empty, np.zeros((0, rank - 1), np.int64))
    if at >= 0 and kind == _SINGLE:
        found = index.single(file, at, info, grid)
    elif at >= 0 and kind == _IMPLICIT:
        found = index.implicit(at, grid)
    elif at >= 0:
        reader = {_FIXED: index.fixed_array, _EXTENSIBLE: index.extensible_array, _TREE: index.tree}[kind]
        found = reader(file, at, grid)
    return _stored(file, so_far._replace(chunks=found, grid=grid))


def _stored(file: File, dataset: Dataset) -> Dataset:
    """Checks the chunks that are there, records their bytes, and what in them is no element. Raises `Unreadable`."""
    found, grid = dataset.chunks, dataset.grid
    if found is None or grid is None or not len(found.at):
        return dataset
    file.raws(found.at, found.sizes)
    filters = dataset.filters
    if not filters and np.any(found.sizes != grid.bytes):
        raise Unreadable("inconsistent", f"hdf5: a chunk that doesn't have the {grid.bytes} bytes of its shape")
    order = np.lexsort(found.begins.T)
    sorted_ = found.begins[order]
    if len(sorted_) > 1 and np.any((sorted_[1:] == sorted_[:-1]).all(1)):
        raise Unreadable("inconsistent", "hdf5: a chunk that is there twice")
    chunk = np.array(grid.chunk, np.int64)
    if np.any(found.begins % chunk):
        raise Unreadable("inconsistent", "hdf5: a chunk that begins within another")
    outside: npt.NDArray[np.bool_] = np.asarray((found.begins >= np.array(grid.dims, np.int64)).any(1))
    file.unexplained += int(outside.sum()) * grid.bytes
    if filters:
        _plausible(file, found, dataset, grid)
    _edges(file, dataset, found, grid, ~outside)
    return dataset


def _plausible(file: File, found: Chunks, dataset: Dataset, grid: Grid) -> None:
    """Stored sizes that the filters can make of a chunk: not less than deflate's best, and hardly more than the chunk."""
    most = grid.bytes + grid.bytes // 64 + 1024  # deflate's blocks, checksums, and the headers of other compressors
    file.unexplained += int(np.maximum(found.sizes - most, 0).sum())
    if dataset.filters.count(_DEFLATE) == 1 and set(dataset.filters) <= {_DEFLATE, _SHUFFLE, _FLETCHER}:
        bit = 1 << dataset.filters.index(_DEFLATE)
        deflated = found.masks & bit == 0
        if np.any(found.sizes[deflated] < grid.bytes // _RATIO) or np.any(found.sizes[~deflated] < grid.bytes):
            raise Unreadable("inconsistent", f"hdf5: a chunk of {grid.bytes} bytes, stored in fewer than can hold it")


def _edges(file: File, dataset: Dataset, found: Chunks, grid: Grid, inside: npt.NDArray[np.bool_]) -> None:
    """Looks at what chunks hold beyond the edge of the shape: fill values are padding, anything else could be weights."""
    chunk, dims = np.array(grid.chunk, np.int64), np.array(grid.dims, np.int64)
    beyond = inside & (found.begins > dims - chunk).any(1)
    room = file.limits.member_bytes
    for n, i in enumerate(np.flatnonzero(beyond).tolist()):
        kept = np.minimum(chunk, dims - found.begins[i]).tolist()
        extra = grid.bytes - prod(kept) * dataset.type.size
        room -= grid.bytes * (_SLOW if _LZF in dataset.filters else 1)
        if room < 0 or n >= _EDGES or grid.bytes > _EDGE or not set(dataset.filters) <= set(_OWN):
            file.unexplained += extra
            continue
        elements = _decoded(file, dataset, found, grid, i).reshape(*grid.chunk, dataset.type.size).copy()
        elements[tuple(slice(0, k) for k in kept)] = 0
        if elements.any():
            rest = elements.reshape(-1, dataset.type.size)
            fill = np.frombuffer(dataset.fill or bytes(dataset.type.size), np.uint8)
            odd = (rest != 0).any(1) & (rest != fill).any(1)
            file.unexplained += int(odd.sum()) * dataset.type.size


def _decoded(file: File, dataset: Dataset, found: Chunks, grid: Grid, i: int) -> UInt8:
    """The bytes of a chunk, filters undone in reverse; raises `Unreadable`."""
    data = file.peek(int(found.at[i]), int(found.sizes[i]))
    for n in reversed(range(len(dataset.filters))):
        kind = dataset.filters[n]
        if int(found.masks[i]) >> n & 1:
            continue
        if kind == _FLETCHER:
            data = data[:-4]
        elif kind == _DEFLATE:
            data = _inflated(data, grid.bytes + 4 * len(dataset.filters))
        elif kind == _LZF:
            data = _unpacked(data, grid.bytes)
        elif kind == _SHUFFLE:
            size = dataset.type.size
            whole = len(data) // size
            planes = np.frombuffer(data[: whole * size], np.uint8).reshape(size, whole)
            data = planes.T.tobytes() + data[whole * size :]
    if len(data) != grid.bytes:
        raise Unreadable("inconsistent", f"hdf5: a chunk of {grid.bytes} bytes that holds {len(data)}")
    return np.frombuffer(data, np.uint8)


def _inflated(data: bytes, most: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(data, most + 1)
    except zlib.error as error:
        raise Unreadable("malformed", "hdf5: a chunk that isn't a deflate stream") from error
    if len(out) > most or not stream.eof or stream.unused_data:
        raise Unreadable("inconsistent", "hdf5: a chunk that inflates to another size than its own")
    return out


def _unpacked(data: bytes, most: int) -> bytes:
    """LZF, the filter of h5py (LibLZF, lzf_d.c); raises `Unreadable`."""
    out = bytearray()
    at = 0
    while at < len(data):
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
        else:
            length = control >> 5
            if length == 7:
                length += data[at]
                at += 1
            begin = len(out) - ((control & 31) << 8 | data[at]) - 1
            at += 1
            if begin < 0:
                raise Unreadable("malformed", "hdf5: a chunk that isn't an LZF stream")
            copied = out[begin : begin + length + 2]
            while len(copied) < length + 2:  # it repeats what it has just written
                copied += copied[: length + 2 - len(copied)]
            out += copied
        if len(out) > most:
            raise Unreadable("inconsistent", "hdf5: a chunk that unpacks to another size than its own")
    return bytes(out)


def pieces(file: File, dataset: Dataset) -> Iterator[UInt8]:
    """The bytes of the elements, as (n, bytes of an element), for descriptors of variable length; raises `Unreadable`."""
    size = dataset.type.size
    need = dataset.space.elements * size
    if need > file.limits.member_bytes or not set(dataset.filters) <= set(_OWN):
        raise Unreadable("unsupported", f"hdf5: {need} bytes of texts of variable length, or compressed by what isn't deflate")
    if dataset.inline is not None:
        yield np.frombuffer(dataset.inline, np.uint8).reshape(-1, size)
    elif dataset.at >= 0:
        yield np.frombuffer(file.peek(dataset.at, need), np.uint8).reshape(-1, size)
    elif dataset.chunks is not None and dataset.grid is not None:
        if len(dataset.chunks.at) * dataset.grid.bytes > file.limits.member_bytes:
            raise Unreadable("limit", "hdf5: chunks of texts larger than weightguard reads")
        for i in range(len(dataset.chunks.at)):
            yield _decoded(file, dataset, dataset.chunks, dataset.grid, i).reshape(-1, size)
