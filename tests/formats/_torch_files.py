"""Helpers for the tests of pickle, zip and torch files: sources over bytes, zips written field by field, payloads."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import pack

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats.protocol import HEAD, TAIL, Container, Format
from weightguard.limits import LIMITS
from weightguard.stores import ByteSource


@dataclass
class Bytes:
    """A `ByteSource` over bytes in memory that counts its reads."""

    data: bytes
    name: str = "model.bin"
    reads: list[tuple[int, int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > len(self.data):
            raise Unreadable("truncated", f"needs bytes {offset} to {offset + length} of {len(self.data)}")
        self.reads.append((offset, length))
        return self.data[offset : offset + length]

    def beside(self, path: str) -> ByteSource:
        raise Unreadable("missing", path)


def sniffs(reader: Format, data: bytes) -> bool:
    return reader.sniff(data[:HEAD], data[-TAIL:])


def read(reader: Format, data: bytes) -> Container:
    return reader.read(Bytes(data), LIMITS)


def failure(reader: Format, data: bytes) -> Unreadable:
    """The `Unreadable` that reading must end in."""
    try:
        read(reader, data)
    except Unreadable as error:
        return error
    raise AssertionError("it was read")


def rows(container: Container) -> list[tuple[str, tuple[int, ...], int, int, int]]:
    """(name, shape, dtype code, elements, begin) of each row."""
    t = container.tensors
    return [(t.names[i], t.shape(i), int(t.dtypes[i]), int(t.elements[i]), int(t.begins[i])) for i in range(len(t))]


def total(container: Container) -> int:
    return int(np.sum(container.tensors.elements))


def criticals(container: Container) -> list[str]:
    return [f.message for f in container.findings if f.severity == "critical"]


@dataclass
class Entry:
    """One zip member, with every field free to lie. None: the truth."""

    name: str
    data: bytes
    deflate: bool = False
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    local_name: str | None = None
    local_flags: int | None = None
    local_method: int | None = None
    local_crc: int | None = None
    local_size: int | None = None
    local_extra: bytes = b""
    extra: bytes = b""
    offset: int | None = None
    gap: bytes = b""


def write_zip(entries: Sequence[Entry], prefix: bytes = b"", comment: bytes = b"", suffix: bytes = b"") -> bytes:
    """A zip file with exactly these fields, no zip64 record."""
    body, directory = bytearray(prefix), bytearray()
    for e in entries:
        at = len(body)
        stored = e.data
        if e.deflate:
            squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
            stored = squeeze.compress(e.data) + squeeze.flush()
        method = 8 if e.deflate else 0
        crc = zlib.crc32(e.data) if e.crc is None else e.crc
        size = len(e.data) if e.size is None else e.size
        csize = len(stored) if e.deflate else size
        local = (e.local_name or e.name).encode()
        lsize = size if e.local_size is None else e.local_size
        body += pack(
            "<4s5H3I2H",
            b"PK\3\4",
            20,
            e.flags if e.local_flags is None else e.local_flags,
            method if e.local_method is None else e.local_method,
            0,
            0,
            crc if e.local_crc is None else e.local_crc,
            csize if e.deflate else lsize,
            lsize,
            len(local),
            len(e.local_extra),
        )
        body += local + e.local_extra + stored + e.gap
        name = e.name.encode()
        directory += pack(
            "<4s6H3I5H2I",
            b"PK\1\2",
            20,
            20,
            e.flags,
            method,
            0,
            0,
            crc,
            csize,
            size,
            len(name),
            len(e.extra),
            0,
            0,
            0,
            0,
            at if e.offset is None else e.offset,
        )
        directory += name + e.extra
    end = pack("<4s4H2IH", b"PK\5\6", 0, 0, len(entries), len(entries), len(directory), len(body), len(comment))
    return bytes(body) + bytes(directory) + end + comment + suffix


def torch_entries(pickle: bytes, storages: dict[str, bytes]) -> list[Entry]:
    return [
        Entry("archive/data.pkl", pickle),
        Entry("archive/byteorder", b"little"),
        *(Entry(f"archive/data/{k}", v) for k, v in storages.items()),
        Entry("archive/version", b"3\n"),
    ]


def torch_zip_of(pickle: bytes, storages: dict[str, bytes]) -> bytes:
    return write_zip(torch_entries(pickle, storages))


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + pack("<i", len(raw)) + raw


def tensor_ops(
    key: str, count: int, size: Sequence[int], stride: Sequence[int], offset: int = 0, storage: str = "FloatStorage"
) -> bytes:
    """The opcodes of one tensor as torch.save writes it, but for the memo."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("
        + text("storage")
        + b"ctorch\n"
        + storage.encode()
        + b"\n"
        + text(key)
        + text("cpu")
        + integer(count)
        + b"tQ"
        + integer(offset)
        + b"("
        + b"".join(map(integer, size))
        + b"t("
        + b"".join(map(integer, stride))
        + b"t\x89ccollections\nOrderedDict\n)RtR"
    )


def state_dict_ops(tensors: dict[str, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text(k) + v for k, v in tensors.items()) + b"u."


def lie(key: str, count: int, size: Sequence[int], stride: Sequence[int], offset: int = 0) -> bytes:
    """A torch zip with one float32 tensor, whose storage has `count` elements."""
    pickle = state_dict_ops({"w": tensor_ops(key, count, size, stride, offset)})
    return torch_zip_of(pickle, {key: bytes(4 * count)})


# A payload by every route that a pickle has to a callable; each must be named, and none may run.
COMMAND = "touch {canary}"


def payloads(command: str) -> dict[str, bytes]:
    c = command.encode()
    short = b"\x8c" + bytes([len(c)]) + c
    posix, system = b"\x8c\x05posix", b"\x8c\x06system"
    return {
        "GLOBAL REDUCE": b"\x80\x02cposix\nsystem\n" + text(command) + b"\x85R.",
        "protocol 0": b"cposix\nsystem\n(S'" + c + b"'\ntR.",
        "STACK_GLOBAL": b"\x80\x04" + posix + system + b"\x93" + short + b"\x85R.",
        "STACK_GLOBAL by memo": b"\x80\x04" + posix + b"\x940" + system + b"\x940h\x00h\x01\x93" + short + b"\x85R.",
        "INST": b"(S'" + c + b"'\niposix\nsystem\n.",
        "OBJ": b"\x80\x02(cposix\nsystem\n" + text(command) + b"o.",
        "NEWOBJ": b"\x80\x02cposix\nsystem\n" + text(command) + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04cposix\nsystem\n" + text(command) + b"\x85}\x92.",
        "popped": b"\x80\x02cposix\nsystem\n" + text(command) + b"\x85R0N.",
        "in a tuple argument": b"\x80\x02ccollections\nOrderedDict\n((cposix\nsystem\n" + text(command) + b"\x85RttR.",
        "BUILD": b"\x80\x02cposix\nsystem\n" + text(command) + b"\x85R}b.",
        "nested name": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + short + b"\x85R.",
        "builtins": b"\x80\x02c__builtin__\neval\n" + text(f"__import__('os').system({command!r})") + b"\x85R.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\ncposix\nopen\n"[:-12]
        + b"cos\nenviron\n"
        + text("get")
        + b"\x86R"
        + text(command)
        + b"\x85R.",
        "rebuild from type": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\nctorch\nTensor\n"
        + text(command)
        + b"\x85}tR.",
        "rebuild from type twice": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(h\x00"[:-2]
        + b"ctorch._tensor\n_rebuild_from_type_v2\nctorch\nTensor\n(cposix\nsystem\nctorch\nTensor\n"
        + text(command)
        + b"\x85}t}tR.",
        "reconstructor": b"\x80\x02ccopy_reg\n_reconstructor\n(cposix\nsystem\nc__builtin__\nobject\nNtR.",
    }
