"""ONNX's TensorProto: what it holds and where, its size held against its shape."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from weightguard.errors import Unreadable
from weightguard.formats._onnx.schema import A_NUMBER, DATA_TYPES, PAIR, TENSOR, TYPED_FIELDS
from weightguard.formats._protobuf import Extent, Message, Numbers, Reader
from weightguard.formats._rows import called
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES

_EXTERNAL = 1  # TensorProto.DataLocation
_MOST_INTS = 64  # of a tensor whose values are kept: a shape
_I64 = DTYPE_CODES["I64"]
_STRING = DTYPE_CODES["STRING"]


@dataclass(frozen=True)
class Place:
    """Where external data lies: the path as given, and bytes."""

    location: str
    offset: int
    length: int


@dataclass(frozen=True)
class Tensor:
    """dtype: code into `DTYPES`. span: bytes in the file. ints: the values, of a few 64-bit integers."""

    name: str
    dtype: int
    dims: tuple[int, ...]
    span: int
    place: Place | None = None
    ints: tuple[int, ...] | None = None


def read_tensor(reader: Reader, extent: Extent, depth: int) -> Tensor:
    """One TensorProto; its data is counted in `reader.data`. Raises `Unreadable` where size and shape differ."""
    message = reader.message(TENSOR, extent, depth)
    name: str = message.get("name", "")
    dims = tuple(message.get("dims", ()))
    dtype, typed = data_type(message.get("data_type", 0), name)
    elements = prod(dims)
    if any(d < 0 for d in dims) or elements >= 1 << 63 or size_of(dtype, elements) >= 1 << 63:
        raise Unreadable("inconsistent", f"{called(name)} has a shape that no file can fill")
    if "segment" in message:
        raise Unreadable("unsupported", f"{called(name)} is a segment of a tensor")
    if message.get("data_location", 0) == _EXTERNAL:
        return _external(reader, message, name, dtype, dims, elements, depth)
    given = [f for f in ("raw_data", *TYPED_FIELDS) if f in message]
    given = [f for f in given if f != "raw_data" or len(given) == 1 or message[f][1] > message[f][0]]  # empty beside others
    if len(given) > 1 or (given and given[0] not in ("raw_data", typed)) or (dtype == _STRING and given == ["raw_data"]):
        raise Unreadable("inconsistent", f"{called(name)} holds {' and '.join(given)}, which its type does not")
    if not given:
        if elements:
            raise Unreadable("inconsistent", f"{called(name)} has a shape of {elements} elements and no data")
        return Tensor(name, dtype, dims, 0)
    if given == ["raw_data"]:
        begin, end = message["raw_data"]
        if end - begin != size_of(dtype, elements):
            raise Unreadable("inconsistent", f"{called(name)} has {end - begin} bytes, which its shape and type do not need")
        reader.data += end - begin
        ints = _raw_ints(reader, (begin, end)) if dtype == _I64 and elements <= _MOST_INTS else None
        return Tensor(name, dtype, dims, end - begin, None, ints)
    numbers: Numbers = message[typed]
    _check_count(numbers.count, dtype, elements, name)
    reader.data += numbers.bytes
    if dtype == _STRING:  # of text, elements are bytes
        return Tensor(name, dtype, (numbers.content,), numbers.content)
    few = reader.integers(numbers, _MOST_INTS) if dtype == _I64 else None
    return Tensor(name, dtype, dims, numbers.bytes, None, None if few is None else tuple(few))


def data_type(code: int, name: str) -> tuple[int, str]:
    """The code into `DTYPES` of a TensorProto.DataType, and the field of its typed values."""
    if code not in DATA_TYPES:
        raise Unreadable("unsupported", f"{called(name)} has element type {code}, which this version does not know")
    dtype, typed = DATA_TYPES[code]
    return DTYPE_CODES[dtype], typed


def size_of(dtype: int, elements: int) -> int:
    """Bytes that elements take; those of less than a byte are packed, the last byte filled up."""
    return -(-elements * int(DTYPE_BITS[dtype]) // 8)


def _check_count(count: int, dtype: int, elements: int, name: str) -> None:
    kind = _NAMES[dtype]
    need = 2 * elements if kind in ("C64", "C128") else -(-elements // A_NUMBER.get(kind, 1))
    if count != need:
        raise Unreadable("inconsistent", f"{called(name)} holds {count} numbers, its shape needs {need}")


def _raw_ints(reader: Reader, extent: Extent) -> tuple[int, ...]:
    data = reader.read(extent)
    return tuple(int.from_bytes(data[i : i + 8], "little", signed=True) for i in range(0, len(data), 8))


def _external(
    reader: Reader, message: Message, name: str, dtype: int, dims: tuple[int, ...], elements: int, depth: int
) -> Tensor:
    """ "EXTERNAL - data stored externally": location, offset, length, checksum as strings."""
    if any(f in message for f in TYPED_FIELDS) or ("raw_data" in message and message["raw_data"][0] < message["raw_data"][1]):
        raise Unreadable("inconsistent", f"{called(name)} holds data and says that it lies in another file")
    said: dict[str, str] = {}
    for pair in message.get("external_data", ()):
        entry = reader.message(PAIR, pair, depth + 1)
        key, value = (reader.text(entry[k]) if k in entry else "" for k in ("key", "value"))
        if key in said:
            raise Unreadable("malformed", f"{called(name)} gives {key[:40]!r} of its external data twice")
        said[key] = value
    if "location" not in said or dtype == _STRING:
        raise Unreadable("malformed", f"{called(name)} lies in another file that it does not name")
    size = size_of(dtype, elements)
    offset = _number(said["offset"], name) if "offset" in said else 0
    length = _number(said["length"], name) if "length" in said else size
    if length != size:
        raise Unreadable("inconsistent", f"{called(name)} has {length} bytes in another file; its shape and type need {size}")
    return Tensor(name, dtype, dims, size, Place(said["location"], offset, size))


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Unreadable("malformed", f"{called(name)} has an offset or length that is no number")
    return int(text)


_NAMES = {code: name for name, code in DTYPE_CODES.items()}
