"""Files of torch that hide, claim or attack: never counted, never run, always named."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.formats._torch_files import (
    Bytes,
    Entry,
    criticals,
    failure,
    lie,
    payloads,
    read,
    rows,
    state_dict_ops,
    tensor_ops,
    torch_entries,
    torch_zip_of,
    total,
    write_zip,
)
from tests.formats._torch_values import (
    KINDS,
    reader_of,
    saved,
    scripted,
    training,
)
from weightguard.errors import Unreadable
from weightguard.formats import pickle_file, torch_legacy, torch_zip
from weightguard.limits import LIMITS


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
    started = time.process_time()
    error = failure(torch_zip, write_zip([bomb]))
    assert error.reason == "limit"
    assert time.process_time() - started < 15


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
