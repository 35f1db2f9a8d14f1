"""Zip archives: what two readers could understand differently is refused, and every byte is accounted for."""

from __future__ import annotations

import io
import struct
import time
import zipfile
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats._torch_files import Bytes, Entry, write_zip
from weightguard.errors import Reason, Unreadable
from weightguard.formats._zip import Archive
from weightguard.limits import LIMITS, Limits

A, B = Entry("r/a", b"hello"), Entry("r/b", b"x" * 1000)


def opened(data: bytes, limits: Limits = LIMITS) -> Archive:
    return Archive(Bytes(data), limits)


def contents(data: bytes) -> dict[str, bytes]:
    archive = opened(data)
    return {m.name: archive.read(m) for m in archive.members}


def refused(data: bytes, reason: Reason, limits: Limits = LIMITS) -> str:
    with pytest.raises(Unreadable) as caught:
        archive = opened(data, limits)
        for m in archive.members:
            archive.read(m)
    assert caught.value.reason == reason, caught.value
    return caught.value.detail


def by_zipfile(compression: int, members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as z:
        for name, data in members.items():
            z.writestr(name, data)
    return out.getvalue()


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,8}/[a-zé0-9]{1,8}", fullmatch=True), st.binary(max_size=200), max_size=8),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
@settings(max_examples=150, deadline=None)
def test_members_are_those_that_zipfile_wrote(members: dict[str, bytes], compression: int) -> None:
    data = by_zipfile(compression, members)
    assert contents(data) == members
    assert opened(data).unexplained == 0


def test_a_streamed_archive_with_data_descriptors_is_explained() -> None:
    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.data += bytes(data)
            return len(data)

    out = Stream()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("r/a", b"hello" * 50)
        z.writestr("r/b", b"")
    assert contents(out.data) == {"r/a": b"hello" * 50, "r/b": b""}
    assert opened(out.data).unexplained == 0


def test_zip64_sizes_are_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z, z.open("r/a", "w", force_zip64=True) as member:
        member.write(b"hello")
    assert contents(out.getvalue()) == {"r/a": b"hello"}


def test_an_empty_archive_has_no_members() -> None:
    assert contents(by_zipfile(zipfile.ZIP_STORED, {})) == {}


def test_each_length_of_the_file_but_its_own_is_refused() -> None:
    data = write_zip([A, B])
    for end in range(len(data)):
        with pytest.raises(Unreadable):
            opened(data[:end])
    with pytest.raises(Unreadable):
        opened(data + b"\0")


def test_bytes_between_before_and_after_members_are_unexplained() -> None:
    assert opened(write_zip([A, B])).unexplained == 0
    assert opened(write_zip([A, replace(B, gap=b"?" * 100)])).unexplained == 100
    assert opened(write_zip([replace(A, gap=b"?" * 70), B])).unexplained == 70
    assert opened(write_zip([A, B], prefix=b"#!/bin/sh\n")).unexplained == 10
    assert opened(write_zip([A, B], comment=b"a comment")).unexplained == 9


def test_padding_is_explained_only_if_it_is_padding() -> None:
    padding = b"FB" + struct.pack("<H", 50) + b"Z" * 50
    assert opened(write_zip([replace(A, local_extra=padding), B])).unexplained == 0
    hidden = b"FB" + struct.pack("<H", 50) + b"Z" * 49 + b"!"
    assert opened(write_zip([replace(A, local_extra=hidden), B])).unexplained == 50
    other = b"\x99\x99" + struct.pack("<H", 50) + b"Z" * 50
    assert opened(write_zip([replace(A, local_extra=other), B])).unexplained == 50
    assert opened(write_zip([replace(A, extra=other), B])).unexplained == 50


@pytest.mark.parametrize(
    "lie",
    [
        {"local_name": "r/c"},
        {"local_flags": 2},
        {"local_method": 8},
        {"local_crc": 7},
        {"local_size": 4},
        {"local_flags": 8},
    ],
)
def test_a_local_header_that_says_otherwise_is_refused(lie: dict[str, object]) -> None:
    refused(write_zip([replace(A, **lie), B]), "inconsistent")  # type: ignore[arg-type]


def test_a_wrong_checksum_is_refused_when_the_member_is_read() -> None:
    assert "checksum" in refused(write_zip([replace(A, crc=1), B]), "inconsistent")


def test_names_that_stand_twice_are_refused_in_any_case() -> None:
    assert "twice" in refused(write_zip([A, B, A]), "inconsistent")
    assert "twice" in refused(write_zip([A, Entry("R/A", b"other")]), "inconsistent")


@pytest.mark.parametrize("name", ["/etc/passwd", "r/../../x", "../x", "r/a\0b", "r\\a", ".."])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    refused(write_zip([B, Entry(name, b"x")]), "malformed")


@pytest.mark.parametrize("bit", [0, 6, 13])
def test_encrypted_members_are_refused(bit: int) -> None:
    refused(write_zip([replace(A, flags=1 << bit), B]), "encrypted")


@pytest.mark.parametrize("bit", [4, 5, 7, 9, 12, 15])
def test_unknown_flags_are_refused(bit: int) -> None:
    refused(write_zip([replace(A, flags=1 << bit), B]), "unsupported")


def test_overlapping_members_are_refused() -> None:
    data = write_zip([A, B])
    second = data.index(b"PK\3\4", 4)
    assert "overlap" in refused(write_zip([A, replace(A, name="r/b", local_name="r/a", offset=0)]), "inconsistent")
    assert "overlap" in refused(data.replace(struct.pack("<I", second) + b"r/b", struct.pack("<I", 0) + b"r/b"), "inconsistent")


def test_sizes_beyond_the_file_are_refused() -> None:
    for size in (0xFFFF0000, 1100):
        refused(write_zip([A, replace(B, size=size)]), "inconsistent")


def zip64_of(values: dict[str, int]) -> bytes:
    """A zip with zip64 records; values override their fields."""
    data = write_zip([A, B])
    end = data.rindex(b"PK\5\6")
    count, length, start = 2, end - data.index(b"PK\1\2"), data.index(b"PK\1\2")
    f = {"rest": 44, "count": count, "length": length, "start": start, "record": end, "disks": 1} | values
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", f["rest"], 45, 45, 0, 0, f["count"], f["count"], f["length"], f["start"])
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, f["record"], f["disks"])
    return data[:end] + record + locator + data[end:]


def test_zip64_records_are_read_and_explained() -> None:
    assert opened(zip64_of({})).unexplained == 0


@pytest.mark.parametrize(
    "lie",
    [
        {"count": 3},
        {"count": 1 << 62},
        {"length": 1 << 63},
        {"start": 1 << 63},
        {"record": 1 << 63},
        {"record": 0},
        {"rest": 1 << 62},
        {"rest": 43},
        {"disks": 2},
    ],
)
def test_zip64_lies_are_refused(lie: dict[str, int]) -> None:
    refused(zip64_of(lie), "inconsistent")


def test_two_end_records_are_refused() -> None:
    inner = write_zip([Entry("r/a", b"other")])
    data = write_zip([A, B], comment=inner[inner.index(b"PK\1\2") :])
    with pytest.raises(Unreadable):
        opened(data)


def test_a_bomb_is_refused_by_its_announced_size() -> None:
    bomb = write_zip([Entry("r/a", bytes(50 << 20), deflate=True)])
    assert len(bomb) < 1 << 17
    started = time.perf_counter()
    refused(bomb, "limit", replace(LIMITS, member_bytes=1 << 20))
    assert time.perf_counter() - started < 0.5


def test_a_bomb_that_hides_its_size_is_cut_there() -> None:
    honest = write_zip([Entry("r/a", bytes(50 << 20), deflate=True)])
    data = bytearray(honest)
    for signature, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.index(signature) + place
        data[at : at + 4] = struct.pack("<I", 1000)
    started = time.perf_counter()
    assert "inflate" in refused(bytes(data), "inconsistent")
    assert time.perf_counter() - started < 0.5


def test_a_size_that_no_compression_reaches_is_refused() -> None:
    data = bytearray(write_zip([Entry("r/a", bytes(1000), deflate=True)]))
    for signature, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.index(signature) + place
        data[at : at + 4] = struct.pack("<I", 4_000_000_000)
    refused(bytes(data), "inconsistent")


def test_the_number_of_members_is_bounded() -> None:
    refused(write_zip([A, B]), "limit", replace(LIMITS, archive_members=1))


@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=400, deadline=None)
def test_changed_bytes_give_an_archive_or_an_unreadable(changes: list[tuple[int, int]]) -> None:
    data = bytearray(zip64_of({}))
    for where, byte in changes:
        data[where % len(data)] = byte
    try:
        archive = opened(bytes(data))
        for m in archive.members:
            archive.read(m)
    except Unreadable:
        pass


def large(count: int, size: int) -> bytes:
    return write_zip([Entry(f"r/{i}", bytes(size)) for i in range(count)])


def test_a_small_archive_is_read_in_one_piece() -> None:
    source = Bytes(large(50, 1000))
    Archive(source, LIMITS)
    assert len(source.reads) == 1


def test_a_large_archive_is_not_read_whole() -> None:
    source = Bytes(large(40, 1 << 18))
    archive = Archive(source, LIMITS)
    assert sum(length for _, length in source.reads) < source.size // 20
    assert len(source.reads) <= 40 + 2
    assert archive.unexplained == 0
    assert archive.read(archive.members[7]) == bytes(1 << 18)


def test_neighbours_in_a_large_archive_are_read_together() -> None:
    source = Bytes(large(2000, 4096))
    Archive(source, LIMITS)
    assert len(source.reads) < 10


def test_gaps_in_a_large_archive_are_counted_too() -> None:
    data = write_zip([Entry("r/a", bytes(3 << 20), gap=b"?" * 999), Entry("r/b", bytes(3 << 20), local_extra=b"FB\x05\0ZZZZ!")])
    assert opened(data).unexplained == 999 + 5
    assert opened(data).members[1].size == 3 << 20
