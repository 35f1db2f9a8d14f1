"""TensorFlow Lite (LiteRT): a flatbuffer whose constant tensors lie in its buffers, or after it in files above 2 GB.

Source: TensorFlow, `tensorflow/compiler/mlir/lite/schema/schema.fbs` (version 3, 3c for data outside of the flatbuffer). A model's
metadata may be followed by a zip file of what it names (TensorFlow Lite Support, "associated files").
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats._flatbuffer import REST, FlatBuffer, Schema, Table
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES, FLOATING, from_rows
from weightguard.values import Accounts, Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "tflite"
SPEC = "TensorFlow Lite schema.fbs, version 3 (3c)"

# enum TensorType; a resource or a variant has no constant data.
_TYPES = dict(
    enumerate(
        "F32 F16 I32 U8 I64 STRING BOOL I16 C64 I8 F64 C128 U64 - - U32 U16 I4 BF16 I2 U4 F8_E4M3 F8_E5M2".split(),
    )
)
_WHOLE = frozenset(DTYPE_CODES[n] for n in ("I8", "U8", "I4", "U4", "I2"))  # what quantised weights are stored in
_BIASES = frozenset(DTYPE_CODES[n] for n in ("I32", "I64"))
_DENSEST = 1 << 16  # a dense tensor may be this many times what is stored of it

_I32S, _I64S = ("ints", "i"), ("ints", "q")
_SCALARS: Schema = {REST: ("", ("rest", 64))}  # options of an operator that are plain numbers


def _options(**vectors: tuple[int, Any]) -> Schema:
    return {**_SCALARS, **{slot: (name, kind) for name, (slot, kind) in vectors.items()}}


def _int64s(*slots: int) -> Schema:
    return {**_SCALARS, **{slot: (f"v{slot}", _I64S) for slot in slots}}


# unions BuiltinOptions and BuiltinOptions2: those with more than numbers
_BUILTIN: dict[int, Schema] = dict.fromkeys(range(1, 256), _SCALARS) | {
    3: _options(columns=(1, _I32S), dims=(2, _I32S)),
    17: _options(new_shape=(0, _I32S)),
    30: _options(squeeze_dims=(0, _I32S)),
    111: _options(container=(0, "text"), shared_name=(1, "text")),
    115: _options(boundaries=(0, ("ints", "f"))),
}
_BUILTIN_2: dict[int, Schema] = dict.fromkeys(range(1, 256), _SCALARS) | {
    2: _int64s(0),
    3: _int64s(0, 1, 2),
    4: {**_int64s(0, 1, 2, 3, 7, 10, 13), 4: ("window_reversal", ("ints", "?")), 16: ("precision", ("ints", "I"))},
    5: _options(target=(0, "text"), config=(2, "text"), computations=(4, _I32S), attributes=(5, ("many", 1))),
    6: _int64s(0),
    7: _int64s(1, 2, 3),
    9: _int64s(0),
    10: _int64s(0, 1, 2),
    12: {**_int64s(0, 1, 2, 3), 4: ("precision", ("ints", "I"))},
    13: _int64s(0, 1, 2, 3, 4),
    16: _int64s(0, 1, 2, 4),
    17: _int64s(0),
    21: _options(name=(0, "text"), attributes=(2, ("many", 1))),
    23: _options(branches=(0, _I32S)),
}
_INDEX = {
    1: {0: ("values", ("many", 4))},
    2: {0: ("values", ("many", 2))},
    3: {0: ("values", ("many", 1))},
}
_DIMENSION: Schema = {
    0: ("format", "b"),
    1: ("dense_size", "i"),
    2: ("segments_type", "B"),
    3: ("segments", ("union", _INDEX)),
    4: ("indices_type", "B"),
    5: ("indices", ("union", _INDEX)),
}
_SPARSITY: Schema = {0: ("order", _I32S), 1: ("block_map", _I32S), 2: ("dimensions", ("tables", _DIMENSION))}
_DETAILS: dict[int, Schema] = {
    1: {0: ("custom", ("many", 1))},
    2: {0: ("scales", "i"), 1: ("zero_points", "i"), 2: ("block_size", "i"), 3: ("block_shape", _I32S)},
}
_QUANTIZATION: Schema = {
    0: ("min", ("many", 4)),
    1: ("max", ("many", 4)),
    2: ("scale", ("many", 4)),
    3: ("zero_point", ("many", 8)),
    4: ("details_type", "B"),
    5: ("details", ("union", _DETAILS)),
    6: ("dimension", "i"),
}
_VARIANT: Schema = {0: ("shape", _I32S), 1: ("type", "b"), 2: ("has_rank", "?")}
_TENSOR: Schema = {
    0: ("shape", _I32S),
    1: ("type", "b"),
    2: ("buffer", "I"),
    3: ("name", "name"),
    4: ("quantization", ("table", _QUANTIZATION)),
    5: ("is_variable", "?"),
    6: ("sparsity", ("table", _SPARSITY)),
    7: ("shape_signature", _I32S),
    8: ("has_rank", "?"),
    9: ("variant_tensors", ("tables", _VARIANT)),
    10: ("external_buffer", "I"),
}
_OPERATOR: Schema = {
    0: ("opcode_index", "I"),
    1: ("inputs", _I32S),
    2: ("outputs", _I32S),
    3: ("options_type", "B"),
    4: ("options", ("union", _BUILTIN)),
    5: ("custom_options", ("many", 1)),
    6: ("custom_options_format", "b"),
    7: ("mutating_variable_inputs", ("ints", "?")),
    8: ("intermediates", _I32S),
    9: ("large_offset", "Q"),
    10: ("large_size", "Q"),
    11: ("options_2_type", "B"),
    12: ("options_2", ("union", _BUILTIN_2)),
    13: ("debug_metadata_index", "i"),
}
_SUBGRAPH: Schema = {
    0: ("tensors", ("tables", _TENSOR)),
    1: ("inputs", _I32S),
    2: ("outputs", _I32S),
    3: ("operators", ("tables", _OPERATOR)),
    4: ("name", "text"),
    5: ("debug_metadata_index", "i"),
}
_MAP: Schema = {0: ("name", "text"), 1: ("tensor_index", "I")}
_MODEL: Schema = {
    0: ("version", "I"),
    1: (
        "operator_codes",
        ("tables", {0: ("old_code", "b"), 1: ("custom_code", "name"), 2: ("version", "i"), 3: ("code", "i")}),
    ),
    2: ("subgraphs", ("tables", _SUBGRAPH)),
    3: ("description", "text"),
    4: ("buffers", ("tables", {0: ("data", ("many", 1)), 1: ("offset", "Q"), 2: ("size", "Q")})),
    5: ("metadata_buffer", _I32S),
    6: ("metadata", ("tables", {0: ("name", "name"), 1: ("buffer", "I")})),
    7: (
        "signature_defs",
        (
            "tables",
            {
                0: ("inputs", ("tables", _MAP)),
                1: ("outputs", ("tables", _MAP)),
                2: ("signature_key", "text"),
                3: ("deprecated_tag", "text"),
                4: ("subgraph_index", "I"),
            },
        ),
    ),
    8: ("external_groups", ("tables", {0: ("name", "name")})),
}


def sniff(head: bytes, tail: bytes) -> bool:
    """ "file_identifier "TFL3"", at byte 4 of a flatbuffer."""
    return head[4:8] == b"TFL3"


def read(source: ByteSource, limits: Limits) -> Container:
    """The constant tensors of all subgraphs, each one's bytes checked against its shape. Raises `Unreadable`."""
    buffer = FlatBuffer(source, limits, NAME)
    model = buffer.root(_MODEL)
    if model.get("version") != 3:
        raise Unreadable("unsupported", f"tflite: version {model.get('version', 0)} of the schema")
    if model.get("external_groups"):
        raise Unreadable("unsupported", "tflite: buffers in other files")
    extents = [_extent(b) for b in model.get("buffers", ())]
    rows = _Rows(extents)
    for number, subgraph in enumerate(model.get("subgraphs", ())):
        for index, tensor in enumerate(subgraph.get("tensors", ())):
            rows.add(tensor, f"{number}." if number else "", index, buffer)
        if len(rows.names) > limits.tensors:
            raise Unreadable("limit", f"tflite: more than {limits.tensors} tensors")
        for operator in subgraph.get("operators", ()):
            _note_operator(buffer, operator)
    for begin, length in {extents[b] for b in rows.storages}:
        buffer.account_for(begin, length)
    used = set(rows.storages)
    metadata = _metadata(buffer, model, extents, used)
    table = from_rows(rows.names, rows.dtypes, rows.shapes, rows.spans, rows.logical)
    table = replace(table, storages=np.array(rows.storages, np.int64))
    accounts = _with_appended(buffer, source, limits)
    return Container(NAME, table, metadata, findings=_findings(model, source.name), accounts=accounts)


class _Rows:
    """Columns of the table under way. extents: (begin, bytes) of each buffer."""

    def __init__(self, extents: Sequence[tuple[int, int]]) -> None:
        self._extents = extents
        self._taken: set[str] = set()
        self._met: set[int] = set()
        self.names: list[str] = []
        self.dtypes: list[int] = []
        self.shapes: list[tuple[int, ...]] = []
        self.spans: list[int] = []
        self.logical: list[int] = []
        self.storages: list[int] = []

    def add(self, tensor: Table, prefix: str, index: int, buffer: FlatBuffer) -> None:
        """A row for a tensor that is constant: its buffer isn't empty."""
        number, shape = tensor.get("buffer", 0), tuple(tensor.get("shape", ()))
        if id(tensor) in self._met:  # a table that two places share is read once, and kept
            raise Unreadable("unsupported", "tflite: one tensor that stands in two places")
        self._met.add(id(tensor))
        if tensor.get("external_buffer"):
            raise Unreadable("unsupported", "tflite: a tensor in another file")
        if number >= len(self._extents) and number:
            raise Unreadable("malformed", f"tflite: a tensor of buffer {number}, of {len(self._extents)}")
        length = self._extents[number][1] if number < len(self._extents) else 0
        quantised = _note_quantization(buffer, tensor.get("quantization", {}), shape)
        if "sparsity" in tensor:
            _note_sparsity(buffer, tensor["sparsity"], length)
        if not length:
            return
        kind = _TYPES.get(tensor.get("type", 0), "-")
        if kind == "-":
            raise Unreadable("unsupported", f"tflite: constant data of the type {tensor.get('type')}")
        name = prefix + (tensor.get("name") or f"tensor{index}")
        if name in self._taken:  # "For debugging": nothing makes a name stand for one tensor only
            name = f"{name}#{index}"
        self._taken.add(name)
        code = DTYPE_CODES[kind]
        stored, count = _stored(name, kind, code, shape, length, "sparsity" in tensor)
        weight = quantised and (code in _WHOLE or (code in _BIASES and len(shape) < 2))
        self.names.append(name)
        self.dtypes.append(code)
        self.shapes.append(stored)
        self.spans.append(length)
        self.logical.append(count if weight or (count != prod(stored) and code in FLOATING) else -1)
        self.storages.append(number)


def _stored(name: str, kind: str, code: int, shape: tuple[int, ...], length: int, sparse: bool) -> tuple[tuple[int, ...], int]:
    """The shape as stored, and the elements that it stands for; a sparse tensor stores fewer than its shape has."""
    if kind == "STRING":
        return (length,), length
    bits = int(DTYPE_BITS[code])
    count = prod(shape)
    if any(d < 0 for d in shape) or count >= 1 << 63:
        raise Unreadable("malformed", f"tflite: tensor {name[:80]!r} has a shape that no file can fill")
    if (count * bits + 7) // 8 == length:
        return shape, count
    if not sparse:
        raise Unreadable(
            "inconsistent", f"tflite: tensor {name[:80]!r} has {length} bytes, its shape needs {count * bits} bits"
        )
    elements = length * 8 // bits
    if count > elements * _DENSEST:
        raise Unreadable("inconsistent", f"tflite: sparse tensor {name[:80]!r} stores too little of its shape")
    return (elements,), max(count, elements)


def _extent(buffer: Table) -> tuple[int, int]:
    """(begin, bytes): of `data` or, where "offset ... is only valid if > 1", outside of the flatbuffer."""
    if buffer.get("offset", 0) > 1:
        if buffer.get("data", (0, 0))[1]:
            raise Unreadable("inconsistent", "tflite: a buffer with data in two places")
        return buffer["offset"], buffer.get("size", 0)
    begin, count = buffer.get("data", (0, 0))
    return begin, count


def _note_quantization(buffer: FlatBuffer, found: Table, shape: tuple[int, ...]) -> bool:
    """Accounts for scales and their like, of which there is one, or one for each slice; whether there are any."""
    dimension = found.get("dimension", 0)
    most = shape[dimension] if 0 <= dimension < len(shape) else 1
    for key, width in (("min", 4), ("max", 4), ("scale", 4), ("zero_point", 8)):
        begin, count = found.get(key, (0, 0))
        if count <= max(1, most):
            buffer.explain((begin, begin + count * width))
    details = found.get("details")
    if details and "custom" in details:
        begin, count = details["custom"]
        buffer.note((begin, begin + count))
    return bool(found.get("scale", (0, 0))[1] or found.get("details_type"))


def _note_sparsity(buffer: FlatBuffer, found: Table, length: int) -> None:
    """Accounts for the indices of a sparse tensor: no more of them than stored elements can need."""
    for dimension in found.get("dimensions", ()):
        for key in ("segments", "indices"):
            begin, count = (dimension.get(key) or {}).get("values", (0, 0))
            width = {1: 4, 2: 2, 3: 1}.get(dimension.get(f"{key}_type", 0), 0)
            if count <= 8 * length + 1:
                buffer.explain((begin, begin + count * width))


def _note_operator(buffer: FlatBuffer, operator: Table) -> None:
    """Options that an operator's own code reads: as much of them as text may be."""
    places = [operator.get("custom_options", (0, 0)), (operator.get("options_2") or {}).get("attributes", (0, 0))]
    if operator.get("large_offset", 0) > 1:
        places.append((operator["large_offset"], operator.get("large_size", 0)))
    for begin, count in places:
        if begin + count > buffer.size:
            raise Unreadable("truncated", f"tflite: options at bytes {begin} to {begin + count} of {buffer.size}")
        if count:
            buffer.note((begin, begin + count))


def _metadata(buffer: FlatBuffer, model: Table, extents: Sequence[tuple[int, int]], used: set[int]) -> dict[str, str]:
    """Accounts for the buffers of metadata; those that are short texts are kept."""
    kept: dict[str, str] = {}
    for entry in model.get("metadata", ()):
        number = entry.get("buffer", 0)
        if number >= len(extents):
            raise Unreadable("malformed", f"tflite: metadata in buffer {number}, of {len(extents)}")
        begin, length = extents[number]
        if number in used or not length:
            continue
        used.add(number)
        if begin + length > buffer.size:
            raise Unreadable("truncated", f"tflite: metadata at bytes {begin} to {begin + length} of {buffer.size}")
        buffer.note((begin, begin + length))
        text = buffer.take(begin, min(length, 256)).rstrip(b"\0")
        if length <= 256 and text.isascii() and text.decode("ascii").isprintable():
            kept[entry.get("name", "")] = text.decode("ascii")
    return kept


def _with_appended(buffer: FlatBuffer, source: ByteSource, limits: Limits) -> Accounts:
    """The accounts of the flatbuffer and of a zip of text files after it."""
    end = buffer.end
    if source.size - end < 22 or b"PK\3\4" not in source.read(end, min(64, source.size - end)):
        return buffer.accounts()
    from weightguard.formats._zip import Archive

    try:
        archive = Archive(source, limits)
        texts = [archive.read(m) for m in archive.members]
    except Unreadable:
        return buffer.accounts()
    begin = min((m.header for m in archive.members), default=source.size)
    if begin < end:
        return buffer.accounts()
    accounts = buffer.accounts(begin)
    unexplained = max(0, archive.unexplained - begin)  # to the archive, all that stands before it is
    unexplained += sum(len(t) for t in texts if not _is_text(t))
    headers = max(0, accounts.headers - unexplained)
    return replace(accounts, headers=headers, unexplained=accounts.unexplained + unexplained)


def _is_text(data: bytes) -> bool:
    try:
        return b"\0" not in data and data.decode() is not None
    except UnicodeDecodeError:
        return False


def _findings(model: Table, path: str) -> tuple[Finding, ...]:
    custom = sorted({c["custom_code"] for c in model.get("operator_codes", ()) if c.get("custom_code")})
    if not custom:
        return ()
    names = ", ".join(ascii(c)[1:-1][:80] for c in custom[:5])
    return (Finding("custom-operators", "info", f"needs operators that TensorFlow Lite does not have: {names}", path),)
