"""What the corpus is made of: a case, and an assembler that writes pickles from expressions without running them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import pack
from typing import Literal

Truth = Literal["danger", "benign", "malformed"]

MARK = "weightguard-ran"
SHELL = f"echo weightguard > {MARK}"
SOURCE = f"open({MARK!r},'w').close()"


@dataclass(frozen=True)
class Case:
    """One file of the corpus.

    container: what it is. file: its name. truth: "danger" (code, files or the network are reached by loading it, or what reads
    it is led astray), "benign", or "malformed" (breaks its format: nothing may be counted from it). why: one line.
    loads: what makes a danger act ("pickle", "torch", "joblib", "numpy"), proved by `tests/hostile/test_live.py`; empty where
    it isn't proved. others: what lies beside the file.
    """

    name: str
    container: str
    file: str
    content: bytes = field(repr=False)
    truth: Truth
    why: str
    loads: str = ""
    others: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Name:
    """module.name; `name` may have dots."""

    module: str
    name: str


class Call:
    """callee(*args), by REDUCE."""

    def __init__(self, callee: object, *args: object) -> None:
        self.callee = callee
        self.args = args


@dataclass(frozen=True)
class Build:
    """`made`, then BUILD with `state`."""

    made: object
    state: object


@dataclass(frozen=True)
class Ops:
    """Opcodes as they are."""

    raw: bytes


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + pack("<I", len(raw)) + raw


def short(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def ops(value: object, protocol: int = 2) -> bytes:
    """The opcodes that leave `value` on the stack, without PROTO and STOP."""

    def of(item: object) -> bytes:
        return ops(item, protocol)

    match value:
        case Ops():
            return value.raw
        case Name() if protocol >= 4:
            return short(value.module) + short(value.name) + b"\x93"
        case Name():
            return f"c{value.module}\n{value.name}\n".encode()
        case Call():
            return of(value.callee) + of(value.args) + b"R"
        case Build():
            return of(value.made) + of(value.state) + b"b"
        case None:
            return b"N"
        case bool():
            return (b"I01\n" if value else b"I00\n") if protocol < 2 else (b"\x88" if value else b"\x89")
        case int():
            if protocol >= 1 and -(1 << 31) <= value < 1 << 31:
                return b"J" + pack("<i", value)
            return f"I{value}\n".encode() if protocol < 1 else f"L{value}L\n".encode()
        case float():
            return b"F" + repr(value).encode() + b"\n" if protocol < 1 else b"G" + pack(">d", value)
        case str():
            return f"V{value}\n".encode("raw_unicode_escape") if protocol < 1 else text(value)
        case bytes():
            return b"B" + pack("<I", len(value)) + value
        case tuple():
            return b"(" + b"".join(map(of, value)) + b"t"
        case list():
            return b"(" + b"".join(map(of, value)) + b"l"
        case dict():
            return b"(" + b"".join(of(k) + of(v) for k, v in value.items()) + b"d"
    raise TypeError(type(value))


def stream(value: object, protocol: int = 2) -> bytes:
    """A whole pickle."""
    body = ops(value, protocol)
    if protocol < 2:
        return body + b"."
    if protocol >= 4:
        return bytes([0x80, protocol, 0x95]) + pack("<Q", len(body) + 1) + body + b"."
    return bytes([0x80, protocol]) + body + b"."
