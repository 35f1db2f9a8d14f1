"""HDF5 files that hide bytes or whose structures lie: unexplained, unread, or counted right."""

from __future__ import annotations

import io
import json
import os
import random
import signal
from math import prod
from typing import Any

import h5py
import numpy as np
import pytest

from tests.formats._bounds import attempt, check_truncations, rows, unexplained
from tests.formats._hdf5_files import CHUNKED, NEW, OLD, Fill, both, by_h5py, kinds, made, many, read, refused
from weightguard.errors import Unreadable
from weightguard.formats import hdf5
from weightguard.formats._hdf5.file import File, checksum
from weightguard.formats.protocol import Container

# ---- hidden bytes

WEIGHTS = os.urandom(100_000)


def hidden(fill: Fill, least: int = 100_000, libver: str = OLD) -> None:
    container = read(made(fill, libver))
    assert container.unexplained >= least, container.accounts


def test_bytes_after_the_end_are_unexplained() -> None:
    for libver in (OLD, NEW):
        assert read(made(many(3), libver) + WEIGHTS).unexplained >= 99_990
        assert read(made(many(3), libver) + bytes(70_000)).unexplained == 0


@both
def test_a_deleted_dataset_is_still_in_the_file(libver: str) -> None:
    def fill(f: Any) -> None:
        f["x"] = np.frombuffer(WEIGHTS, "u1")
        f["y"] = np.ones(3)
        f.flush()
        del f["x"]

    hidden(fill, 99_000, libver)


@both
def test_text_in_attributes_is_unexplained(libver: str) -> None:
    def long(f: Any) -> None:
        f.attrs["note"] = WEIGHTS.hex()

    def pieces(f: Any) -> None:
        for i in range(25):
            f.create_group(f"g{i}").attrs["note"] = np.frombuffer(WEIGHTS[4000 * i : 4000 * (i + 1)], "u1")

    def listed(f: Any) -> None:
        group = f.create_group("model_weights")
        group.attrs["layer_names"] = [WEIGHTS[i : i + 50].hex().encode() for i in range(0, 100_000, 50)][:600]
        group.attrs["weight_names"] = [WEIGHTS[i : i + 50].hex().encode() for i in range(0, 100_000, 50)][600:1200]

    hidden(long, libver=libver)
    hidden(pieces, libver=libver)
    hidden(listed, libver=libver)


def test_small_attributes_that_repeat_are_explained() -> None:
    def fill(f: Any) -> None:
        for i in range(2000):
            f.create_group(f"g{i}").attrs["CLASS"] = "an array of the kind that PyTables writes"

    assert read(made(fill)).unexplained == 0


def test_names_that_keras_lists_are_explained() -> None:
    def fill(f: Any) -> None:
        names = [f"a_layer_with_quite_a_long_name_{i}" for i in range(1200)]
        f.attrs["layer_names"] = [n.encode() for n in names]
        for n in names:
            f.create_group(n).attrs["weight_names"] = [f"{n}/kernel:0".encode()]
            f[f"{n}/{n}/kernel:0"] = np.ones(2, "f4")

    assert read(made(fill)).unexplained == 0


def test_long_names_are_unexplained() -> None:
    def link(f: Any) -> None:
        for i in range(20):
            f[WEIGHTS[3000 * i : 3000 * (i + 1)].hex()] = np.ones(1)

    hidden(link)

    def member(f: Any) -> None:
        f["x"] = np.zeros(1, [(WEIGHTS[100 * i : 100 * i + 100].hex(), "i1") for i in range(50)])

    hidden(member, 10_000)

    def soft(f: Any) -> None:
        for i in range(5):
            f[f"s{i}"] = h5py.SoftLink(WEIGHTS[10_000 * i : 10_000 * (i + 1)].hex())

    for libver in (NEW,):
        hidden(soft, libver=libver)


@both
@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip"}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}]
)
def test_bytes_beyond_the_edge_of_a_shape_are_unexplained(options: dict[str, Any], libver: str) -> None:
    """A chunk is stored whole: what lies outside of the shape is not an element."""

    def fill(f: Any) -> None:
        x = f.create_dataset("x", (100, 1000), "u1", chunks=(100, 1000), maxshape=(None, 1000), **options)
        x[:] = np.frombuffer(WEIGHTS, "u1").reshape(100, 1000)

    data = bytearray(made(fill, libver))
    assert read(bytes(data)).unexplained == 0
    # resizing would clear the chunk: the shape alone is changed, where the dataspace writes it
    at = data.find((100).to_bytes(8, "little") + (1000).to_bytes(8, "little") + b"\xff" * 8)
    assert at > 0
    data[at : at + 8] = (1).to_bytes(8, "little")
    mend(data, libver)
    container = read(bytes(data))
    assert rows(container) == {"x": ("U8", (1, 1000))}
    assert container.unexplained > 90_000


def mend(data: bytearray, libver: str) -> None:
    """Puts right the checksums of version 2 object headers."""
    at = data.find(b"OHDR")
    while at >= 0:
        flags = data[at + 5]
        prefix = 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
        width = 1 << (flags & 3)
        end = at + prefix + width + int.from_bytes(data[at + prefix : at + prefix + width], "little")
        data[end : end + 4] = checksum(bytes(data[at:end])).to_bytes(4, "little")
        at = data.find(b"OHDR", at + 4)


def test_stored_sizes_that_deflate_can_not_reach_are_refused() -> None:
    def fill(f: Any) -> None:
        f.create_dataset("x", data=np.zeros((512, 512)), chunks=(512, 512), compression="gzip")

    data = bytearray(made(fill, OLD))
    with h5py.File(io.BytesIO(bytes(data))) as f:
        size = f["x"].id.get_chunk_info(0).size
    at = data.find(b"TREE\1") + 24
    assert int.from_bytes(data[at : at + 4], "little") == size
    data[at : at + 4] = (100).to_bytes(4, "little")
    refused(bytes(data), "inconsistent")


def test_chunks_that_store_more_than_they_hold_are_unexplained() -> None:
    """Written as they are, past the filters: a chunk of 80 bytes that takes 100,000."""

    def fill(f: Any) -> None:
        x = f.create_dataset("x", (10,), "f8", chunks=(10,), compression="lzf")
        x.id.write_direct_chunk((0,), WEIGHTS)

    hidden(fill, 98_000)


# ---- structures that lie


def patched(data: bytes, old: bytes, new: bytes, after: int = 0) -> bytes:
    at = data.find(old, after)
    assert at >= 0 and len(old) == len(new)
    return data[:at] + new + data[at + len(old) :]


def simple(libver: str = OLD) -> bytes:
    return made(lambda f: f.create_dataset("group/x", data=np.ones((3, 5), "f4")), libver)


def place(data: bytes) -> tuple[int, int]:
    """Offset and address of the data of `simple`."""
    with h5py.File(io.BytesIO(data)) as f:
        address = f["group/x"].id.get_offset()
    return data.find(address.to_bytes(8, "little") + (60).to_bytes(8, "little")), address


U64 = [0, 8, 96, 1 << 31, (1 << 62) + 8, (1 << 63) - 1, 1 << 63, (1 << 64) - 2]


@pytest.mark.parametrize("value", U64)
@pytest.mark.parametrize("part", ["address", "size"])
def test_data_that_lie_elsewhere_are_refused(part: str, value: int) -> None:
    data = simple()
    at, _ = place(data)
    at += 0 if part == "address" else 8
    reader = attempt(hdf5, data[:at] + value.to_bytes(8, "little") + data[at + 8 :])
    assert isinstance(reader, Unreadable) and reader.reason in ("truncated", "inconsistent")


@pytest.mark.parametrize("dims", [(3, 6), (1 << 32, 1 << 32), (1 << 63, 1), ((1 << 64) - 1, 1), (3, 0), (1 << 62, 1)])
def test_shapes_that_the_data_do_not_fill_are_refused(dims: tuple[int, int]) -> None:
    data = simple()
    shape = (3).to_bytes(8, "little") + (5).to_bytes(8, "little")
    lie = b"".join(d.to_bytes(8, "little") for d in dims)
    wrong = data.replace(shape, lie)  # the shape, and the largest shape after it
    found = attempt(hdf5, wrong)
    if dims == (3, 0):  # nothing is left of it: what is stored is unexplained
        assert unexplained(found, 60)
    else:
        assert isinstance(found, Unreadable)


@pytest.mark.parametrize("at", range(8, 96, 4))
@pytest.mark.parametrize("value", [0, 0xFFFFFFFF, 0x80000000])
def test_a_superblock_that_lies_gives_no_other_count(at: int, value: int) -> None:
    data = simple()
    found = attempt(hdf5, data[:at] + value.to_bytes(4, "little") + data[at + 4 :])
    assert isinstance(found, Unreadable) or found.tensors.elements.tolist() == [15]


def test_a_block_that_does_not_have_its_checksum_is_refused() -> None:
    data = made(many(40), NEW)
    for signature in (b"OHDR", b"FRHP", b"FHDB", b"BTHD", b"BTLF"):
        at = data.find(signature)
        assert at > 0
        refused(
            data[: at + 12] + bytes([data[at + 12] ^ 1]) + data[at + 13 :],
            "inconsistent",
            "malformed",
            "truncated",
            "unsupported",
        )
    assert "checksum" in refused(data[:20] + b"\1" + data[21:], "inconsistent", "truncated", "malformed")


def test_checksums_are_those_of_the_library() -> None:
    data = made(many(3), NEW)
    assert checksum(data[:44]) == int.from_bytes(data[44:48], "little")
    assert checksum(b"") == 0xDEADBEEF  # lookup3.c: hashlittle("", 0, 0)
    assert checksum(b"Four score and seven years ago") == 0x17770551  # the author's own self-test (driver5)


def test_groups_that_contain_themselves_end() -> None:
    def fill(f: Any) -> None:
        f["a/b/x"] = np.ones(3)
        f["a/b/loop"] = f["a"]

    for libver in (OLD, NEW):
        assert read(made(fill, libver)).tensors.elements.tolist() == [3]


def test_a_tree_whose_nodes_point_at_themselves_is_refused() -> None:
    data = made(many(700), OLD)
    at = data.find(b"TREE")
    for node in range(5):
        level_up = data[: at + 5] + b"\1" + data[at + 6 :]
        children = at + 24 + 8
        refused(level_up[:children] + at.to_bytes(8, "little") + level_up[children + 8 :], "inconsistent", "malformed")
        at = data.find(b"TREE", at + 1)
        if at < 0:
            break
        assert node < 5


def test_two_names_for_one_place_in_a_file_are_refused() -> None:
    """Two datasets over the same bytes: the second would be counted and isn't there."""

    def fill(f: Any) -> None:
        f["x"], f["y"] = np.ones(1000), np.zeros(1000)

    data = made(fill)
    with h5py.File(io.BytesIO(data)) as f:
        x, y = (f[n].id.get_offset().to_bytes(8, "little") for n in "xy")
    refused(patched(data, y + (8000).to_bytes(8, "little"), x + (8000).to_bytes(8, "little")), "inconsistent")


def test_data_over_metadata_are_refused() -> None:
    data = simple()
    at, _ = place(data)
    refused(data[:at] + (0).to_bytes(8, "little") + data[at + 8 :], "inconsistent")


def test_the_root_that_old_superblocks_repeat_must_be_the_same() -> None:
    data = simple()
    with h5py.File(io.BytesIO(data)) as f:
        assert list(f) == ["group"]
    assert int.from_bytes(data[72:76], "little") == 1  # a cached symbol table: its tree and its heap follow
    refused(data[:80] + (680).to_bytes(8, "little") + data[88:], "inconsistent")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89HDF\r\n\x1a\n", "truncated"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "unsupported"),
        (b"\x89HDF\r\n\x1a\n\x09" + bytes(100), "unsupported"),
        (b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00" + b"\xff" * 100, "inconsistent"),
    ],
)
def test_superblocks_of_nothing(data: bytes, reason: str) -> None:
    refused(data, reason)


def test_a_name_twice_in_a_group_is_refused() -> None:
    def fill(f: Any) -> None:
        f["aaaa"], f["bbbb"] = 1.0, 2.0

    refused(patched(made(fill, OLD), b"bbbb\0", b"aaaa\0"), "inconsistent")


@pytest.mark.parametrize("libver", [OLD, NEW])
def test_a_file_cut_short_is_unread(libver: str) -> None:
    check_truncations(hdf5, simple(libver), step=3)


def samples() -> list[bytes]:
    def indices(f: Any) -> None:
        for i, name in enumerate(("edges", "deflated", "fixed array", "extensible deflated", "tree", "three")):
            options = dict(CHUNKED[name])
            options["data"] = options["data"][:20]
            f.create_dataset(f"x{i}", **options)

    def attributes(f: Any) -> None:
        for i in range(12):
            f.attrs[f"a{i}"] = ["text", "more"]

    return [made(fill, libver) for fill in (kinds, indices, attributes, many(20)) for libver in (OLD, NEW)]


def test_changed_bytes_give_a_count_or_an_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checksums, which would refuse most changes at once."""
    monkeypatch.setattr(File, "check", lambda self, data: None)
    choose = random.Random(0)
    whole = samples()
    absurd = (b"\xff" * 8, b"\0" * 8, (1 << 63).to_bytes(8, "little"), (1 << 62).to_bytes(8, "little"), b"\xff\xff\xff\x7f")
    for _ in range(1500):
        data = bytearray(choose.choice(whole))
        for _ in range(choose.choice((1, 1, 3))):
            at = choose.randrange(len(data) - 8)
            value = choose.choice(
                (bytes([choose.randrange(256)]), choose.choice(absurd), data[choose.randrange(len(data)) :][:8])
            )
            data[at : at + len(value)] = value
        attempt(hdf5, bytes(data[: len(data) if choose.random() < 0.95 else choose.randrange(len(data))]))


@pytest.mark.full
def test_changed_files_that_the_library_still_reads_count_the_same() -> None:
    choose = random.Random(1)
    whole = samples()[::2]  # of the versions without checksums
    agreed = 0
    for _ in range(3000):
        data = bytearray(choose.choice(whole))
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        found = attempt(hdf5, bytes(data))
        truth = forked(bytes(data))
        if isinstance(found, Unreadable) or truth is None:
            continue
        counts = dict(zip(found.tensors.names, found.tensors.elements.tolist(), strict=True))
        assert all(counts.get(n) == c for n, c in truth.items()), (truth, counts)
        agreed += 1
    assert agreed > 500


def forked(data: bytes) -> dict[str, int] | None:
    """Elements by dataset as the library sees them, in a process of its own: it may crash, or never end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        try:
            os.write(writing, json.dumps({n: prod(s) for n, (_, s) in by_h5py(data).items()}).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else None


def test_other_files_are_not_claimed() -> None:
    for head in (b"", b"\x89HDF", b"\x89PNG\r\n\x1a\n", b"text" + bytes(600)):
        assert not hdf5.sniff(head, b"")


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_many_chunks_at_an_edge_end_in_time(compression: str | None) -> None:
    data = made(lambda f: f.create_dataset("x", data=np.ones((30_000, 3), "u1"), chunks=(1, 2), compression=compression), NEW)
    container = attempt(hdf5, data)
    assert isinstance(container, Container) and rows(container) == {"x": ("U8", (30_000, 3))} and container.unexplained == 0
