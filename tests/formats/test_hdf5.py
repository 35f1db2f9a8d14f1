"""HDF5: every dataset as h5py finds it, in each form that the library writes, and everything else unread or unexplained.

h5py is the oracle: names, shapes and types are compared with what it reads back. The hostile cases break one rule of the HDF5 File
Format Specification 3.0 each.
"""

from __future__ import annotations

import io
import os
import time
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats._bounds import rows
from tests.formats._hdf5_files import CHUNKED, NEW, OLD, both, kinds, made, many, read, refused, same

# ---- what the library writes


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


@both
def test_each_type_and_layout(libver: str) -> None:
    data = made(kinds, libver)
    container = same(data)
    assert rows(container)["unwritten"] == ("F32", (100, 100))  # without a byte in the file, and counted
    assert container.unexplained < 3000  # what the library leaves behind where a block grew


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
