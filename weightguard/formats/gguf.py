"""GGUF, versions 1 to 3 and both byte orders: what llama.cpp and its kin run."""

from __future__ import annotations

from weightguard.formats._gguf.header import MAGIC
from weightguard.formats._gguf.model import read_gguf
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource

NAME = "gguf"
SPEC = "ggml, docs/gguf.md (version 3); ggml.h enum ggml_type; llama.cpp ggml/src/gguf.cpp"


def sniff(head: bytes, tail: bytes) -> bool:
    """ "Must be `GGUF` at the byte level"."""
    return head.startswith(MAGIC)


def read(source: ByteSource, limits: Limits) -> Container:
    """The header, every tensor checked against the file's size; no tensor data is read."""
    return read_gguf(source, limits, NAME)
