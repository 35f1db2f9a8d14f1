"""ExecuTorch: programs (.pte) and tensors beside them (.ptd), flatbuffers followed by segments of data.

Source: ExecuTorch, `schema/program.fbs` ("ET12"), `extension/flat_tensor/serialize/flat_tensor.fbs` ("FT01"), and the extended headers
of `exir/_serialize/_program.py` ("eh00") and `extension/flat_tensor/serialize/serialize.py` ("FH01").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats._flatbuffer import FlatBuffer, Schema, Table
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES, from_rows
from weightguard.values import Finding

NAME = "executorch"
SPEC = "ExecuTorch, schema/program.fbs (ET12) and extension/flat_tensor/serialize/flat_tensor.fbs (FT01), at 1.5"

# scalar_type.fbs
_TYPES = {
    0: "U8",
    1: "I8",
    2: "I16",
    3: "I32",
    4: "I64",
    5: "F16",
    6: "F32",
    7: "F64",
    11: "BOOL",
    12: "I8",
    13: "U8",
    14: "I32",
    15: "BF16",
    22: "U16",
    23: "F8_E5M2",
    24: "F8_E4M3",
    25: "F8_E5M2FNUZ",
    26: "F8_E4M3FNUZ",
    27: "U16",
    28: "U32",
    29: "U64",
}
_QUANTISED = frozenset({12, 13})  # of 8 bits; of 32 an element could be several weights
_OPAQUE = 64 << 10  # bytes for a backend that are let be unexplained; more of them are named
_MOST = 1 << 62

_I32S, _I64S = ("ints", "i"), ("ints", "q")
_SEGMENT: Schema = {0: ("offset", "Q"), 1: ("size", "Q")}
_OFFSETS: Schema = {0: ("segment_index", "I"), 1: ("offsets", ("many", 8))}
_TENSOR: Schema = {
    0: ("scalar_type", "b"),
    1: ("storage_offset", "i"),
    2: ("sizes", _I32S),
    3: ("dim_order", ("ints", "B")),
    4: ("requires_grad", "?"),
    5: ("buffer", "I"),
    6: ("allocation", ("table", {0: ("memory_id", "I"), 1: ("low", "I"), 2: ("high", "I")})),
    7: ("layout", "b"),
    8: ("shape_dynamism", "b"),
    9: (
        "extra",
        (
            "table",
            {0: ("segment", "Q"), 1: ("name", "name"), 2: ("location", "b"), 3: ("device", "b"), 4: ("device_index", "b")},
        ),
    ),
}
_VALUES: dict[int, Schema] = {
    1: {},
    2: {0: ("int_val", "q")},
    3: {0: ("bool_val", "?")},
    4: {0: ("double_val", "d")},
    5: _TENSOR,
    6: {0: ("string_val", "text")},
    7: {0: ("items", _I64S)},
    8: {0: ("items", ("ints", "d"))},
    9: {0: ("items", ("ints", "?"))},
    10: {0: ("items", _I32S)},
    11: {0: ("items", _I32S)},
}
_CALLS: dict[int, Schema] = {
    1: {0: ("op_index", "i"), 1: ("args", _I32S)},
    2: {0: ("delegate_index", "i"), 1: ("args", _I32S)},
    3: {0: ("from", "i"), 1: ("to", "i")},
    4: {0: ("value", "i"), 1: ("destination", "i")},
    5: {0: ("value", "i")},
}
_FRAME: Schema = {0: ("filename", "text"), 1: ("lineno", "i"), 2: ("name", "text"), 3: ("context", "text")}
_CHAIN: Schema = {
    0: ("inputs", _I32S),
    1: ("outputs", _I32S),
    2: ("instructions", ("tables", {0: ("args_type", "B"), 1: ("args", ("union", _CALLS))})),
    3: ("stacktrace", ("tables", {0: ("items", ("tables", _FRAME))})),
}
_DELEGATE: Schema = {
    0: ("id", "name"),
    1: ("processed", ("table", {0: ("location", "b"), 1: ("index", "I")})),
    2: ("compile_specs", ("tables", {0: ("key", "text"), 1: ("value", ("many", 1))})),
}
_PLAN: Schema = {
    0: ("name", "name"),
    1: ("container_meta_type", ("table", {0: ("inputs", "text"), 1: ("outputs", "text")})),
    2: ("values", ("tables", {0: ("val_type", "B"), 1: ("val", ("union", _VALUES))})),
    3: ("inputs", _I32S),
    4: ("outputs", _I32S),
    5: ("chains", ("tables", _CHAIN)),
    6: ("operators", ("tables", {0: ("name", "text"), 1: ("overload", "text")})),
    7: ("delegates", ("tables", _DELEGATE)),
    8: ("non_const_buffer_sizes", _I64S),
    9: ("non_const_buffer_device", ("tables", {0: ("buffer_idx", "i"), 1: ("device", "b"), 2: ("device_index", "b")})),
}
_PROGRAM: Schema = {
    0: ("version", "I"),
    1: ("plans", ("tables", _PLAN)),
    2: ("constant_buffer", ("tables", {0: ("storage", ("many", 1))})),
    3: ("inline_data", ("tables", {0: ("data", ("many", 1))})),
    4: ("segments", ("tables", _SEGMENT)),
    5: ("constant_segment", ("table", _OFFSETS)),
    6: ("mutable_segments", ("tables", _OFFSETS)),
    7: ("named_data", ("tables", {0: ("key", "name"), 1: ("segment_index", "I")})),
}
_LAYOUT: Schema = {0: ("scalar_type", "b"), 1: ("sizes", _I32S), 2: ("dim_order", ("ints", "B"))}
_FLAT: Schema = {
    0: ("version", "I"),
    1: ("segments", ("tables", _SEGMENT)),
    2: ("named_data", ("tables", {0: ("key", "name"), 1: ("segment_index", "I"), 2: ("layout", ("table", _LAYOUT))})),
}


def sniff(head: bytes, tail: bytes) -> bool:
    """The file identifier of a program or of tensors, at byte 4."""
    return head[4:8] == b"FT01" or (head[4:6] == b"ET" and head[6:8].isdigit())


def read(source: ByteSource, limits: Limits) -> Container:
    """The constant tensors, each one's bytes checked against its shape. Raises `Unreadable`."""
    reader = _Reader(source, limits)
    if source.read(4, 4) == b"FT01":
        return reader.flat_tensors()
    return reader.program()


class _Reader:
    """Rows under way, and the segments that they lie in as (begin, size)."""

    def __init__(self, source: ByteSource, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._buffer = FlatBuffer(source, limits, NAME)
        self._segments: list[tuple[int, int]] = []
        self._rows: dict[str, tuple[int, tuple[int, ...], int, int, int]] = {}  # name: dtype, shape, begin, bytes, logical

    def flat_tensors(self) -> Container:
        """Tensors of a .ptd by their names."""
        root = self._buffer.root(_FLAT)
        self._find_segments(root, self._header(b"FH01", 24))
        for entry in root.get("named_data", ()):
            if "layout" in entry:
                key, layout = entry.get("key", ""), entry["layout"]
                begin, size = self._segment(entry.get("segment_index", 0))
                self._add(key, layout.get("scalar_type", 0), tuple(layout.get("sizes", ())), begin, size, exact=True)
        return self._container(())

    def program(self) -> Container:
        """Tensors that a program carries: in its flatbuffer, in its segments, and those that have names."""
        root = self._buffer.root(_PROGRAM)
        self._find_segments(root, self._header(b"eh00", 16))
        inline = [b.get("storage", (0, 0)) for b in root.get("constant_buffer", ())]
        constants = self._places(root.get("constant_segment"))
        mutable = [self._places(m) for m in root.get("mutable_segments", ())]
        named = {n.get("key", ""): self._segment(n.get("segment_index", 0)) for n in root.get("named_data", ())}
        opaque = 0
        backends: list[str] = []
        for number, plan in enumerate(root.get("plans", ())):
            prefix = plan.get("name") or f"plan{number}"
            for index, value in enumerate(plan.get("values", ())):
                tensor = value.get("val")
                if value.get("val_type") == 5 and tensor is not None:
                    self._tensor(f"{prefix}.{index}", tensor, constants or inline, mutable, named)
            for delegate in plan.get("delegates", ()):
                backends.append(delegate.get("id", ""))
                opaque += self._processed(delegate.get("processed", {}), root)
                for spec in delegate.get("compile_specs", ()):
                    begin, count = spec.get("value", (0, 0))
                    self._buffer.note((begin, begin + count))
        if opaque > _OPAQUE:
            names = ", ".join(sorted({b.encode("unicode_escape").decode("ascii")[:60] for b in backends}))
            raise Unreadable("unsupported", f"executorch: opaque: {opaque} bytes made for a backend ({names[:200]})")
        return self._container(sorted(set(backends)))

    def _header(self, magic: bytes, base_at: int) -> int:
        """Where segments begin: the extended header after the identifier says so; 0 if there is none."""
        if self._source.size < 16 or self._source.read(8, 4) != magic:
            return 0
        length = int.from_bytes(self._source.read(12, 4), "little")
        if length < base_at + 8 or length > 256 or 8 + length > self._source.size:
            raise Unreadable("malformed", f"executorch: an extended header of {length} bytes")
        header = self._source.read(8, length)
        self._buffer.explain((8, 8 + min(length, 40)))
        return int.from_bytes(header[base_at : base_at + 8], "little")

    def _find_segments(self, root: Table, base: int) -> None:
        for segment in root.get("segments", ()):
            begin, size = base + segment.get("offset", 0), segment.get("size", 0)
            if not base or begin + size > self._source.size:
                raise Unreadable(
                    "truncated", f"executorch: a segment at bytes {begin} to {begin + size} of {self._source.size}"
                )
            self._segments.append((begin, size))

    def _segment(self, index: int) -> tuple[int, int]:
        if index >= len(self._segments):
            raise Unreadable("malformed", f"executorch: segment {index}, of {len(self._segments)}")
        return self._segments[index]

    def _places(self, subsegments: Table | None) -> list[tuple[int, int]]:
        """(begin, bytes at most) of each tensor in a segment: "offsets ... relative to the beginning of the segment"."""
        begin, count = (subsegments or {}).get("offsets", (0, 0))
        if not count or subsegments is None:
            return []
        if count > self._limits.tensors:
            raise Unreadable("limit", f"executorch: more than {self._limits.tensors} tensors")
        offsets: list[int] = np.frombuffer(self._buffer.take(begin, 8 * count), "<u8").tolist()
        self._buffer.explain((begin, begin + 8 * count))
        index = subsegments.get("segment_index", 0)
        if count == 1 and not self._segments:  # a placeholder alone: no constants
            return []
        start, size = self._segment(index)
        if any(o > size for o in offsets):
            raise Unreadable("inconsistent", "executorch: a tensor that begins after its segment")
        return [(start + o, size - o) for o in offsets]

    def _tensor(
        self,
        name: str,
        tensor: Table,
        constants: Sequence[tuple[int, int]],
        mutable: Sequence[Sequence[tuple[int, int]]],
        named: dict[str, tuple[int, int]],
    ) -> None:
        """A row for a tensor with data in the file; what is planned or given at run time has none."""
        extra, number = tensor.get("extra", {}), tensor.get("buffer", 0)
        places = constants
        if extra.get("location") == 1:
            if extra.get("name", "") not in named:  # in a .ptd
                return
            places, number = [named[extra["name"]]], 0
        elif not number:
            return
        elif "allocation" in tensor:
            index = extra.get("segment", 0)
            if index >= len(mutable):
                raise Unreadable("malformed", f"executorch: tensor {name[:80]!r} of a segment that there is not")
            places = mutable[index]
        if number >= len(places):
            raise Unreadable("malformed", f"executorch: tensor {name[:80]!r} of buffer {number}, of {len(places)}")
        begin, most = places[number]
        if tensor.get("layout") or tensor.get("storage_offset"):
            raise Unreadable("unsupported", f"executorch: tensor {name[:80]!r} isn't strided, or begins within its bytes")
        label = extra.get("name") or name
        self._add(
            label if label not in self._rows else name,
            tensor.get("scalar_type", 0),
            tuple(tensor.get("sizes", ())),
            begin,
            most,
        )

    def _add(self, name: str, kind: int, shape: tuple[int, ...], begin: int, most: int, *, exact: bool = False) -> None:
        if kind not in _TYPES:
            raise Unreadable("unsupported", f"executorch: tensor {name[:80]!r} has the type {kind}")
        code = DTYPE_CODES[_TYPES[kind]]
        count = prod(shape)
        if any(d < 0 for d in shape) or count > _MOST:
            raise Unreadable("malformed", f"executorch: tensor {name[:80]!r} has a shape that no file can fill")
        size = count * int(DTYPE_BITS[code]) // 8
        if size > most or (exact and size != most):
            raise Unreadable("inconsistent", f"executorch: tensor {name[:80]!r} needs {size} bytes, there are {most}")
        if name in self._rows:
            raise Unreadable("inconsistent", f"executorch: two tensors named {name[:80]!r}")
        self._rows[name] = code, shape, begin, size, count if kind in _QUANTISED else -1

    def _processed(self, reference: Table, root: Table) -> int:
        """Bytes that a backend made of its part of the program: nothing here can say what they hold."""
        index = reference.get("index", 0)
        if reference.get("location"):
            return self._segment(index)[1]
        inline = root.get("inline_data", ())
        if index >= len(inline):
            raise Unreadable("malformed", f"executorch: data {index} of a backend, of {len(inline)}")
        return int(inline[index].get("data", (0, 0))[1])

    def _container(self, backends: Sequence[str]) -> Container:
        names = list(self._rows)
        rows = self._rows.values()
        table = from_rows(names, [r[0] for r in rows], [r[1] for r in rows], [r[3] for r in rows], [r[4] for r in rows])
        first: dict[tuple[int, int], int] = {}
        storages = [first.setdefault((r[2], r[3]), i) for i, r in enumerate(rows)]
        for begin, size in first:
            self._buffer.account_for(begin, size)
        findings: tuple[Finding, ...] = ()
        if backends:
            names_ = ", ".join(b.encode("unicode_escape").decode("ascii")[:60] for b in backends[:5])
            findings = (
                Finding("delegated", "info", f"parts of the program are made for a backend: {names_}", self._source.name),
            )
        table = replace(table, storages=np.array(storages, np.int64))
        return Container(NAME, table, findings=findings, accounts=self._buffer.accounts())
