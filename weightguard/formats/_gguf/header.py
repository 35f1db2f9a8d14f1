"""A GGUF header from bytes to values: a window that moves over the file, so that a vocabulary is walked over, not kept.

Source: ggml, `docs/gguf.md`, sections File Structure and Version History: version 1 has lengths and dimensions of 32 bits,
version 3 may be big-endian in all its values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct, error
from typing import Any, NamedTuple

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats.protocol import HEAD, Scalar
from weightguard.kernels.gguf_header import skip_strings
from weightguard.limits import Limits
from weightguard.stores import ByteSource

MAGIC = b"GGUF"

# enum gguf_metadata_value_type: the number of a type, and how struct reads one
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
BOOL, STRING, ARRAY = 7, 8, 9
NUMERIC = frozenset(_SCALARS)

_WINDOW = 256 << 10
_LONGEST_KEY = 65_535  # "It must be at most 2^16-1/65535 bytes long"
_LONGEST_NAME = 255  # the specification says 64; stable-diffusion.cpp writes longer ones
_LONGEST_INFO = 512  # bytes of a tensor info, at least
_MOST_KEYS = 65_536
_MOST_NESTED = 65_536
_DEEPEST = 8  # arrays within arrays
_KEPT = 1 << 20  # bytes of a string that is kept; a longer one is walked over
_MOST_DIMS = 4


class Entry(NamedTuple):
    """A metadata value. kind: its type; item: that of an array's items, else -1. items: how many it has,
    or the bytes of a string. size: bytes of the whole entry. text: of a string up to 1 MiB, else empty. value: of a number.
    at: where the value, the text, or an array's first item lies in the file.
    """

    kind: int
    item: int
    items: int
    size: int
    text: bytes
    value: Scalar
    at: int


@dataclass
class Header:
    """A header of `end` bytes. entries: the metadata by its keys.

    names, types, shapes, offsets: one entry a tensor; ggml's number of its type; shapes as NumPy has them, the fastest dimension
    last; offsets from the beginning of the data.
    """

    version: int
    big_endian: bool
    entries: dict[str, Entry] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    end: int = 0


def read_header(source: ByteSource, limits: Limits) -> Header:
    """All keys and tensor infos; raises `Unreadable`. No offset or type of a tensor has been checked yet."""
    window = _Window(source, limits)
    try:
        return _read(window, source, limits)
    except error as wrong:  # struct found less than it needs: the window ends where the file does
        raise Unreadable("truncated", "the header goes on after the end of the file") from wrong


def _read(window: _Window, source: ByteSource, limits: Limits) -> Header:
    if source.size < 16:
        raise Unreadable("truncated", "a file that ends in its first numbers")
    window.ahead(24)
    version = int.from_bytes(window.data[4:8], "little")
    big = version & 0xFFFF == 0 and version != 0
    version = int.from_bytes(window.data[4:8], "big" if big else "little")
    if version not in (1, 2, 3) or (big and version != 3):
        raise Unreadable("unsupported", f"GGUF version {version}{', big-endian' if big else ''}")
    window.set_order(big, 4 if version == 1 else 8)
    window.at = 8
    tensors, keys = window.length(), window.length()
    if tensors > limits.tensors or keys > _MOST_KEYS:
        raise Unreadable("limit", f"{tensors} tensors and {keys} keys; {limits.tensors} and {_MOST_KEYS} are read")
    if tensors * 16 + keys * 9 > source.size:
        raise Unreadable("truncated", f"{tensors} tensors and {keys} keys in a file of {source.size} bytes")
    header = Header(version, big)
    for _ in range(keys):
        window.ahead(4096)
        begin = window.position
        name = window.string(_LONGEST_KEY)
        if name is None:
            raise Unreadable("malformed", "a key of more than 65,535 bytes")
        key = _decode(name, "key")
        if key in header.entries:
            raise Unreadable("malformed", f"the key {key[:80]!r} is there twice")
        entry = _value(window, key)
        header.entries[key] = entry._replace(size=window.position - begin)
    _read_infos(window, tensors, header)
    header.end = window.position
    if header.end > source.size:
        raise Unreadable("truncated", "the header goes on after the end of the file")
    return header


def _value(window: _Window, key: str) -> Entry:
    kind = window.number("I")
    at = window.position
    if kind == STRING:
        text = window.string(_KEPT)
        at += window.width
        return Entry(kind, -1, window.position - at, 0, text or b"", None, at)
    if kind == ARRAY:
        item, count, at = _array(window, key)
        return Entry(kind, item, count, 0, b"", None, at)
    if kind not in _SCALARS:
        raise Unreadable("malformed", f"the value of {key[:80]!r} has type {kind}, which the format does not have")
    value = window.number(_SCALARS[kind])
    if kind == BOOL:
        if value > 1:
            raise Unreadable("malformed", f"the value of {key[:80]!r} is neither true nor false")
        value = bool(value)
    return Entry(kind, -1, 1, 0, b"", value, at)


def _array(window: _Window, key: str) -> tuple[int, int, int]:
    """(type, number, place) of the items of an array that is walked over; arrays within it too."""
    pending: list[int] = []  # of each array around, how many of its arrays are still to come
    nested = 0
    first: tuple[int, int, int] | None = None
    while True:
        window.ahead(16)
        item, count = window.number("I"), window.length()
        first = first or (item, count, window.position)
        if item == STRING:
            window.skip_strings(count)
        elif item == ARRAY:
            nested += count
            if len(pending) >= _DEEPEST or nested > _MOST_NESTED:
                raise Unreadable("limit", f"{key[:80]!r} holds arrays within arrays, more than are read")
            pending.append(count)
        elif item in _SCALARS:
            window.skip(count * Struct("<" + _SCALARS[item]).size)
        else:
            raise Unreadable("malformed", f"{key[:80]!r} holds items of type {item}, which the format does not have")
        while pending and not pending[-1]:
            pending.pop()
        if not pending:
            return first
        pending[-1] -= 1


def _read_infos(window: _Window, tensors: int, header: Header) -> None:
    order = ">" if header.big_endian else "<"
    wide = "I" if header.version == 1 else "Q"
    tails = [Struct(f"{order}{wide * n}IQ") for n in range(_MOST_DIMS + 1)]
    read_length, read_number, width = window.lengths.unpack_from, Struct(f"{order}I").unpack_from, window.width
    names, types, shapes, offsets = header.names, header.types, header.shapes, header.offsets
    data, at = window.data, window.at
    for _ in range(tensors):
        if at + _LONGEST_INFO > len(data):
            window.at = at
            window.ahead(_LONGEST_INFO)
            data, at = window.data, window.at
        length = read_length(data, at)[0]
        if length > _LONGEST_NAME:
            raise Unreadable("malformed", f"a tensor with a name of more than {_LONGEST_NAME} bytes")
        begin = at + width
        at = begin + length
        n_dims = read_number(data, at)[0]
        names.append(_decode(data[begin:at], "tensor name"))
        if n_dims > _MOST_DIMS:
            raise Unreadable("malformed", f"tensor {names[-1]!r} has {n_dims} dimensions; the format allows {_MOST_DIMS}")
        tail = tails[n_dims]
        *dims, kind, offset = tail.unpack_from(data, at + 4)
        at += 4 + tail.size
        shapes.append(tuple(dims[::-1]))
        types.append(kind)
        offsets.append(offset)
    window.at = at
    if len(set(names)) != len(names):
        raise Unreadable("malformed", "the header names a tensor twice")


def _decode(text: bytes, what: str) -> str:
    if not text or b"\0" in text:
        raise Unreadable("malformed", f"a {what} that is empty or holds a NUL")
    try:
        return text.decode()
    except UnicodeDecodeError as wrong:
        raise Unreadable("malformed", f"the {what} {text[:80]!r} is not UTF-8") from wrong


class _Window:
    """A stretch of the file that moves forward: `data` are its bytes, `at` the place in them that is read next."""

    def __init__(self, source: ByteSource, limits: Limits) -> None:
        self._source = source
        self._most = limits.header_bytes
        self._base = 0
        self.data = source.read(0, min(source.size, HEAD))
        self.at = 0
        self.set_order(False, 8)

    def set_order(self, big_endian: bool, width: int) -> None:
        """How numbers are stored, and the bytes of a length."""
        order = ">" if big_endian else "<"
        self._numbers = {code: Struct(order + code) for code in {*_SCALARS.values()}}
        self.lengths = Struct(order + ("Q" if width == 8 else "I"))
        self.width = width
        self._big_endian = big_endian

    @property
    def position(self) -> int:
        return self._base + self.at

    def ahead(self, length: int) -> None:
        """Moves on so that `length` bytes lie in the window, or all that the file still has."""
        if self.at + length <= len(self.data):
            return
        start = self.position
        if start > self._source.size:
            raise Unreadable("truncated", "the header goes on after the end of the file")
        if start > self._most:
            raise Unreadable("limit", f"a header of more than {self._most} bytes")
        kept = self.data[self.at :]
        have = start + len(kept)
        end = min(self._source.size, max(start + length, have + _WINDOW))
        if kept and end == have:
            return
        self.data = kept + self._source.read(have, end - have)
        self._base, self.at = start, 0

    def unpack(self, form: Struct) -> tuple[Any, ...]:
        values = form.unpack_from(self.data, self.at)
        self.at += form.size
        return values

    def number(self, code: str) -> Any:
        return self.unpack(self._numbers[code])[0]

    def length(self) -> int:
        return int(self.unpack(self.lengths)[0])

    def string(self, most: int) -> bytes | None:
        """A string; None for one longer than `most`, which is walked over."""
        self.ahead(8)
        length = self.length()
        if length > most:
            self.skip(length)
            return None
        self.ahead(length)
        text = self.data[self.at : self.at + length]
        self.skip(length)
        return text

    def skip(self, length: int) -> None:
        """Moves over bytes, which are not read."""
        self.at += length
        if self.position > self._source.size:
            raise Unreadable("truncated", "the header goes on after the end of the file")

    def skip_strings(self, count: int) -> None:
        """Moves over strings: by the kernel once there are so many that loading Numba costs less than walking over them."""
        width = self.width
        if count * width > self._source.size - self.position:
            raise Unreadable("truncated", f"an array of {count} strings in what is left of the file")
        out = np.zeros(1, np.int64)
        while count:
            self.ahead(width)
            if skip_strings.pays(min(count, len(self.data) // 16)):
                data = np.frombuffer(self.data, np.uint8)
                walked = skip_strings.compiled(data, self.at, count, width, self._big_endian, out)
                end = int(out[0])
            else:
                walked, end = walk(self.data, self.at, count, self.lengths)
            if not walked:
                raise Unreadable("truncated", "the header goes on after the end of the file")
            self.skip(end - self.at)
            count -= walked


def walk(data: bytes, at: int, count: int, length: Struct) -> tuple[int, int]:
    """The same as the kernel `skip_strings`, as fast as plain Python can: (strings walked over, where the next begins)."""
    width, read = length.size, length.unpack_from
    last = len(data) - width
    for walked in range(count):
        if at > last:
            return walked, at
        at += width + read(data, at)[0]
    return count, at
