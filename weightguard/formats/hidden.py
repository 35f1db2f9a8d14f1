"""Pickles and zips in bytes that no rule explains: too few to block by themselves, they are not let be unlooked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from struct import Struct
from typing import TYPE_CHECKING

from weightguard.errors import Unreadable
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.values import Finding

if TYPE_CHECKING:
    from weightguard.formats._pickle.abstract import Globals

_END = Struct("<4s4H2IH")  # PKWARE APPNOTE 6.3.10, section 4.3.16
TAIL = _END.size + 0xFFFF  # bytes at the end in which a zip's directory must end
_OPCODES = 100_000
_STARTS = 64  # places of one stretch that are tried


def dangers_in(data: bytes, path: str, limits: Limits) -> list[Finding]:
    """What loading a pickle, or a zip's pickles, inside of these bytes would call: findings, the critical ones only."""
    from weightguard.formats._pickle.abstract import Globals
    from weightguard.formats._pickle.findings import name_findings
    from weightguard.formats._pickle.machine import run
    from weightguard.stores.memory import InMemory

    seen = Globals()
    short = replace(limits, pickle_opcodes=_OPCODES)
    for at in _pickles(data):
        with suppress(Unreadable):  # what fails late has still named what it calls
            run(data, at, short, seen)
    if b"PK\3\4" in data:
        run_loose(InMemory(path, data), short, seen)
    found = name_findings(seen, path, " from bytes that no rule of its format explains")
    return [f for f in found if f.severity == "critical"]


def run_loose(source: ByteSource, limits: Limits, seen: Globals) -> None:
    """Runs every pickle of a broken or hidden zip, whichever copy of it a reader would take."""
    from weightguard.formats._pickle.machine import run
    from weightguard.formats._zip_loose import loose_pickles

    with suppress(Unreadable):
        for data, start in loose_pickles(source):
            with suppress(Unreadable):
                run(data, start, limits, seen)


def _pickles(data: bytes) -> Iterator[int]:
    """Where a pickle may begin: at the first byte that isn't zero, and at each PROTO of a protocol from 2."""
    start = len(data) - len(data.lstrip(b"\0"))
    if start < len(data):
        yield start
    at = start
    for _ in range(_STARTS):
        at = data.find(b"\x80", at + 1)
        if at < 0:
            return
        if data[at + 1 : at + 2] in (b"\2", b"\3", b"\4", b"\5"):
            yield at


def zip_behind(source: ByteSource) -> bool:
    """Whether a file that doesn't begin as a zip ends as one: who reads it from its end finds an archive."""
    length = min(source.size, TAIL)
    tail = source.read(source.size - length, length)
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        if at + _END.size <= len(tail):
            _, disk, first, here, count, size, start, comment = _END.unpack_from(tail, at)
            whole = at + _END.size + comment == len(tail) and disk == first and here == count and count > 0
            if whole and size >= 46 * count and start + size <= source.size:
                return True
        at = tail.rfind(b"PK\5\6", 0, at)
    return False
