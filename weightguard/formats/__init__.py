"""The containers that weights travel in, one module each; all are recognised by content, never by name."""

from __future__ import annotations

import gc
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import cast

from weightguard.errors import Unreadable
from weightguard.formats import signatures
from weightguard.formats.protocol import HEAD, TAIL, Container, Format
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.values import Finding

PICKLE_STARTS = b"c(]})ilLINFGKMJSTUVXBCPp\x80\x82\x83\x84\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x94\x95\x96"
"""Opcodes that a pickle can start with: a text's first letter too, now and then."""

FORMATS: tuple[tuple[str, int, tuple[bytes, ...]], ...] = (
    ("safetensors", 8, (b"{",)),
    ("gguf", 0, (b"GGUF",)),
    ("torch_zip", 0, (b"PK",)),
    ("torch_export", 0, (b"PK",)),
    ("torch_package", 0, (b"PK",)),
    ("npz", 0, (b"PK",)),
    ("keras_zip", 0, (b"PK",)),
    ("npy", 0, (b"\x93NUMPY",)),
    *(("hdf5", start, (b"\x89HDF\r\n\x1a\n",)) for start in (0, 512, 1024, 2048, 4096, 8192, 16384, 32768)),
    ("torch_dcp", 0, (b"\x80",)),
    ("torch_legacy", 0, (b"\x80", b"L")),
    ("llamafile", 0, (b"MZ", b"\x7fELF", b"jartsr='")),
    ("onnx", 0, (b"\x08", b"\x12", b"\x1a", b":")),
    ("saved_model", 0, (b"\x08", b"\x0a", b"\x12")),
    ("coreml", 0, (b"\x08",)),
    ("tflite", 4, (b"TFL3",)),
    ("tf_checkpoint", -8, (b"\x57\xfb\x80\x8b\x24\x75\x47\xdb",)),
    ("joblib", 0, (b"\x80",)),
    ("openvino", 0, (b"<?xml", b"<net", b"\xef\xbb\xbf<")),
    ("executorch", 4, (b"ET", b"FT01")),
    ("paddle", 0, (bytes(16),)),
    ("msgpack", 0, (*(bytes([0x80 + n]) for n in range(1, 16)), b"\xde", b"\xdf")),
    ("pickle_file", 0, tuple(bytes([opcode]) for opcode in PICKLE_STARTS)),
)
"""In sniffing order: a module of this package, and the bytes at an offset that every such file has (none: the module is always
asked), so that only the readers of what is met are loaded. An offset below 0 is from the end: such a module is asked if no other
knows the file. To add a container: one module, and its line here."""
_END = 8
_TOLD_BY_TAIL = (b"PK", b"MZ", b"\x7fELF", b"jartsr='")  # a zip, and the executables that one may follow


def identify(source: ByteSource, limits: Limits) -> Container | None:
    """The container that the bytes are; None for a file that holds no weights (text, an image, a table ...).

    Raises `Unreadable` for everything else: nothing is skipped.
    """
    head, readers = readers_of(source)
    if not head:
        return None
    if not readers:
        signatures.explain(source, head, limits)
        return None
    return read(readers, source, limits)


def readers_of(source: ByteSource) -> tuple[bytes, list[Format]]:
    """The first bytes of a file, and the readers whose container they say they are."""
    head = source.read(0, min(source.size, HEAD))
    tail = b""
    if head.startswith(_TOLD_BY_TAIL):  # and a zip's readers want its first bytes at its start too
        tail = source.read(max(0, source.size - TAIL), min(source.size, TAIL))
    readers = [reader for reader in _candidates(head) if reader.sniff(head, tail)]
    if not readers:
        size = min(source.size, _END)
        tail = head[-size:] if source.size == len(head) else source.read(source.size - size, size)
        readers = [reader for reader in _told_by_end(tail) if reader.sniff(head, tail)]
    return head, readers


def header_bytes(head: bytes) -> int:
    """How long these first bytes say that the header is; 0 where they don't say it."""
    return 8 + int.from_bytes(head[:8], "little") if len(head) > 9 and head[8:9] == b"{" else 0


def read(readers: list[Format], source: ByteSource, limits: Limits) -> Container:
    """The container that one of the readers makes of the file; raises `Unreadable` if none does."""
    collects = gc.isenabled()
    gc.disable()  # a read makes many small objects and no cycles: collections in the midst of it cost a tenth of its time
    try:
        return _read(readers, source, limits)
    finally:
        if collects:
            gc.enable()


def _candidates(head: bytes) -> list[Format]:
    """The readers whose signature the head has."""
    return [
        cast(Format, import_module(f"weightguard.formats.{module}"))
        for module, offset, magic in _by_first_byte(head[:1])
        if not magic or head.startswith(magic, offset)
    ]


@cache
def _by_first_byte(first: bytes) -> list[tuple[str, int, tuple[bytes, ...]]]:
    """Those of FORMATS that a file with this first byte may be."""
    return [
        (module, offset, magic)
        for module, offset, magic in FORMATS
        if not magic or offset > 0 or (offset == 0 and any(m[:1] == first for m in magic))
    ]


def _told_by_end(end: bytes) -> list[Format]:
    """The readers whose signature stands at the end of a file."""
    return [
        cast(Format, import_module(f"weightguard.formats.{module}"))
        for module, offset, magic in FORMATS
        if offset < 0 and end[offset:] in magic
    ]


def _read(readers: list[Format], source: ByteSource, limits: Limits) -> Container:
    containers: list[Container] = []
    refused: list[Unreadable] = []
    for reader in readers:  # the first bytes of one may look like another's: the whole file tells
        try:
            containers.append(reader.read(source, limits))
        except Unreadable as error:
            refused.append(error)
    if not containers:
        raise refused[0]
    container = containers[0]
    if len(containers) > 1:
        names = " and ".join(c.format for c in containers)
        polyglot = Finding("polyglot", "critical", f"the same bytes are {names}: readers will disagree on them", source.name)
        container = replace(container, findings=(*container.findings, polyglot))
    return container


__all__ = ["FORMATS", "Container", "Format", "Unreadable", "identify", "read", "readers_of"]
