"""Flax' msgpack: nested maps whose leaves are arrays, each an extension that holds a shape, a dtype's name and the elements."""

from __future__ import annotations

import re
from math import prod
from struct import unpack
from typing import NamedTuple

from weightguard.errors import Unreadable
from weightguard.formats.protocol import Container, Scalar
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPE_CODES, from_rows
from weightguard.values import Accounts

NAME = "msgpack"
SPEC = "MessagePack specification (msgpack/spec.md); Flax, flax/serialization.py, at 0.12"

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3  # _MsgpackExtType
_CHUNKED = "__msgpack_chunked_array__"
_WINDOW = 64 << 10
_DEPTH = 100
_NAME = 1024  # bytes of a key
_NAMES = 1 << 28  # characters of all names
_TEXT = 64 << 10  # bytes of texts and numbers beside the arrays
_SCALARS = 10_000
_VALUES = 1_000_000  # that are no arrays
_MOST = (1 << 63) - 1

_WIDTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4}
_KINDS = {0xC4: "bytes", 0xC5: "bytes", 0xC6: "bytes", 0xD9: "text", 0xDA: "text", 0xDB: "text"} | {
    0xDC: "list",
    0xDD: "list",
    0xDE: "map",
    0xDF: "map",
    0xC7: "extension",
    0xC8: "extension",
    0xC9: "extension",
}
_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_SIZES = {">f": 4, ">d": 8, ">B": 1, ">H": 2, ">I": 4, ">Q": 8, ">b": 1, ">h": 2, ">i": 4, ">q": 8}

# numpy.dtype.name, with those of ml_dtypes: (DTYPES, bytes)
_DTYPES = {
    "bool": ("BOOL", 1),
    "int8": ("I8", 1),
    "int16": ("I16", 2),
    "int32": ("I32", 4),
    "int64": ("I64", 8),
    "uint8": ("U8", 1),
    "uint16": ("U16", 2),
    "uint32": ("U32", 4),
    "uint64": ("U64", 8),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "void16": ("BF16", 2),
    "float32": ("F32", 4),
    "float64": ("F64", 8),
    "float128": ("F128", 16),
    "complex64": ("C64", 8),
    "complex128": ("C128", 16),
    "float8_e4m3fn": ("F8_E4M3", 1),
    "float8_e4m3": ("F8_E4M3", 1),
    "float8_e4m3b11fnuz": ("F8_E4M3", 1),
    "float8_e3m4": ("F8_E4M3", 1),
    "float8_e8m0fnu": ("F8_E8M0", 1),
    "float8_e4m3fnuz": ("F8_E4M3FNUZ", 1),
    "float8_e5m2": ("F8_E5M2", 1),
    "float8_e5m2fnuz": ("F8_E5M2FNUZ", 1),
    "int4": ("I8", 1),  # ml_dtypes keeps these in a byte each
    "uint4": ("U8", 1),
    "int2": ("I8", 1),
    "uint2": ("U8", 1),
    "float4_e2m1fn": ("F8_E4M3", 1),
    "float6_e2m3fn": ("F8_E4M3", 1),
    "float6_e3m2fn": ("F8_E4M3", 1),
}
_TEXTS = re.compile(r"(?:str|bytes)(\d{1,9})")  # in bits


def sniff(head: bytes, tail: bytes) -> bool:
    """A map that isn't empty and whose head decodes, with an array in it."""
    if head[:1] not in _FIRST or len(head) < 4:
        return False
    decoder = _Decoder(InMemory("", head), 1 << 20)
    try:
        decoder.value("", 0)
    except Unreadable as error:
        return error.reason == "truncated" and decoder.arrays > 0
    return decoder.arrays > 0


_FIRST = frozenset(bytes([b]) for b in (*range(0x81, 0x90), 0xDE, 0xDF))


def read(source: ByteSource, limits: Limits) -> Container:
    """All arrays by the keys that lead to them, joined by dots; their elements are skipped. Raises `Unreadable`."""
    decoder = _Decoder(source, limits.tensors)
    if source.read(0, min(source.size, 1)) not in _FIRST:
        raise Unreadable("malformed", "msgpack: not a map")
    decoder.value("", 0)
    names, dtypes, shapes, spans = zip(*decoder.rows, strict=True) if decoder.rows else ((), (), (), ())
    table = from_rows(names, dtypes, shapes, spans)
    beside = decoder.beside if decoder.beside > _TEXT else 0
    unexplained = decoder.unexplained + beside + source.size - decoder.at
    tensors = sum(spans)
    accounts = Accounts(tensors, source.size - tensors - unexplained, 0, unexplained)
    return Container(NAME, table, {}, decoder.scalars, accounts=accounts)


class _Row(NamedTuple):
    name: str
    dtype: int
    shape: tuple[int, ...]
    span: int


class _Decoder:
    """Goes through the values from `at`. rows: the arrays. beside: bytes of texts and numbers that are no arrays."""

    def __init__(self, source: ByteSource, most: int) -> None:
        self.at = 0
        self.arrays = 0
        self.rows: list[_Row] = []
        self.scalars: dict[str, Scalar] = {}
        self.beside = 0
        self.unexplained = 0
        self._source, self._most = source, most
        self._window, self._begin = b"", 0
        self._characters = 0
        self._values = 0
        self._lengths: dict[str, int] = {}  # numbers by their path, for the shapes of arrays in chunks

    def _take(self, length: int) -> bytes:
        at = self.at - self._begin
        if at < 0 or at + length > len(self._window):
            if self.at + length > self._source.size:
                raise Unreadable("truncated", f"msgpack: a value that ends beyond the file, at byte {self.at}")
            self._begin = self.at
            self._window = self._source.read(self.at, min(max(length, _WINDOW), self._source.size - self.at))
            at = 0
        self.at += length
        return self._window[at : at + length]

    def _skip(self, length: int) -> None:
        if self.at + length > self._source.size:
            raise Unreadable("truncated", f"msgpack: a value that ends beyond the file, at byte {self.at}")
        self.at += length

    def _head(self) -> tuple[str, int | float | bool | None]:
        """The kind of the next value and its length, or the value itself for a plain one."""
        first = self._take(1)[0]
        if first < 0x80:
            return "number", first
        if first < 0x90:
            return "map", first & 15
        if first < 0xA0:
            return "list", first & 15
        if first < 0xC0:
            return "text", first & 31
        if first >= 0xE0:
            return "number", first - 256
        if first in _KINDS:
            return _KINDS[first], int.from_bytes(self._take(_WIDTHS[first]), "big")
        if first in _NUMBERS:
            form = _NUMBERS[first]
            return "number", unpack(form, self._take(_SIZES[form]))[0]
        if 0xD4 <= first <= 0xD8:
            return "extension", 1 << (first - 0xD4)
        if first == 0xC1:
            raise Unreadable("malformed", f"msgpack: the byte C1, which is never used, at {self.at - 1}")
        return "plain", {0xC0: None, 0xC2: False, 0xC3: True}[first]

    def value(self, path: str, depth: int) -> None:
        """The next value and all in it."""
        if depth > _DEPTH:
            raise Unreadable("limit", f"msgpack: maps nested deeper than {_DEPTH}")
        kind, what = self._head()
        self._values += 1
        if self._values - len(self.rows) > _VALUES:
            raise Unreadable("limit", f"msgpack: more than {_VALUES} values that are no arrays")
        if kind in ("number", "plain"):
            self.beside += 9 if kind == "number" else 1
            self._keep(path, what)
            return
        length = int(what or 0)
        if kind in ("map", "list") and length > self._source.size - self.at:
            raise Unreadable("truncated", f"msgpack: a {kind} of {length} values at byte {self.at}, more than follow")
        if kind == "map":
            self._map(path, length, depth)
        elif kind == "list":
            for i in range(length):
                self.value(f"{path}.{i}" if path else str(i), depth + 1)
        elif kind == "text":
            self.beside += length
            if length <= _NAME:
                self._keep(path, self._text(length))
            else:
                self._skip(length)
        elif kind == "bytes":  # an array is never plain bytes
            self.unexplained += length
            self._skip(length)
        else:
            self._extension(path, length)

    def _keep(self, path: str, value: Scalar) -> None:
        if type(value) is int and ".shape." in path:
            self._lengths[path] = value
        if len(self.scalars) < _SCALARS:
            self.scalars[path] = value

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode()
        except UnicodeDecodeError as error:
            raise Unreadable("malformed", "msgpack: a text that isn't UTF-8") from error

    def _key(self) -> str:
        kind, what = self._head()
        if kind == "number" and type(what) is int:
            return str(what)
        if kind != "text" or type(what) is not int:
            raise Unreadable("malformed", f"msgpack: a key that is neither text nor a number, at byte {self.at}")
        if what > _NAME:
            raise Unreadable("limit", f"msgpack: a key of {what} bytes")
        return self._text(what)

    def _map(self, path: str, length: int, depth: int) -> None:
        first = len(self.rows)
        keys: set[str] = set()
        for _ in range(length):
            key = self._key()
            if key in keys:
                raise Unreadable("inconsistent", f"msgpack: a map with the key {key[:80]!r} twice")
            keys.add(key)
            inner = f"{path}.{key}" if path else key
            self._characters += len(inner)
            if self._characters > _NAMES:
                raise Unreadable("limit", "msgpack: names longer than weightguard reads")
            self.value(inner, depth + 1)
        if _CHUNKED in keys:
            self.rows[first:] = [self._joined(path, self.rows[first:])]

    def _joined(self, path: str, chunks: list[_Row]) -> _Row:
        """An array that was cut into vectors (`flax.serialization._unchunk`)."""
        stem = f"{path}.shape." if path else "shape."
        shape: list[int] = []
        while f"{stem}{len(shape)}" in self._lengths:
            shape.append(self._lengths.pop(f"{stem}{len(shape)}"))
        expected = [f"{path}.chunks.{i}" if path else f"chunks.{i}" for i in range(len(chunks))]
        whole = sum(prod(c.shape) for c in chunks)
        if sorted(c.name for c in chunks) != sorted(expected) or len({c.dtype for c in chunks}) != 1 or prod(shape) != whole:
            raise Unreadable("inconsistent", f"msgpack: the chunks of {path[:80]!r} don't make the array that they say")
        if any(d < 0 for d in shape):
            raise Unreadable("malformed", f"msgpack: a shape of {path[:80]!r} that isn't made of lengths")
        return _Row(path, chunks[0].dtype, tuple(shape), sum(c.span for c in chunks))

    def _extension(self, path: str, length: int) -> None:
        kind = int.from_bytes(self._take(1), "big", signed=True)
        end = self.at + length
        if end > self._source.size and kind not in (_ARRAY, _SCALAR):
            raise Unreadable("truncated", f"msgpack: an extension that ends beyond the file, at byte {self.at}")
        if kind in (_ARRAY, _SCALAR):
            self._array(path, end)
        elif kind == _COMPLEX and length <= 19:
            self._skip(length)
        else:
            self.unexplained += length
            self._skip(length)

    def _array(self, path: str, end: int) -> None:
        """(shape, name of the dtype, elements in C order) as `flax.serialization._ndarray_to_bytes` packs them."""
        if self._head() != ("list", 3):
            raise Unreadable("malformed", f"msgpack: the array {path[:80]!r} isn't a shape, a dtype and elements")
        kind, rank = self._head()
        if kind != "list" or not 0 <= int(rank or 0) <= 64:
            raise Unreadable("malformed", f"msgpack: the array {path[:80]!r} has no shape")
        shape = []
        for _ in range(int(rank or 0)):
            kind, dim = self._head()
            if kind != "number" or type(dim) is not int or not 0 <= dim <= _MOST:
                raise Unreadable("malformed", f"msgpack: the array {path[:80]!r} has a shape that isn't made of lengths")
            shape.append(dim)
        kind, size = self._head()
        if kind != "text" or not 0 < int(size or 0) <= 64:
            raise Unreadable("malformed", f"msgpack: the array {path[:80]!r} has no dtype")
        code, item = _dtype(self._text(int(size or 0)), path)
        kind, size = self._head()
        length = int(size or 0)
        if kind != "bytes":
            raise Unreadable("malformed", f"msgpack: the array {path[:80]!r} has no elements")
        if prod(shape) * item != length or self.at + length != end:
            raise Unreadable("inconsistent", f"msgpack: the array {path[:80]!r} has {length} bytes, its shape needs others")
        self.arrays += 1
        dims = (*shape, item) if code == DTYPE_CODES["STRING"] else tuple(shape)
        self.rows.append(_Row(path, code, dims, length))
        if len(self.rows) > self._most:
            raise Unreadable("limit", f"more than {self._most} tensors")
        self._skip(length)


def _dtype(name: str, path: str) -> tuple[int, int]:
    known = _DTYPES.get(name)
    if known is not None:
        return DTYPE_CODES[known[0]], known[1]
    text = _TEXTS.fullmatch(name)
    if text is None:
        raise Unreadable("unsupported", f"msgpack: the array {path[:80]!r} has the dtype {name[:80]!r}")
    return DTYPE_CODES["STRING"], int(text[1]) // 8
