"""PyTorch's zip files: checkpoints of torch.save, and TorchScript archives.

Source: PyTorch, `torch/serialization.py` (`_save`, `_load`), `caffe2/serialize/inline_container.cc` (records of one
folder, found without regard to case) and `torch/csrc/jit/docs/serialization.md`. data.pkl holds the object, data/KEY
the bytes of the storage KEY; TorchScript adds constants.pkl with constants/KEY, and code/.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import Globals
from weightguard.formats._pickle.findings import account, naming_calls, pickle_findings
from weightguard.formats._pickle.legacy import load_nested
from weightguard.formats._pickle.machine import run
from weightguard.formats._pickle.rebuild import Collector
from weightguard.formats._pickle.storages import Storages, register
from weightguard.formats.hidden import dangers_in, run_loose
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.values import Finding

if TYPE_CHECKING:  # loaded where a zip is read
    from weightguard.formats._zip import Archive, Member

NAME = "torch-zip"
SPEC = "PyTorch notes on serialization and torch/csrc/jit/docs/serialization.md, at v2.13; PKWARE APPNOTE 6.3.10"

# Records that say something about the archive, and what they may say.
_RECORDS = {
    "version": re.compile(rb"\d{1,8}\n?"),
    ".data/version": re.compile(rb"\d{1,8}\n?"),
    ".format_version": re.compile(rb"\d{1,8}\n?"),
    ".storage_alignment": re.compile(rb"\d{1,12}\n?"),
    ".data/serialization_id": re.compile(rb"\d{1,64}"),
    "byteorder": re.compile(rb"little|big"),
}
# The inputs that a trace was made with: shapes only, their records are empty (torch/csrc/jit/serialization/export_module.cpp).
_SAMPLE = "traced_inputs.pkl"
_LOOKED_INTO = 1 << 20  # bytes of a member that no record explains: larger ones block by themselves
_MEMBER_IN_HEAD = re.compile(rb"PK\x03\x04.{22}..{2}[^/]{1,200}/(data\.pkl|data/\d|version|byteorder|constants\.pkl)", re.S)
_NAMES_IN_TAIL = (b"/data.pkl", b"/constants.pkl", b"/.data/serialization_id")


def sniff(head: bytes, tail: bytes) -> bool:
    """A zip whose first member, or whose directory as far as it reaches into the tail, has a name that torch writes."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    low = tail.lower()
    return _MEMBER_IN_HEAD.match(head) is not None or any(n in low for n in _NAMES_IN_TAIL) or b"/data.pkl" in head.lower()


def read(source: ByteSource, limits: Limits) -> Container:
    """The archive's tensors and plain values. Raises `Unreadable`; what it would have called stands in the detail."""
    seen = Globals()
    with naming_calls(seen):
        try:
            return _read(source, limits, seen)
        except Unreadable:
            run_loose(source, replace(limits, pickle_opcodes=min(limits.pickle_opcodes, 1_000_000)), seen)
            raise


def _read(source: ByteSource, limits: Limits, seen: Globals) -> Container:
    from weightguard.formats._zip import Archive

    archive = Archive(source, limits, columns=True)
    root, members = _records(archive)
    used = np.zeros(len(archive.numbered.sizes) if archive.numbered else 0, bool)  # of the numbered members: named by a pickle
    storages = Storages()
    to = Collector(storages, limits)
    pickles = [n for n in members if n.endswith(".pkl") and "/" not in n and n != _SAMPLE]
    if "data.pkl" not in members:
        raise Unreadable("unsupported", "a zip file of torch without data.pkl (a package, or TorchScript before 1.4)")
    records: set[str] = set()
    script = "constants.pkl" in members
    for name in sorted(pickles, key=_data_first):
        records |= _read_pickle(archive, members, used, name, limits, seen, to)
    explained = records | set(pickles)
    unexplained = archive.unexplained + load_nested(seen, to, limits)
    metadata = {"archive": root}
    hidden: list[Finding] = []
    texts = 0  # bytes of code, debug information and extra files
    for name, pattern in _RECORDS.items():
        if name in members and members[name].size <= 64:
            text = archive.read(members[name])
            if pattern.fullmatch(text):
                explained.add(name)
                metadata[name.rsplit("/", 1)[-1].lstrip(".")] = text.decode("ascii").strip()
            elif name == "byteorder":
                raise Unreadable("malformed", "torch: a byte order that is neither little nor big")
    for name in [n for n in members if n not in explained]:
        member = members[name]
        texts += member.size
        if texts > limits.text_bytes or not _explains_itself(archive, name, member, limits, seen):
            unexplained += max(member.stored, member.size)
            if member.size <= _LOOKED_INTO:
                hidden += dangers_in(archive.read(member), source.name, limits)
    findings = [*hidden, *pickle_findings(seen, to, source.name, limits)]
    if script:
        findings.append(
            Finding("torchscript-code", "info", "carries TorchScript code, which runs when it is used", source.name)
        )
    unexplained += storages.uncovered() + to.stray_bytes(seen.blobs)
    stored = sum(members[n].stored for n in records)
    if archive.numbered:
        sizes = np.maximum(archive.numbered.sizes, 0)
        stored += int(sizes[used].sum())
        unexplained += int(sizes[~used].sum())
    accounts = account(source.size, to, unexplained, archive.padding, stored)
    return Container(NAME, to.table(), metadata, to.scalars, tuple(findings), accounts, shapes=to.shapes)


def _data_first(name: str) -> tuple[bool, str]:
    return name != "data.pkl", name


def _records(archive: Archive) -> tuple[str, dict[str, Member]]:
    """The folder that all records lie in, and the records by their name in it, in lower case."""
    first = archive.members[0].name if archive.members else ""
    root, slash, _ = first.partition("/")
    if not slash:
        raise Unreadable("malformed", "torch: the first record isn't in a folder")
    prefix = f"{root}/"
    records = {}
    for name, m in archive.names.items():  # a member of another folder keeps its path: no record has that name
        records[name[len(prefix) :] if m.name.startswith(prefix) else f"/{name}"] = m
    return root, records


def _read_pickle(
    archive: Archive,
    members: dict[str, Member],
    used: npt.NDArray[np.bool_],
    name: str,
    limits: Limits,
    seen: Globals,
    to: Collector,
) -> set[str]:
    """Runs a pickle, checks its storages against their records, collects its tensors; the records that it explains.

    Numbered ones are marked in `used`.
    """
    if members[name].size > limits.pickle_bytes:
        raise Unreadable("limit", f"torch: {name} has {members[name].size} bytes")
    data = archive.read(members[name])
    first, first_run = len(seen.persistent), len(seen.runs)
    value, end = run(data, 0, limits, seen, columns=True)
    if end != len(data):
        raise Unreadable("inconsistent", f"torch: {len(data) - end} bytes after the end of {name}")
    stem = name[: -len(".pkl")]
    scope = "" if stem == "data" else f"\0{stem}\0"
    known = len(to.storages.keys)
    for items in seen.runs[first_run:]:
        to.storages.add_run(items, scope)
    register(seen.persistent[first:], to.storages, scope)
    sizes, cut, folder = to.storages.sizes, len(scope), f"{stem}/"
    named = {folder + k[cut:].lower(): sizes[n] for k, n in islice(to.storages.keys.items(), known, None)}
    if len(named) < len(to.storages.keys) - known:
        raise Unreadable("inconsistent", f"torch: {name} has keys that differ in case only")
    numbered, root = archive.numbered, archive.members[0].name.partition("/")[0].lower()
    for first_key, end_key, number in to.storages.runs.get(scope, ()):
        if (
            numbered
            and stem == "data"
            and np.array_equal(numbered.sizes[first_key:end_key], sizes[number : number + end_key - first_key])
        ):
            used[first_key:end_key] = True
        else:
            named.update((f"{folder}{k}", sizes[number + k - first_key]) for k in range(first_key, end_key))
    for record, size in named.items():
        member = members.get(record)
        there = member.size if member else numbered.size(f"{root}/{record}") if numbered else -1
        if there < 0:
            raise Unreadable("missing", f"torch: the record {record[:80]!r} that {name} names isn't there")
        if there != size:
            raise Unreadable("inconsistent", f"torch: {record[:80]!r} has {there} bytes, {name} says {size}")
        if not member:
            used[int(record[len(folder) :])] = True
    to.walk(value, "" if stem == "data" else stem)
    return {record for record in named if record in members}


def _explains_itself(archive: Archive, name: str, member: Member, limits: Limits, seen: Globals) -> bool:
    """TorchScript's code is text, its debug information a pickle without weights, extra files text; folders are empty."""
    if member.size == 0:
        return True
    if not (name.startswith(("code/", "extra/")) or name == _SAMPLE) or member.size > limits.text_bytes:
        return False
    data = archive.read(member)
    if name.endswith(".debug_pkl") or name == _SAMPLE:
        blobs = seen.blobs
        return run(data, 0, limits, seen).end == len(data) and seen.blobs == blobs
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data
