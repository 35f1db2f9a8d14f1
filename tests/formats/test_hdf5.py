"""HDF5: every dataset as h5py finds it, in each form that the library writes, and everything else unread or unexplained.

h5py is the oracle: names, shapes and types are compared with what it reads back. The hostile cases break one rule of the HDF5 File
Format Specification 3.0 each.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import time
from collections.abc import Callable
from math import prod
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats._bounds import attempt, check_truncations, unexplained
from weightguard.errors import Unreadable
from weightguard.formats import hdf5, identify
from weightguard.formats._hdf5.file import File, checksum
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPES

Fill = Callable[[Any], object]
OLD, NEW = "earliest", "latest"
both = pytest.mark.parametrize("libver", [OLD, "v108", "v110", NEW])


def made(fill: Fill, libver: str = OLD, **options: Any) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w", libver=libver if libver in (OLD, NEW) else ("earliest", libver), **options) as f:
        fill(f)
    return out.getvalue()


def read(data: bytes) -> Container:
    container = identify(InMemory("model.h5", data), LIMITS)
    assert container is not None and container.format == "hdf5"
    a = container.accounts
    assert a.tensors + a.headers + a.padding + a.unexplained == len(data)
    return container


def rows(container: Container) -> dict[str, tuple[str, tuple[int, ...]]]:
    t = container.tensors
    found = {n: (DTYPES[t.dtypes[i]][0], t.shape(i)) for i, n in enumerate(t.names)}
    assert len(found) == len(t)
    assert t.elements.tolist() == [prod(t.shape(i)) for i in range(len(t))]
    return found


NAMES = {
    **{f"{o}f{n}": f"F{8 * n}" for o in "<>" for n in (2, 4, 8)},
    **{f"{o}i{n}": f"I{8 * n}" for o in "<>" for n in (2, 4, 8)},
    **{f"{o}u{n}": f"U{8 * n}" for o in "<>" for n in (2, 4, 8)},
    **{f"{o}c{n}": f"C{8 * n}" for o in "<>" for n in (8, 16)},
    "|i1": "I8",
    "|u1": "U8",
    "|b1": "BOOL",
}


def by_h5py(data: bytes) -> dict[str, tuple[str, tuple[int, ...]]]:
    """name -> (dtype, shape) of the datasets of plain numbers."""
    found = {}
    with h5py.File(io.BytesIO(data), "r") as f:

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.dtype.str in NAMES:
                found[name] = NAMES[item.dtype.str], (0,) if item.shape is None else item.shape

        f.visititems(visit)
    return found


def same(data: bytes) -> Container:
    """Checks a file of plain numbers against h5py."""
    container = read(data)
    assert rows(container) == by_h5py(data)
    return container


def refused(data: bytes, *reasons: str) -> str:
    with pytest.raises(Unreadable) as caught:
        identify(InMemory("model.h5", data), LIMITS)
    assert caught.value.reason in reasons, (caught.value.reason, caught.value.detail)
    assert caught.value.detail.isprintable()
    return caught.value.detail


# ---- what the library writes


def many(count: int) -> Fill:
    def fill(f: Any) -> None:
        for i in range(count):
            f[f"layer_{i}"] = np.ones(3, "f4")

    return fill


@both
@pytest.mark.parametrize("count", [0, 1, 8, 9, 33, 700])
def test_groups_of_any_size(count: int, libver: str) -> None:
    """Compact links up to 8, then dense ones; symbol tables of one node and of trees."""
    container = same(made(many(count), libver))
    assert container.unexplained == 0 and container.accounts.tensors == 12 * count


@both
def test_groups_that_keep_the_order_of_creation(libver: str) -> None:
    assert same(made(many(50), libver, track_order=True)).unexplained == 0


@both
def test_groups_within_groups(libver: str) -> None:
    def fill(f: Any) -> None:
        group = f
        for i in range(20):
            group = group.create_group(f"level{i}")
            group["x"] = np.arange(i + 1.0)

    container = same(made(fill, libver))
    assert len(container.tensors) == 20 and max(n.count("/") for n in container.tensors.names) == 20


def kinds(f: Any) -> None:
    for code in NAMES:
        f[f"of_{code[1:]}_{ord(code[0])}"] = np.zeros((2, 3), code)
    f["scalar"] = np.float32(1.5)
    f["empty"] = h5py.Empty("f4")
    f["none"] = np.zeros((0, 4))
    f["late"] = np.zeros(5)
    f.create_dataset("unwritten", shape=(100, 100), dtype="f4")
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    compact = h5py.h5d.create(f.id, b"compact", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((5,)), plist)
    compact.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones(5, "f4"))
    f["type"] = np.dtype("f8")
    f.create_dataset("of_committed_type", (3,), dtype=f["type"])[:] = 1


@both
def test_each_type_and_layout(libver: str) -> None:
    data = made(kinds, libver)
    container = same(data)
    assert rows(container)["unwritten"] == ("F32", (100, 100))  # without a byte in the file, and counted
    assert container.unexplained < 3000  # what the library leaves behind where a block grew


CHUNKED: dict[str, dict[str, Any]] = {
    "edges": {"data": np.random.default_rng(0).random((100, 37)), "chunks": (16, 16)},
    "deflated": {
        "data": np.random.default_rng(0).random((100, 37)),
        "chunks": (16, 16),
        "compression": "gzip",
        "shuffle": True,
    },
    "checked": {"data": np.ones((100, 37), "i4"), "chunks": (16, 16), "compression": 9, "fletcher32": True, "shuffle": True},
    "fletcher": {"data": np.ones((100, 37), "i4"), "chunks": (16, 16), "fletcher32": True},
    "lzf": {"data": np.arange(3700).reshape(100, 37) // 9, "chunks": (16, 16), "compression": "lzf", "shuffle": True},
    "lzf of noise": {"data": np.random.default_rng(0).random((100, 37)), "chunks": (16, 16), "compression": "lzf"},
    "one chunk": {"data": np.ones((10, 10)), "chunks": (10, 10)},
    "one deflated": {"data": np.ones((10, 10)), "chunks": (10, 10), "compression": "gzip"},
    "one too large": {"data": np.ones((10, 10)), "chunks": (10, 10), "maxshape": (40, 10)},
    "fixed array": {"data": np.ones(5000), "chunks": (2,)},
    "fixed deflated": {"data": np.ones(5000), "chunks": (2,), "compression": "gzip"},
    "extensible": {"data": np.ones((3000, 3)), "chunks": (1, 3), "maxshape": (None, 3)},
    "extensible deflated": {"data": np.ones((3000, 3)), "chunks": (1, 3), "maxshape": (None, 3), "compression": "gzip"},
    "extensible second": {"data": np.ones((5, 400)), "chunks": (2, 3), "maxshape": (7, None)},
    "tree": {"data": np.ones((50, 300)), "chunks": (2, 3), "maxshape": (None, None)},
    "tree deflated": {"data": np.ones((50, 300)), "chunks": (2, 3), "maxshape": (None, None), "compression": "gzip"},
    "three": {"data": np.ones((7, 11, 13), "f2"), "chunks": (2, 3, 5)},
    "unwritten": {"shape": (100, 100), "dtype": "f4", "chunks": (10, 10)},
    "empty": {"shape": (0, 10), "dtype": "f4", "chunks": (10, 10), "maxshape": (None, 10)},
    "filled": {"shape": (25, 25), "dtype": "f4", "chunks": (10, 10), "fillvalue": 7.0},
}


@both
@pytest.mark.parametrize("name", CHUNKED)
def test_each_kind_of_chunk_index(name: str, libver: str) -> None:
    def fill(f: Any) -> None:
        dataset = f.create_dataset("x", **CHUNKED[name])
        if name == "filled":
            dataset[:3, :3] = 1
            dataset[24, 24] = 1

    container = same(made(fill, libver))
    assert container.unexplained == 0
    with h5py.File(io.BytesIO(made(fill, libver))) as f:
        assert container.accounts.tensors == f["x"].id.get_storage_size()


def test_a_paged_extensible_array_is_read_to_its_end() -> None:
    def fill(f: Any) -> None:
        f.create_dataset("x", data=np.ones(140_000, "i1"), chunks=(1,), maxshape=(None,))

    container = same(made(fill, NEW))
    assert container.accounts.tensors == 140_000 and container.unexplained == 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5), st.sampled_from([0, 3, None])), min_size=1, max_size=3),
    st.sampled_from([None, "gzip"]),
    st.sampled_from([OLD, NEW]),
    st.integers(0, 1 << 30),
)
def test_any_chunked_dataset(axes: list[tuple[int, int, int | None]], compression: str | None, libver: str, seed: int) -> None:
    shape = tuple(d for d, _, _ in axes)
    most = tuple(None if grows is None else d + grows for d, _, grows in axes)
    chunks = tuple(min(c, m or c) for (_, c, _), m in zip(axes, most, strict=True))

    def fill(f: Any) -> None:
        x = f.create_dataset("x", shape, "f4", chunks=chunks, maxshape=most, compression=compression)
        x[...] = np.random.default_rng(seed).random(shape)
        if seed % 3 == 0 and most[0] is None:
            x.resize(shape[0] + 5, axis=0)

    assert same(made(fill, libver)).unexplained == 0


def test_the_members_of_a_compound_are_rows() -> None:
    def fill(f: Any) -> None:
        f["r"] = np.zeros(5, [("a", "f4"), ("b", "i8", (2, 3)), ("c", "S5"), ("d", [("e", "f2")])])
        f["aligned"] = np.zeros(1000, np.dtype([("a", "i1"), ("b", "f8")], align=True))

    container = read(made(fill))
    assert rows(container) == {
        "r.a": ("F32", (5,)),
        "r.b": ("I64", (5, 2, 3)),
        "r.c": ("STRING", (5, 5)),
        "r.d.e": ("F16", (5,)),
        "aligned.a": ("I8", (1000,)),
        "aligned.b": ("F64", (1000,)),
    }
    assert 7000 <= container.unexplained < 10_000  # bytes between the members could be anything


@both
def test_texts_and_sequences_of_any_length(libver: str) -> None:
    def fill(f: Any) -> None:
        f["texts"] = ["hello", "", "x" * 3000]
        f["scalar"] = "text"
        f["fixed"] = np.array([b"abc", b"de"])
        ragged = f.create_dataset("ragged", (3,), dtype=h5py.vlen_dtype("f4"))
        ragged[0], ragged[2] = [1, 2], [1, 2, 3]
        f.create_dataset("deflated", data=["a", "bc", "d"], dtype=h5py.string_dtype(), chunks=(2,), compression="gzip")
        f["record"] = np.array([(1, "ab"), (2, "cde")], dtype=[("i", "i4"), ("s", h5py.string_dtype())])
        f["reference"] = np.array([f["fixed"].ref], dtype=h5py.ref_dtype)
        f["opaque"] = np.zeros(3, "V7")
        f["enumeration"] = np.zeros(3, h5py.enum_dtype({"A": 1, "B": 2}, "i4"))

    container = read(made(fill, libver))
    assert rows(container) == {
        "texts": ("STRING", (3005,)),
        "scalar": ("STRING", (4,)),
        "fixed": ("STRING", (2, 3)),
        "ragged": ("F32", (5,)),
        "deflated": ("STRING", (4,)),
        "record.i": ("I32", (2,)),
        "record.s": ("STRING", (5,)),
        "reference": ("U8", (1, 8)),
        "opaque": ("U8", (3, 7)),
        "enumeration": ("I32", (3,)),
    }


@both
def test_types_of_eight_and_sixteen_bits(libver: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")

    def fill(f: Any) -> None:
        bfloat = h5py.h5t.IEEE_F32LE.copy()
        bfloat.set_fields(15, 7, 8, 0, 7)
        bfloat.set_size(2)
        bfloat.set_ebias(127)
        h5py.h5d.create(f.id, b"bf16", bfloat, h5py.h5s.create_simple((4,)))
        f.create_dataset("keras", data=np.zeros((2, 3), ml_dtypes.bfloat16)).attrs["dtype"] = "bfloat16"

    found = rows(read(made(fill, libver)))
    assert found == {"bf16": ("BF16", (4,)), "keras": ("BF16", (2, 3))}


@both
@pytest.mark.parametrize("size", [512, 1024, 4096])
def test_a_user_block_comes_before_the_file(size: int, libver: str) -> None:
    data = made(many(30), libver, userblock_size=size)
    assert same(data).unexplained == 0
    assert read(b"MATLAB" + data[6:]).unexplained == 6
    assert read(os.urandom(size) + data[size:]).unexplained >= size - 8


@pytest.mark.parametrize(
    "options", [{"fs_strategy": "page"}, {"fs_strategy": "page", "fs_persist": True}, {"fs_persist": True}]
)
def test_files_that_keep_their_free_space(options: dict[str, Any], tmp_path: Any) -> None:
    path = tmp_path / "x.h5"  # in pages only a real file gets its full length
    options = {"fs_strategy": "fsm", **options}
    with h5py.File(path, "w", **options) as f:
        many(300)(f)
    assert same(path.read_bytes()).unexplained < 1000


@both
def test_attributes_in_headers_and_in_heaps(libver: str) -> None:
    def fill(f: Any) -> None:
        for i in range(40):
            f.attrs[f"a{i}"] = "v" * i
        f["x"] = np.ones(2)
        for i in range(20):
            f["x"].attrs[f"k{i}"] = i

    container = same(made(fill, libver))
    assert container.metadata == {f"a{i}": "v" * i for i in range(1, 40)} and container.unexplained == 0


def test_an_object_counts_once_whatever_leads_to_it() -> None:
    def fill(f: Any) -> None:
        f["a/x"] = np.ones(3)
        f["b"] = f["a"]
        f["y"] = f["a/x"]
        f["a/up"] = f["/"]
        f["soft"] = h5py.SoftLink("/a/x")
        f["dangling"] = h5py.SoftLink("/nowhere")

    for libver in (OLD, NEW):
        assert read(made(fill, libver)).tensors.elements.tolist() == [3]


@both
def test_a_link_to_another_file_is_a_finding(libver: str) -> None:
    def fill(f: Any) -> None:
        f["x"] = h5py.ExternalLink("/etc/other.h5", "/secret")

    [finding] = read(made(fill, libver)).findings
    assert (finding.id, finding.severity) == ("hdf5-external-link", "critical") and "/etc/other.h5" in finding.message


def test_data_in_other_files_are_unread() -> None:
    def external(f: Any) -> None:
        f.create_dataset("x", (10,), "f4", external=[("/etc/passwd", 0, 40)])

    def virtual(f: Any) -> None:
        layout = h5py.VirtualLayout((10,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "y", (10,))
        f.create_virtual_dataset("x", layout)

    refused(made(external), "unsupported")
    refused(made(virtual, NEW), "unsupported")


def test_a_pickle_in_an_attribute_is_critical() -> None:
    """PyTables loads such attributes when it opens a file."""
    pickled = b"cposix\nsystem\n(S'true'\ntR."

    def fill(f: Any) -> None:
        f["x"] = np.ones(3)
        f["x"].attrs["FLAVOR"] = np.bytes_(pickled)

    assert {f.severity for f in read(made(fill)).findings} == {"critical"}


@pytest.mark.parametrize("libver", [OLD, NEW])
def test_ten_thousand_datasets(libver: str) -> None:
    def fill(f: Any) -> None:
        for i in range(10_000):
            f[f"layer_{i // 10}/w{i}"] = np.ones(3, "f4")

    data = made(fill, libver)
    began = time.monotonic()
    container = read(data)
    assert time.monotonic() - began < 15  # 1.5 s alone
    assert len(container.tensors) == 10_000 and container.unexplained == 0


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
