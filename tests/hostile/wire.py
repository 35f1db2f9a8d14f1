"""Small writers for the corpus: protobuf, ONNX, GGUF, safetensors and 7z files, every field free to lie."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from struct import pack


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def protobuf(*fields: tuple[int, int | bytes]) -> bytes:
    """(number, value): an integer as a varint, bytes as a length and the bytes."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def onnx_model(
    *,
    location: str | None = None,
    dims: Sequence[int] = (2, 2),
    raw: bytes = b"\0" * 16,
    data_type: int = 1,
    domain: str = "",
    op: str = "Relu",
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A ModelProto with one initializer (onnx.proto): in another file if `location` is given."""
    tensor = protobuf(*((1, d) for d in dims), (2, data_type), (8, b"w"))
    if location is None:
        tensor += protobuf((9, raw))
    else:
        tensor += protobuf((13, protobuf((1, b"location"), (2, location.encode()))), (14, 1))
    node = protobuf((1, b"w"), (2, b"y"), (4, op.encode()), (7, domain.encode()))
    graph = protobuf((1, node), (2, b"g"), (5, tensor), (12, protobuf((1, b"y"))))
    extra = [(14, protobuf((1, k.encode()), (2, v.encode()))) for k, v in (metadata or {}).items()]
    return protobuf((1, 8), (2, b"weightguard"), (8, protobuf((1, domain.encode()), (2, 17))), (7, graph), *extra)


def _string(value: str) -> bytes:
    raw = value.encode()
    return pack("<Q", len(raw)) + raw


def gguf(
    metadata: Mapping[str, str | int],
    tensors: Sequence[tuple[str, Sequence[int], int, int]] = (("w", (32, 2), 0, 0),),
    *,
    version: int = 3,
    tensor_count: int | None = None,
    pair_count: int | None = None,
    data: bytes = b"\0" * 256,
    raw_pairs: bytes = b"",
) -> bytes:
    """tensors: (name, dimensions, ggml_type, offset). Specification: ggml, docs/gguf.md."""
    count = len(tensors) if tensor_count is None else tensor_count
    pairs = len(metadata) if pair_count is None else pair_count
    out = b"GGUF" + pack("<IQQ", version, count, pairs)
    for key, value in metadata.items():
        out += _string(key) + (pack("<I", 8) + _string(value) if isinstance(value, str) else pack("<II", 4, value))
    out += raw_pairs
    for name, dims, kind, offset in tensors:
        out += _string(name) + pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
    return out + b"\0" * (-len(out) % 32) + data


def safetensors_file(
    tensors: Mapping[str, tuple[str, Sequence[int], int]],
    *,
    metadata: Mapping[str, str] | None = None,
    data: bytes | None = None,
) -> bytes:
    """tensors: name -> (dtype, shape, bytes)."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, (dtype, shape, length) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + length]}
        at += length
    return raw_safetensors(json.dumps(header).encode(), b"\0" * at if data is None else data)


def raw_safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    header += b" " * (-len(header) % 8)
    return pack("<Q", len(header) if length is None else length) + header + data


def seven_zip(name: str, content: bytes) -> bytes:
    """A 7z archive with one stored member (7zFormat.txt): signature header, the bytes, the header."""
    title = name.encode("utf-16-le") + b"\0\0"

    def number(value: int) -> bytes:
        return bytes([value]) if value < 0x80 else bytes([0x80 | value >> 8, value & 0xFF])

    packed = b"\x06\0\x01\x09" + number(len(content)) + b"\0"
    folders = b"\x07\x0b\x01\0\x01\x01\0\x0c" + number(len(content)) + b"\0"
    substreams = b"\x08\x0a\x01" + pack("<I", zlib.crc32(content)) + b"\0"
    files = b"\x05\x01\x11" + number(len(title) + 1) + b"\0" + title + b"\0"
    header = b"\x01\x04" + packed + folders + substreams + b"\0" + files + b"\0"
    start = pack("<QQI", len(content), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\x04" + pack("<I", zlib.crc32(start)) + start + content + header
