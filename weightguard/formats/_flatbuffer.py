"""FlatBuffers, read by a schema and in pieces, with an account of every byte.

After flatbuffers.dev, "FlatBuffers internals": a table begins with the distance back to its vtable, which says where in the table
each field lies; vectors and strings begin with their length; all else is reached by unsigned distances forwards. A field that a
schema does not have is met by no reader: its bytes are reached by no rule, so they are unexplained unless they are zeros.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any

import numpy as np

from weightguard.errors import Unreadable
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.values import Accounts

Kind = Any
"""What a field holds. "?bBhHiIqQfd": a scalar, as `struct` names it. "name": a string that is kept, "text": one that is not.
("ints", "i"): few scalars, kept. ("many", width): a vector of `width` bytes an item, where its items lie: (begin, count).
("table", schema), ("tables", schema): tables. ("union", {type: schema}): a table whose type is the field
before it."""
REST = -1
Schema = Mapping[int, tuple[str, Kind]]
"""Fields by their number in the schema's table (deprecated ones and the type of a union count too): a name and what it holds.
`REST`: ("", ("rest", most)) stands for scalars of no name, up to `most` bytes of the table."""
Table = dict[str, Any]  # what a table holds by its fields' names, absent ones left out

_SCALARS = {c: Struct("<" + c) for c in "?bBhHiIqQfd"}
_PAGE = 1 << 14
_PAGES = 4096  # kept at once
_TABLES = 200_000  # of one file
_INLINE = 1024  # bytes of a table itself
_FEW = 1 << 17  # scalars of one vector that are kept
_NAME = 1 << 16
_TEXT = 64 << 10  # what all strings and vectors that are kept may carry, in bytes once deflated
_TEXT_A_STRING = 8  # and for each of them
_GAP = 64 << 10  # the largest alignment: page sizes


class FlatBuffer:
    """One flatbuffer within a source. `data`: the extents of what is no header, given to `account_for`."""

    def __init__(self, source: ByteSource, limits: Limits, name: str) -> None:
        self.source = source
        self.size = source.size
        self.unexplained = 0
        self._name = name
        self._limits = limits
        self._pages: dict[int, bytes] = {}
        self._left = _TABLES
        self._widths: dict[int, dict[int, int]] = {}  # of fields, by schema
        self._vtables: dict[int, tuple[list[int], int]] = {}
        self._vectors = 0  # places of tables in vectors
        self._met: dict[tuple[int, int], Table] = {}
        self._begins: list[int] = []
        self._ends: list[int] = []
        self._data: dict[tuple[int, int], None] = {}
        self._deflate = zlib.compressobj(1)
        self._text = self._deflated = 0
        self._allowed = _TEXT

    # -- reading

    def root(self, schema: Schema, at: int = 0, identifier: bool = True) -> Table:
        """The root table: its place stands at byte `at`, and an identifier of four bytes may follow."""
        self._cover(at, 8 if identifier else 4)
        return self.table(at + self._u32(at), schema)

    def table(self, at: int, schema: Schema) -> Table:
        """The fields of the table at byte `at`; raises `Unreadable` ("malformed", "truncated", "limit")."""
        key = at, id(schema)
        found = self._met.get(key)
        if found is not None:  # writers may share tables: each is read once
            return found
        self._left -= 1
        if self._left < 0:
            raise Unreadable("limit", f"{self._name}: more than {_TABLES} tables")
        found = self._met[key] = {}
        vtable = at - self._scalar(at, "i")
        if vtable < 0 or at < 4:
            raise Unreadable("malformed", f"{self._name}: a table whose vtable lies outside of the file, at byte {at}")
        slots, inline = self._vtables.get(vtable) or self._vtable(vtable)
        data = self.take(at, inline)
        self._cover(at, min(inline, schema[REST][1][1]) if REST in schema else 4)
        widths = self._widths.setdefault(id(schema), {})
        for number, place in enumerate(slots):
            if not place or number not in schema:
                continue
            name, kind = schema[number]
            width = widths.get(number) or widths.setdefault(number, _width(kind))
            if place < 4 or place + width > inline:
                raise Unreadable("malformed", f"{self._name}: a field that lies outside of its table, at byte {at}")
            self._cover(at + place, width)
            if len(kind) == 1:
                found[name] = _SCALARS[kind].unpack_from(data, place)[0]
            else:
                below = at + place + int.from_bytes(data[place : place + 4], "little")
                found[name] = self._below(below, name, kind, found)
        return found

    def _vtable(self, at: int) -> tuple[list[int], int]:
        """Where in a table each field lies, and how many bytes the table has; tables share their vtables."""
        length, inline = self._scalar(at, "H"), self._scalar(at + 2, "H")
        if length < 4 or length % 2 or not 4 <= inline <= _INLINE:
            raise Unreadable("malformed", f"{self._name}: a vtable of {length} bytes, at byte {at}")
        self._cover(at, length)
        found = self._vtables[at] = np.frombuffer(self.take(at + 4, length - 4), "<u2").tolist(), inline
        return found

    def take(self, at: int, length: int) -> bytes:
        """Bytes of the file; raises `Unreadable` ("truncated") where it ends before."""
        if at < 0 or at + length > self.size:
            raise Unreadable("truncated", f"{self._name}: needs bytes {at} to {at + length} of {self.size}")
        page, offset = at // _PAGE, at % _PAGE
        if offset + length > _PAGE:
            return self.source.read(at, length)
        held = self._pages.get(page)
        if held is None:
            if len(self._pages) >= _PAGES:
                self._pages.clear()
            begin = page * _PAGE
            held = self._pages[page] = self.source.read(begin, min(_PAGE, self.size - begin))
        return held[offset : offset + length]

    # -- accounts

    def explain(self, extent: tuple[int, int]) -> None:
        """Counts (begin, end) as headers: what a format's own rule bounds."""
        self._cover(extent[0], extent[1] - extent[0])

    def note(self, extent: tuple[int, int]) -> None:
        """Counts (begin, end) as headers if all of that is no more than text carries; unexplained if it is too long to be."""
        begin, end = extent
        self._cover(begin, end - begin)
        if end - begin > _NAME:
            self.unexplained += end - begin
        else:
            self._measure(self.take(begin, end - begin))

    def account_for(self, begin: int, length: int) -> None:
        """Counts bytes as those of a tensor; the same extent may be given more than once."""
        if begin < 0 or begin + length > self.size:
            raise Unreadable("truncated", f"{self._name}: a tensor of bytes {begin} to {begin + length} of {self.size}")
        if length:
            self._data[begin, begin + length] = None

    def accounts(self, stop: int | None = None) -> Accounts:
        """What the bytes up to `stop` are. Raises `Unreadable` ("inconsistent") if a tensor shares bytes with anything else."""
        stop = self.size if stop is None else stop
        begins = np.array(self._begins + [b for b, _ in self._data], np.int64)
        ends = np.array(self._ends + [e for _, e in self._data], np.int64)
        tensor = np.arange(len(begins)) >= len(self._begins)
        order = np.argsort(begins, kind="stable")
        begins, ends, tensor = begins[order], ends[order], tensor[order]
        reached = np.maximum.accumulate(ends) if len(ends) else ends
        overlapping = begins[1:] < reached[:-1]
        last_tensor_end = np.maximum.accumulate(np.where(tensor, ends, 0))
        if (overlapping & tensor[1:]).any() or (begins[1:] < last_tensor_end[:-1]).any():
            raise Unreadable(
                "inconsistent", f"{self._name}: a tensor shares its bytes with another, or with the file's structure"
            )
        padding = 0
        unexplained = self.unexplained + (self._text if self._deflated + len(self._deflate.flush()) > self._allowed else 0)
        gaps = np.flatnonzero(begins[1:] > reached[:-1]).tolist()
        holes = [(int(reached[i]), int(begins[i + 1])) for i in gaps]
        last = int(reached[-1]) if len(reached) else 0
        first = int(begins[0]) if len(begins) else 0
        for begin, end in [(0, first), *holes, (last, stop)]:
            if begin >= end:
                continue
            if end - begin <= _GAP and not self.take(begin, end - begin).strip(b"\0"):
                padding += end - begin
            else:
                unexplained += end - begin
        tensors = sum(end - begin for begin, end in self._data)
        headers = max(0, self.size - tensors - padding - unexplained)
        if headers > self._limits.header_bytes:
            raise Unreadable(
                "limit", f"{self._name}: {headers} bytes beside the tensors, more than {self._limits.header_bytes}"
            )
        return Accounts(tensors, headers, padding, unexplained)

    @property
    def end(self) -> int:
        """Where the last byte that was met so far ends."""
        return max([0, *self._ends, *(e for _, e in self._data)])

    # -- fields

    def _below(self, place: int, name: str, kind: Any, found: Table) -> Any:
        """What a field points to."""
        if kind in ("name", "text"):
            return self._string(place, keep=kind == "name")
        what = kind[0]
        if what == "table":
            return self.table(place, kind[1])
        if what == "union":
            schema = kind[1].get(found.get(f"{name}_type", 0))
            return None if schema is None else self.table(place, schema)
        if what == "ints":
            return self._ints(place, kind[1])
        if what == "many":
            return self._vector(place, kind[1])
        begin, count = self._vector(place, 4)
        self._vectors += count
        if self._vectors > 4 * _TABLES:
            raise Unreadable("limit", f"{self._name}: more than {4 * _TABLES} tables in vectors")
        self._cover(begin, 4 * count)
        distances = np.frombuffer(self.take(begin, 4 * count), "<u4").tolist()
        places = [begin + 4 * i + d for i, d in enumerate(distances)]
        return [self.table(p, kind[1]) for p in places]

    def _vector(self, at: int, width: int) -> tuple[int, int]:
        """(begin of the items, how many), within the file."""
        count = self._u32(at)
        self._cover(at, 4)
        if at + 4 + count * width > self.size:
            raise Unreadable("truncated", f"{self._name}: a vector of {count} items at byte {at} of {self.size}")
        return at + 4, count

    def _ints(self, at: int, form: str) -> Sequence[int]:
        width = _SCALARS[form].size
        begin, count = self._vector(at, width)
        if count > _FEW:
            raise Unreadable("limit", f"{self._name}: a vector of {count} numbers, at byte {at}")
        data = self.take(begin, count * width)
        self._cover(begin, len(data))
        self._measure(data)
        values: list[int] = np.frombuffer(data, f"<{form}{width}" if form == "f" else _NUMPY[form]).tolist()
        return values

    def _string(self, at: int, keep: bool) -> str:
        begin, count = self._vector(at, 1)
        self._cover(begin, count + 1)
        if count > _NAME:
            self.unexplained += count
            if keep:
                raise Unreadable("limit", f"{self._name}: a name of {count} bytes, at byte {at}")
            return ""
        data = self.take(begin, count)
        if self.take(begin + count, 1) != b"\0":
            raise Unreadable("malformed", f"{self._name}: a string that does not end in zero, at byte {at}")
        self._measure(data)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise Unreadable("malformed", f"{self._name}: a string that is not UTF-8, at byte {at}") from error

    def _scalar(self, at: int, form: str) -> Any:
        packed = _SCALARS[form]
        return packed.unpack(self.take(at, packed.size))[0]

    def _u32(self, at: int) -> int:
        return int.from_bytes(self.take(at, 4), "little")

    def _cover(self, begin: int, length: int) -> None:
        if begin < 0 or begin + length > self.size:
            raise Unreadable("truncated", f"{self._name}: needs bytes {begin} to {begin + length} of {self.size}")
        if length:
            self._begins.append(begin)
            self._ends.append(begin + length)

    def _measure(self, data: bytes) -> None:
        self._allowed += _TEXT_A_STRING
        self._text += len(data)
        self._deflated += len(self._deflate.compress(data))


_NUMPY = {"?": "?", "b": "<i1", "B": "<u1", "h": "<i2", "H": "<u2", "i": "<i4", "I": "<u4", "q": "<i8", "Q": "<u8", "d": "<f8"}


def _width(kind: Kind) -> int:
    """Bytes that a field takes within its table: those of a scalar, or of a distance."""
    return _SCALARS[kind].size if len(kind) == 1 else 4
