"""llamafile: an executable, and after it a zip whose stored members are GGUF models.

Source: llamafile, README, section ZIP weights embedding, and llamafile/zipalign.c (members stored, their data at multiples of
64 KiB); Cosmopolitan, ape/specification.md, for how the executable begins. Only the models are explained: what the executable
holds, and the rest of the zip, is not read and counts as unexplained.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats._gguf.header import MAGIC
from weightguard.formats._gguf.model import read_gguf
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.stores.slices import Slice
from weightguard.tensors import concatenate
from weightguard.values import NOTHING, Finding

NAME = "llamafile"
SPEC = "llamafile, README and llamafile/zipalign.c, at 0.9.3; PKWARE APPNOTE 6.3.10"

EXECUTABLES = (b"MZ", b"\x7fELF", b"jartsr='")


def sniff(head: bytes, tail: bytes) -> bool:
    """An executable with a zip's end, whose directory, as far as it reaches into the tail, names a GGUF file."""
    return head.startswith(EXECUTABLES) and b"PK\5\6" in tail and b".gguf" in tail.lower()


def read(source: ByteSource, limits: Limits) -> Container:
    """The models of the archive as one container. Raises `Unreadable`."""
    from weightguard.formats._zip import STORED, Archive

    archive = Archive(source, limits)
    models = []
    for member in archive.members:
        if not member.name.lower().endswith(".gguf"):
            continue
        if member.method != STORED:
            raise Unreadable("unsupported", f"{member.name[:80]!r} is compressed: no llamafile runs it")
        at = archive.offset(member)
        models.append(read_gguf(_member(source, at, member.stored, member.name), limits, NAME))
    if not models:
        raise Unreadable("unsupported", "an executable with a zip archive that holds no GGUF model")
    table = concatenate([m.tensors for m in models])
    accounts = sum((m.accounts for m in models), NOTHING)
    rest = source.size - accounts.tensors - accounts.headers - accounts.padding
    text = "an executable that carries its model: what it runs is not looked at, and its bytes are not explained"
    return Container(
        NAME,
        replace(table, files=np.zeros(len(table), np.int64)),
        models[0].metadata,
        models[0].scalars,
        (*(f for m in models for f in m.findings), Finding("llamafile", "high", text, source.name)),
        replace(accounts, unexplained=rest),
    )


def _member(source: ByteSource, at: int, length: int, name: str) -> Slice:
    model = Slice(source, at, length, name)
    if length < 24 or model.read(0, 4) != MAGIC:
        raise Unreadable("malformed", f"{name[:80]!r} is no GGUF file")
    return model
