"""Keras' own archive: a zip of config.json, metadata.json and weights in HDF5, stored or deflated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats import _keras
from weightguard.formats._hdf5.reader import read_hdf5
from weightguard.formats._zip_names import first, names
from weightguard.formats.hidden import dangers_in
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.stores.memory import InMemory
from weightguard.stores.slices import Slice
from weightguard.tensors import TensorTable, concatenate
from weightguard.values import Accounts

if TYPE_CHECKING:  # loaded where a zip is read
    from weightguard.formats._zip import Archive, Member

NAME = "keras"
SPEC = "Keras, keras/src/saving/saving_lib.py, at 3.15; HDF5 File Format Specification, version 3.0"

_CONFIG, _METADATA = "config.json", "metadata.json"
_WEIGHTS = re.compile(r"model[\w]*\.weights\.h5")  # a large model has several, and model.weights.json that lists them
_SHARDS = "model.weights.json"
_ASSETS = "assets/"
_LOOKED_INTO = 1 << 20  # bytes of a member that no rule explains: larger ones block by themselves
_LONGEST_WORD = 256
STORED = 0


def sniff(head: bytes, tail: bytes) -> bool:
    """A zip with a configuration at its root, and what Keras writes beside it."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    found = {first(head), *names(tail)}
    return b"config.json" in found and (
        b"metadata.json" in found
        or any(n.startswith(b"model") and n.endswith((b".weights.h5", b".weights.npz")) for n in found)
    )


def read(source: ByteSource, limits: Limits) -> Container:
    """The datasets of its weights; what its configuration would run is a finding. Raises `Unreadable`."""
    from weightguard.formats._zip import Archive

    archive = Archive(source, limits)
    members = {m.name: m for m in archive.members}
    if _CONFIG not in members:
        raise Unreadable("missing", "keras: an archive without config.json")
    examined = _keras.examine(_read(archive, members[_CONFIG], limits.sidecar_bytes), source.name, limits)
    if examined is None:
        raise Unreadable("malformed", "keras: config.json isn't a JSON object")
    try:
        return _read_members(source, limits, archive, members, examined)
    except Unreadable as error:
        worst = [f.message for f in examined.findings if f.severity == "critical"]
        if worst:  # a reader of the configuration has run it before it meets what is wrong
            raise Unreadable(error.reason, f"{error.detail}; {worst[0]}") from error
        raise


def _read_members(
    source: ByteSource, limits: Limits, archive: Archive, members: Mapping[str, Member], examined: _keras.Examined
) -> Container:
    findings = list(examined.findings)
    tables: list[TensorTable] = []
    metadata: dict[str, str] = {}
    tensors, padding, unexplained = 0, archive.padding, archive.unexplained + examined.hidden
    for name, member in members.items():
        if _WEIGHTS.fullmatch(name):
            container = read_hdf5(_open(source, archive, member), limits, NAME)
            tables.append(container.tensors)
            findings += container.findings
            tensors += min(container.accounts.tensors, member.stored)
            padding += container.accounts.padding if member.method == STORED else 0
            unexplained += container.accounts.unexplained
        elif name.endswith(".npz"):
            raise Unreadable("unsupported", "keras: weights as arrays of pickled objects, which no current version writes")
        elif name in (_METADATA, _SHARDS):
            text = _read(archive, member, limits.sidecar_bytes)
            metadata |= _flat(text) if name == _METADATA else {}
            other = _keras.examine(text, source.name, limits)
            unexplained += len(text) if other is None else other.hidden
        elif name != _CONFIG and not _is_text(archive, member, limits):
            unexplained += max(member.size, member.stored)
            if member.size <= _LOOKED_INTO:
                findings += dangers_in(archive.read(member), source.name, limits)
    table = concatenate(tables)
    table = replace(table, files=np.zeros(len(table), np.int64))
    tensors = max(0, min(tensors, source.size - padding - unexplained))
    headers = max(0, source.size - tensors - padding - unexplained)
    return Container(NAME, table, metadata, {}, tuple(findings), Accounts(tensors, headers, padding, unexplained))


def _open(source: ByteSource, archive: Archive, member: Member) -> ByteSource:
    """A member as a file: a slice of the archive, or what it inflates to, in memory."""
    name = f"{source.name}/{member.name}"
    if member.method == STORED:
        return Slice(source, archive.offset(member), member.stored, name)
    return InMemory(name, archive.read(member))


def _read(archive: Archive, member: Member, most: int) -> bytes:
    if member.size > most:
        raise Unreadable("limit", f"keras: {member.name} has {member.size} bytes")
    return archive.read(member)


def _flat(text: bytes) -> dict[str, str]:
    """The texts of metadata.json: Keras' version and the date of saving."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if type(found) is not dict:
        return {}
    return {str(k): v for k, v in found.items() if type(v) is str and len(k) + len(v) < 1024}


def _is_text(archive: Archive, member: Member, limits: Limits) -> bool:
    """What layers keep beside the weights: vocabularies, as text below assets/."""
    if member.size == 0:
        return True
    if not member.name.startswith(_ASSETS) or member.size > limits.sidecar_bytes:
        return False
    try:
        text = archive.read(member).decode()
    except UnicodeDecodeError:
        return False
    return "\0" not in text and max(map(len, text.split()), default=0) <= _LONGEST_WORD
