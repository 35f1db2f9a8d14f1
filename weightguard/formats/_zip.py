"""Zip archives, read strictly: what two readers could understand differently is refused.

Source: PKWARE APPNOTE 6.3.10; sections are cited as "4.3.16". The end record leads to the central directory, the
directory to the members; each local header must repeat what the directory says, members may not overlap, and every
byte between them is counted as explained or not.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct, pack
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from weightguard.errors import Unreadable
from weightguard.kernels.zip_records import match_zip_headers, scan_zip_directory
from weightguard.limits import Limits
from weightguard.stores import ByteSource

STORED, DEFLATED = 0, 8

_LOCAL = Struct("<4s5H3I2H")  # 4.3.7
CENTRAL = Struct("<4s4x2H4x3I4H6xI")  # 4.3.12, without versions, time, date and attributes
_ZIP64_END = Struct("<4sQ2H2I4Q")  # 4.3.14
_ZIP64_LOCATOR = Struct("<4sIQI")  # 4.3.15
_END = Struct("<4s4H2IH")  # 4.3.16
_LENGTHS = Struct("<3H").unpack_from  # of name, extra field and comment
_MOST = (1 << 62) - 1  # bytes
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF

_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13  # 4.4.4
_DESCRIPTOR = 1 << 3
_UTF8 = 1 << 11
_KNOWN_FLAGS = 1 << 1 | 1 << 2 | _DESCRIPTOR | _UTF8

_ZIP64_EXTRA = 0x0001  # 4.5.3
_UNICODE_PATH = 0x7075  # 4.6.9: a second name for the same member
_TIMES_AND_OWNERS = {0x000A: 36, 0x5455: 17, 0x5855: 16, 0x7855: 8, 0x7875: 15}  # and the longest that each gets
_PADDING = 0x4246  # "FB": torch's alignment, filled with Z (caffe2/serialize/inline_container.cc)

_WHOLE = 4 << 20  # a file up to this size is read at once
_TAIL = 66_000
_BRIDGE = 64 << 10  # local headers nearer than this are read together
_PIECE = 1 << 20
_FEWEST = 1000  # members that are worth columns
_REACH = 1024  # bytes from a local header to its end: longer ones are read by themselves
_AROUND = 224  # bytes read around a local header: the descriptor before it, its name and padding


# Entries as rows of an array: an archive's members are checked column by column.
_BEGIN = [("signature", "V4"), ("needed", "<u2"), ("flags", "<u2"), ("method", "<u2"), ("time", "<u2"), ("date", "<u2")]
_SUMS = [("crc", "<u4"), ("stored", "<u4"), ("size", "<u4"), ("name", "<u2")]
_ENTRY = np.dtype(
    [
        *(_BEGIN[0], ("made_by", "<u2"), *_BEGIN[1:], *_SUMS),
        *(("extra", "<u2"), ("comment", "<u2"), ("disk", "<u2"), ("attributes", "V6"), ("header", "<u4")),
    ]
)
_LOCAL_HEAD = np.dtype(_BEGIN + _SUMS)  # a local header, but for the length of its extra field
_DESCRIPTOR_ROW = np.dtype([("signature", "<u4"), ("crc", "<u4"), ("stored", "<u4"), ("size", "<u4")])  # 4.3.9


class Member(NamedTuple):
    """One entry of the directory. size: bytes after decompression. stored: bytes in the file.

    header: offset of its local header.
    """

    name: str
    method: int
    flags: int
    crc: int
    stored: int
    size: int
    header: int
    raw_name: bytes


_KEPT = ("flags", "method", "crc", "stored", "size", "disk", "header")
_new = tuple.__new__  # half the time of Member(...)


class Numbered(NamedTuple):
    """Members that differ by a number in their name only, in columns.

    prefix: of their names, in lower case. sizes: array of int64, the bytes of the member of each number, -1 where there is none.
    begin: offset of the first one's local header. end: offset after the data of the last one in the file, which is `last`.
    """

    prefix: str
    sizes: npt.NDArray[np.int64]
    begin: int
    end: int
    last: Member

    def size(self, name: str) -> int:
        """Bytes of the member with this name, in lower case; -1 if it is none of these."""
        digits = name[len(self.prefix) :]
        if not name.startswith(self.prefix) or len(digits) > 9 or not (digits.isascii() and digits.isdigit()):
            return -1
        number = int(digits)
        return int(self.sizes[number]) if number < len(self.sizes) and str(number) == digits else -1


class Archive:
    """A checked archive: `members` in the directory's order, by lower-case name in `names`, `unexplained` bytes, `read`.

    numbered: members FOLDER/data/NUMBER that are in columns, and not in `members`; None unless asked for, and many.
    """

    def __init__(self, source: ByteSource, limits: Limits, *, columns: bool = False) -> None:
        """Reads and checks the structure, no member. columns: whether `numbered` is wanted. Raises `Unreadable`."""
        self._source = source
        self._limits = limits
        self._held = source.read(0, source.size) if source.size <= _WHOLE else b""
        try:
            self._read(columns and not self._held)
        except Unreadable:
            if self.numbered is None:
                raise
            self._read(False)  # what is wrong is said by the reader of one member at a time

    def _read(self, columns: bool) -> None:
        self._data: dict[str, int] = {}
        self._local_sizes: dict[int, tuple[int, int]] = {}
        self.unexplained = 0
        self.padding = 0
        self.members: list[Member] = []
        self.numbered: Numbered | None = None
        start, end = self._find_directory()
        directory = self._bytes(start, end - start)
        if columns and scan_zip_directory.pays(len(directory)):
            directory = self._read_numbered(directory, start)
        self._read_directory(directory)
        self._check_names()
        self._check_local(start)

    def read(self, member: Member) -> bytes:
        """A member's bytes, decompressed within `limits.member_bytes` and checked; raises `Unreadable`."""
        if member.size > self._limits.member_bytes or member.stored > self._limits.member_bytes:
            raise Unreadable("limit", f"zip: {member.name[:80]!r} has {member.size} bytes")
        at = self._data[member.name]
        data = self._held[at : at + member.stored] if self._held else self._source.read(at, member.stored)
        if member.method == DEFLATED:
            data = inflate(data, member.size, member.name)
        if zlib.crc32(data) != member.crc:
            raise Unreadable("inconsistent", f"zip: {member.name[:80]!r} doesn't have its checksum")
        return data

    def inflated(self, member: Member) -> Iterator[bytes]:
        """A deflated member in pieces of at most 1 MiB, nothing of it kept; raises `Unreadable` where it isn't what it says.

        Bytes behind the end of the stream are an error too: no reader shows them.
        """
        stream = zlib.decompressobj(-15)
        begin, left, size, crc = self.offset(member), member.stored, 0, 0
        try:
            while left and size <= member.size and not stream.eof:
                pending = self._bytes(begin + member.stored - left, min(_PIECE, left))
                left -= len(pending)
                while pending and size <= member.size and not stream.eof:
                    piece = stream.decompress(pending, _PIECE)
                    pending = stream.unconsumed_tail
                    size, crc = size + len(piece), zlib.crc32(piece, crc)
                    yield piece
            piece = stream.flush()  # what waited behind the bound of the last piece
            size, crc = size + len(piece), zlib.crc32(piece, crc)
            yield piece
        except zlib.error as error:
            raise Unreadable("malformed", f"zip: {member.name[:80]!r} isn't a deflate stream") from error
        if size != member.size or not stream.eof or stream.unused_data or left:
            raise Unreadable("inconsistent", f"zip: {member.name[:80]!r} doesn't inflate to {member.size} bytes")
        if crc != member.crc:
            raise Unreadable("inconsistent", f"zip: {member.name[:80]!r} doesn't have its checksum")

    def offset(self, member: Member) -> int:
        """Where the bytes of a member, compressed or not, begin in the file."""
        return self._data[member.name]

    def _bytes(self, offset: int, length: int) -> bytes:
        return self._held[offset : offset + length] if self._held else self._source.read(offset, length)

    def _find_directory(self) -> tuple[int, int]:
        """Offsets of the central directory and of its end (4.3.6, 4.3.14 to 4.3.16)."""
        size = self._source.size
        base = max(0, size - _TAIL) if not self._held else 0
        tail = self._held or self._source.read(base, size - base)
        at = tail.rfind(b"PK\5\6")
        if at < 0 or at + _END.size > len(tail):
            raise Unreadable("truncated", "zip: no end of central directory record")
        _, disk, first_disk, here, count, length, start, comment = _END.unpack_from(tail, at)
        if at + _END.size + comment != len(tail):
            raise Unreadable("inconsistent", "zip: its end record isn't at the end of the file")
        if tail.rfind(b"PK\5\6", max(0, at - _FULL16 - _END.size), at) >= 0:
            self._refuse_second_end(tail, at)
        self.unexplained += comment
        end = base + at
        locator = at - _ZIP64_LOCATOR.size
        if locator >= 0 and tail.startswith(b"PK\6\7", locator):
            _, _, record, disks = _ZIP64_LOCATOR.unpack_from(tail, locator)
            if disks > 1 or record + _ZIP64_END.size > base + locator:
                raise Unreadable("inconsistent", "zip: a zip64 locator that points nowhere")
            signature, rest, _, _, disk64, first64, here64, count64, length64, start64 = _ZIP64_END.unpack(
                self._bytes(record, _ZIP64_END.size)
            )
            if signature != b"PK\6\6" or record + 12 + rest != base + locator or rest < _ZIP64_END.size - 12:
                raise Unreadable("inconsistent", "zip: a bad zip64 end record")
            self.unexplained += rest - (_ZIP64_END.size - 12)
            pairs = (
                (disk, disk64, _FULL16),
                (first_disk, first64, _FULL16),
                (here, here64, _FULL16),
                (count, count64, _FULL16),
                (length, length64, _FULL32),
                (start, start64, _FULL32),
            )
            if any(old not in (new, full) for old, new, full in pairs):
                raise Unreadable("inconsistent", "zip: its two end records disagree")
            disk, first_disk, here, count, length, start = disk64, first64, here64, count64, length64, start64
            end = record
        if disk or first_disk or here != count:
            raise Unreadable("unsupported", "zip: an archive of several parts")
        if count > self._limits.archive_members or length > self._limits.member_bytes:
            raise Unreadable("limit", f"zip: {count} members")
        if start + length > end or count * CENTRAL.size > length:
            raise Unreadable("inconsistent", "zip: its central directory doesn't fit in it")
        self.unexplained += end - start - length
        self._count = count
        return start, start + length

    def _refuse_second_end(self, tail: bytes, at: int) -> None:
        """Another end record whose comment would reach the end of the file: which one counts depends on the reader."""
        before = tail.rfind(b"PK\5\6", 0, at)
        while before >= 0:
            comment = _END.unpack_from(tail, before)[7]
            if before + _END.size + comment == len(tail):
                raise Unreadable("inconsistent", "zip: two end records")
            before = tail.rfind(b"PK\5\6", 0, before)

    def _read_numbered(self, directory: bytes, start: int) -> bytes:
        """Takes what can be taken in columns, with all checks of the others; the rest of the directory, at offset `start`."""
        first = directory[46 : 46 + _LENGTHS(directory, 28)[0]] if len(directory) > 46 else b""
        prefix = first.partition(b"/")[0] + b"/data/"
        data = np.frombuffer(directory, np.uint8)
        seen, rows, info = np.zeros(2 * self._count, np.uint8), np.empty((self._count, 4), np.int64), np.zeros(2, np.int64)
        text = np.frombuffer(prefix, np.uint8)
        count = scan_zip_directory.compiled(data, text, seen, rows, info) if prefix.isascii() else 0
        if count < _FEWEST:
            return directory
        rows = rows[:count]
        ends = self._match_numbered(data, rows, start)
        if ends is None:
            return directory
        sizes = np.full(int(rows[:, 0].max()) + 1, -1, np.int64)
        sizes[rows[:, 0]] = rows[:, 3]
        begin, end = info.tolist()
        entry = CENTRAL.unpack_from(directory, int(rows[-1, 1]))
        flags, method, crc, stored, size = entry[1:6]
        raw = directory[end - entry[6] : end]
        last = Member(raw.decode("ascii"), method, flags, crc, stored, size, entry[10], raw)
        self.numbered = Numbered(prefix.decode("ascii").lower(), sizes, int(rows[0, 2]), ends[0], last)
        self.padding += ends[1]
        self._count -= count
        return directory[:begin] + directory[end:]

    def _match_numbered(
        self, directory: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], start: int
    ) -> tuple[int, int] | None:
        """Where the data of the last of these members end, and their padding; None if one isn't as the directory says."""
        headers = rows[:, 2]
        far = np.append(np.flatnonzero(np.diff(headers) > _BRIDGE), len(rows) - 1)
        info = np.zeros(2, np.int64)
        row = 0
        while row < len(rows):
            begin = max(0, int(headers[row]) - 16)
            reach = int(headers[far[np.searchsorted(far, row)]]) + _REACH
            end = min(reach, begin + _WHOLE, start)
            if end <= begin:
                return None
            window = np.frombuffer(self._source.read(begin, end - begin), np.uint8)
            done = match_zip_headers.compiled(window, begin, directory, rows, row, info)
            if done <= row:
                return None
            row = done
        return int(info[0]), int(info[1])

    def _read_directory(self, data: bytes) -> None:
        """The members (4.3.12); zip64 values come from the extra field (4.5.3)."""
        at, stop = 0, len(data)
        places = []
        for _ in range(self._count):
            if at + 46 > stop:
                raise Unreadable("malformed", "zip: its central directory ends early")
            places.append(at)
            name_length, extra_length, comment_length = _LENGTHS(data, at + 28)
            at += 46 + name_length + extra_length + comment_length
        if at > stop:
            raise Unreadable("malformed", "zip: its central directory ends early")
        self.unexplained += stop - at
        rows = np.frombuffer(b"".join([data[p : p + 46] for p in places]), _ENTRY)
        raw_names = [data[p + 46 : p + 46 + n] for p, n in zip(places, rows["name"].tolist(), strict=True)]
        if rows["signature"].tobytes() != b"PK\1\2" * len(rows):
            raise Unreadable("malformed", "zip: a bad entry in its central directory")
        columns: dict[str, npt.NDArray[np.int64]] = {k: rows[k].astype(np.int64) for k in _KEPT}
        for i in np.flatnonzero(rows["extra"]).tolist():
            extra_at = places[i] + 46 + len(raw_names[i])
            self._extra(data[extra_at : extra_at + int(rows["extra"][i])], columns, i)
        self._check_columns(columns, raw_names)
        self.unexplained += int(rows["comment"].sum())
        flags = columns["flags"].tolist()
        names = [r.decode("ascii") if r.isascii() else _name(r, f) for r, f in zip(raw_names, flags, strict=True)]
        fields = (columns[k].tolist() for k in ("method", "flags", "crc", "stored", "size", "header"))
        self.members = [_new(Member, m) for m in zip(names, *fields, raw_names, strict=True)]
        self._expect(rows, columns)

    def _check_columns(self, columns: dict[str, npt.NDArray[np.int64]], raw_names: list[bytes]) -> None:
        flags, method, stored, size = (columns[k] for k in ("flags", "method", "stored", "size"))
        for i in np.flatnonzero(
            (flags & ~_KNOWN_FLAGS != 0) | (method != STORED) & (method != DEFLATED) | (columns["disk"] != 0)
        ):
            _refuse(raw_names[i], int(flags[i]), int(method[i]))
        # Deflate's best ratio is 1032: more can't come out.
        wrong = np.where(method == STORED, size != stored, size // 1032 > stored + 1)
        for i in np.flatnonzero(wrong):
            raise Unreadable("inconsistent", f"zip: {raw_names[i][:80]!r} can't have {size[i]} bytes, stored in {stored[i]}")

        excess = np.where(method == DEFLATED, stored - size - size // 1000 - 1024, 0)
        self.unexplained += int(np.maximum(excess, 0).sum())  # blocks that give nothing

    def _expect(self, rows: npt.NDArray[np.void], columns: dict[str, npt.NDArray[np.int64]]) -> None:
        """What local headers and data descriptors look like if they are as the directory says, and torch writes them.

        4.3.7 and 4.3.12 have the same fields in the same order; where a descriptor follows, the local sums are zero
        (4.4.4). What looks otherwise is taken apart, field by field, by `_compare` and `_gap`.
        """
        described = rows["flags"] & _DESCRIPTOR != 0
        local = np.zeros(len(rows), _LOCAL_HEAD)
        descriptor = np.zeros(len(rows), _DESCRIPTOR_ROW)
        for field in ("needed", "flags", "method", "time", "date", "name"):
            local[field] = rows[field]
        for field in ("crc", "stored", "size"):
            local[field] = np.where(described, 0, rows[field])
            descriptor[field] = rows[field]
        local["signature"] = b"PK\3\4"
        descriptor["signature"] = 0x08074B50
        self._expected = local.tobytes(), descriptor.tobytes()

    def _extra(self, extra: bytes, columns: dict[str, npt.NDArray[np.int64]], i: int) -> None:
        for kind, field in _fields(extra):
            if kind == _ZIP64_EXTRA:
                values = [int.from_bytes(field[at : at + 8], "little") for at in range(0, len(field) - 7, 8)]
                for name in ("size", "stored", "header"):
                    if columns[name][i] == _FULL32:
                        if not values or values[0] > _MOST:
                            raise Unreadable("malformed", "zip: a zip64 field that lacks a value, or has an absurd one")
                        columns[name][i] = values.pop(0)
                if columns["disk"][i] == _FULL16:
                    columns["disk"][i] = 0
                self.unexplained += len(values) * 8
            else:
                self._explain(kind, field)

    def _explain(self, kind: int, field: bytes) -> None:
        if kind == _UNICODE_PATH:
            raise Unreadable("unsupported", "zip: a member with two names")
        if kind == _PADDING and not field.strip(b"Z"):
            self.padding += 4 + len(field)
            return
        if len(field) > _TIMES_AND_OWNERS.get(kind, -1):
            self.unexplained += len(field)

    def _check_names(self) -> None:
        """No absolute path, no way upwards (4.4.17.1), and no name twice, as a reader that ignores case sees it."""
        joined = b"/" + b"/\n/".join([m.raw_name for m in self.members]) + b"/"
        if any(part in joined for part in (b"\0", b"\\", b"//", b"/../")):  # rare, so looked at one by one only then
            for m in self.members:
                if m.name.startswith("/") or ".." in m.name.split("/") or "\0" in m.name or "\\" in m.name:
                    raise Unreadable("malformed", f"zip: a member named {m.name[:80]!r}")
        self.names = {m.name.lower(): m for m in self.members}
        numbered = self.numbered
        if len(self.names) < len(self.members) or (numbered and any(numbered.size(n) >= 0 for n in self.names)):
            twice = next((m.name for m in self.members if self.names[m.name.lower()] is not m), "a numbered member")
            raise Unreadable("inconsistent", f"zip: {twice[:80]!r} is there twice")

    def _check_local(self, directory: int) -> None:
        """Local headers agree with the directory (4.3.7), members don't overlap, descriptors are right (4.3.9)."""
        members, places = self.members, self._data
        expected, descriptors = self._expected
        order = sorted(range(len(members)), key=[m.header for m in members].__getitem__)
        last: Member | None = None
        data_end = 0
        padding: dict[int, bytes] = {}
        numbered = self.numbered
        descriptor = b""  # what should lie between a member's end and the next header
        for data, base, group in self._windows(order, directory):
            for i in group:
                m = members[i]
                header = m.header
                at = header - base
                if numbered and header > numbered.begin:
                    last, data_end, descriptor = self._pass(numbered, last, data_end)
                    numbered = None
                if header < data_end:
                    raise Unreadable("inconsistent", f"zip: {m.name[:80]!r} overlaps another member")
                if header - data_end != len(descriptor) or data[at - len(descriptor) : at] != descriptor:
                    self._gap(last, data_end, header)
                name_at = at + 30
                raw = m.raw_name
                extra_at = name_at + len(raw)
                if extra_at > len(data):
                    raise Unreadable("truncated", f"zip: no local header for {m.name[:80]!r}")
                same = data[at : at + 28] == expected[28 * i : 28 * i + 28]
                if not same or data[name_at:extra_at] != raw:
                    self._compare(m, data, at)
                length = data[at + 28] | data[at + 29] << 8
                start = extra_at + length
                if length and data[extra_at:start] != (padding.get(length) or padding.setdefault(length, _padding(length))):
                    extra = data[extra_at:start] if start <= len(data) else self._bytes(base + extra_at, length)
                    same = self._local_extra(m, data, at, extra) and same
                else:
                    self.padding += length
                if not same:
                    self._compare_sums(m, data, at)
                places[m.name] = base + start
                data_end = base + start + m.stored
                descriptor = descriptors[16 * i : 16 * i + 16] if m.flags & _DESCRIPTOR else b""
                last = m
        if numbered:
            last, data_end, _ = self._pass(numbered, last, data_end)
        if data_end > directory:
            raise Unreadable("inconsistent", "zip: its last member runs into its central directory")
        self._gap(last, data_end, directory)

    def _pass(self, numbered: Numbered, last: Member | None, data_end: int) -> tuple[Member, int, bytes]:
        """What lies before the numbered members; the last of them, where its data end, and what should follow."""
        if numbered.begin < data_end:
            raise Unreadable("inconsistent", f"zip: {numbered.last.name[:80]!r} overlaps another member")
        self._gap(last, data_end, numbered.begin)
        m = numbered.last
        descriptor = b"PK\7\x08" + pack("<3I", m.crc, m.stored, m.size) if m.flags & _DESCRIPTOR else b""
        return m, numbered.end, descriptor

    def _compare(self, m: Member, data: bytes, at: int) -> None:
        """A local header that isn't byte for byte what the directory lets expect may differ in versions and times."""
        signature, _, flags, method, _, _, _, _, _, name_length, _ = _LOCAL.unpack_from(data, at)
        name = data[at + 30 : at + 30 + name_length]
        if signature != b"PK\3\4" or flags != m.flags or method != m.method or name != m.raw_name:
            text = f"zip: the local header of {m.name[:80]!r} isn't what the directory says"
            raise Unreadable("inconsistent", text)

    def _compare_sums(self, m: Member, data: bytes, at: int) -> None:
        """Checksum and sizes of a local header: those of the directory or, with a descriptor, zeros (4.4.4)."""
        _, _, flags, _, _, _, crc, stored, size, _, _ = _LOCAL.unpack_from(data, at)
        stored, size = self._local_sizes.get(m.header, (stored, size))
        if (crc, stored, size) == (m.crc, m.stored, m.size):
            return
        if not (flags & _DESCRIPTOR and crc in (0, m.crc) and stored in (0, m.stored) and size in (0, m.size)):
            raise Unreadable("inconsistent", f"zip: the local header of {m.name[:80]!r} has other sizes")

    def _local_extra(self, m: Member, data: bytes, at: int, extra: bytes) -> bool:
        """Explains an extra field other than torch's padding; False if it holds the sizes, which are then kept."""
        same = True
        for kind, field in _fields(extra):
            if kind == _ZIP64_EXTRA:  # both sizes (4.5.3); torch adds the offset of the header, or writes that alone
                values = [int.from_bytes(field[i : i + 8], "little") for i in range(0, len(field) - 7, 8)]
                if len(values) > 1:
                    size, stored = values[:2]
                    left_out = 0 if m.flags & _DESCRIPTOR else None  # with a descriptor either may be left at zero
                    if size not in (left_out, m.size) or stored not in (left_out, m.stored):
                        raise Unreadable("inconsistent", f"zip: the local header of {m.name[:80]!r} has other sizes")
                    _, _, _, _, _, _, _, local_stored, local_size, _, _ = _LOCAL.unpack_from(data, at)
                    self._local_sizes[m.header] = (
                        stored if local_stored == _FULL32 else local_stored,
                        size if local_size == _FULL32 else local_size,
                    )
                    values, same = values[2:], False
                self.unexplained += len(field) % 8 + 8 * sum(v != m.header for v in values)
            else:
                self._explain(kind, field)
        return same

    def _gap(self, member: Member | None, start: int, end: int) -> None:
        """The bytes from a member's end to what follows: its data descriptor (4.3.9), and what nothing explains."""
        length = end - start
        if member is None or not member.flags & _DESCRIPTOR:
            self.unexplained += length
            return
        if not length and not member.stored:
            return
        crc = member.crc.to_bytes(4, "little")
        gap = self._bytes(start, min(length, 24))
        for width in (4, 8):
            if member.stored >= 1 << 8 * width or member.size >= 1 << 8 * width:
                continue
            plain = crc + member.stored.to_bytes(width, "little") + member.size.to_bytes(width, "little")
            for descriptor in (b"PK\7\x08" + plain, plain):
                if gap.startswith(descriptor) and length >= len(descriptor):
                    self.unexplained += length - len(descriptor)
                    return
        raise Unreadable("inconsistent", f"zip: the data descriptor of {member.name[:80]!r} is missing, or has other values")

    def _windows(self, order: list[int], directory: int) -> Iterator[tuple[bytes, int, list[int]]]:
        """The local headers in as few reads as their distances allow: (bytes, their offset, members whose header is there)."""
        if self._held:
            yield self._held, 0, order
            return
        places = [self.members[i].header for i in order]
        ends = [p + 30 + len(self.members[i].raw_name) for i, p in zip(order, places, strict=True)]
        first = 0
        while first < len(order):
            begin = max(0, places[first] - 24)
            last, end = first, ends[first]
            while last + 1 < len(order) and places[last + 1] - end <= _BRIDGE and end - begin < _WHOLE:
                last += 1
                end = max(end, ends[last])
            end = min(end + _AROUND, directory)
            if end <= begin:
                raise Unreadable("inconsistent", "zip: a member that lies behind the central directory")
            yield self._source.read(begin, end - begin), begin, order[first : last + 1]
            first = last + 1


def inflate(data: bytes, size: int, name: str) -> bytes:
    """A raw deflate stream that must give exactly `size` bytes; raises `Unreadable` ("malformed", "inconsistent")."""
    stream = zlib.decompressobj(-15)
    try:
        out = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise Unreadable("malformed", f"zip: {name[:80]!r} isn't a deflate stream") from error
    if len(out) != size or not stream.eof or stream.unused_data:
        raise Unreadable("inconsistent", f"zip: {name[:80]!r} doesn't inflate to {size} bytes")
    return out


def _padding(length: int) -> bytes:
    """An extra field of torch's padding alone, of `length` bytes in all; longer ones are taken apart by `_fields`."""
    return b"FB" + (length - 4).to_bytes(2, "little") + b"Z" * (length - 4) if 4 <= length < 512 else b"?"


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The (kind, value) pairs of an extra field (4.5.1); raises `Unreadable` ("malformed")."""
    at = 0
    while at < len(extra):
        kind, length = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        if at + 4 + length > len(extra):
            raise Unreadable("malformed", "zip: an extra field that doesn't fit")
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _refuse(raw: bytes, flags: int, method: int) -> None:
    if flags & _ENCRYPTED:
        raise Unreadable("encrypted", f"zip: {raw[:80]!r} is encrypted")
    if flags & ~_KNOWN_FLAGS:
        raise Unreadable("unsupported", f"zip: {raw[:80]!r} has flags {flags:#06x}")
    raise Unreadable("unsupported", f"zip: {raw[:80]!r} is compressed by method {method}, or lies on another disk")


def _name(raw: bytes, flags: int) -> str:
    if not flags & _UTF8:
        return raw.decode("cp437")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Unreadable("malformed", f"zip: a member named {raw[:80]!r}") from error
