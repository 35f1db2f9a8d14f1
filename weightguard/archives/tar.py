"""Tar archives: POSIX.1-2024 pax interchange format (pax, "ustar Interchange Format" and "pax Header Block"), GNU tar's long names."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from functools import partial

from weightguard.archives.entries import Contents, Entry, beside, safe_name, unique
from weightguard.errors import Unreadable
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.stores.slices import Slice

_BLOCK = 512
_LONGEST_NAME = 64 << 10  # bytes of a pax header or a long name
_CHUNK = 1 << 20
_KEYS = (b"path", b"linkpath", b"size")
_SHORT = 128  # bytes of a time, an owner or a comment
_FILES = b"\x0007"
_LINKS = b"12"


def sniff(head: bytes) -> bool:
    """The magic of POSIX or, in a header from before it (Unix V7), a name, a known type and the right checksum."""
    if head[257:262] == b"ustar":
        return True
    if len(head) < _BLOCK or head[156:157] not in b"\x00012" or not head[:1].strip(b"\0 "):
        return False
    try:
        return _sum_is_right(head[:_BLOCK])
    except Unreadable:
        return False


def unpack(source: ByteSource, limits: Limits) -> Contents:
    """The members of a tar archive, as slices of it. Raises `Unreadable`."""
    contents = Contents("tar")
    at = 0
    pax: dict[str, str] = {}
    common: dict[str, str] = {}
    long_name = long_link = ""
    openers: dict[str, Callable[[], ByteSource]] = {}
    links: list[tuple[str, str]] = []
    count = 0
    while True:
        if at + _BLOCK > source.size:
            raise Unreadable("truncated", "tar: it ends without its end-of-archive blocks")
        block = source.read(at, _BLOCK)
        if block == bytes(_BLOCK):
            break
        count += 1
        if count > limits.archive_members:
            raise Unreadable("limit", f"tar: more than {limits.archive_members} members")
        if not _sum_is_right(block):
            raise Unreadable("malformed", f"tar: no header at byte {at}")
        kind, size = block[156:157], _number(block[124:136])
        data_at = at + _BLOCK
        if "size" in pax or "size" in common:
            size = _decimal(pax.get("size", common.get("size", "")))
        if size < 0 or data_at + size > source.size:
            raise Unreadable("truncated", f"tar: a member of {size} bytes at byte {at}, in a file of {source.size}")
        if kind in (b"L", b"K", b"x", b"X", b"g"):
            if size > _LONGEST_NAME:
                raise Unreadable("limit", f"tar: a header of {size} bytes")
            data = source.read(data_at, size)
            if kind == b"L":
                long_name = _text(data.rstrip(b"\0"))
            elif kind == b"K":
                long_link = _text(data.rstrip(b"\0"))
            elif kind == b"g":
                common |= _records(data, contents)
            else:
                pax = _records(data, contents)
        else:
            if any(key.startswith("GNU.sparse") for key in pax) or kind == b"S":
                raise Unreadable("unsupported", "tar: a sparse member")
            if size and kind not in _FILES:  # links and folders have none: readers disagree on what follows
                raise Unreadable("inconsistent", f"tar: a member of type {kind!r} with data, at byte {at}")
            name = pax.get("path", "") or common.get("path", "") or long_name or _own_name(block)
            if kind in _FILES and not (name.endswith("/") and size == 0):
                path = unique(safe_name(name, source.name, contents), openers)
                openers[path] = partial(_slice, source, data_at, size, f"{source.name}/{path}", openers, path)
            elif kind in _LINKS:
                link = pax.get("linkpath", "") or long_link or _text(block[157:257].split(b"\0")[0])
                path = safe_name(name, source.name, contents)
                links.append((path, link if kind == b"1" else posixpath.join(posixpath.dirname(path), link)))
            elif kind != b"5" and kind not in _FILES:
                contents.unread.append((safe_name(name, source.name, contents), "not-a-file", "a device or pipe in an archive"))
            pax, long_name, long_link = {}, "", ""
        at = data_at + size
        padding = -size % _BLOCK
        if padding and (at + padding > source.size or source.read(at, padding).strip(b"\0")):
            contents.unexplained += min(padding, source.size - at)
        at += padding
    contents.unexplained += _after(source, at)
    _follow(links, openers, contents)
    contents.entries = [Entry(name, opener) for name, opener in openers.items()]
    return contents


def _slice(
    source: ByteSource, at: int, size: int, shown: str, openers: dict[str, Callable[[], ByteSource]], name: str
) -> ByteSource:
    return Slice(source, at, size, shown, beside(openers, name))


def _follow(links: list[tuple[str, str]], openers: dict[str, Callable[[], ByteSource]], contents: Contents) -> None:
    """A link to a member says a better name for it in a Hugging Face cache (snapshots into blobs); else it adds nothing."""
    for name, target in links:
        wanted = posixpath.normpath(target)
        if wanted not in openers:
            if not any(known.startswith(wanted + "/") for known in openers):
                contents.unread.append((name, "link", f"a link to {target[:200]!r}, which is not in the archive"))
        elif "/snapshots/" in f"/{name}" and name not in openers:
            openers[name] = openers.pop(wanted)


def _after(source: ByteSource, at: int) -> int:
    """Bytes after the end-of-archive that are not the zeros which fill the last record."""
    unexplained = 0
    while at < source.size:
        chunk = source.read(at, min(_CHUNK, source.size - at))
        if chunk.strip(b"\0"):
            unexplained += len(chunk)
        at += len(chunk)
    return unexplained


def _sum_is_right(block: bytes) -> bool:
    """ "The chksum field": the sum of the header's bytes, itself taken as blanks; some old writers summed signed bytes."""
    field = _number(block[148:156])
    rest = block[:148] + b" " * 8 + block[156:]
    total = sum(rest)
    return field in (total, total - 256 * sum(b > 127 for b in rest))


def _number(field: bytes) -> int:
    """Octal digits or, with the first bit set, a binary number (GNU tar, "Extensions to the tar format")."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] == 0xFF or value >= 1 << 62:
            raise Unreadable("malformed", "tar: a number out of range")
        return value
    digits = field.split(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise Unreadable("malformed", "tar: a number that is not octal")
    return int(digits, 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Unreadable("malformed", f"tar: a pax size of {text[:80]!r}")
    return int(text)


def _records(data: bytes, contents: Contents) -> dict[str, str]:
    """ "%d %s=%s\\n": the length of the whole record, a key and its value; those that say nothing here are unexplained."""
    records: dict[str, str] = {}
    at = 0
    data = data.rstrip(b"\0")
    while at < len(data):
        blank = data.find(b" ", at, at + 20)
        digits = data[at:blank] if blank > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        if not blank < end <= len(data) or data[end - 1 : end] != b"\n":
            raise Unreadable("malformed", "tar: a bad pax header")
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if not equals:
            raise Unreadable("malformed", "tar: a bad pax header")
        if key in _KEYS or key.startswith(b"GNU.sparse"):
            records[_text(key)] = _text(value)
        elif len(value) > _SHORT:
            contents.unexplained += len(value)
        at = end
    return records


def _own_name(block: bytes) -> str:
    name = block[:100].split(b"\0")[0]
    prefix = block[345:500].split(b"\0")[0] if block[257:263] == b"ustar\0" else b""  # GNU keeps times there
    return _text(prefix + b"/" + name if prefix else name)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
