"""Where the chunks of a dataset are: the five kinds of index, and the tree of older files.

Source: HDF5 File Format Specification 3.0, III.A.1 "Version 1 B-trees", VII "Appendix C: Types of Indexes for Dataset Chunks".
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from weightguard.errors import Unreadable
from weightguard.formats._hdf5.file import File
from weightguard.formats._hdf5.heaps import records
from weightguard.tensors import Int64, UInt8

_DEPTH = 32
_MOST = 4 << 20  # chunks of one dataset
_FAR = 1 << 62


class Chunks(NamedTuple):
    """Those that are there. at, sizes: address and bytes in the file, shape (n,). masks: filters left out, shape (n,).

    begins: first element of each, in elements, shape (n, rank).
    """

    at: Int64
    sizes: Int64
    masks: Int64
    begins: Int64


class Grid(NamedTuple):
    """dims, most: lengths now and at most (-1: without limit). chunk: lengths of a chunk. bytes: of a chunk, as it is read."""

    dims: tuple[int, ...]
    most: tuple[int, ...]
    chunk: tuple[int, ...]
    bytes: int
    filtered: bool

    def counts(self) -> tuple[int, ...]:
        """Chunks along each dimension of the largest shape; of the shape now where there is no limit."""
        return tuple(-(-(d if m < 0 else m) // c) for d, m, c in zip(self.dims, self.most, self.chunk, strict=True))


def old_tree(file: File, at: int, grid: Grid) -> Chunks:
    """The version 1 B-tree of layouts 1 to 3."""
    rank = len(grid.dims)
    entry = np.dtype([("size", "<u4"), ("mask", "<u4"), ("begins", "<u8", (rank + 1,)), ("at", f"<u{file.offsets}")])
    leaves: list[npt.NDArray[np.void]] = []
    if at >= 0:
        _old_node(file, at, entry, leaves, 0, None)
    rows = np.concatenate(leaves) if leaves else np.zeros(0, entry)
    if np.any(rows["at"] == file.nowhere) or np.any(rows["at"] > _FAR) or np.any(rows["begins"] > _FAR):
        raise Unreadable("inconsistent", "hdf5: a chunk that no file can hold")
    sizes, masks, places = (rows[name].astype(np.int64) for name in ("size", "mask", "at"))
    return Chunks(places, sizes, masks, rows["begins"][:, :rank].astype(np.int64).reshape(-1, rank))


def _old_node(
    file: File, at: int, entry: np.dtype[np.void], leaves: list[npt.NDArray[np.void]], depth: int, level: int | None
) -> None:
    o = file.offsets
    key = entry.itemsize - o
    data = file.block(at, 8 + 2 * o + 2 * file.chunk_k * entry.itemsize + key, b"TREE")
    used = int.from_bytes(data[6:8], "little")
    if data[4] != 1 or depth > _DEPTH or used > 2 * file.chunk_k or (level is not None and data[5] != level - 1):
        raise Unreadable("malformed", "hdf5: a bad node of a dataset's B-tree")
    rows = np.frombuffer(data, entry, used, 8 + 2 * o)
    if not data[5]:
        leaves.append(rows)
        if len(leaves) * file.chunk_k > _MOST:
            raise Unreadable("limit", f"hdf5: a dataset of more than {_MOST} chunks")
    else:
        for child in rows["at"].tolist():
            _old_node(file, -1 if child == file.nowhere else child, entry, leaves, depth + 1, data[5])
    file.hidden(data[8 + 2 * o + used * entry.itemsize + key :])


def single(file: File, at: int, info: bytes, grid: Grid) -> Chunks:
    """One chunk that holds the whole dataset; info: its size and mask where it is filtered."""
    size, mask = grid.bytes, 0
    if info:
        size, mask = file.length(info, 0), int.from_bytes(info[file.lengths : file.lengths + 4], "little")
    return _listed(np.zeros(1, np.int64), [at], [size], [mask], grid, None)


def implicit(at: int, grid: Grid) -> Chunks:
    """Chunks end to end, all of them there; raises `Unreadable`."""
    count = prod(grid.counts())
    if count > _MOST or at + count * grid.bytes > _FAR:
        raise Unreadable("limit", f"hdf5: a dataset of {count} chunks")
    places = np.arange(count, dtype=np.int64)
    none = np.zeros(count, np.int64)
    return _listed(places, at + places * grid.bytes, none + grid.bytes, none, grid, None)


def fixed_array(file: File, at: int, grid: Grid) -> Chunks:
    """A fixed array (VII.C)."""
    o, n = file.offsets, file.lengths
    head = file.block(at, 8 + n + o + 4, b"FAHD")
    file.check(head)
    width, bits, count, block_at = head[6], head[7], file.length(head, 8), file.address(head, 8 + n)
    _entry_width(file, width, grid, head[5])
    if count != prod(grid.counts()) or count > _MOST:
        raise Unreadable("limit" if count > _MOST else "inconsistent", f"hdf5: an index of {count} chunks")
    if block_at < 0:
        return _entries(file, b"", width, grid, np.zeros(0, np.int64), None)
    prefix = 6 + o
    page = 1 << min(bits, 62)
    if count <= page:
        data = file.block(block_at, prefix + count * width + 4, b"FADB")
        file.check(data)
        return _entries(file, data[prefix:-4], width, grid, np.arange(count), None)
    pages = -(-count // page)
    bitmap = (pages + 7) // 8
    head = file.block(block_at, prefix + bitmap + 4, b"FADB")
    file.check(head)
    place = block_at + prefix + bitmap + 4
    parts, places = [], []
    for i in range(pages):
        entries = min(page, count - i * page)
        if head[prefix + i // 8] >> (7 - i % 8) & 1:
            data = file.block(place, entries * width + 4)
            file.check(data)
            parts.append(data[:-4])
            places.append(np.arange(i * page, i * page + entries))
        place += page * width + 4
    return _entries(file, b"".join(parts), width, grid, np.concatenate(places) if places else np.zeros(0, np.int64), None)


def extensible_array(file: File, at: int, grid: Grid) -> Chunks:
    """An extensible array (VII.D): the first entries in the index block, then data blocks of growing size."""
    o, n = file.offsets, file.lengths
    head = file.block(at, 12 + 6 * n + o + 4, b"EAHD")
    file.check(head)
    width, bits, inside, least, pointers, page_bits = head[6:12]
    index_at = file.address(head, 12 + 6 * n)
    _entry_width(file, width, grid, head[5])
    powers = least >= 1 and not least & least - 1 and pointers >= 2 and not pointers & pointers - 1
    if not powers or not 0 < bits <= 60 or 1 << bits < least:
        raise Unreadable("malformed", "hdf5: an extensible array of impossible blocks")
    grows = [i for i, m in enumerate(grid.most) if m < 0]
    if len(grows) != 1:
        raise Unreadable("inconsistent", "hdf5: an extensible array for a dataset that doesn't grow along one dimension")
    if index_at < 0:
        return _entries(file, b"", width, grid, np.zeros(0, np.int64), grows[0])
    reader = _Extensible(file, at, width, bits, least, page_bits)
    reader.index(index_at, inside, pointers)
    places = np.concatenate(reader.places) if reader.places else np.zeros(0, np.int64)
    return _entries(file, b"".join(reader.parts), width, grid, places, grows[0])


class _Extensible:
    """Collects entries and their numbers, block by block."""

    def __init__(self, file: File, at: int, width: int, bits: int, least: int, page_bits: int) -> None:
        self._file, self._at, self._width, self._bits, self._least = file, at, width, bits, least
        self._page = 1 << min(page_bits, 62)
        self._offset = (bits + 7) // 8
        self.parts: list[bytes] = []
        self.places: list[Int64] = []
        self._total = 0

    def _add(self, data: bytes, first: int) -> None:
        count = len(data) // self._width
        self._total += count
        if self._total > _MOST:
            raise Unreadable("limit", f"hdf5: a dataset of more than {_MOST} chunks")
        self.parts.append(data)
        self.places.append(np.arange(first, first + count))

    def index(self, at: int, inside: int, pointers: int) -> None:
        file, o = self._file, self._file.offsets
        supers = 1 + self._bits - (self._least.bit_length() - 1)
        first_super = 2 * (pointers.bit_length() - 1)
        direct = 2 * (pointers - 1)
        indirect = max(supers - first_super, 0)
        prefix = 6 + o
        data = file.block(at, prefix + inside * self._width + (direct + indirect) * o + 4, b"EAIB")
        file.check(data)
        self._belongs(data)
        self._add(data[prefix : prefix + inside * self._width], 0)
        place = prefix + inside * self._width
        first = inside
        for u in range(supers):
            blocks, entries = 1 << u // 2, (1 << (u + 1) // 2) * self._least
            if u < first_super:
                for _ in range(blocks):
                    if place >= prefix + inside * self._width + direct * o:
                        break
                    self._block(file.address(data, place), first, entries, None)
                    place, first = place + o, first + entries
            else:
                child = file.address(data, place)
                if child >= 0:
                    self._super(child, first, blocks, entries)
                place, first = place + o, first + blocks * entries

    def _super(self, at: int, first: int, blocks: int, entries: int) -> None:
        """A secondary block: addresses of data blocks and, where these have pages, which of them are there."""
        file, o = self._file, self._file.offsets
        pages = entries // self._page if entries > self._page else 0
        bitmap = (pages + 7) // 8
        prefix = 6 + o + self._offset
        data = file.block(at, prefix + blocks * (bitmap + o) + 4, b"EASB")
        file.check(data)
        self._belongs(data)
        bits = int.from_bytes(data[prefix : prefix + blocks * bitmap], "big")
        for i in range(blocks):
            child = file.address(data, prefix + blocks * bitmap + i * o)
            last = 8 * blocks * bitmap - i * pages  # pages are numbered across the whole super block, the first bit first
            self._block(child, first + i * entries, entries, bits >> last - pages & (1 << pages) - 1 if pages else None)

    def _block(self, at: int, first: int, entries: int, bits: int | None) -> None:
        if at < 0:
            return
        file, width = self._file, self._width
        prefix = 6 + file.offsets + self._offset
        if bits is None:
            data = file.block(at, prefix + entries * width + 4, b"EADB")
            file.check(data)
            self._belongs(data)
            self._add(data[prefix:-4], first)
            return
        data = file.block(at, prefix + 4, b"EADB")
        file.check(data)
        self._belongs(data)
        size = self._page * width + 4
        pages = entries // self._page
        for i in range(pages):
            if bits >> pages - 1 - i & 1:
                page = file.block(at + prefix + 4 + i * size, size)
                file.check(page)
                self._add(page[:-4], first + i * self._page)

    def _belongs(self, data: bytes) -> None:
        if self._file.address(data, 6) != self._at:
            raise Unreadable("inconsistent", "hdf5: a block of another index")


def tree(file: File, at: int, grid: Grid) -> Chunks:
    """A version 2 B-tree (types 10 and 11)."""
    rank, o = len(grid.dims), file.offsets
    _, found = records(file, at, (11 if grid.filtered else 10,))
    width = len(found[0]) if found else 0
    size = width - o - 4 - 8 * rank if grid.filtered else 0
    if found and (not 1 <= size <= 8 if grid.filtered else width != o + 8 * rank):
        raise Unreadable("malformed", "hdf5: a B-tree whose records have another length")
    if len(found) > _MOST:
        raise Unreadable("limit", f"hdf5: a dataset of more than {_MOST} chunks")
    table = np.frombuffer(b"".join(found), np.uint8).reshape(len(found), width)
    at_ = _column(table[:, :o])
    sizes = _column(table[:, o : o + size]) if grid.filtered else np.full(len(found), grid.bytes, np.int64)
    masks = _column(table[:, o + size : o + size + 4]) if grid.filtered else np.zeros(len(found), np.int64)
    first = width - 8 * rank
    scaled = [_column(table[:, first + 8 * i : first + 8 * i + 8]) for i in range(rank)]
    begins = np.stack(scaled, 1) if found else np.zeros((0, rank), np.int64)
    if np.any(begins > _FAR // np.array(grid.chunk, np.int64)):
        raise Unreadable("inconsistent", "hdf5: a chunk that lies outside of any shape")
    return Chunks(at_, sizes, masks, begins * np.array(grid.chunk, np.int64))


def _column(data: UInt8) -> Int64:
    """Little-endian numbers, a row each; raises `Unreadable` for one that doesn't fit into 62 bits."""
    wide = np.zeros((len(data), 8), np.uint8)
    wide[:, : data.shape[1]] = data
    values = wide.view("<u8").ravel()
    if np.any(values > _FAR):
        raise Unreadable("inconsistent", "hdf5: a chunk that no file can hold")
    return values.astype(np.int64)


def _entry_width(file: File, width: int, grid: Grid, client: int) -> None:
    """An entry: an address and, where chunks are filtered, a size and a mask."""
    size = width - file.offsets - 4
    if client != int(grid.filtered) or (not 1 <= size <= 8 if grid.filtered else width != file.offsets):
        raise Unreadable("malformed", f"hdf5: an index with entries of {width} bytes")


def _entries(file: File, data: bytes, width: int, grid: Grid, places: Int64, grows: int | None) -> Chunks:
    table = np.frombuffer(data, np.uint8).reshape(-1, width)
    o = file.offsets
    there = ~(table[:, :o] == 255).all(1)
    table, places = table[there], places[there]
    at = _column(table[:, :o])
    if not grid.filtered:
        return _listed(places, at, np.full(len(at), grid.bytes, np.int64), np.zeros(len(at), np.int64), grid, grows)
    return _listed(places, at, _column(table[:, o : width - 4]), _column(table[:, width - 4 :]), grid, grows)


def _listed(
    places: Int64, at: Int64 | list[int], sizes: Int64 | list[int], masks: Int64 | list[int], grid: Grid, grows: int | None
) -> Chunks:
    """Chunks by their number in the index; grows: the dimension without limit, which then counts slowest."""
    order = list(range(len(grid.dims)))
    if grows is not None:
        order.remove(grows)
        order.insert(0, grows)
    counts = grid.counts()
    begins = np.zeros((len(places), len(order)), np.int64)
    rest = places.copy()
    for i, dimension in enumerate(reversed(order)):
        count = max(counts[dimension], 1)
        number = rest if i == len(order) - 1 else rest % count
        if len(number) and int(number.max()) * grid.chunk[dimension] > _FAR:
            raise Unreadable("inconsistent", "hdf5: a chunk that lies outside of any shape")
        begins[:, dimension] = number * grid.chunk[dimension]
        rest = rest // count
    return Chunks(np.asarray(at, np.int64), np.asarray(sizes, np.int64), np.asarray(masks, np.int64), begins)
