"""HDF5's datatypes, as the numbers that an element holds.

Source: HDF5 File Format Specification 3.0, IV.A.2.d "The Datatype Message".
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from weightguard.errors import Unreadable
from weightguard.tensors import DTYPE_CODES

FIXED, FLOAT, TIME, STRING, BITS, OPAQUE, COMPOUND, REFERENCE, ENUM, VARIABLE, ARRAY, COMPLEX = range(12)

_DEPTH = 16
_INTEGERS = {(1, True): "I8", (2, True): "I16", (4, True): "I32", (8, True): "I64"} | {
    (1, False): "U8",
    (2, False): "U16",
    (4, False): "U32",
    (8, False): "U64",
}
_FLOATS = {1: "F8_E4M3", 2: "F16", 4: "F32", 8: "F64", 10: "F128", 12: "F128", 16: "F128"}
_COMPLEX = {4: "C32", 8: "C64", 16: "C128"}
_FLOATING = frozenset(DTYPE_CODES[name] for name in ("F16", "F32", "F64"))


class Field(NamedTuple):
    """A number within an element. name: "" for a plain type. dims: of the numbers in one element. size: bytes of one.

    begin: of the first within the element.
    """

    name: str
    dtype: int
    dims: tuple[int, ...]
    size: int
    begin: int


class Variable(NamedTuple):
    """A sequence of variable length, kept in a global heap. begin: of its descriptor. base: one item of it."""

    name: str
    begin: int
    base: Type


class Type(NamedTuple):
    """kind: the class. size: bytes of an element. fields and variables: what it holds. names: bytes of text in it."""

    kind: int
    size: int
    fields: tuple[Field, ...]
    variables: tuple[Variable, ...]
    names: int

    @property
    def gaps(self) -> int:
        """Bytes of an element that no member covers."""
        known = sum(prod(f.dims) * f.size for f in self.fields)
        return self.size - known - sum(_descriptor(v.base, self) for v in self.variables)


def _descriptor(base: Type, whole: Type) -> int:
    return whole.size if whole.kind == VARIABLE else 0


def parse_type(data: bytes, offsets: int) -> tuple[Type, int]:
    """A datatype and where its description ends. offsets: bytes of an address. Raises `Unreadable`."""
    return _parse(data, 0, offsets, 0)


def _parse(data: bytes, at: int, offsets: int, depth: int) -> tuple[Type, int]:
    if depth > _DEPTH or at + 8 > len(data):
        raise Unreadable("malformed", "hdf5: a datatype that ends early, or nests too deep")
    kind, version = data[at] & 15, data[at] >> 4
    bits = int.from_bytes(data[at + 1 : at + 4], "little")
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    at += 8
    if not 1 <= version <= 5:
        raise Unreadable("unsupported", f"hdf5: version {version} of a datatype")
    if size == 0 and kind != STRING:
        raise Unreadable("malformed", "hdf5: a datatype of no bytes")
    if kind == FIXED:
        return _number(kind, _INTEGERS.get((size, bits & 8 != 0)), size, at + 4)
    if kind == FLOAT:
        return _number(kind, _float(data, at, size), size, at + 12)
    if kind == TIME:
        return _number(kind, _INTEGERS.get((size, True)), size, at + 2)
    if kind == BITS:
        return _number(kind, _INTEGERS.get((size, False)), size, at + 4)
    if kind == STRING:
        return Type(kind, size, (Field("", DTYPE_CODES["STRING"], (size,), 1, 0),), (), 0), at
    if kind == OPAQUE:
        tag = bits & 0xFF
        return Type(kind, size, (Field("", DTYPE_CODES["U8"], (size,), 1, 0),), (), tag), at + tag
    if kind == REFERENCE:
        return Type(kind, size, (Field("", DTYPE_CODES["U8"], (size,), 1, 0),), (), 0), at
    if kind == COMPOUND:
        return _compound(data, at, size, bits & 0xFFFF, version, offsets, depth)
    if kind == ENUM:
        return _enum(data, at, size, bits & 0xFFFF, version, offsets, depth)
    if kind == VARIABLE:
        base, at = _parse(data, at, offsets, depth + 1)
        if size != 8 + offsets:
            raise Unreadable("inconsistent", f"hdf5: a sequence of variable length whose descriptor has {size} bytes")
        if base.variables:
            raise Unreadable("unsupported", "hdf5: sequences of sequences of variable length")
        if bits & 15 == 1:
            base = base._replace(kind=STRING, fields=(Field("", DTYPE_CODES["STRING"], (), 1, 0),))
        return Type(kind, size, (), (Variable("", 0, base),), base.names), at
    if kind == ARRAY:
        return _array(data, at, size, version, offsets, depth)
    if kind == COMPLEX:
        base, at = _parse(data, at, offsets, depth + 1)
        if 2 * base.size != size or base.kind != FLOAT:
            raise Unreadable("inconsistent", "hdf5: a complex number that isn't two floating-point numbers")
        return _number(kind, _COMPLEX.get(size), size, at)
    raise Unreadable("unsupported", f"hdf5: a datatype of class {kind}")


def _number(kind: int, name: str | None, size: int, at: int) -> tuple[Type, int]:
    if name is None:  # of a size that no machine has: its bytes
        if kind in (FLOAT, COMPLEX):
            raise Unreadable("unsupported", f"hdf5: floating-point numbers of {size} bytes")
        return Type(kind, size, (Field("", DTYPE_CODES["U8"], (size,), 1, 0),), (), 0), at
    return Type(kind, size, (Field("", DTYPE_CODES[name], (), size, 0),), (), 0), at


def _float(data: bytes, at: int, size: int) -> str | None:
    """By the place and size of the exponent."""
    if at + 12 > len(data):
        raise Unreadable("malformed", "hdf5: a datatype that ends early")
    exponent = data[at + 5]
    if size == 2 and exponent == 8:
        return "BF16"
    if size == 1 and exponent == 5:
        return "F8_E5M2"
    return _FLOATS.get(size)


def _name(data: bytes, at: int, padded: bool) -> tuple[str, int]:
    end = data.find(b"\0", at)
    if end < 0:
        raise Unreadable("malformed", "hdf5: a name without an end")
    length = end + 1 - at
    return data[at:end].decode("utf-8", "backslashreplace"), at + (-(-length // 8) * 8 if padded else length)


def _compound(data: bytes, at: int, size: int, count: int, version: int, offsets: int, depth: int) -> tuple[Type, int]:
    """Members by name and place; two that share bytes are refused."""
    fields: list[Field] = []
    variables: list[Variable] = []
    width = (size.bit_length() + 7) // 8 if version >= 3 else 4
    names: set[str] = set()
    text = 0
    ends: list[tuple[int, int]] = []
    for _ in range(count):
        name, at = _name(data, at, version < 3)
        if at + width > len(data):
            raise Unreadable("malformed", "hdf5: a compound datatype that ends early")
        if name in names:
            raise Unreadable("inconsistent", f"hdf5: two members named {name[:80]!r}")
        names.add(name)
        begin = int.from_bytes(data[at : at + width], "little")
        at += width
        dims: tuple[int, ...] = ()
        if version == 1:
            if at + 28 > len(data):
                raise Unreadable("malformed", "hdf5: a compound datatype that ends early")
            rank = data[at]
            if rank > 4:
                raise Unreadable("malformed", "hdf5: a member of more than 4 dimensions")
            dims = tuple(int.from_bytes(data[at + 12 + 4 * i : at + 16 + 4 * i], "little") for i in range(rank))
            at += 28
        member, at = _parse(data, at, offsets, depth + 1)
        text += len(name) + member.names
        if dims and member.variables:
            raise Unreadable("unsupported", "hdf5: arrays of sequences of variable length")
        ends.append((begin, begin + member.size * prod(dims)))
        for f in member.fields:
            inner = f"{name}.{f.name}" if f.name else name
            fields.append(Field(inner, f.dtype, (*dims, *f.dims), f.size, begin + f.begin))
        for v in member.variables:
            variables.append(Variable(f"{name}.{v.name}" if v.name else name, begin + v.begin, v.base))
    reached = 0
    for begin, end in sorted(ends):
        if begin < reached or end > size:
            raise Unreadable("inconsistent", "hdf5: members of a compound datatype that overlap, or leave it")
        reached = end
    if names == {"r", "i"} and len(fields) == 2 and fields[0][1:4] == fields[1][1:4] == (fields[0].dtype, (), size // 2):
        code = _COMPLEX.get(size) if fields[0].dtype in _FLOATING else None
        if code is not None:  # a complex number, as h5py and NetCDF write it
            return _number(COMPLEX, code, size, at)
    return Type(COMPOUND, size, tuple(fields), tuple(variables), text), at


def _enum(data: bytes, at: int, size: int, count: int, version: int, offsets: int, depth: int) -> tuple[Type, int]:
    """Names for integers; h5py's booleans are one of them."""
    base, at = _parse(data, at, offsets, depth + 1)
    if base.kind != FIXED or base.size != size:
        raise Unreadable("inconsistent", "hdf5: an enumeration that isn't of integers")
    names = []
    first = at
    for _ in range(count):
        name, at = _name(data, at, version < 3)
        names.append(name)
    text = at - first
    at += count * size
    if at > len(data):
        raise Unreadable("malformed", "hdf5: an enumeration that ends early")
    field = base.fields[0]
    if names == ["FALSE", "TRUE"] and size == 1:
        field = field._replace(dtype=DTYPE_CODES["BOOL"])
    return Type(ENUM, size, (field,), (), text), at


def _array(data: bytes, at: int, size: int, version: int, offsets: int, depth: int) -> tuple[Type, int]:
    if at >= len(data):
        raise Unreadable("malformed", "hdf5: an array datatype that ends early")
    rank = data[at]
    at += 1 if version >= 3 else 4
    if at + 4 * rank * (1 if version >= 3 else 2) > len(data):
        raise Unreadable("malformed", "hdf5: an array datatype that ends early")
    dims = tuple(int.from_bytes(data[at + 4 * i : at + 4 * i + 4], "little") for i in range(rank))
    at += 4 * rank * (1 if version >= 3 else 2)  # version 2 has a permutation, too
    base, at = _parse(data, at, offsets, depth + 1)
    if prod(dims) * base.size != size:
        raise Unreadable("inconsistent", "hdf5: an array datatype whose size isn't that of its elements")
    if base.variables:
        raise Unreadable("unsupported", "hdf5: arrays of sequences of variable length")
    return Type(ARRAY, size, tuple(f._replace(dims=(*dims, *f.dims)) for f in base.fields), (), base.names), at
