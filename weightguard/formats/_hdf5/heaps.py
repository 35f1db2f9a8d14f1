"""Heaps and version 2 B-trees: where links, attributes and texts of any length are kept.

Source: HDF5 File Format Specification 3.0, III "Disk Format: Level 1 - File Infrastructure", A.2 "Version 2 B-trees", D "Local
Heaps", E "Global Heap", G "Fractal Heap", H "Free-space Manager".
"""

from __future__ import annotations

from bisect import bisect_right

from weightguard.errors import Unreadable
from weightguard.formats._hdf5.file import File

_DEPTH = 32
_SECTIONS = 64 << 10  # bytes of a list of free sections


class LocalHeap:
    """Names of a symbol table's links, each at an offset and ended by a zero."""

    def __init__(self, file: File, at: int) -> None:
        head = file.block(at, 8 + 2 * file.lengths + file.offsets, b"HEAP")
        size, free = file.length(head, 8), file.length(head, 8 + file.lengths)
        segment = file.address(head, 8 + 2 * file.lengths)
        self._file = file
        self._data = file.block(segment, size)
        self._left = bytearray(self._data)
        width = 2 * file.lengths
        steps = 0
        while free not in (1, (1 << 8 * file.lengths) - 1) and size:  # 1 ends the list of free blocks
            if free + width > size or steps > size // width:
                raise Unreadable("malformed", "hdf5: a local heap whose free blocks lie outside of it")
            steps += 1
            following = file.length(self._data, free)
            self._left[free : free + width] = bytes(width)
            free = following

    def text(self, at: int) -> bytes:
        """The text at an offset."""
        end = self._data.find(b"\0", at)
        if end < 0:
            raise Unreadable("malformed", "hdf5: a name outside of its heap")
        self._left[at : end + 1] = bytes(end + 1 - at)
        return self._data[at:end]

    def close(self) -> None:
        """What no name and no free block accounts for."""
        self._file.hidden(bytes(self._left))


# -- version 2 B-trees


def records(file: File, at: int, kinds: tuple[int, ...]) -> tuple[int, list[bytes]]:
    """The type of a tree and all its records; raises `Unreadable`."""
    head = file.block(at, 16 + file.offsets + 2 + file.lengths + 4, b"BTHD")
    file.check(head)
    kind, node, width, depth = head[5], _u32(head, 6), _u16(head, 10), _u16(head, 12)
    root, count = file.address(head, 16), _u16(head, 16 + file.offsets)
    total = file.length(head, 18 + file.offsets)
    if kind not in kinds:
        raise Unreadable("unsupported", f"hdf5: a B-tree of type {kind}")
    if not width or node < 16 + width or depth > _DEPTH:
        raise Unreadable("malformed", "hdf5: a B-tree of impossible nodes")
    if total > file.source.size // width:
        raise Unreadable("inconsistent", f"hdf5: a B-tree of {total} records, more than fit into the file")
    found: list[bytes] = []
    if root >= 0:
        _node(file, root, count, depth, node, width, _pointers(file, node, width, depth), kind, found)
    if len(found) != total:
        raise Unreadable("inconsistent", f"hdf5: a B-tree with {len(found)} records, {total} announced")
    return kind, found


def _pointers(file: File, node: int, width: int, depth: int) -> list[tuple[int, int]]:
    """For each level above the leaves: bytes of a child's record count, and of the count below it (0 for a leaf)."""
    most = (node - 10) // width
    count = _width(most)
    total, below = most, 0
    levels = []
    for _ in range(depth):
        levels.append((count, below))
        pointer = file.offsets + count + below
        here = (node - 10 - pointer) // (width + pointer)
        if here < 1:
            raise Unreadable("malformed", "hdf5: a B-tree of impossible nodes")
        total = (here + 1) * total + here
        below = _width(total)
    return levels


def _width(number: int) -> int:
    return max((number.bit_length() - 1) // 8 + 1, 1)


def _node(
    file: File,
    at: int,
    count: int,
    depth: int,
    node: int,
    width: int,
    levels: list[tuple[int, int]],
    kind: int,
    to: list[bytes],
) -> None:
    data = file.block(at, node, b"BTIN" if depth else b"BTLF")
    if data[5] != kind:
        raise Unreadable("inconsistent", "hdf5: a node of another B-tree")
    end = 6 + count * width
    children = []
    if depth:
        number, below = levels[depth - 1]
        pointer = file.offsets + number + below
        for i in range(count + 1):
            place = end + i * pointer
            if place + pointer + 4 > node:
                raise Unreadable("malformed", "hdf5: a B-tree node with more children than fit")
            children.append((file.address(data, place), _uint(data, place + file.offsets, number)))
        end += (count + 1) * pointer
    if end + 4 > node:
        raise Unreadable("malformed", "hdf5: a B-tree node with more records than fit")
    file.check(data[: end + 4])
    file.hidden(data[end + 4 :])
    to += [data[6 + i * width : 6 + (i + 1) * width] for i in range(count)]
    for child, records_there in children:
        _node(file, child, records_there, depth - 1, node, width, levels, kind, to)


# -- fractal heaps


class FractalHeap:
    """Objects by heap ID, in blocks of growing size."""

    def __init__(self, file: File, at: int) -> None:
        o, n = file.offsets, file.lengths
        head = file.block(at, 26 + 3 * o + 12 * n, b"FRHP")
        file.check(head)
        self._file = file
        self._at = at
        self._id_length, filters, self._flags = _u16(head, 5), _u16(head, 7), head[9]
        if filters:
            raise Unreadable("unsupported", "hdf5: a heap that is compressed")
        most = _u32(head, 10)
        place = 14 + n
        huge = file.address(head, place)
        free = file.address(head, place + o + n)
        place += 2 * o + n + 4 * n + 4 * n
        self._width, self._start = _u16(head, place), file.length(head, place + 2)
        self._largest = file.length(head, place + 2 + n)
        bits = _u16(head, place + 2 + 2 * n)
        root, rows = file.address(head, place + 6 + 2 * n), _u16(head, place + 6 + 2 * n + o)
        powers = (self._width, self._start, self._largest)
        if any(p < 1 or p & p - 1 for p in powers) or self._largest < self._start or not 8 <= bits <= 64:
            raise Unreadable("malformed", "hdf5: a heap of impossible blocks")
        self._offset_bytes = (bits + 7) // 8
        self._length_bytes = _width(min(self._largest, most) if most else self._largest)
        self._direct_rows = self._largest.bit_length() - self._start.bit_length() + 2
        self._begins: list[int] = []
        self._data: list[bytearray] = []
        self._left: list[bytearray] = []
        if root >= 0 and rows:
            self._indirect(root, 0, rows, 0)
        elif root >= 0:
            self._direct(root, 0, self._start)
        self._huge: dict[int, tuple[int, int]] = {}
        if huge >= 0:
            kind, found = records(file, huge, (1, 3))  # 3: the IDs are addresses themselves
            for r in found:
                place = file.address(r, 0)
                self._huge[_uint(r, o + n, n) if kind == 1 else place] = place, file.length(r, o)
        if free >= 0:
            free_space(file, free)

    def _row_size(self, row: int) -> int:
        return self._start << max(row - 1, 0)

    def _indirect(self, at: int, begin: int, rows: int, depth: int) -> None:
        """An indirect block: rows of addresses of direct blocks, then of indirect ones (III.G)."""
        file, o = self._file, self._file.offsets
        if depth > _DEPTH or rows > 64:
            raise Unreadable("malformed", "hdf5: a heap nested too deep")
        entries = rows * self._width
        data = file.block(at, 5 + o + self._offset_bytes + entries * o + 4, b"FHIB")
        file.check(data)
        self._belongs(data, begin)
        place = 5 + o + self._offset_bytes
        for row in range(rows):
            size = self._row_size(row)
            first = 0 if row == 0 else self._width * self._row_size(row)
            for column in range(self._width):
                child = file.address(data, place)
                place += o
                if child < 0:
                    continue
                start = begin + first + column * size
                if row < self._direct_rows:
                    self._direct(child, start, size)
                else:
                    inner = size.bit_length() - (self._start * self._width).bit_length() + 1
                    self._indirect(child, start, inner, depth + 1)

    def _belongs(self, data: bytes, begin: int) -> None:
        o = self._file.offsets
        if self._file.address(data, 5) != self._at or _uint(data, 5 + o, self._offset_bytes) != begin:
            raise Unreadable("inconsistent", "hdf5: a block of another heap")

    def _direct(self, at: int, begin: int, size: int) -> None:
        file = self._file
        data = file.block(at, size, b"FHDB")
        self._belongs(data, begin)
        head = 5 + file.offsets + self._offset_bytes
        if self._flags & 2:
            file.check(data[:head] + bytes(4) + data[head + 4 :] + data[head : head + 4])
            head += 4
        self._begins.append(begin)
        self._data.append(bytearray(data))
        self._left.append(bytearray(head) + bytearray(data[head:]))

    def get(self, id: bytes) -> bytes:
        """An object by its ID; raises `Unreadable`."""
        kind = id[0] >> 4 & 3
        if id[0] >> 6:
            raise Unreadable("unsupported", "hdf5: a heap ID of another version")
        if kind == 0:
            offset = _uint(id, 1, self._offset_bytes)
            length = _uint(id, 1 + self._offset_bytes, self._length_bytes)
            i = bisect_right(self._begins, offset) - 1
            at = offset - self._begins[i] if i >= 0 else -1
            if at < 0 or at + length > len(self._data[i]) or not length:
                raise Unreadable("malformed", "hdf5: a heap ID that points nowhere")
            self._left[i][at : at + length] = bytes(length)
            return bytes(self._data[i][at : at + length])
        if kind == 1:
            key = _uint(id, 1, min(self._file.lengths, self._id_length - 1))
            if key not in self._huge:
                raise Unreadable("malformed", "hdf5: a heap ID that points nowhere")
            place, size = self._huge[key]
            return self._file.block(place, size)
        short = self._id_length <= 17
        length = (id[0] & 15) + 1 if short else ((id[0] & 15) << 8 | id[1]) + 1
        return id[1 if short else 2 :][:length]

    def close(self) -> None:
        """What no object accounts for."""
        for left in self._left:
            self._file.hidden(bytes(left))


def free_space(file: File, at: int) -> None:
    """A free-space manager: its header and its list of sections (III.H), which say nothing about what is stored."""
    head = file.block(at, 18 + 7 * file.lengths + file.offsets, b"FSHD")
    file.check(head)
    place = 6 + 4 * file.lengths + 8 + file.lengths
    sections, used = file.address(head, place), file.length(head, place + file.offsets)
    allocated = file.length(head, place + file.offsets + file.lengths)
    if sections < 0:
        return
    if used > min(allocated, _SECTIONS):
        raise Unreadable("inconsistent", "hdf5: a list of free sections larger than it can be")
    file.hidden(file.block(sections, allocated, b"FSSE")[used:])


# -- global heaps


class GlobalHeaps:
    """Collections of texts and sequences of any length."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._objects: dict[int, dict[int, tuple[int, int]]] = {}
        self._left: dict[int, bytearray] = {}
        self._shown: set[tuple[int, int]] = set()
        self.tensors = 0  # bytes of objects that are data of datasets

    def get(self, at: int, index: int, length: int, data: bool) -> bytes:
        """The first `length` bytes of an object; data: whether they belong to a dataset. Raises `Unreadable`."""
        objects = self._objects.get(at)
        if objects is None:
            objects = self._objects[at] = self._open(at)
        if index not in objects:
            raise Unreadable("malformed", "hdf5: an object of a global heap that isn't there")
        begin, size = objects[index]
        if length > size:
            raise Unreadable("inconsistent", f"hdf5: {length} bytes wanted of an object of {size}")
        left = self._left[at]
        if data and (at, index) not in self._shown:
            self._shown.add((at, index))
            self.tensors += length
        found = self._file.peek(at + begin, length)
        left[begin : begin + length] = bytes(length)
        return found

    def _open(self, at: int) -> dict[int, tuple[int, int]]:
        file = self._file
        size = file.length(file.peek(at, 8 + file.lengths), 8)
        data = file.block(at, size, b"GCOL")
        head = 8 + file.lengths
        self._left[at] = left = bytearray(head) + bytearray(data[head:])
        place = head
        objects: dict[int, tuple[int, int]] = {}
        while place + head <= size:
            index, length = _u16(data, place), file.length(data, place + 8)
            left[place : place + head] = bytes(head)
            if index == 0:  # the room that is left, its size with this header
                break
            if index in objects or place + head + length > size:
                raise Unreadable("inconsistent", "hdf5: a global heap whose objects leave it, or have one number")
            objects[index] = place + head, length
            place += head + -(-length // 8) * 8
        return objects

    def close(self) -> None:
        """What nothing refers to."""
        for left in self._left.values():
            self._file.hidden(bytes(left))


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _uint(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "little")
