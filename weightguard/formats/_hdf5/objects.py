"""Object headers and the links of groups.

Source: HDF5 File Format Specification 3.0, IV "Disk Format: Level 2 - Data Objects", and III.A.1, III.B, III.C for groups in
symbol tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from weightguard.errors import Unreadable
from weightguard.formats._hdf5.file import File
from weightguard.formats._hdf5.heaps import FractalHeap, LocalHeap, records

(
    (NIL, DATASPACE, LINK_INFO, DATATYPE, OLD_FILL, FILL, LINK, EXTERNAL_FILES, LAYOUT, BOGUS, GROUP_INFO, FILTERS),
    (ATTRIBUTE, COMMENT, OLD_TIME, SHARED_TABLE, CONTINUATION, SYMBOL_TABLE, TIME, BTREE_K, DRIVER, ATTRIBUTE_INFO, REFERENCES),
    (SPACE_INFO, CACHE_IMAGE),
) = range(12), range(12, 23), range(23, 25)

_MESSAGES = 1 << 20  # of one object
_DEPTH = 32
_LONGEST = 1024  # bytes of a name that is one
_SHARED = 2
HARD, SOFT, EXTERNAL = "hard", "soft", "external"


class Message(NamedTuple):
    """A header message, shared ones resolved."""

    kind: int
    data: bytes


class Link(NamedTuple):
    """A member of a group. kind: HARD, SOFT or EXTERNAL. address: of the object, for a hard one; text: of the others."""

    name: str
    kind: str
    address: int
    text: str


def messages(file: File, at: int) -> list[Message]:
    """All messages of the object at an address; raises `Unreadable`."""
    found = []
    for kind, flags, data in _raw_messages(file, at, True):
        found.append(Message(kind, _shared(file, kind, data) if flags & _SHARED and kind != ATTRIBUTE else data))
    return found


def shared(file: File, kind: int, data: bytes) -> bytes:
    """The message that a shared one refers to (IV.A.2, "Shared Messages"); raises `Unreadable`."""
    return _shared(file, kind, data)


def _shared(file: File, kind: int, data: bytes) -> bytes:
    version = data[0] if data else 0
    if version not in (1, 2, 3) or len(data) < 2:
        raise Unreadable("malformed", "hdf5: a bad reference to a shared message")
    if version == 3 and data[1] != 2:
        raise Unreadable("unsupported", "hdf5: messages in a shared heap")
    at = file.address(data, 8 if version == 1 else 2)
    for other, flags, inner in _raw_messages(file, at, False):
        if other == kind and not flags & _SHARED:
            return inner
    raise Unreadable("malformed", "hdf5: a reference to a message that isn't there")


def _raw_messages(file: File, at: int, account: bool) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, data) of each message. account: the blocks and what is hidden in them are recorded."""
    take = file.block if account else file.peek
    start = file.peek(at, 6)
    if start[:4] == b"OHDR":
        yield from _second(file, at, start, account)
        return
    if start[0] != 1:
        raise Unreadable("malformed", f"hdf5: no object header at {at}")
    head = take(at, 16)
    size = int.from_bytes(head[8:12], "little")
    spans = [(at + 16, size)]
    count = 0
    for begin, length in spans:
        data = take(begin, length) if length else b""
        place = 0
        while place + 8 <= length:
            kind, size = (
                int.from_bytes(data[place : place + 2], "little"),
                int.from_bytes(data[place + 2 : place + 4], "little"),
            )
            body = data[place + 8 : place + 8 + size]
            if place + 8 + size > length:
                raise Unreadable("malformed", f"hdf5: a message that leaves the object header at {at}")
            count = _counted(count, at)
            if kind == CONTINUATION:
                spans.append((file.address(body, 0), file.length(body, file.offsets)))
            elif kind == NIL:
                if account:
                    file.hidden(body)
            else:
                yield kind, data[place + 4], body
            place += 8 + size
        if account:
            file.hidden(data[place:])


def _second(file: File, at: int, start: bytes, account: bool) -> Iterator[tuple[int, int, bytes]]:
    """An object header of version 2 (IV.A.1.b)."""
    take = file.block if account else file.peek
    flags = start[5]
    if start[4] != 2:
        raise Unreadable("unsupported", f"hdf5: version {start[4]} of an object header")
    prefix = 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(file.peek(at + prefix, width), "little")
    order = 2 if flags & 4 else 0
    spans = [(at, prefix + width + size + 4, prefix + width)]
    count = 0
    for begin, length, first in spans:
        data = take(begin, length)
        if (first == 4 and data[:4] != b"OCHK") or length < first + 4:
            raise Unreadable("malformed", f"hdf5: a bad continuation of the object header at {at}")
        file.check(data)
        place, end = first, length - 4
        while place + 4 + order <= end:
            kind, size = data[place], int.from_bytes(data[place + 1 : place + 3], "little")
            body_at = place + 4 + order
            if body_at + size > end:
                raise Unreadable("malformed", f"hdf5: a message that leaves the object header at {at}")
            body = data[body_at : body_at + size]
            count = _counted(count, at)
            if kind == CONTINUATION:
                spans.append((file.address(body, 0), file.length(body, file.offsets), 4))
            elif kind == NIL:
                if account:
                    file.hidden(body)
            else:
                yield kind, data[place + 3], body
            place = body_at + size
        if account:
            file.hidden(data[place:end])


def _counted(count: int, at: int) -> int:
    if count >= _MESSAGES:
        raise Unreadable("limit", f"hdf5: more than {_MESSAGES} messages in the object header at {at}")
    return count + 1


# -- groups


def links(file: File, found: list[Message]) -> Iterator[Link]:
    """The members of a group, from its messages; raises `Unreadable`."""
    for m in found:
        if m.kind == SYMBOL_TABLE:
            tree, heap = file.address(m.data, 0), file.address(m.data, file.offsets)
            names = LocalHeap(file, heap)
            yield from _symbols(file, tree, names, 0, None)
            names.close()
        elif m.kind == LINK:
            yield _link(file, m.data)
        elif m.kind == LINK_INFO:
            yield from _dense(file, m.data)


def _dense(file: File, data: bytes) -> Iterator[Link]:
    """Links in a fractal heap, by name (IV.A.2.c)."""
    if len(data) < 2:
        raise Unreadable("malformed", "hdf5: a group whose links aren't described")
    place = 2 + (8 if data[1] & 1 else 0)
    heap_at, tree = file.address(data, place), file.address(data, place + file.offsets)
    order = file.address(data, place + 2 * file.offsets) if data[1] & 2 else -1
    if heap_at < 0:
        return
    heap = FractalHeap(file, heap_at)
    _, by_name = records(file, tree, (5,))
    for r in by_name:
        yield _link(file, heap.get(r[4:]))
    if order >= 0:
        _, by_order = records(file, order, (6,))
        if len(by_order) != len(by_name):
            raise Unreadable("inconsistent", "hdf5: a group whose two indices disagree")
    heap.close()


def _link(file: File, data: bytes) -> Link:
    """A link message (IV.A.2.g)."""
    if len(data) < 4 or data[0] != 1:
        raise Unreadable("malformed", "hdf5: a link of another version")
    flags, place, kind = data[1], 2, 0
    if flags & 8:
        kind, place = data[place], place + 1
    place += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length = int.from_bytes(data[place : place + width], "little")
    place += width
    name = data[place : place + length]
    place += length
    if place >= len(data) or not name:
        raise Unreadable("malformed", "hdf5: a link that ends early")
    if kind == 0:
        file.hidden(data[place + file.offsets :])
        return Link(_name(file, name), HARD, file.address(data, place), "")
    text = data[place + 2 : place + 2 + int.from_bytes(data[place : place + 2], "little")]
    file.unexplained += len(text) if len(text) > 2 * _LONGEST else 0
    if kind == 1:
        return Link(_name(file, name), SOFT, -1, _decode(text))
    if kind == 64:
        return Link(_name(file, name), EXTERNAL, -1, _decode(text[1:].split(b"\0")[0]))
    raise Unreadable("unsupported", f"hdf5: a link of type {kind}")


def _symbols(file: File, at: int, names: LocalHeap, depth: int, level: int | None) -> Iterator[Link]:
    """A version 1 B-tree of a group (III.A.1) and its symbol table nodes (III.B)."""
    o, n = file.offsets, file.lengths
    size = 8 + 2 * o + 2 * file.group_k * (o + n) + n
    data = file.block(at, size, b"TREE")
    used = int.from_bytes(data[6:8], "little")
    if data[4] != 0 or depth > _DEPTH or used > 2 * file.group_k or (level is not None and data[5] != level - 1):
        raise Unreadable("malformed", "hdf5: a bad node of a group's B-tree")
    place = 8 + 2 * o + n
    for i in range(used):
        child = file.address(data, place + i * (o + n))
        if data[5]:
            yield from _symbols(file, child, names, depth + 1, data[5])
        else:
            yield from _symbol_node(file, child, names)
    file.hidden(data[place + used * (o + n) :])


def _symbol_node(file: File, at: int, names: LocalHeap) -> Iterator[Link]:
    o = file.offsets
    width = 2 * o + 24
    data = file.block(at, 8 + 2 * file.leaf_k * width, b"SNOD")
    count = int.from_bytes(data[6:8], "little")
    if data[4] != 1 or count > 2 * file.leaf_k:
        raise Unreadable("malformed", "hdf5: a bad symbol table node")
    for i in range(count):
        entry = data[8 + i * width : 8 + (i + 1) * width]
        name = _name(file, names.text(file.address(entry, 0)))
        cache, scratch = int.from_bytes(entry[2 * o : 2 * o + 4], "little"), entry[2 * o + 8 :]
        if cache == 2:
            yield Link(name, SOFT, -1, _decode(names.text(int.from_bytes(scratch[:4], "little"))))
        else:
            yield Link(name, HARD, file.address(entry, o), "")
            file.hidden(scratch[2 * o :] if cache == 1 else scratch)
    file.hidden(data[8 + count * width :])


def _name(file: File, raw: bytes) -> str:
    if len(raw) > _LONGEST:
        file.unexplained += len(raw)
    return _decode(raw)


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
