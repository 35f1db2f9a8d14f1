"""OpenVINO's intermediate representation: a graph in XML, and beside it a file of the same stem that holds its constants.

Source: OpenVINO, `docs/articles_en/documentation/openvino-ir-format` and `src/core/xml_util` (IR version 10 and 11: layers of type
Const with element_type, shape, offset and size), and the IR before it (version 2 to 9: blobs of a layer, in its precision).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from math import prod
from xml.parsers import expat

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats._extents import cover, open_beside
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import DTYPE_CODES, from_rows
from weightguard.values import Accounts

NAME = "openvino"
SPEC = "OpenVINO IR format, versions 10 and 11; blobs of versions 2 to 9"

_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}\?>)?\s*(?:<!--.{0,2000}?-->\s*)*<net\s[^>]{0,2000}>", re.S)
# element_type: (dtype, bits); a type that no dtype has is stored as bytes
_TYPES = {
    "boolean": ("BOOL", 8),
    "bf16": ("BF16", 16),
    "f16": ("F16", 16),
    "f32": ("F32", 32),
    "f64": ("F64", 64),
    "f8e4m3": ("F8_E4M3", 8),
    "f8e5m2": ("F8_E5M2", 8),
    "f8e8m0": ("F8_E8M0", 8),
    "f4e2m1": ("F4", 4),
    "nf4": ("U4", 4),
    "i4": ("I4", 4),
    "u4": ("U4", 4),
    "u2": ("U2", 2),
    "i8": ("I8", 8),
    "u8": ("U8", 8),
    "i16": ("I16", 16),
    "u16": ("U16", 16),
    "i32": ("I32", 32),
    "u32": ("U32", 32),
    "i64": ("I64", 64),
    "u64": ("U64", 64),
    "u1": ("", 1),
    "u3": ("", 3),
    "u6": ("", 6),
}
_PRECISIONS = {"FP32": ("F32", 4), "FP16": ("F16", 2), "BF16": ("BF16", 2), "I8": ("I8", 1), "U8": ("U8", 1), "I32": ("I32", 4)}
_PACKED = frozenset({"nf4", "u1", "u2", "u3", "u6", "i4", "u4", "i8", "u8"})  # what weights are compressed to
_FLOATS = frozenset({"f16", "f32", "bf16", "f64"})
_DEPTH = 64
_FEWEST = 8  # weights that share a scale: of more scales none is taken for one
_MOST = (1 << 63) - 1


def sniff(head: bytes, tail: bytes) -> bool:
    """XML whose first element is <net>."""
    return _ROOT.match(head) is not None


def read(source: ByteSource, limits: Limits) -> Container:
    """The constants of the graph, each one's place in the file beside it checked. Raises `Unreadable`."""
    if source.size > limits.header_bytes:
        raise Unreadable("limit", f"openvino: a graph of {source.size} bytes, more than {limits.header_bytes}")
    graph = _Graph(limits)
    graph.parse(source.read(0, source.size))
    rows = graph.rows()
    if len(rows) > limits.tensors:
        raise Unreadable("limit", f"openvino: more than {limits.tensors} tensors")
    names = _unique([r.name for r in rows])
    table = from_rows(
        names, [r.dtype for r in rows], [r.shape for r in rows], [r.size for r in rows], [r.logical for r in rows]
    )
    if any(r.size for r in rows):
        stem = source.name.rpartition("/")[2].removesuffix(".xml")
        path = f"{stem}.bin"
        other = open_beside(source.beside, path, limits)
        extents = [(r.begin, r.begin + r.size, i) for i, r in enumerate(rows)]
        covered = cover(other, path, extents, lambda i: f"constant {names[i][:80]!r}")
        storages = table.storages.copy()
        for row, first in covered.ties:
            storages[row] = storages[first]
        return Container(
            NAME,
            replace(table, storages=np.asarray(storages)),
            {"version": graph.version},
            accounts=Accounts(headers=source.size),
            parts={path: covered.accounts},
        )
    return Container(NAME, table, {"version": graph.version}, accounts=Accounts(headers=source.size))


@dataclass
class _Row:
    name: str
    dtype: int
    shape: tuple[int, ...]
    begin: int
    size: int
    logical: int = -1


@dataclass
class _Layer:
    name: str
    type: str
    data: dict[str, str] = field(default_factory=dict)
    inputs: dict[int, tuple[int, str]] = field(default_factory=dict)  # port -> (body, layer it comes from)
    outputs: list[tuple[tuple[int, str], int]] = field(default_factory=list)  # (layer, port) that it goes to
    blobs: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    precision: str = ""


class _Graph:
    """Layers by (body, id): bodies of loops and conditions are graphs of their own, with the same file of constants."""

    def __init__(self, limits: Limits) -> None:
        self.version = ""
        self._limits = limits
        self._layers: dict[tuple[int, str], _Layer] = {}
        self._bodies = [0]
        self._body_count = 0
        self._open: list[str] = []
        self._current: list[tuple[int, str]] = []

    def parse(self, data: bytes) -> None:
        """Reads the XML; raises `Unreadable` ("malformed", "limit"). Documents that define a type or an entity are refused."""
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = _refuse
        parser.EntityDeclHandler = _refuse
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise Unreadable("malformed", f"openvino: no XML: {error}") from error
        except ValueError as error:
            raise Unreadable("malformed", "openvino: a number that is none") from error

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._open.append(tag)
        if len(self._open) > _DEPTH:
            raise Unreadable("limit", f"openvino: elements nested more than {_DEPTH} deep")
        body = self._bodies[-1]
        if len(self._open) == 1:
            if tag != "net":
                raise Unreadable("malformed", "openvino: its root isn't <net>")
            self.version = attributes.get("version", "")[:16]
        elif tag in ("body", "then_body", "else_body"):
            self._body_count += 1
            self._bodies.append(self._body_count)
        elif tag == "layer":
            key = body, attributes.get("id", "")
            if key in self._layers:
                raise Unreadable("inconsistent", f"openvino: two layers with the id {key[1][:40]!r}")
            if len(self._layers) >= 2 * self._limits.tensors:
                raise Unreadable("limit", f"openvino: more than {2 * self._limits.tensors} layers")
            precision = attributes.get("precision", "")
            self._layers[key] = _Layer(attributes.get("name", ""), attributes.get("type", ""), precision=precision)
            self._current.append(key)
        elif tag == "data" and self._current and self._open[-2] == "layer":
            self._layers[self._current[-1]].data = attributes
        elif self._open[-2] == "blobs" and self._current:
            self._layers[self._current[-1]].blobs.append((tag, attributes))
        elif tag == "edge":
            begin, end = (body, attributes.get("from-layer", "")), (body, attributes.get("to-layer", ""))
            port = int(attributes.get("to-port", "0")[:9])
            if begin in self._layers and end in self._layers:
                self._layers[begin].outputs.append((end, port))
                self._layers[end].inputs[port] = begin

    def _end(self, tag: str) -> None:
        self._open.pop()
        if tag in ("body", "then_body", "else_body"):
            self._bodies.pop()
        elif tag == "layer" and self._current:
            self._current.pop()

    def rows(self) -> list[_Row]:
        """A row for each constant; weights that are stored as integers count as weights, their scales and zero points do not."""
        rows: list[_Row] = []
        of: dict[tuple[int, str], _Row] = {}
        for key, layer in self._layers.items():
            prefix = f"body{key[0]}." if key[0] else ""
            if layer.type == "Const" and not layer.blobs:
                of[key] = _constant(prefix + layer.name, layer.data)
                rows.append(of[key])
            for label, place in layer.blobs:
                rows.append(_blob(f"{prefix}{layer.name}.{label}", place, layer))
        for key, row in of.items():
            if self._layers[key].data.get("element_type") in _PACKED:
                self._weigh(key, row, of)
        return rows

    def _weigh(self, key: tuple[int, str], row: _Row, of: dict[tuple[int, str], _Row]) -> None:
        """Const -> Convert to floats (-> Subtract a zero point) -> Multiply by a scale: compressed weights."""
        count = _elements(self._layers[key].data)
        for below, _ in self._layers[key].outputs:
            convert = self._layers[below]
            if convert.type != "Convert" or convert.data.get("destination_type") not in _FLOATS:
                continue
            if all(self._layers[k].type == "Subtract" and port == 1 for k, port in convert.outputs) and convert.outputs:
                row.logical = 0 if self._is_beside(convert.outputs[0][0], count) else count
                continue
            row.logical = count
            for after, port in convert.outputs:
                self._scale(after, port, count, of)

    def _scale(self, key: tuple[int, str], port: int, count: int, of: dict[tuple[int, str], _Row]) -> None:
        layer = self._layers[key]
        if layer.type == "Subtract" and port == 0:
            for after, at in layer.outputs:
                if self._layers[after].type == "Multiply":
                    self._scale(after, at, count, of)
        elif layer.type == "Multiply" and port == 0:
            scale = layer.inputs.get(1)
            if scale in of and _elements(self._layers[scale].data) * _FEWEST <= count:
                of[scale].logical = 0

    def _is_beside(self, subtract: tuple[int, str], count: int) -> bool:
        """Whether what a zero point is taken from is so much more that it is one."""
        convert = self._layers.get(self._layers[subtract].inputs.get(0, (0, "")))
        weights = self._layers.get(convert.inputs.get(0, (0, ""))) if convert else None
        return weights is not None and weights.type == "Const" and count * _FEWEST <= _elements(weights.data)


def _constant(name: str, data: dict[str, str]) -> _Row:
    kind = data.get("element_type", "")
    begin, size = _number(data.get("offset", "")), _number(data.get("size", ""))
    if kind == "string":
        return _Row(name, DTYPE_CODES["STRING"], (size,), begin, size)
    if kind not in _TYPES:
        raise Unreadable("unsupported", f"openvino: constant {name[:80]!r} has the type {kind[:40]!r}")
    dtype, bits = _TYPES[kind]
    count = _elements(data)
    if (count * bits + 7) // 8 != size and not (bits in (3, 6) and size == (count * bits + 23) // 24 * 3):
        raise Unreadable(
            "inconsistent", f"openvino: constant {name[:80]!r} has {size} bytes, its shape needs {count} x {bits} bits"
        )
    if not dtype:
        return _Row(name, DTYPE_CODES["U8"], (size,), begin, size, count)
    shape = _shape(data)
    return _Row(name, DTYPE_CODES[dtype], shape, begin, size, count if kind == "nf4" else -1)


def _blob(name: str, place: dict[str, str], layer: _Layer) -> _Row:
    """A blob of the old IR: so many bytes of the layer's precision."""
    precision = place.get("precision") or layer.precision
    if precision not in _PRECISIONS:
        raise Unreadable("unsupported", f"openvino: {name[:80]!r} has the precision {precision[:40]!r}")
    dtype, width = _PRECISIONS[precision]
    begin, size = _number(place.get("offset", "")), _number(place.get("size", ""))
    if size % width:
        raise Unreadable("inconsistent", f"openvino: {name[:80]!r} has {size} bytes, no whole number of {precision}")
    return _Row(name, DTYPE_CODES[dtype], (size // width,), begin, size, size // width if width == 1 else -1)


def _shape(data: dict[str, str]) -> tuple[int, ...]:
    text = data.get("shape", "").strip()
    shape = tuple(_number(d.strip()) for d in text.split(",")) if text else ()
    if len(shape) > 64 or prod(shape) > _MOST:
        raise Unreadable("inconsistent", "openvino: a shape that no file can fill")
    return shape


def _elements(data: dict[str, str]) -> int:
    return prod(_shape(data))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > _MOST:
        raise Unreadable("malformed", f"openvino: {text[:40]!r} where a number should be")
    return int(text)


def _refuse(*_: object) -> None:
    raise Unreadable("malformed", "openvino: XML that defines entities or a document type")


def _unique(names: list[str]) -> list[str]:
    taken: set[str] = set()
    for i, name in enumerate(names):
        if name in taken:
            names[i] = f"{name}#{i}"
        taken.add(names[i])
    return names
