"""Files of torch.save and torch.jit: torch is the oracle for every tensor, and hostile files are never counted."""

from __future__ import annotations

import io
import pickle
import struct
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.formats._torch_files import (
    Bytes,
    Entry,
    criticals,
    failure,
    lie,
    payloads,
    read,
    rows,
    sniffs,
    state_dict_ops,
    tensor_ops,
    torch_entries,
    torch_zip_of,
    total,
    write_zip,
)
from weightguard.errors import Unreadable
from weightguard.formats import pickle_file, torch_legacy, torch_zip
from weightguard.formats._pickle import abstract, machine, tensor_pattern
from weightguard.formats._pickle.abstract import Globals
from weightguard.formats._pickle.machine import run
from weightguard.formats.protocol import Container, Format
from weightguard.limits import LIMITS
from weightguard.stores.local import LocalFile
from weightguard.tensors import DTYPE_CODES

DTYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.uint8: "U8",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
    torch.bool: "BOOL",
    torch.complex64: "C64",
    torch.complex128: "C128",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.quint8: "U8",
    torch.qint8: "I8",
    torch.qint32: "I32",
}


def saved(value: object, legacy: bool = False, protocol: int = 2) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return out.getvalue()


def reader_of(data: bytes) -> Format:
    """The one reader that says the bytes are its own."""
    found: list[Format] = [r for r in (torch_zip, torch_legacy, pickle_file) if sniffs(r, data)]
    assert len(found) == 1, [r.NAME for r in found]
    return found[0]


def loaded(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=False)


def flat(value: Any, path: str = "") -> dict[str, torch.Tensor]:
    """Tensors by dotted path: what torch itself makes of the file."""
    if isinstance(value, torch.Tensor):
        return {path: value}
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, (list, tuple)):
        children = list(enumerate(value))
    else:
        return {}
    out: dict[str, torch.Tensor] = {}
    for key, child in children:
        out |= flat(child, f"{path}.{key}" if path else str(key))
    return out


def check(value: object, data: bytes) -> Container:
    """Each row is torch's tensor: name, shape, dtype, place within its storage, and which share a storage."""
    container = read(reader_of(data), data)
    tensors = flat(loaded(data)) if not isinstance(value, nn.Module) else dict(value.state_dict())
    t = container.tensors
    assert list(t.names) == list(tensors)
    pointers: dict[int, int] = {}
    for i, (name, tensor) in enumerate(tensors.items()):
        assert t.shape(i) == tuple(tensor.shape), name
        assert t.dtypes[i] == DTYPE_CODES[DTYPES[tensor.dtype]], name
        assert t.begins[i] == tensor.storage_offset() * tensor.element_size(), name
        if tensor.is_contiguous():
            assert t.elements[i] == tensor.numel(), name
        if tensor.numel():
            pointer = tensor.untyped_storage().data_ptr()
            assert pointers.setdefault(pointer, int(t.storages[i])) == t.storages[i], name
    assert len(set(pointers.values())) == len(pointers)
    assert not criticals(container)
    assert container.unexplained == 0
    return container


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(8, 5, bias=False), nn.ReLU()))


def training() -> dict[str, Any]:
    net = model()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    return {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 7, "args": {"lr": 1e-3, "name": "x"}}


def tied() -> dict[str, torch.Tensor]:
    net = nn.ModuleDict({"embed": nn.Embedding(11, 6), "head": nn.Linear(6, 11, bias=False)})
    net["head"].weight = net["embed"].weight
    return dict(net.state_dict())


def views() -> dict[str, torch.Tensor]:
    whole = torch.arange(60.0)
    return {"q": whole[:20].view(4, 5), "k": whole[20:40], "v": whole[40:].view(5, 4).t()}


KINDS: dict[str, Callable[[], Any]] = {
    "state dict": lambda: model().state_dict(),
    "optimizer": training,
    "tied": tied,
    "views": views,
    "same tensor twice": lambda: (lambda t: {"a": t, "b": t, "c": [t, t[1:]]})(torch.ones(5, 3)),
    "empty": lambda: {"a": torch.zeros(0), "b": torch.zeros(3, 0, 2), "c": torch.ones(1)},
    "scalars": lambda: {"a": torch.tensor(3.0), "b": torch.tensor(True)},
    "lists": lambda: [torch.ones(2), (torch.ones(3), {"x": torch.ones(4)}), OrderedDict(y=torch.ones(5))],
    "one tensor": lambda: torch.ones(3, 4),
    "five dimensions": lambda: {"a": torch.ones(2, 3, 4, 5, 6), "b": torch.ones(1, 1, 1, 1, 300)},
    "large shapes": lambda: {"a": torch.zeros(70_000, 3, dtype=torch.int8), "b": torch.zeros(300, 300)},
    "parameters": lambda: {"p": nn.Parameter(torch.ones(3, 2)), "b": nn.Buffer(torch.ones(4))},
    "nothing": dict,
}
# torch can't read its own legacy files with these: they need _rebuild_tensor_v3 and an untyped storage.
NOT_IN_LEGACY = [d for d in DTYPES if "float8" in str(d) or d in (torch.uint16, torch.uint32, torch.uint64)]


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


# -- TorchScript


def scripted(net: Any) -> bytes:
    out = io.BytesIO()
    torch.jit.save(net, out)
    return out.getvalue()


@pytest.mark.parametrize("make", ["script", "trace"])
def test_torchscript_has_the_names_of_its_state_dict(make: str) -> None:
    net = model().eval()
    net = nn.Sequential(net[0], net[1], nn.Flatten())
    module = torch.jit.script(net) if make == "script" else torch.jit.trace(net.eval(), torch.ones(1, 3, 8, 8))
    data = scripted(module)
    container = read(reader_of(data), data)
    expected = {n: tuple(t.shape) for n, t in module.state_dict().items()}
    found = {r[0]: r[1] for r in rows(container)}
    assert {n: s for n, s in found.items() if n in expected} == expected
    assert set(found) - set(expected) <= {"1.num_batches_tracked"}
    assert [f.id for f in container.findings if f.severity != "low"] == ["torchscript-code"]
    assert container.unexplained == 0


def test_torchscript_constants_are_rows() -> None:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.w + torch.arange(3) * torch.full((3,), 2.0)

    traced = torch.jit.freeze(torch.jit.trace(Net().eval(), torch.ones(3)))
    container = read(torch_zip, scripted(traced))
    assert any(r[0].startswith("constants.") for r in rows(container))


def test_extra_files_are_explained_only_as_text() -> None:
    module = torch.jit.script(nn.Linear(2, 2))
    for content, unexplained in ((b"some text", 0), (bytes(range(256)) * 4, 1024)):
        out = io.BytesIO()
        torch.jit.save(module, out, _extra_files={"notes": content})
        assert read(torch_zip, out.getvalue()).unexplained == unexplained


# -- what a file hides, or claims


def test_records_that_no_pickle_names_are_unexplained() -> None:
    entries = torch_entries(state_dict_ops({"w": tensor_ops("0", 4, [4], [1])}), {"0": bytes(16), "1": bytes(5000)})
    assert read(torch_zip, write_zip(entries)).unexplained == 5000
    entries = [*entries[:3], Entry("archive/other.bin", b"\xff" * 300), Entry("elsewhere/data/1", b"\xff" * 40)]
    assert read(torch_zip, write_zip(entries)).unexplained == 340


def test_the_rest_of_a_storage_is_unexplained() -> None:
    whole = torch.ones(10_000)
    container = read(torch_zip, saved({"w": whole[:10]}))
    assert total(container) == 10
    assert container.unexplained == 4 * 9_990
    assert read(torch_zip, saved({"w": whole[::2]})).unexplained == 4 * 5_000
    assert read(torch_zip, saved({"a": whole[::2], "b": whole[1::2]})).unexplained == 0


def test_weights_in_code_are_unexplained() -> None:
    data = scripted(torch.jit.script(nn.Linear(2, 2)))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr(old.namelist()[0].split("/")[0] + "/code/weights.py", np.random.default_rng(0).bytes(4000))
    assert read(torch_zip, out.getvalue()).unexplained == 4000


def test_an_expanded_tensor_counts_what_is_stored() -> None:
    data = saved({"w": torch.ones(1, 7).expand(1000, 7), "x": torch.ones(1).expand(10**6)})
    container = read(torch_zip, data)
    assert [(r[1], r[3]) for r in rows(container)] == [((1000, 7), 7), ((10**6,), 1)]
    assert "expanded-view" in [f.id for f in container.findings]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), max_size=4),
    st.integers(0, 5),
)
@settings(max_examples=300, deadline=None)
def test_elements_are_the_distinct_ones_or_a_bound(dimensions: list[tuple[int, int]], offset: int) -> None:
    size, stride = [n for n, _ in dimensions], [s for _, s in dimensions]
    places = {offset + sum(i * s for i, s in zip(index, stride, strict=True)) for index in np.ndindex(*size)}
    count = max(places, default=0) + 1
    container = read(torch_zip, lie("0", count, size, stride, offset))
    elements = total(container)
    assert len(places) <= elements <= max(count - offset, 0) if places else elements == 0
    if np.prod(size) == len(places):
        assert elements == len(places)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ([5], [1], 0),
        ([4], [1], 1),
        ([2, 2], [3, 1], 0),
        ([1 << 60], [1], 0),
        ([1 << 40, 1 << 40], [0, 0], 0),
        ([1 << 62, 2], [0, 0], 0),
        ([1, 1], [1 << 70, 1], 0),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(size: list[int], stride: list[int], offset: int) -> None:
    error = failure(torch_zip, lie("0", 4, size, stride, offset))
    assert error.reason == "inconsistent"
    assert "'w'" in error.detail


@pytest.mark.parametrize(
    ("size", "stride", "offset"), [([-2, -2], [1, 1], 0), ([2], [-1], 1), ([4], [1], -1), ([2, 2], [1], 0)]
)
def test_a_shape_that_is_none_is_refused(size: list[int], stride: list[int], offset: int) -> None:
    assert failure(torch_zip, lie("0", 4, size, stride, offset)).reason in ("malformed", "inconsistent")


def test_a_shape_of_a_quintillion_over_sixteen_bytes_counts_what_is_stored() -> None:
    container = read(torch_zip, lie("0", 4, [10**9, 10**9], [0, 0]))
    assert total(container) == 1
    assert container.unexplained == 12
    assert "expanded-view" in [f.id for f in container.findings]


def test_a_thousand_views_of_one_storage_say_so() -> None:
    ops = {f"v{i}": tensor_ops("0", 8, [4], [1], i % 5) for i in range(1000)}
    container = read(torch_zip, torch_zip_of(state_dict_ops(ops), {"0": bytes(32)}))
    assert len(set(container.tensors.storages.tolist())) == 1
    assert [f.id for f in container.findings] == ["overlapping-views"]


@pytest.mark.parametrize("size", [0, 15, 17, 1 << 20])
def test_a_record_of_another_size_than_its_storage_is_refused(size: int) -> None:
    data = torch_zip_of(state_dict_ops({"w": tensor_ops("0", 4, [4], [1])}), {"0": bytes(size)})
    assert failure(torch_zip, data).reason == "inconsistent"


def test_a_storage_without_a_record_is_missing() -> None:
    data = torch_zip_of(state_dict_ops({"w": tensor_ops("0", 4, [4], [1])}), {})
    assert failure(torch_zip, data).reason == "missing"


def test_a_storage_described_in_two_ways_is_refused() -> None:
    ops = {"a": tensor_ops("0", 4, [4], [1]), "b": tensor_ops("0", 8, [8], [1])}
    assert failure(torch_zip, torch_zip_of(state_dict_ops(ops), {"0": bytes(16)})).reason == "inconsistent"


def test_an_unknown_storage_type_is_unsupported() -> None:
    data = torch_zip_of(state_dict_ops({"w": tensor_ops("0", 4, [4], [1], storage="SecretStorage")}), {"0": bytes(16)})
    error = failure(torch_zip, data)
    assert error.reason == "unsupported" and "SecretStorage" in error.detail


def test_a_tensor_subclass_without_parts_is_unsupported() -> None:
    ops = (
        b"\x80\x02}" + b"X\x01\0\0\0wctorch._utils\n_rebuild_wrapper_subclass\n(csome.lib\nSecretTensor\nctorch\nfloat32\n"
        b"K\x02K\x03\x86K\x03K\x01\x86K\0ctorch\nstrided\nX\x03\0\0\0cpu\x89tRs."
    )
    error = failure(torch_zip, torch_zip_of(ops, {}))
    assert error.reason == "unsupported" and "SecretTensor" in error.detail


# -- hostile files


def hostile(route: str = "GLOBAL REDUCE") -> bytes:
    return payloads("id")[route]


@pytest.mark.parametrize("route", payloads("id"))
def test_a_payload_in_a_zip_is_critical_and_never_run(route: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = torch_zip_of(payloads(f"touch {canary}")[route], {})
    assert criticals(read(torch_zip, data))
    assert not canary.exists()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["archive/data.pkl", "archive/DATA.PKL", "Archive/data.pkl"])
def test_two_copies_of_data_pkl_are_refused_and_the_payload_of_either_is_named(first: bool, name: str) -> None:
    good = torch_entries(state_dict_ops({"w": tensor_ops("0", 4, [4], [1])}), {"0": bytes(16)})
    bad = Entry(name, hostile())
    error = failure(torch_zip, write_zip([bad, *good] if first else [*good, bad]))
    assert error.reason == "inconsistent"
    assert "posix.system" in error.detail


def mutations() -> dict[str, list[Entry]]:
    bad, *rest = torch_entries(hostile(), {})
    return {
        "checksum": [replace(bad, crc=1), *rest],
        "encrypted": [replace(bad, flags=1), *rest],
        "local name": [replace(bad, local_name="archive/data.pkx"), *rest],
        "directory name": [replace(bad, name="archive/data.pkx", local_name="archive/data.pkl"), *rest],
        "local flags": [replace(bad, local_flags=1), *rest],
        "no stop": [replace(bad, data=bad.data[:-1]), *rest],
        "deflated": [replace(bad, deflate=True, crc=5), *rest],
        "trailing": [replace(bad, data=bad.data + b"rest"), *rest],
        "upwards": [bad, *rest, Entry("../x", b"x")],
    }


@pytest.mark.parametrize("how", mutations())
def test_a_payload_is_named_though_its_archive_is_refused(how: str) -> None:
    error = failure(torch_zip, write_zip(mutations()[how]))
    assert "posix.system" in error.detail, error


def test_a_directory_that_hides_a_member_leaves_its_bytes_unexplained() -> None:
    bad = Entry("archive/data.pkl", hostile())
    hidden = write_zip([bad])[: 30 + len(bad.name) + len(bad.data)]
    good = torch_entries(state_dict_ops({"w": tensor_ops("0", 4, [4], [1])}), {"0": bytes(16)})
    data = write_zip([replace(good[0], gap=hidden), *good[1:]])
    assert read(torch_zip, data).unexplained == len(hidden)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_cut_anywhere_is_unreadable(legacy: bool) -> None:
    data = saved(KINDS["views"](), legacy)
    reader = reader_of(data)
    for end in range(0, len(data) - 1, 7):
        with pytest.raises(Unreadable):
            read(reader, data[:end])


def test_a_deflate_bomb_as_data_pkl_is_refused_quickly() -> None:
    bomb = Entry("archive/data.pkl", b"\x80\x02" + b"N0" * (15 << 20) + b"N.", deflate=True)
    started = time.perf_counter()
    error = failure(torch_zip, write_zip([bomb]))
    assert error.reason == "limit"
    assert time.perf_counter() - started < 15


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_changed_files_give_a_container_or_an_unreadable(data: st.DataObject) -> None:
    original = data.draw(st.sampled_from(ORIGINALS))
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    for reader in (torch_zip, torch_legacy, pickle_file):
        started = time.perf_counter()
        try:
            container = reader.read(Bytes(bytes(changed)), LIMITS)
        except Unreadable as error:
            assert "\n" not in error.detail
        else:
            assert total(container) <= 4 * len(changed)
        assert time.perf_counter() - started < 5


ORIGINALS = [
    saved(KINDS["views"]()),
    saved(KINDS["views"](), legacy=True),
    saved(training()),
    scripted(torch.jit.script(nn.Linear(2, 2))),
    pickle.dumps({"a": np.ones(5, np.float32)}, 2),
]


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


# -- the shortcut of the machine


class _NoShortcut(tensor_pattern.Shortcut):
    def take(self, *args: Any) -> None:
        return None


def both(data: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The outcome with the shortcut and without it."""

    def outcome() -> str:
        seen = Globals()
        try:
            value, end = run(data, 0, LIMITS, seen)
        except Unreadable as error:
            return f"{error.reason}"
        return f"{end} {shown(value)} {[(g.path, g.uses) for g in seen.values()]} {len(seen.persistent)} {seen.blobs}"

    quick = outcome()
    with monkeypatch.context() as patch:
        patch.setattr(machine, "Shortcut", _NoShortcut)
        return quick, outcome()


def shown(root: Any) -> list[str]:
    """What lies below an abstract value, in writing: the first 20,000 values, since some hold themselves."""
    lines: list[str] = []
    pending = [root]
    while pending and len(lines) < 20_000:
        value = pending.pop()
        if isinstance(value, (str, int, float, bytes, type(None))):
            lines.append(f"{type(value).__name__} {value!r}")
        elif isinstance(value, abstract.Global):
            lines.append(value.path)
        elif isinstance(value, abstract.Object):
            lines.append("Object")
            pending += [value.callee, value.args, value.state, value.items, value.elements]
        elif isinstance(value, abstract.Persistent):
            lines.append("Persistent")
            pending.append(value.id)
        else:
            lines.append(f"{type(value).__name__} of {len(value)}")
            pending += list(value)[:1000]
    return lines


def pickle_of(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return z.read(next(n for n in z.namelist() if n.endswith("/data.pkl")))


MANY = pickle_of(saved({f"layer.{i}": torch.zeros(1 + i % 3, 2 + i % 5)[: 1 + i % 2] for i in range(90)}))


def test_the_shortcut_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    class Counting(tensor_pattern.Shortcut):
        def take(self, *args: Any) -> Any:
            made = super().take(*args)
            taken.append(made is not None)
            return made

    monkeypatch.setattr(machine, "Shortcut", Counting)
    run(MANY, 0, LIMITS, Globals())
    assert sum(taken) > 80


@pytest.mark.parametrize("kind", KINDS)
def test_the_shortcut_gives_what_the_loop_gives(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow = both(pickle_of(saved(KINDS[kind]())), monkeypatch)
    assert quick == slow


def test_a_memo_entry_that_the_shortcut_skipped_can_still_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    for fetched in range(700):
        quick, slow = both(MANY[:-1] + b"j" + struct.pack("<I", fetched) + b"\x86.", monkeypatch)
        assert quick == slow, fetched


def test_counting_the_memo_after_the_shortcut_gives_the_loops_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(600, 660):
        quick, slow = both(MANY[:-1] + b"N\x94j" + struct.pack("<I", at) + b"\x87.", monkeypatch)
        assert quick == slow


@given(st.lists(st.tuples(st.integers(0, len(MANY) - 1), st.integers(0, 255)), min_size=1, max_size=3))
@example([(324, 31)])  # a fetch of the very entry that the match is about to put
@settings(max_examples=600, deadline=None)
def test_changed_bytes_give_the_loops_answer_with_the_shortcut(changes: list[tuple[int, int]]) -> None:
    data = bytearray(MANY)
    for where, byte in changes:
        data[where] = byte
    with pytest.MonkeyPatch.context() as patch:
        quick, slow = both(bytes(data), patch)
    assert quick == slow
