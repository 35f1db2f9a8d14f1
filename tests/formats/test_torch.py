"""Files of torch.save: torch is the oracle for every tensor."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.formats._torch_files import (
    Bytes,
    Entry,
    criticals,
    failure,
    read,
    rows,
    state_dict_ops,
    tensor_ops,
    torch_entries,
    total,
    write_zip,
)
from tests.formats._torch_values import (
    DTYPES,
    KINDS,
    NOT_IN_LEGACY,
    check,
    flat,
    loaded,
    model,
    reader_of,
    saved,
    training,
    views,
)
from weightguard.formats import pickle_file, torch_legacy, torch_zip
from weightguard.limits import LIMITS
from weightguard.stores.local import LocalFile
from weightguard.tensors import DTYPE_CODES


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_torchs_tensors(kind: str, legacy: bool) -> None:
    value = KINDS[kind]()
    check(value, saved(value, legacy))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("legacy", [False, True])
def test_every_pickle_protocol_gives_the_same_rows(protocol: int, legacy: bool) -> None:
    value = training()
    check(value, saved(value, legacy, protocol))


@pytest.mark.parametrize(
    ("dtype", "legacy"),
    [(d, legacy) for d in DTYPES for legacy in (False, True) if not (legacy and d in NOT_IN_LEGACY)],
    ids=str,
)
def test_every_dtype_is_read(dtype: torch.dtype, legacy: bool) -> None:
    if str(dtype).startswith("torch.q"):
        tensor = torch.quantize_per_tensor(torch.ones(3, 4), 0.1, 0, dtype)
    else:
        tensor = torch.zeros(3, 4).to(dtype)
    check({"w": tensor}, saved({"w": tensor}, legacy))


def test_quantisation_per_channel_keeps_scales_apart() -> None:
    tensor = torch.quantize_per_channel(torch.ones(3, 4), torch.ones(3), torch.zeros(3), 0, torch.qint8)
    container = read(torch_zip, saved({"w": tensor}))
    assert [(r[0], r[1]) for r in rows(container)] == [("w", (3, 4)), ("w.scales", (3,)), ("w.zero_points", (3,))]


def test_four_bit_floats_are_two_in_a_byte() -> None:
    tensor = torch.zeros(3, 8, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    container = read(torch_zip, saved({"w": tensor}))
    assert rows(container) == [("w", (3, 16), DTYPE_CODES["F4"], 48, 0)]


@pytest.mark.parametrize("dtype", [torch.complex32], ids=str)
def test_a_dtype_without_a_name_here_is_unsupported(dtype: torch.dtype) -> None:
    assert failure(torch_zip, saved({"w": torch.zeros(3, dtype=dtype)})).reason == "unsupported"


@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_module_has_the_names_of_its_state_dict(legacy: bool) -> None:
    net = model()
    container = check(net, saved(net, legacy))
    assert not [f for f in container.findings if f.severity != "low"]


def test_scalars_come_out_by_their_path() -> None:
    scalars = read(torch_zip, saved(training())).scalars
    assert scalars["epoch"] == 7
    assert scalars["args.lr"] == 1e-3
    assert scalars["args.name"] == "x"
    assert scalars["optimizer.param_groups.0.betas.1"] == 0.999
    assert not [s for s in scalars if "_metadata" in s]


def test_sparse_tensors_are_what_they_store() -> None:
    dense = torch.zeros(50, 60)
    dense[3, 4] = dense[5, 6] = 1
    container = read(torch_zip, saved({"coo": dense.to_sparse(), "csr": dense.to_sparse_csr()}))
    found = {r[0]: r[1] for r in rows(container)}
    assert found["coo.values"] == (2,) and found["coo.indices"] == (2, 2)
    assert found["csr.values"] == (2,) and found["csr.compressed_indices"] == (51,)


def test_nested_tensors_are_what_they_store() -> None:
    nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])
    assert {r[0]: r[1] for r in rows(read(torch_zip, saved({"n": nested})))}["n.values"] == (18,)


def test_arrays_beside_tensors_are_rows() -> None:
    container = read(torch_zip, saved({"a": np.ones((3, 2)), "t": torch.ones(2)}))
    assert [(r[0], r[1]) for r in rows(container)] == [("a", (3, 2)), ("t", (2,))]
    assert container.unexplained == 0


def test_a_tensor_with_attributes_is_one_row_and_theirs() -> None:
    tensor = torch.ones(3)
    tensor.extra = {"inside": torch.ones(4)}
    found = [(r[0], r[1]) for r in rows(read(torch_zip, saved({"w": tensor, "again": tensor})))]
    assert found == [("w", (3,)), ("w.extra.inside", (4,)), ("again", (3,)), ("again.extra.inside", (4,))]


def test_meta_tensors_store_nothing() -> None:
    container = read(torch_zip, saved({"w": torch.ones(1000, device="meta"), "x": torch.ones(2)}))
    assert total(container) == 2
    assert [f.id for f in container.findings] == ["meta-tensor"]


def test_raw_storages_are_vectors() -> None:
    storage = torch.ones(6).untyped_storage()
    assert rows(read(torch_zip, saved({"s": storage})))[0][1] == (24,)


@pytest.mark.parametrize("protocol", range(6))
def test_tensors_in_a_plain_pickle_are_rows(protocol: int) -> None:
    value = {"net": model().state_dict(), "step": 3}
    data = pickle.dumps(value, protocol)
    container = read(reader_of(data), data)
    assert [(r[0], r[1]) for r in rows(container)] == [(n, tuple(t.shape)) for n, t in flat(value).items()]
    assert container.scalars["step"] == 3
    assert container.unexplained == 0
    assert not criticals(container)


def test_a_payload_in_a_file_within_a_pickle_is_named_even_if_dropped() -> None:
    inner = saved([1], legacy=True).replace(b"]", b"]cposix\nsystem\nX\x02\0\0\0id\x85R0", 1)
    assert inner.count(b"posix") == 1
    outer = b"\x80\x03ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(inner)) + inner + b"\x85R0N."
    assert "posix.system" in criticals(read(pickle_file, outer))[0]


def test_a_big_endian_file_says_so() -> None:
    entries = torch_entries(state_dict_ops({"w": tensor_ops("0", 4, [4], [1])}), {"0": bytes(16)})
    entries[1] = Entry("archive/byteorder", b"big")
    container = read(torch_zip, write_zip(entries))
    assert container.metadata["byteorder"] == "big"
    entries[1] = Entry("archive/byteorder", b"middle")
    assert failure(torch_zip, write_zip(entries)).reason == "malformed"


# -- the legacy form


def test_bytes_after_the_last_storage_are_unexplained() -> None:
    assert read(torch_legacy, saved(views(), legacy=True) + b"\xff" * 123).unexplained == 123


def test_a_storage_with_another_count_than_announced_is_refused() -> None:
    data = saved({"w": torch.zeros(1000)}, legacy=True)
    assert data[-4008:-4000] == struct.pack("<q", 1000)
    for count in (999, 1001, -1, 1 << 62):
        assert failure(torch_legacy, data[:-4008] + struct.pack("<q", count) + data[-4000:]).reason == "inconsistent"


def test_storage_views_of_old_files_are_read() -> None:
    def storage(view: bytes) -> bytes:
        return (
            b"ctorch._utils\n_rebuild_tensor\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x007X\x03\0\0\0cpuK\x0a"
            + view
            + b"tQK\x01K\x03\x85K\x01\x85tR"
        )

    magic, system = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps({"little_endian": True}, 2)
    keys, data = pickle.dumps(["7"], 2), struct.pack("<q", 10) + bytes(40)

    def file(view: bytes) -> bytes:
        ops = b"\x80\x02}(X\x01\0\0\0a" + storage(view) + b"X\x01\0\0\0b" + storage(b"N") + b"u."
        return magic + pickle.dumps(1001, 2) + system + ops + keys + data

    found = rows(read(torch_legacy, file(b"X\x01\0\0\x008K\x04K\x05\x87")))
    assert [(r[0], r[4]) for r in found] == [("a", 20), ("b", 4)]
    assert loaded(file(b"X\x01\0\0\x008K\x04K\x05\x87"))["a"].storage_offset() == 1
    assert failure(torch_legacy, file(b"X\x01\0\0\x008K\x04K\x03\x87")).reason == "inconsistent"
    assert failure(torch_legacy, file(b"X\x01\0\0\x008K\x08K\x05\x87")).reason == "inconsistent"


def test_a_storage_that_is_not_in_the_list_is_missing_data() -> None:
    data = saved({"a": torch.ones(2), "b": torch.ones(3)}, legacy=True)
    listed = data.rindex(b"\x80\x02]")
    key = data[data.index(b"X", listed) : data.index(b"q\x01", listed) + 2]
    assert failure(
        torch_legacy, data.replace(key, b"", 1) if data.count(key) == 1 else data[:listed] + b"\x80\x02]."
    ).reason in (
        "inconsistent",
        "malformed",
    )


def test_a_payload_in_a_legacy_file_is_named_though_its_data_are_cut() -> None:
    data = saved({"w": torch.zeros(100)}, legacy=True)
    at = (
        data.index(b"}q\x00(X\x01\x00\x00\x00w") if b"}q\x00(X\x01\x00\x00\x00w" in data else data.index(b"X\x01\x00\x00\x00wq")
    )
    bad = data[:at] + b"cposix\nsystem\nX\x02\0\0\0id\x85R0" + data[at:]
    assert "posix.system" in criticals(read(torch_legacy, bad))[0]
    error = failure(torch_legacy, bad[:-8])
    assert error.reason == "truncated" and "posix.system" in error.detail


def test_a_large_legacy_file_is_not_read_whole() -> None:
    source = Bytes(saved({f"w{i}": torch.zeros(1 << 20) for i in range(8)}, legacy=True))
    container = torch_legacy.read(source, LIMITS)
    assert total(container) == 8 << 20
    assert sum(length for _, length in source.reads) < source.size // 4


def test_a_file_beyond_four_gigabytes_is_read_from_its_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "big.pt")
    with FakeTensorMode(), torch.serialization.skip_data(materialize_fake_tensors=True):
        big = {
            "a": torch.empty(5 << 30, dtype=torch.uint8),
            "b": torch.empty(10),
            "c": torch.empty(3, 1 << 29, dtype=torch.half),
        }
        torch.save(big, path)
    with LocalFile(path, "big.pt") as source:
        assert source.size > 8 << 30
        container = torch_zip.read(source, LIMITS)
    assert [r[3] for r in rows(container)] == [5 << 30, 10, 3 << 29]
    assert container.unexplained == 0
