"""Protocol Buffers on the wire, read by a schema and in pieces, with an account of every byte.

After protobuf.dev, "Encoding": records of a tag and a value; a length before what is long. Groups (deprecated) are refused. Of a
field that a schema does not have, or has with another wire type, readers keep the bytes and ignore them: they are unexplained.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from weightguard.errors import Unreadable
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.values import Accounts

VARINT, I64, LEN, I32 = 0, 1, 2, 5
_NUMBERED, _FIXED = (LEN, VARINT), (I32, I64)
Extent = tuple[int, int]  # where a value begins and ends, in bytes of the file
Record = tuple[int, int, int, int, int]  # field number, wire type, begin (or a varint's value), end, where the tag is

_Many = Literal["names", "messages", "ints", "f32s", "f64s", "varints", "blobs"]
Kind = Literal["int", "float", "double", "name", "text", "bytes", "message"] | _Many
"""What a field holds. int, ints: varints, as signed 64-bit (ints: repeated, few). float, double: 4 and 8 bytes, not kept. name, names:
strings that are kept. text: free text, not kept. bytes, message, messages: where they lie (messages: repeated). f32s, f64s, varints:
many numbers, packed or not. blobs: many strings."""


class Field(NamedTuple):
    """name: empty for a field of which nothing is kept. nested: the schema of a message."""

    name: str
    kind: Kind
    nested: Schema | None = None


Schema = dict[int, Field]
Message = dict[str, Any]  # what a message holds by its fields' names, absent ones left out

_DEPTH = 100  # protobuf's own limit on nested messages
_RECORDS = 2_000_000  # of one file: graphs of 30,000 nodes have fewer
_INTS = 1024  # of one repeated field that is kept as numbers
_NAME = 1 << 16
# What all names and free text of a file may carry, in bytes once deflated: a base; for each string, as a graph of 30,000 nodes has
# names; and a share of the text, as the stack traces that exporters keep repeat themselves.
_TEXT, _TEXT_A_STRING, _TEXT_SHARE = 64 << 10, 8, 16
_FIRST, _MOST = 1 << 12, 1 << 18  # a piece grows while reading goes straight on, so that skipped data costs little
_SCAN = 1 << 20
_CONTINUED = 0x80
_ROOM = 20  # a tag and a length, ten bytes each


@dataclass
class Numbers:
    """A repeated field of many values: how many, in how many bytes of the file, and where the first ones lie.

    content: bytes of the values alone, where they are strings.
    """

    count: int = 0
    bytes: int = 0
    content: int = 0
    places: list[tuple[int, int, int]] = dataclasses.field(default_factory=list)  # (wire type, begin or value, end)


class Reader:
    """Messages of one source. `unexplained` and `data` are bytes that were met so far; all others are headers."""

    def __init__(self, source: ByteSource, limits: Limits) -> None:
        self.source = source
        self.unexplained = 0
        self.data = 0
        self._limits = limits
        self._size = source.size
        self._left = _RECORDS
        self._at = 0
        self._piece = b""
        self._length = _FIRST
        self._deflate = zlib.compressobj(1)
        self._text = 0
        self._deflated = 0
        self._strings = 0

    def message(self, schema: Schema, extent: Extent, depth: int = 0) -> Message:
        """The fields of one message; raises `Unreadable` ("malformed", "truncated", "limit")."""
        if depth > _DEPTH:
            raise Unreadable("limit", f"messages nested more than {_DEPTH} deep")
        found: Message = {}
        for record in self.records(extent):
            number, wire, begin, end, tag = record
            field = schema.get(number)
            if field is None or not field.name:
                self.account(field, record, depth)
                continue
            name, kind, _ = field
            if kind in _SCALARS and wire == _SCALARS[kind]:
                if name in found:
                    raise Unreadable("malformed", f"{name} is given twice, at byte {tag}")
                found[name] = self._scalar(kind, begin, end)
            elif kind in _LISTS and wire == LEN:
                found.setdefault(name, []).append(self._name(begin, end) if kind == "names" else (begin, end))
            elif kind in _NUMBERS and wire in (LEN, _NUMBERS[kind]):
                self.count(found.setdefault(name, Numbers()), kind, record)
            elif kind == "ints" and wire in (LEN, VARINT):
                values = found.setdefault(name, [])
                values += self._varints(begin, end) if wire == LEN else [signed(begin)]
                if len(values) > _INTS:
                    raise Unreadable("limit", f"more than {_INTS} numbers in {name}, at byte {tag}")
            else:
                self.unexplained += end - tag
        return found

    def records(self, extent: Extent) -> Iterator[Record]:
        """The records of a message, each within its bounds; values are skipped, not read."""
        at, stop = extent
        base, piece = self._at, self._piece
        while at < stop:
            i = at - base
            if not 0 <= i <= len(piece) - _ROOM and (i < 0 or base + len(piece) < self._size):
                base, piece = self._look(at)
                i = 0
            tag = at
            try:
                key = piece[i]
                i += 1
                if key >= _CONTINUED:
                    key, i = varint(piece, i - 1)
                number, wire = key >> 3, key & 7
                if wire in _NUMBERED:
                    begin = piece[i]
                    i += 1
                    if begin >= _CONTINUED:
                        begin, i = varint(piece, i - 1)
                    at = base + i
                    if wire == LEN:
                        begin, at = at, at + begin
                elif wire in _FIXED:
                    begin = base + i
                    at = begin + (4 if wire == I32 else 8)
                else:
                    raise Unreadable("malformed", f"a group or a wire type that there is not, at byte {tag}")
            except IndexError as error:
                raise Unreadable("truncated", f"ends within a record, at byte {tag}") from error
            if not 0 < number < 1 << 29:
                raise Unreadable("malformed", f"a field number that there is not, at byte {tag}")
            if at > stop:
                reason: Literal["truncated", "malformed"] = "truncated" if at > self._size else "malformed"
                raise Unreadable(reason, f"a field goes on past the end of its message, at byte {tag}")
            self._left -= 1
            if self._left < 0:
                raise Unreadable("limit", f"more than {_RECORDS} fields")
            yield number, wire, begin, at, tag

    def integers(self, numbers: Numbers, most: int) -> list[int] | None:
        """The values of a field of varints, signed; None if they are more than `most`."""
        if numbers.count > most:
            return None
        values: list[int] = []
        for wire, begin, end in numbers.places:
            values += self._varints(begin, end) if wire == LEN else [signed(begin)]
        return values

    def read(self, extent: Extent) -> bytes:
        """Bytes of a value, which the caller has seen to be few."""
        begin, end = extent
        if self._at <= begin and end <= self._at + len(self._piece):
            return self._piece[begin - self._at : end - self._at]
        return self.source.read(begin, end - begin)

    def note(self, extent: Extent) -> None:
        """Bytes that are free text: how much they carry is measured, and what is too long for text is not read."""
        self.text(extent)

    def text(self, extent: Extent) -> str:
        """Free text, as far as it is text; empty if it is too long to be, and then unexplained."""
        begin, end = extent
        if end - begin > _NAME:
            self.unexplained += end - begin
            return ""
        data = self.read(extent)
        self.measure(data)
        return data.decode(errors="replace")

    def accounts(self, size: int | None = None) -> Accounts:
        """What the bytes of the messages are (size: bytes of them, if they are not the whole file).

        Text that carries more than text does is unexplained: weights would.
        """
        deflated = self._deflated + len(self._deflate.flush())
        allowed = _TEXT + _TEXT_A_STRING * self._strings + self._text // _TEXT_SHARE
        unexplained = self.unexplained + (self._text if deflated > allowed else 0)
        headers = (self._size if size is None else size) - self.data - unexplained
        if headers > self._limits.header_bytes:
            raise Unreadable("limit", f"{headers} bytes beside the tensors, more than {self._limits.header_bytes}")
        return Accounts(self.data, headers, 0, unexplained)

    def _look(self, at: int) -> tuple[int, bytes]:
        straight = self._at <= at <= self._at + len(self._piece)
        self._length = min(2 * self._length, _MOST) if straight else _FIRST
        self._piece = self.source.read(at, min(self._length, self._size - at))
        self._at = at
        return at, self._piece

    def _scalar(self, kind: str, begin: int, end: int) -> Any:
        if kind == "int":
            return signed(begin)
        if kind == "name":
            return self._name(begin, end)
        if kind == "text":
            self.note((begin, end))
            return None
        return (begin, end) if kind in ("bytes", "message") else None

    def _name(self, begin: int, end: int) -> str:
        if end - begin > _NAME:
            raise Unreadable("limit", f"a name of {end - begin} bytes, at byte {begin}")
        data = self.read((begin, end))
        self.measure(data)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise Unreadable("malformed", f"a name that is not UTF-8, at byte {begin}") from error

    def measure(self, data: bytes) -> None:
        """Names or free text, of which too much carries more than such text does."""
        self._strings += 1
        self._text += len(data)
        self._deflated += len(self._deflate.compress(data))

    def skim(self, schema: Schema, extent: Extent, depth: int = 0) -> None:
        """A message of which nothing is kept."""
        if depth > _DEPTH:
            raise Unreadable("limit", f"messages nested more than {_DEPTH} deep")
        for record in self.records(extent):
            self.account(schema.get(record[0]), record, depth)

    def account(self, field: Field | None, record: Record, depth: int) -> None:
        """A field of which nothing is kept: its bytes are as the schema says, or unexplained."""
        _, wire, begin, end, tag = record
        kind = field.kind if field is not None else None
        if field is not None and field.nested is not None and wire == LEN:
            self.skim(field.nested, (begin, end), depth + 1)
        elif wire == LEN and (kind in _STRINGS or (kind in _PACKED and end - begin <= _INTS)):
            self.note((begin, end))
        elif kind not in _WIRES.get(wire, ()):
            self.unexplained += end - tag

    def count(self, numbers: Numbers, kind: str, record: Record) -> None:
        _, wire, begin, end, tag = record
        if len(numbers.places) < _INTS:
            numbers.places.append((wire, begin, end))
        numbers.bytes += end - tag
        if kind == "blobs" or wire != LEN:
            numbers.count += 1
            numbers.content += end - begin if kind == "blobs" else 0
        elif kind == "varints":
            numbers.count += self._count_varints(begin, end)
        else:
            width = 4 if kind == "f32s" else 8
            if (end - begin) % width:
                raise Unreadable("malformed", f"packed numbers that do not fill {width} bytes each, at byte {tag}")
            numbers.count += (end - begin) // width

    def _count_varints(self, begin: int, end: int) -> int:
        """A varint ends at a byte without the continuation bit."""
        count = 0
        for at in range(begin, end, _SCAN):
            piece = self.source.read(at, min(_SCAN, end - at))
            count += int(np.count_nonzero(np.frombuffer(piece, np.uint8) < _CONTINUED))
            if at + len(piece) == end and piece[-1] >= _CONTINUED:
                raise Unreadable("malformed", f"a number goes on past the end of its field, at byte {end}")
        return count

    def _varints(self, begin: int, end: int) -> list[int]:
        if end - begin > 10 * _INTS:
            raise Unreadable("limit", f"more than {_INTS} numbers, at byte {begin}")
        data = self.read((begin, end))
        values: list[int] = []
        at = 0
        while at < len(data):
            try:
                value, at = varint(data, at)
            except IndexError as error:
                raise Unreadable("malformed", f"a number goes on past the end of its field, at byte {end}") from error
            values.append(signed(value))
        return values


_SCALARS: Mapping[str, int] = {
    "int": VARINT,
    "float": I32,
    "double": I64,
    "name": LEN,
    "text": LEN,
    "bytes": LEN,
    "message": LEN,
}
_LISTS = frozenset({"names", "messages"})
_NUMBERS: Mapping[str, int] = {"f32s": I32, "f64s": I64, "varints": VARINT, "blobs": LEN}
_STRINGS = frozenset({"text", "name", "names", "bytes", "blobs"})
_PACKED = frozenset({"ints", "f32s", "f64s", "varints"})
_WIRES: Mapping[int, frozenset[str]] = {
    VARINT: frozenset({"int", "ints", "varints"}),
    I32: frozenset({"float", "f32s"}),
    I64: frozenset({"double", "f64s"}),
}


def schemas(text: str) -> dict[str, Schema]:
    """Schemas by their messages' names. Each line: a name, then its fields, NUMBER:KIND, or NUMBER:KIND:NAME where a field is kept;
    a kind that begins with a capital is a message, and repeated with "*" after it. A line that begins with a space goes on.
    """
    lines = text.replace("\n ", " ").split("\n")
    found: dict[str, Schema] = {line.split()[0]: {} for line in lines if line.strip()}
    for line in lines:
        for part in line.split()[1:]:
            number, kind, name = (*part.split(":"), "")[:3]
            message = kind.rstrip("*")
            nested = found[message] if message[0].isupper() else None
            if nested is not None:
                kind = "messages" if kind.endswith("*") else "message"
            found[line.split()[0]][int(number)] = Field(name, cast(Kind, kind), nested)
    return found


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, least first, and where it ends; raises `IndexError` where the bytes end before it does."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < _CONTINUED:
            if value >> 64:
                break
            return value, at
    raise Unreadable("malformed", "a number of more than 64 bits")


def signed(value: int) -> int:
    """A varint as int64: "two's complement"."""
    return value - (1 << 64) if value >> 63 else value


def top_level(head: bytes) -> list[tuple[int, int, int, int]] | None:
    """(number, wire type, begin or value, end) of the records that begin in a file's first bytes; None if they are no records.

    For telling messages apart before any is read.
    """
    found: list[tuple[int, int, int, int]] = []
    at = 0
    while at < len(head) and len(found) < 64:
        try:
            key, i = varint(head, at)
            number, wire = key >> 3, key & 7
            begin, end = i, i + 8
            if wire in _NUMBERED:
                begin, end = varint(head, i)
                if wire == LEN:
                    begin, end = end, end + begin
            elif wire == I32:
                end = i + 4
        except IndexError:
            break
        except Unreadable:
            return None
        if wire not in (VARINT, I64, LEN, I32) or not 0 < number < 1 << 29:
            return None
        found.append((number, wire, begin, end))
        at = end
    return found
