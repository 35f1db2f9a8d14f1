"""torch.package: pickles of several resources, the storages that they share, and Python code, in one zip.

Source: PyTorch, `torch/package/package_exporter.py` and `docs/source/package.rst`: PACKAGE/RESOURCE.pkl are pickles whose storages
are .data/KEY.storage; .data/extern_modules names what is imported from outside; everything else is code, or what was put in as it is.
"""

from __future__ import annotations

import re

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import Globals
from weightguard.formats._pickle.findings import account, naming_calls, pickle_findings
from weightguard.formats._pickle.legacy import load_nested
from weightguard.formats._pickle.machine import run
from weightguard.formats._pickle.rebuild import Collector
from weightguard.formats._pickle.storages import Storages, register
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.values import Finding

NAME = "torch-package"
SPEC = "PyTorch, docs/source/package.rst and torch/package/package_exporter.py, at v2.13"

_SMALL = {
    "version": rb"\d{1,8}\n?",
    ".data/version": rb"\d{1,8}\n?",
    ".data/python_version": rb"[\w.+ -]{1,64}\n?",
    ".data/serialization_id": rb"\d{1,64}",
    ".format_version": rb"\d{1,8}\n?",
    ".storage_alignment": rb"\d{1,12}\n?",
    "byteorder": rb"little",
}


def sniff(head: bytes, tail: bytes) -> bool:
    """A zip with the record that all packages have."""
    return head.startswith(b"PK\3\4") and b"/.data/extern_modules" in tail


def read(source: ByteSource, limits: Limits) -> Container:
    """The tensors of all resources. Raises `Unreadable`; what it would have called stands in the detail."""
    seen = Globals()
    with naming_calls(seen):
        return _read(source, limits, seen)


def _read(source: ByteSource, limits: Limits, seen: Globals) -> Container:
    from weightguard.formats._zip import Archive

    archive = Archive(source, limits)
    members = {m.name.partition("/")[2]: m for m in archive.members}
    if len(members) < len(archive.members) or len({m.name.partition("/")[0] for m in archive.members}) > 1:
        raise Unreadable("malformed", "torch.package: its records don't lie in one folder")
    to = Collector(Storages(), limits)
    explained: set[str] = set()
    budget = limits.pickle_bytes
    for name in sorted(n for n in members if n.endswith(".pkl")):
        budget -= members[name].size
        if budget < 0:
            raise Unreadable("limit", f"torch.package: pickles of more than {limits.pickle_bytes} bytes")
        data = archive.read(members[name])
        first = len(seen.persistent)
        value, end = run(data, 0, limits, seen)
        if end != len(data):
            raise Unreadable("inconsistent", f"torch.package: {len(data) - end} bytes after the end of {name[:80]!r}")
        register(seen.persistent[first:], to.storages)
        to.walk(value, name.removesuffix(".pkl").replace("/", "."))
        explained.add(name)
    for key, number in to.storages.keys.items():
        record = f".data/{key}.storage"
        if record not in members:
            raise Unreadable("missing", f"torch.package: the record {record[:80]!r} isn't there")
        if members[record].size != to.storages.sizes[number]:
            raise Unreadable("inconsistent", f"torch.package: {record[:80]!r} isn't as long as its pickle says")
        explained.add(record)
    unexplained = archive.unexplained + load_nested(seen, to, limits)
    for name, member in members.items():
        if name not in explained and not _is_known(archive.read(member) if member.size <= limits.text_bytes else b"\0", name):
            unexplained += max(member.stored, member.size)
    findings = pickle_findings(seen, to, source.name, limits)
    findings.append(Finding("packaged-code", "medium", "carries Python code, which runs when it is loaded", source.name))
    unexplained += to.storages.uncovered() + to.stray_bytes(seen.blobs)
    accounts = account(source.size, to, unexplained, archive.padding)
    return Container(NAME, to.table(), {}, to.scalars, tuple(findings), accounts)


def _is_known(data: bytes, name: str) -> bool:
    """Code, and other text; the records that say something about the archive."""
    if name in _SMALL:
        return re.fullmatch(_SMALL[name], data) is not None
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data
