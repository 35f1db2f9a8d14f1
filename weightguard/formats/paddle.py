"""PaddlePaddle's combined parameters (.pdiparams, and params files of older versions): tensors one after another, without names.

Source: PaddlePaddle, `paddle/fluid/framework/lod_tensor.cc` (SerializeToStream: a version, levels of detail), `tensor_util.cc`
(TensorToStream: a version, the length of a TensorDesc, the TensorDesc, the elements) and `framework.proto` (VarType). Their names
stand in the program beside them, in alphabetical order; here they are numbered.
"""

from __future__ import annotations

from math import prod

from weightguard.errors import Unreadable
from weightguard.formats._protobuf import varint
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES, from_rows
from weightguard.values import Accounts

NAME = "paddle"
SPEC = "PaddlePaddle, lod_tensor.cc, tensor_util.cc and framework.proto, version 0 of LoDTensor"

# framework.proto, VarType.Type
_TYPES = {
    0: "BOOL",
    1: "I16",
    2: "I32",
    3: "I64",
    4: "F16",
    5: "F32",
    6: "F64",
    19: "U64",
    20: "U8",
    21: "I8",
    22: "BF16",
    23: "C64",
    24: "C128",
    32: "F8_E4M3",
    33: "F8_E5M2",
}
_DESCRIPTION = 1024  # bytes of a TensorDesc: a type, and a number of ten bytes at most for each dimension
_START = 20  # bytes before it, without levels of detail
_LEVELS = 16


def sniff(head: bytes, tail: bytes) -> bool:
    """Version 0, no level of detail, version 0, and a TensorDesc that begins with its two fields."""
    length = int.from_bytes(head[16:20], "little")
    return (
        len(head) > _START
        and not any(head[:16])
        and 2 <= length <= _DESCRIPTION
        and _description(head[20 : 20 + length]) is not None
    )


def read(source: ByteSource, limits: Limits) -> Container:
    """All tensors, each one's bytes within the file. Raises `Unreadable`."""
    dtypes: list[int] = []
    shapes: list[tuple[int, ...]] = []
    spans: list[int] = []
    at = headers = 0
    while at < source.size:
        begin, code, shape = _tensor(source, at)
        count = prod(shape)
        size = count * int(DTYPE_BITS[code]) // 8
        if begin + size > source.size:
            raise Unreadable("truncated", f"paddle: tensor {len(dtypes)} ends at byte {begin + size} of {source.size}")
        headers += begin - at
        dtypes.append(code)
        shapes.append(shape)
        spans.append(size)
        if len(dtypes) > limits.tensors:
            raise Unreadable("limit", f"paddle: more than {limits.tensors} tensors")
        at = begin + size
    table = from_rows([f"parameter.{i}" for i in range(len(dtypes))], dtypes, shapes, spans)
    return Container(NAME, table, accounts=Accounts(sum(spans), headers))


def _tensor(source: ByteSource, at: int) -> tuple[int, int, tuple[int, ...]]:
    """(where the elements begin, dtype, shape) of the tensor at byte `at`."""
    head = _take(source, at, 12)
    levels = int.from_bytes(head[4:], "little")
    if any(head[:4]) or levels > _LEVELS:
        raise Unreadable("unsupported", f"paddle: no LoDTensor of version 0 at byte {at}")
    at += 12
    for _ in range(levels):  # offsets of sequences in a batch: parameters have none
        if any(_take(source, at, 8)):
            raise Unreadable("unsupported", f"paddle: a tensor with levels of detail, at byte {at}")
        at += 8
    head = _take(source, at, 8)
    length = int.from_bytes(head[4:], "little")
    if any(head[:4]) or not 2 <= length <= _DESCRIPTION:
        raise Unreadable("malformed", f"paddle: a description of {length} bytes at byte {at}")
    found = _description(_take(source, at + 8, length))
    if found is None:
        raise Unreadable("malformed", f"paddle: a description that is none, at byte {at + 8}")
    kind, shape = found
    if kind not in _TYPES:
        raise Unreadable("unsupported", f"paddle: a tensor of the type {kind}, at byte {at}")
    if any(d < 0 for d in shape) or prod(shape) >= 1 << 60:
        raise Unreadable("inconsistent", f"paddle: a shape that no file can fill, at byte {at}")
    return at + 8 + length, DTYPE_CODES[_TYPES[kind]], shape


def _description(data: bytes) -> tuple[int, tuple[int, ...]] | None:
    """Type and shape of a TensorDesc: field 1, and field 2 again and again or packed; None if the bytes are no more than that."""
    if data[:1] != b"\x08":
        return None
    try:
        kind, at = varint(data, 1)
        dims: list[int] = []
        while at < len(data):
            tag, at = data[at], at + 1
            stop = at + 1
            if tag == 0x12:
                length, at = varint(data, at)
                stop = at + length
                if stop > len(data):
                    return None
            elif tag != 0x10:
                return None
            while at < stop:
                value, at = varint(data, at)
                dims.append(value)
                if tag == 0x10:
                    break
    except (IndexError, Unreadable):
        return None
    return kind, tuple(d - (1 << 64) if d >> 63 else d for d in dims)


def _take(source: ByteSource, at: int, length: int) -> bytes:
    if at + length > source.size:
        raise Unreadable("truncated", f"paddle: ends within a tensor's description, at byte {at} of {source.size}")
    return source.read(at, length)
