"""NumPy's archives of arrays: a zip whose members are files of one array each, stored or deflated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightguard.errors import Unreadable
from weightguard.formats._numpy import FIRST, Header, parse_header
from weightguard.formats._zip_names import names
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.stores.memory import InMemory
from weightguard.tensors import from_rows
from weightguard.values import Accounts

if TYPE_CHECKING:  # loaded where a zip is read
    from weightguard.formats._numpy_objects import Objects
    from weightguard.formats._zip import Archive, Member

NAME = "npz"
SPEC = "NumPy, numpy.savez and numpy.lib.format, versions 1.0 to 3.0; PKWARE APPNOTE 6.3.10"

_SUFFIX = ".npy"
_CHUNK = 1 << 20
_FREE = 64 << 20  # bytes that a member may inflate to whatever it is compressed from


def sniff(head: bytes, tail: bytes) -> bool:
    """A zip all of whose names, as far as its directory reaches into the tail, are those of arrays."""
    found = list(names(tail)) if head.startswith(b"PK\x03\x04") else []
    return bool(found) and all(n.endswith(b".npy") for n in found)


def read(source: ByteSource, limits: Limits) -> Container:
    """All arrays: each one's size checked against its shape and type. Raises `Unreadable`."""
    from weightguard.formats._zip import STORED, Archive

    archive = Archive(source, limits)
    rows: list[tuple[str, int, tuple[int, ...], int]] = []
    objects: Objects | None = None
    tensors = 0
    padding, unexplained = archive.padding, archive.unexplained
    if len(archive.members) > limits.tensors:
        raise Unreadable("limit", f"more than {limits.tensors} tensors")
    budget = limits.unpacked_bytes
    for member in archive.members:
        if not member.name.lower().endswith(_SUFFIX):
            unexplained += max(member.stored, member.size)
            continue
        name = member.name[: -len(_SUFFIX)]
        stored = member.method == STORED
        if stored:
            header = parse_header(source.read(archive.offset(member), min(member.stored, FIRST)))
        else:
            budget -= member.size
            if budget < 0 or member.size > _FREE + limits.unpacked_ratio * member.stored:
                raise Unreadable("limit", f"npz: {name[:80]!r} inflates to {member.size} bytes from {member.stored}")
            header = parse_header(_first(archive, member))
        if header.objects:
            from weightguard.formats._numpy_objects import Objects

            objects = objects or Objects(source.name, limits)
            objects.add(InMemory(source.name, archive.read(member)), header.start, member.size - header.start, name)
            continue
        unexplained += header.unexplained + _excess(header, member, name)
        added = [(*row[:3], min(row[3], member.stored)) for row in header.rows(name)]
        rows += added
        if len(rows) > limits.tensors:
            raise Unreadable("limit", f"more than {limits.tensors} tensors")
        tensors += sum(span for *_, span in added) if stored else max(0, member.stored - header.unexplained)
        padding += header.padding if stored else 0
    labels, dtypes, shapes, spans = zip(*rows, strict=True) if rows else ((), (), (), ())
    table = from_rows(labels, dtypes, shapes, spans)
    if objects is not None:
        return objects.container(NAME, source.size, padding, unexplained, [table], tensors)
    headers = max(0, source.size - tensors - padding - unexplained)
    return Container(NAME, table, accounts=Accounts(tensors, headers, padding, unexplained))


def _excess(header: Header, member: Member, name: str) -> int:
    """Bytes of a member after its elements; raises `Unreadable` if it has fewer than they need."""
    size = header.start + header.bytes
    if member.size < size:
        raise Unreadable("truncated", f"npz: {name[:80]!r} announces {header.bytes} bytes of elements, {member.size} given")
    return member.size - size


def _first(archive: Archive, member: Member) -> bytes:
    """The first bytes of a deflated member, all of which is inflated: bytes behind its stream would be ones that no array shows."""
    first = b""
    for piece in archive.inflated(member):
        first += piece[: FIRST - len(first)]
    return first
