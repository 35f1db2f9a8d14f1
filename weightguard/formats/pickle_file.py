"""A bare pickle, protocols 0 to 5: training arguments, dictionaries of NumPy arrays, tensors saved without torch.save.

Source: CPython, `pickletools` (protocols and opcodes). Several pickles may follow one another in a file.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import Globals
from weightguard.formats._pickle.distributed import starts_distributed
from weightguard.formats._pickle.findings import account, naming_calls, pickle_findings, severity
from weightguard.formats._pickle.legacy import load_nested, starts_legacy
from weightguard.formats._pickle.machine import run
from weightguard.formats._pickle.opcodes import HIGHEST_PROTOCOL
from weightguard.formats._pickle.rebuild import Collector
from weightguard.formats._pickle.storages import Storages, register
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS, Limits
from weightguard.stores import ByteSource

NAME = "pickle"
SPEC = "CPython, Lib/pickletools.py, protocols 0 to 5"

_TRIAL = replace(LIMITS, pickle_opcodes=65_536, pickle_memo=65_536)
_LATER = replace(LIMITS, pickle_opcodes=4_000_000, pickle_memo=4_000_000)
_FIRST = re.compile(rb"[c(\]})ilLINFGKMJSTUVXBCPp\x80\x82-\x84\x88-\x8f\x94-\x96]")  # formats.PICKLE_STARTS
_MODULE = re.compile(r"[A-Za-z_][\w.]*")


def sniff(head: bytes, tail: bytes) -> bool:
    """PROTO and a version from 1 on or, where that is left out, opcodes that make sense and name something.

    Without PROTO a pickle may be plain text, so the machine runs over the head: text soon meets an opcode that
    fails. It is a pickle if it stops after naming a global, if it has called one when the head ends, or if it has
    called what is dangerous, whatever comes after that: an unpickler would have called it by then.
    """
    if starts_legacy(head):  # torch.load takes one with values under its magic number too; torch never writes it
        return head[:1] not in (b"\x80", b"L")
    if starts_distributed(head):
        return False
    if head[:1] == b"\x80" and len(head) > 2 and 0 < head[1] <= HIGHEST_PROTOCOL:
        return True
    return bool(_FIRST.match(head)) and _runs(head)


def _runs(head: bytes) -> bool:
    seen = Globals()
    try:
        _, at = run(head, 0, _TRIAL, seen)
    except Unreadable as error:
        if seen.framed or _calls(seen):  # no text has a frame
            return True
        if error.reason not in ("truncated", "limit") or not any(g.uses for g in seen.values()):
            return False
        return _named(seen)
    if seen and _named(seen):
        return True
    with suppress(Unreadable):  # those that follow: torch.load runs five
        while at < len(head):
            _, at = run(head, at, _TRIAL, seen)
    return _calls(seen)


def _named(seen: Globals) -> bool:
    return all(_MODULE.fullmatch(g.module) or g.module == "copyreg extension" for g in seen.values())


def _calls(seen: Globals) -> bool:
    """Whether something dangerous is called, not only named."""
    return any(g.uses and severity(g.uses, g.module, g.name) == "critical" for g in seen.values())


def calls_later(source: ByteSource, head: bytes) -> bool:
    """Whether a text whose head might be a pickle's calls something dangerous behind it, or is one for millions of opcodes."""
    if len(head) == source.size or not _FIRST.match(head):
        return False
    try:
        run(head, 0, _TRIAL, Globals())
    except Unreadable as error:
        if error.reason not in ("truncated", "limit"):
            return False
    seen = Globals()
    try:
        run(source.read(0, source.size), 0, _LATER, seen)
    except Unreadable as error:
        return error.reason == "limit" or _calls(seen)
    return _calls(seen)


def read(source: ByteSource, limits: Limits) -> Container:
    """The tensors and plain values of the pickles. Raises `Unreadable`; what they would have called stands in the detail."""
    seen = Globals()
    with naming_calls(seen):
        return _read(source, limits, seen)


def _read(source: ByteSource, limits: Limits, seen: Globals) -> Container:
    if source.size > limits.pickle_bytes:
        raise Unreadable("limit", f"pickle: a file of {source.size} bytes")
    data = source.read(0, source.size)
    to = Collector(Storages(), limits)
    value, end = run(data, 0, limits, seen)
    values = [value]
    while end < len(data):
        try:
            value, end = run(data, end, limits, seen)
        except Unreadable as error:
            if error.reason == "limit":
                raise
            break  # not another pickle: the rest is unexplained, and what it would have called has been recorded
        values.append(value)
    register(seen.persistent, to.storages)
    if seen.persistent:
        raise Unreadable("unsupported", "a pickle that refers to data outside of it")
    unexplained = len(data) - end + load_nested(seen, to, limits)
    for i, value in enumerate(values):
        to.walk(value, f"#{i}" if i else "")
    findings = pickle_findings(seen, to, source.name, limits)
    unexplained += to.storages.uncovered() + to.stray_bytes(seen.blobs)
    return Container(NAME, to.table(), {}, to.scalars, tuple(findings), account(source.size, to, unexplained), shapes=to.shapes)
