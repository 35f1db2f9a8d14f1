"""Protobuf on the wire, by hand."""

from __future__ import annotations


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number: int, content: bytes | str) -> bytes:
    """A field that has a length."""
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(field_number: int, value: int) -> bytes:
    """A field that is a varint."""
    return varint(field_number << 3) + varint(value % (1 << 64))


HUGE = b"\xff" * 9 + b"\x01"  # 2^64 - 1
LARGE = b"\x80" * 9 + b"\x01"  # 2^63
