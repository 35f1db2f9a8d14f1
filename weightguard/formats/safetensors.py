"""safetensors: an 8-byte length, a JSON header, and the tensors end to end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from weightguard.errors import Reason, Unreadable
from weightguard.formats.protocol import HEAD, Container
from weightguard.kernels.layout import HOLE, OUTSIDE, OVERFLOW, OVERLAP, PARTIAL_BYTE, SIZE, check_extents, count_elements
from weightguard.kernels.safetensors_header import (
    BAD_KEY,
    BAD_NUMBER,
    BAD_STRING,
    DUPLICATE_KEY,
    NOT_JSON,
    TOO_MANY,
    UNEXPECTED,
    UNKNOWN_DTYPE,
    find_repeated_name,
    scan_safetensors_header,
)
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES, DTYPES, SAFETENSORS_DTYPES, Int64, Names, TensorTable, UInt8
from weightguard.values import Accounts

NAME = "safetensors"
SPEC = "safetensors README, section Format, and tensor.rs Metadata::validate, version 0.8.0"

_MAX_NUMBER = (1 << 63) - 1
_SMALLEST_ENTRY = len('"":{"dtype":"U8","shape":[],"data_offsets":[0,0]}')
_USUAL_ENTRY = 96
_ESCAPED_HEADER = 8 << 20
_METADATA_BYTES = 64 << 10  # free text above this is not explained by what metadata is for

_SCAN_ERRORS = {
    NOT_JSON: "is not JSON",
    BAD_STRING: "holds a string that does not end, or a control character in one",
    BAD_NUMBER: "holds a number that is not an integer below 2^63",
    UNEXPECTED: "does not have the form of a header",
    UNKNOWN_DTYPE: "names a dtype that the format does not have",
    BAD_KEY: "gives a tensor another key than dtype, shape and data_offsets",
    DUPLICATE_KEY: "gives a key twice",
    TOO_MANY: "holds more tensors or dimensions than it can",
}
_EXTENT_ERRORS = {
    OVERFLOW: "has more bytes than 2^63",
    SIZE: "has data_offsets that are not as long as its shape and dtype need",
    OVERLAP: "overlaps another tensor",
    HOLE: "leaves a hole in the data, or the data goes on after the last tensor",
    OUTSIDE: "has data_offsets outside the file",
    PARTIAL_BYTE: "does not fill whole bytes",
}
_TWICE = "the header names a tensor twice"
_DTYPE_NAMES: UInt8 = np.zeros((SAFETENSORS_DTYPES, 16), np.uint8)
for _code, (_name, _) in enumerate(DTYPES[:SAFETENSORS_DTYPES]):
    _DTYPE_NAMES[_code, : len(_name)] = list(_name.encode())


def sniff(head: bytes, tail: bytes) -> bool:
    """A little-endian length and an opening brace: "The header data MUST begin with a { character (0x7B)"."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40


def read(source: ByteSource, limits: Limits) -> Container:
    """The header, every offset and shape checked against the file's size; no tensor data is read."""
    first = source.read(0, min(source.size, HEAD))
    length = int.from_bytes(first[:8], "little")
    if length > limits.header_bytes:
        raise Unreadable("limit", f"a header of {length} bytes; the format allows {limits.header_bytes}")
    if 8 + length > source.size:
        raise Unreadable("truncated", f"a header of {length} bytes in a file of {source.size} bytes")
    header = first[8 : 8 + length] if 8 + length <= len(first) else source.read(8, length)
    scan = _scan_bytes if scan_safetensors_header.pays(len(header)) else _scan_json
    names, dtypes, dims, starts, offsets, metadata = scan(header, limits)
    elements = np.zeros(len(names), np.int64)
    wrong = count_elements(dims, starts, elements)
    if wrong >= 0:
        raise Unreadable("inconsistent", f"tensor {_quoted(names[wrong])} has a shape of more than 2^63 elements")
    size = source.size - 8 - length
    at_fault = np.zeros(1, np.int64)
    rows = np.arange(len(names), dtype=np.int64)
    error = check_extents(rows, elements, dtypes, DTYPE_BITS, offsets, size, at_fault)
    if error in (OVERLAP, HOLE):  # or the header's order is not that of the data
        order = np.lexsort((offsets[:, 1], offsets[:, 0]))
        error = check_extents(order, elements, dtypes, DTYPE_BITS, offsets, size, at_fault)
    if error:
        if not len(names):
            raise Unreadable("inconsistent", f"{size} bytes after a header that names no tensor")
        reason: Reason = "truncated" if error == OUTSIDE and int(offsets[:, 1].max()) > size else "inconsistent"
        raise Unreadable(reason, f"tensor {_quoted(names[int(at_fault[0])])} {_EXTENT_ERRORS[error]}")
    zeros = np.zeros(len(names), np.int64)
    table = TensorTable(
        names=names,
        dtypes=dtypes,
        dims=dims,
        starts=starts,
        elements=elements,
        storages=rows,  # "byte buffer ... no overlap": each tensor is its own storage
        begins=zeros,
        spans=offsets[:, 1] - offsets[:, 0],
        files=zeros,
        logical=np.full(len(names), -1, np.int64),
    )
    free_text = sum(len(t.encode("utf-8", "surrogatepass")) for pair in metadata.items() for t in pair)
    unexplained = free_text if free_text > _METADATA_BYTES else 0
    end = header[-64:]
    padding = len(end) - len(end.rstrip(b" ")) if end.strip(b" ") else length - len(header.rstrip(b" "))
    return Container(NAME, table, metadata, accounts=Accounts(size, 8 + length - padding - unexplained, padding, unexplained))


_Columns = tuple[Sequence[str], UInt8, Int64, Int64, Int64, dict[str, str]]


def _scan_bytes(header: bytes, limits: Limits) -> _Columns:
    """By the kernel: for headers so many that Python objects would cost more than loading Numba."""
    info = np.zeros(4, np.int64)
    data, words = np.frombuffer(header, np.uint8), _words(header)
    count = -TOO_MANY
    # Rows and dimensions: of usual tensors, and the most that a header can hold.
    for rows, room in (
        (len(header) // _USUAL_ENTRY, len(header) // 32),
        (len(header) // _SMALLEST_ENTRY + 1, len(header) // 2),
    ):
        if count == -TOO_MANY:
            places, offsets = np.empty((rows, 3), np.int64), np.empty((rows, 2), np.int64)
            dtypes, dims, starts = np.empty(rows, np.uint8), np.empty(room, np.int64), np.empty(rows + 1, np.int64)
            count = scan_safetensors_header.compiled(data, words, _DTYPE_NAMES, places, dtypes, dims, starts, offsets, info)
    if count < 0 and b"\\" in header and len(header) <= _ESCAPED_HEADER:  # a key, a dtype or __metadata__ spelt with an escape
        return _scan_json(header, limits)
    if count < 0:
        raise Unreadable("malformed", f"the header {_SCAN_ERRORS[-count]}, at byte {8 + int(info[0])}")
    if count > limits.tensors:
        raise Unreadable("limit", f"more than {limits.tensors} tensors")
    if not header.isascii():
        _text(header)
    names = _names(header, data, places[:count], bool(info[3]))
    if info[3] and "__metadata__" in names:
        return _scan_json(header, limits)
    metadata = _metadata(_load(_text(header[info[1] : info[2]]))) if info[2] else {}
    starts = starts[: count + 1]
    return names, dtypes[:count], dims[: starts[-1]], starts, offsets[:count], metadata


def _words(header: bytes) -> Int64:
    """Bytes i to i + 7 as an integer, for each i, over the same memory."""
    return np.ndarray(max(0, len(header) - 7), "<i8", header if len(header) > 7 else bytes(8), 0, (1,))


def _names(header: bytes, data: UInt8, places: Int64, escaped: bool) -> Sequence[str]:
    """The names that the kernel found; raises `Unreadable` if one stands twice."""
    if escaped:
        raw = [header[at : at + (length if length >= 0 else -length - 1)] for at, length, _ in places.tolist()]
        return _once([_string(f'"{_text(name)}"') for name in raw])
    table = np.zeros(1 << (2 * len(places)).bit_length(), np.int32)
    repeated = find_repeated_name.compiled(data, places, table, np.zeros(1, np.int64))
    if repeated >= 0:
        raise Unreadable("malformed", _TWICE)
    names = Names(header, places[:, :2])
    return names if repeated == -1 else _once(names)


def _once(names: Sequence[str]) -> Sequence[str]:
    if len(set(names)) != len(names):  # 0.8.0 of the library lets the last one win
        raise Unreadable("malformed", _TWICE)
    return names


def _scan_json(header: bytes, limits: Limits) -> _Columns:
    """The same by the standard library's JSON reader."""
    top = _load(_text(header))
    if not isinstance(top, _Pairs):
        raise Unreadable("malformed", "the header is not a JSON object")
    names: list[str] = []
    dtypes: list[int] = []
    dims: list[int] = []
    starts = [0]
    offsets: list[list[int]] = []
    metadata: dict[str, str] | None = None
    for name, entry in top:
        if not isinstance(entry, _Pairs):
            raise Unreadable("malformed", f"{_quoted(name)} is not an object")
        if name == "__metadata__":
            if metadata is not None:
                raise Unreadable("malformed", "the header gives a key twice")
            metadata = _metadata(entry)
            continue
        fields = dict(entry)
        if len(fields) != 3 or len(entry) != 3:
            raise Unreadable("malformed", f"tensor {_quoted(name)} needs dtype, shape and data_offsets, each once")
        try:
            dtype, shape, place = fields["dtype"], fields["shape"], fields["data_offsets"]
        except KeyError as error:
            raise Unreadable("malformed", f"tensor {_quoted(name)} has no {error.args[0]}") from error
        code = DTYPE_CODES.get(dtype, SAFETENSORS_DTYPES) if isinstance(dtype, str) else SAFETENSORS_DTYPES
        if code >= SAFETENSORS_DTYPES:
            raise Unreadable("malformed", f"tensor {_quoted(name)} has a dtype that the format does not have")
        if type(shape) is not list or type(place) is not list or len(place) != 2:
            raise Unreadable("malformed", f"tensor {_quoted(name)} has a shape or data_offsets of the wrong form")
        for number in (*shape, *place):
            if type(number) is not int or not 0 <= number <= _MAX_NUMBER:
                raise Unreadable("malformed", f"tensor {_quoted(name)} has a number that is not an integer below 2^63")
        names.append(name)
        dtypes.append(code)
        dims += shape
        starts.append(len(dims))
        offsets.append(place)
    if len(names) > limits.tensors:
        raise Unreadable("limit", f"more than {limits.tensors} tensors")
    return (
        _once(names),
        np.array(dtypes, np.uint8),
        np.array(dims, np.int64),
        np.array(starts, np.int64),
        np.array(offsets, np.int64).reshape(-1, 2),
        metadata or {},
    )


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a key given twice is seen."""


def _minus(text: str) -> int:
    value = int(text)
    if text.startswith("-"):
        raise Unreadable("malformed", "the header holds a negative number")
    return value


def _not_an_integer(text: str) -> None:
    raise Unreadable("malformed", "the header holds a number that is not an integer below 2^63")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Pairs, parse_float=_not_an_integer, parse_constant=_not_an_integer, parse_int=_minus
)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Unreadable("malformed", "the header is not UTF-8") from error


def _load(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise Unreadable("malformed", "the header nests deeper than a header can") from error
    except ValueError as error:
        raise Unreadable("malformed", f"the header is not JSON: {error}") from error


def _string(literal: str) -> str:
    value = _load(literal)
    if not isinstance(value, str):
        raise Unreadable("malformed", "the header has a name that is not a string")
    return value


def _metadata(pairs: _Pairs) -> dict[str, str]:
    """ "Special key __metadata__ is allowed to contain free form string-to-string map"."""
    metadata: dict[str, str] = {}
    for key, value in pairs:
        if not isinstance(value, str) or key in metadata:
            raise Unreadable("malformed", "__metadata__ is not a map of strings to strings, each key once")
        metadata[key] = value
    return metadata


def _quoted(name: str) -> str:
    return json.dumps(name if len(name) <= 80 else name[:77] + "...")
