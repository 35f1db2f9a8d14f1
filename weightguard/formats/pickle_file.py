"""A bare pickle, protocols 0 to 5: training arguments, dictionaries of NumPy arrays, tensors saved without torch.save.

Source: CPython, `pickletools` (protocols and opcodes). Several pickles may follow one another in a file.
"""

from __future__ import annotations

import re
from dataclasses import replace

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import Globals
from weightguard.formats._pickle.distributed import starts_distributed
from weightguard.formats._pickle.findings import constant_findings, name_findings, naming_calls, structure_findings
from weightguard.formats._pickle.legacy import load_nested, starts_legacy
from weightguard.formats._pickle.machine import run
from weightguard.formats._pickle.opcodes import HIGHEST_PROTOCOL
from weightguard.formats._pickle.rebuild import Collector, account
from weightguard.formats._pickle.storages import Storages, register
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS, Limits
from weightguard.stores import ByteSource

NAME = "pickle"
SPEC = "CPython, Lib/pickletools.py, protocols 0 to 5"

_TRIAL = replace(LIMITS, pickle_opcodes=65_536, pickle_memo=65_536)
_FIRST = re.compile(rb"[c(\]})ilINFGKMJSTUVXBCPp\x8a-\x8f\x94\x95]")  # opcodes that a pickle can start with
_MODULE = re.compile(r"[A-Za-z_][\w.]*")


def sniff(head: bytes, tail: bytes) -> bool:
    """PROTO and a version or, where that is left out, opcodes that make sense and name something.

    Without PROTO a pickle may be plain text, so the machine runs over the head: text soon meets an opcode that
    fails. It is a pickle if it stops after naming a global, or if it has called one when the head ends.
    """
    if starts_legacy(head) or starts_distributed(head):
        return False
    if head[:1] == b"\x80":
        return len(head) > 2 and 0 < head[1] <= HIGHEST_PROTOCOL
    if not _FIRST.match(head):
        return False
    seen = Globals()
    try:
        run(head, 0, _TRIAL, seen)
    except Unreadable as error:
        if error.reason not in ("truncated", "limit"):
            return False
        if not any(g.uses for g in seen.values()):
            return False
    return bool(seen) and all(_MODULE.fullmatch(g.module) or g.module == "copyreg extension" for g in seen.values())


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
    findings = [*name_findings(seen, source.name), *constant_findings(to.texts, source.name, limits)]
    findings += structure_findings(to, source.name)
    unexplained += to.storages.uncovered() + to.stray_bytes(seen.blobs)
    return Container(NAME, to.table(), {}, to.scalars, tuple(findings), account(source.size, to, unexplained), shapes=to.shapes)
