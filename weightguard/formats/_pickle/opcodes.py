"""Pickle's constants: the opcodes that push a number, a text or bytes, decoded without calling what they name.

The rules are those of CPython's `pickletools` (opcode table, protocols 0 to 5). The commonest opcodes are decoded
in the machine's own loop; this module holds the rest, by name, and the order of their arguments.
"""

from __future__ import annotations

from codecs import escape_decode
from collections.abc import Callable
from contextlib import suppress
from struct import Struct

from weightguard.errors import Unreadable

HIGHEST_PROTOCOL = 5

_U32 = Struct("<I").unpack_from
_I32 = Struct("<i").unpack_from
_U64 = Struct("<Q").unpack_from
_DIGITS = 4300  # decimal digits of a text integer: int() is quadratic in them, and CPython draws the line here

Constant = int | float | str | bytes | bool
Decoder = Callable[[bytes, int], tuple[Constant, int]]


def text_line(data: bytes, at: int) -> tuple[bytes, int]:
    """The bytes up to the next newline, and the offset after it; raises `Unreadable` ("truncated")."""
    end = data.find(b"\n", at)
    if end < 0:
        raise Unreadable("truncated", f"pickle: a line at byte {at} doesn't end")
    return data[at:end], end + 1


def counted(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    """`length` bytes from `at`, checked against what remains before they are taken."""
    end = at + length
    if length < 0 or end > len(data):
        raise Unreadable("truncated", f"pickle: {length} bytes announced at byte {at}, {len(data) - at} remain")
    return data[at:end], end


def ascii_or_bytes(raw: bytes) -> str | bytes:
    """Python 2's `str` is text or bytes; only ASCII is surely text."""
    return raw.decode("ascii") if raw.isascii() else raw


def last_line(data: bytes, at: int) -> tuple[bytes, int]:
    """As `text_line`; an unpickler takes the file's end for a line's, and cuts the character before it."""
    if data.find(b"\n", at) < 0 and len(data) - at >= 2:
        return data[at:-1], len(data)
    return text_line(data, at)


def decimal(raw: bytes) -> int:
    """A text integer, as C's strtol takes it (CPython, `_pickle.c`, load_int): up to a NUL, octal and hexadecimal too.

    Raises `Unreadable` ("limit", "malformed").
    """
    if len(raw) > _DIGITS:
        raise Unreadable("limit", f"pickle: an integer of {len(raw)} digits")
    raw = raw.split(b"\0", 1)[0] or b"0"
    for base in (0, 8, 10):
        with suppress(ValueError):
            return int(raw, base)
    raise Unreadable("malformed", "pickle: not an integer in a text opcode")


def _int(data: bytes, at: int) -> tuple[Constant, int]:
    raw, at = text_line(data, at)
    if raw in (b"00", b"01"):  # INT carries the booleans of protocols 0 and 1
        return raw == b"01", at
    return decimal(raw), at


def _long(data: bytes, at: int) -> tuple[Constant, int]:
    raw, at = text_line(data, at)
    return decimal(raw[:-1] if raw.endswith(b"L") else raw), at


def _float(data: bytes, at: int) -> tuple[Constant, int]:
    raw, at = text_line(data, at)
    try:
        return float(raw.split(b"\0", 1)[0]), at
    except ValueError as error:
        raise Unreadable("malformed", "pickle: not a number in a FLOAT opcode") from error


def _string(data: bytes, at: int) -> tuple[Constant, int]:
    raw, at = text_line(data, at)
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in (b"'", b'"'):
        raise Unreadable("malformed", "pickle: the argument of STRING must be quoted")
    try:
        decoded: bytes = escape_decode(raw[1:-1])[0]
    except ValueError as error:
        raise Unreadable("malformed", "pickle: a bad escape in STRING") from error
    return ascii_or_bytes(decoded), at


def _unicode(data: bytes, at: int) -> tuple[Constant, int]:
    raw, at = text_line(data, at)
    return raw.decode("raw-unicode-escape"), at


def _long1(data: bytes, at: int) -> tuple[Constant, int]:
    raw, at = counted(data, at + 1, data[at])
    return int.from_bytes(raw, "little", signed=True), at


def _long4(data: bytes, at: int) -> tuple[Constant, int]:
    raw, at = counted(data, at + 4, _I32(data, at)[0])
    return int.from_bytes(raw, "little", signed=True), at


def _binstring(data: bytes, at: int) -> tuple[Constant, int]:
    raw, at = counted(data, at + 4, _I32(data, at)[0])
    return ascii_or_bytes(raw), at


def _short_binstring(data: bytes, at: int) -> tuple[Constant, int]:
    raw, at = counted(data, at + 1, data[at])
    return ascii_or_bytes(raw), at


def _binbytes(data: bytes, at: int) -> tuple[Constant, int]:
    return counted(data, at + 4, _U32(data, at)[0])


def _short_binbytes(data: bytes, at: int) -> tuple[Constant, int]:
    return counted(data, at + 1, data[at])


def _binbytes8(data: bytes, at: int) -> tuple[Constant, int]:
    return counted(data, at + 8, _U64(data, at)[0])


def _binunicode8(data: bytes, at: int) -> tuple[Constant, int]:
    raw, at = counted(data, at + 8, _U64(data, at)[0])
    return raw.decode("utf-8", "surrogatepass"), at


CONSTANTS: dict[int, Decoder] = {
    ord("I"): _int,
    ord("L"): _long,
    ord("F"): _float,
    ord("S"): _string,
    ord("V"): _unicode,
    ord("T"): _binstring,
    ord("U"): _short_binstring,
    ord("B"): _binbytes,
    ord("C"): _short_binbytes,
    0x8A: _long1,
    0x8B: _long4,
    0x8D: _binunicode8,
    0x8E: _binbytes8,
    0x96: _binbytes8,  # BYTEARRAY8: a bytearray is bytes here
}
