"""Tensors and records in columns: whatever the bytes, the answer is that of the machine and the reader that take them one by one."""

from __future__ import annotations

import io
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from tests.formats._torch_files import Bytes, Entry, write_zip
from weightguard.errors import Unreadable
from weightguard.formats import _zip, torch_zip
from weightguard.formats._pickle import tensor_pattern
from weightguard.formats._pickle.abstract import Globals
from weightguard.formats._pickle.machine import run
from weightguard.kernels import _jit
from weightguard.limits import LIMITS

N = 60


def saved(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


@contextmanager
def columns(wanted: bool) -> Iterator[None]:
    """Columns wherever they can be, or nowhere: for files too small to pay for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "COMPILE_ABOVE", -1 if wanted else 1 << 62)
        patch.setattr(tensor_pattern, "_FEWEST", 1)
        patch.setattr(_zip, "_FEWEST", 2)
        patch.setattr(_zip, "_WHOLE", 4096)  # larger files are read in pieces
        yield


def outcome(data: bytes, wanted: bool) -> Any:
    """All that a reader of the container could see."""
    with columns(wanted):
        try:
            found = torch_zip.read(Bytes(data), LIMITS)
        except Unreadable as error:
            return error.reason, error.detail
    t = found.tensors
    numbers: dict[int, int] = {}
    storages = [numbers.setdefault(s, len(numbers)) for s in t.storages.tolist()]
    columns_of = (t.dtypes, t.dims, t.starts, t.elements, t.begins, t.spans, t.files, t.logical)
    table = [list(t.names), storages, *(c.tolist() for c in columns_of)]
    assert [c.dtype for c in columns_of] == [np.uint8] + [np.int64] * 7
    return table, dict(found.metadata), dict(found.scalars), found.findings, found.accounts, found.parts


def same(data: bytes) -> Any:
    quick, slow = outcome(data, True), outcome(data, False)
    assert quick == slow
    return quick


def batch_norms() -> dict[str, torch.Tensor]:
    return nn.Sequential(*(nn.BatchNorm1d(3) for _ in range(N // 5))).state_dict()


def tied() -> dict[str, torch.Tensor]:
    items = {f"layer.{i}.weight": torch.zeros(2, 3) for i in range(N)}
    return {**items, "head": items["layer.7.weight"].detach(), "again": items["layer.40.weight"], "x": torch.ones(2)}


def mixed() -> dict[str, torch.Tensor]:
    kinds = (torch.float32, torch.bfloat16, torch.int64, torch.float16)
    return {f"a.{i}": torch.zeros(1 + i % 3, 2 + i % 5, dtype=kinds[i % 4]) for i in range(N)}


def shapes() -> dict[str, torch.Tensor]:
    out: dict[str, torch.Tensor] = {}
    for i in range(N):
        out[f"scalar.{i}"] = torch.tensor(float(i))
        out[f"five.{i}"] = torch.zeros(1, 2, 1, 3, 2)
        out[f"long.{i}"] = torch.zeros(300 + i)
        if i % 20 == 0:
            out[f"turned.{i}"] = torch.zeros(3, 4).t()
            out[f"empty.{i}"] = torch.zeros(0, 3)
            out[f"part.{i}"] = torch.zeros(20)[:7]
            out[f"größe.{i}"] = torch.zeros(4)
            out[f"line\n{i}"] = torch.zeros(4)
    return out


def optimiser() -> dict[str, Any]:
    net = nn.Sequential(*(nn.Linear(3, 2) for _ in range(N // 4)))
    adam = torch.optim.Adam(net.parameters())
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    adam.step()
    return {
        "model": net.state_dict(),
        "ema": {f"m.{k}": v.clone() for k, v in net.state_dict().items()},
        "adam": adam.state_dict(),
    }


KINDS: dict[str, Callable[[], Any]] = {
    "plain": lambda: {f"w.{i}": torch.zeros(4, 8) for i in range(N)},
    "batches": lambda: {f"w.{i}": torch.zeros(1) for i in range(2500)},
    "ordered": lambda: OrderedDict((f"w.{i}", torch.zeros(4, 8)) for i in range(N)),
    "batch norms": batch_norms,
    "tied": tied,
    "mixed": mixed,
    "shapes": shapes,
    "optimiser": optimiser,
    "in a list": lambda: [{"a.b": {f"w.{i}": torch.zeros(2) for i in range(N)}}, {f"w.{i}": torch.zeros(2) for i in range(N)}],
    "named as hooks": lambda: {
        **{f"w.{i}": torch.zeros(2) for i in range(N)},
        "update": torch.zeros(2),
        "_modules": torch.zeros(3),
    },
    "parameters": lambda: {f"w.{i}": nn.Parameter(torch.zeros(2, 2)) for i in range(N)},
}
FILES = {kind: saved(make()) for kind, make in KINDS.items() if kind != "batches"}


def taken(data: bytes) -> int:
    """How many tensors came in columns."""
    seen = Globals()
    with columns(True), zipfile.ZipFile(io.BytesIO(data)) as z:
        run(z.read("archive/data.pkl"), 0, LIMITS, seen, columns=True)
    return sum(len(r.names) for r in seen.runs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_torch_gives_the_same_either_way(kind: str) -> None:
    data = FILES.get(kind) or saved(KINDS[kind]())
    table = same(data)[0]
    assert len(table[0]) >= N


@pytest.mark.parametrize(
    ("kind", "least"),
    [("plain", N - 2), ("batches", 2490), ("ordered", N - 2), ("batch norms", N - 15), ("tied", 0), ("mixed", N - 8)],
)
def test_what_torch_writes_many_times_is_taken_in_columns(kind: str, least: int) -> None:
    assert taken(FILES.get(kind) or saved(KINDS[kind]())) >= least


def test_records_are_taken_in_columns() -> None:
    with columns(True):
        archive = _zip.Archive(Bytes(FILES["plain"]), LIMITS, columns=True)
    assert archive.numbered is not None and (archive.numbered.sizes == 128).sum() == N
    assert len(archive.members) < 10


def test_columns_are_for_those_who_ask() -> None:
    seen = Globals()
    with columns(True), zipfile.ZipFile(io.BytesIO(FILES["plain"])) as z:
        run(z.read("archive/data.pkl"), 0, LIMITS, seen)
        assert not seen.runs
        assert _zip.Archive(Bytes(FILES["plain"]), LIMITS).numbered is None


# -- pickles gone wrong


def pickle_of(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """data.pkl, and the other records."""
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        records = {n: z.read(n) for n in z.namelist()}
    return records.pop("archive/data.pkl"), records


PICKLES = {kind: pickle_of(data) for kind, data in FILES.items()}


def around(pickle: bytes, records: dict[str, bytes]) -> bytes:
    return write_zip([Entry("archive/data.pkl", pickle), *(Entry(n, v) for n, v in records.items())])


PIECES = [
    *(bytes([c]) for c in b"uts(0123.h\x85\x86\x87\x88\x89\x94QRbase}]KMJ"),
    *(b"u(", b"h\x02", b"h\x00", b"0", b"K\x00", b"K\x01", b"q\x05", b"r\x05\0\0\0", b"(u", b"\x86", b"j\x20\0\0\0"),
    *(b"cos\nsystem\n", b"X\x01\0\0\x000", b"X\x01\0\0\x005", b"X\x06\0\0\0append", b"J\xff\xff\xff\xff", b"\x8a\x01\x05"),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    pickle, records = PICKLES[draw(st.sampled_from(sorted(PICKLES)))]
    for _ in range(draw(st.integers(1, 3))):
        how = draw(st.integers(0, 4))
        a = draw(st.integers(0, len(pickle) - 1))
        if how == 0:
            pickle = pickle[:a] + bytes([draw(st.integers(0, 255))]) + pickle[a + 1 :]
        elif how == 1:
            pickle = pickle[:a] + draw(st.sampled_from(PIECES)) + pickle[a + draw(st.integers(0, 6)) :]
        elif how == 2:
            b = draw(st.integers(a, min(len(pickle), a + 200)))
            pickle = pickle[:a] + pickle[b:]
        elif how == 3:
            b = draw(st.integers(a, min(len(pickle), a + 300)))
            pickle = pickle[:b] + pickle[a:]
        else:  # something after the last batch: fetches, alters, or counts what the memo has
            index = draw(st.integers(0, 700))
            tail = draw(st.sampled_from([b"j%b0.", b"j%b\x86.", b"j%b}b.", b"N\x94j%b\x87.", b"j%b(X\1\0\0\0aK\1u."]))
            pickle = pickle[:-1] + tail.replace(b"%b", struct.pack("<I", index))
    return around(pickle, records)


@given(data=mutated())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_pickle_gone_wrong_gives_the_same_either_way(data: bytes) -> None:
    same(data)


@pytest.mark.full
@given(data=mutated())
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_pickles_gone_wrong_give_the_same_either_way(data: bytes) -> None:
    same(data)


# -- archives gone wrong


@given(
    kind=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255), st.booleans()), min_size=1, max_size=3),
)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_an_archive_gone_wrong_gives_the_same_either_way(kind: str, changes: list[tuple[float, int, bool]]) -> None:
    data = bytearray(FILES[kind])
    directory = data.index(b"PK\1\2")
    for place, byte, inside in changes:
        first = directory if inside else 0
        data[first + int(place * (len(data) - 1 - first))] = byte
    same(bytes(data))


# -- what a shortcut could get wrong, one by one


def plain_items(n: int = N, names: str = "w.{}") -> tuple[bytes, dict[str, bytes]]:
    return pickle_of(saved({names.format(i): torch.zeros(4, 8) for i in range(n)}))


def test_a_storage_that_a_run_has_is_the_same_when_a_later_tensor_shows_it() -> None:
    items = {f"w.{i}": torch.zeros(2, 3) for i in range(1005)}
    data = saved({**items, "head": items["w.7"].detach(), "again": items["w.7"].view(6), "z": torch.zeros(1)})
    assert taken(data) > 900
    names, storages, *_ = same(data)[0]
    assert storages[names.index("head")] == storages[names.index("again")] == storages[names.index("w.7")]
    assert len(set(storages)) == 1006


def test_keys_that_begin_again_are_the_same_storages() -> None:
    two = [{f"w.{i}": torch.zeros(4, 8) for i in range(N)}, {f"w.{i}": torch.zeros(4, 8) for i in range(N)}]
    pickle, records = pickle_of(saved(two))
    for i in range(N):
        old, new = str(N + i).encode(), str(i).encode()
        pickle = pickle.replace(b"X" + struct.pack("<I", len(old)) + old, b"X" + struct.pack("<I", len(new)) + new)
        del records[f"archive/data/{N + i}"]
    storages = same(around(pickle, records))[0][1]
    assert len(storages) == 2 * N and len(set(storages)) == N


@pytest.mark.parametrize("name", ["update", "append", "__setstate__"])
def test_what_an_instance_would_call_is_seen_among_many_attributes(name: str) -> None:
    """BUILD with a dictionary of many tensors, of which one replaces a method that later opcodes call."""
    items = {f"w.{i}": torch.zeros(2) for i in range(N)} | {name: torch.zeros(2), "z": torch.zeros(2)}
    pickle, records = pickle_of(saved(items))
    made = b"\x80\x02cpkg\nThing\n)\x81" + pickle[2:-1] + b"b."
    findings = same(around(made, records))[3]
    assert any("torch._utils._rebuild_tensor_v2" in f.message for f in findings)


def test_parts_of_a_module_among_many_tensors_keep_their_names() -> None:
    inner = {f"p.{i}": torch.zeros(2) for i in range(N)}
    items = {**{f"w.{i}": torch.zeros(2) for i in range(N)}, "_parameters": torch.zeros(2), "_modules": inner}
    pickle, records = pickle_of(saved(items))
    same(around(b"\x80\x02cpkg\nThing\n)\x81" + pickle[2:-1] + b"b.", records))


@pytest.mark.parametrize("value", [b"K\x05", b"ctorch\nLongStorage\n", b"cos\nStorage\n", b"N", b"X\x03\0\0\0cpu"])
@pytest.mark.parametrize("index", [2, 3, 4, 6, 10])
def test_a_memo_entry_that_was_written_over_is_no_longer_what_it_was(value: bytes, index: int) -> None:
    """An item's function, word, class, location or hooks, replaced before the tenth item."""
    pickle, records = plain_items()
    at = pickle.index(b"X\x03\0\0\0w.9")
    same(around(pickle[:at] + value + b"q" + bytes([index]) + b"0" + pickle[at:], records))


def test_a_storage_class_that_was_replaced_from_the_memo_is_the_new_one() -> None:
    pickle, records = pickle_of(
        saved({f"w.{i}": torch.zeros(4, dtype=torch.int32 if i == 1 else torch.float32) for i in range(N)})
    )
    first, other = (pickle[pickle.index(name) + len(name) + 1 :][:1] for name in (b"FloatStorage\n", b"IntStorage\n"))
    at = pickle.index(b"X\x03\0\0\0w.9")
    dtypes = same(around(pickle[:at] + b"h" + other + b"q" + first + b"0" + pickle[at:], records))[0][2]
    assert len(set(dtypes[1:2] + dtypes[9:])) == 1 and dtypes[2] != dtypes[9]


def test_every_memo_entry_can_be_fetched_and_altered_after_the_last_batch() -> None:
    pickle, records = plain_items(40)
    for index in range(340):
        fetch = b"j" + struct.pack("<I", index)
        for tail in (fetch + b"\x86.", fetch + b"}(X\x01\0\0\0aX\x01\0\0\0bub\x86.", b"N\x94" + fetch + b"\x87."):
            same(around(pickle[:-1] + tail, records))


@pytest.mark.parametrize("old", [b"w.30", b"w.59"])
def test_a_name_that_stands_twice_is_refused(old: bytes) -> None:
    """Against the first item, which comes by itself, and against one of the same run."""
    pickle, records = pickle_of(saved({f"w.{i}": torch.zeros(2) for i in range(10, 70)}))
    for new in (b"w.10", b"w.40"):
        reason, detail = same(around(pickle.replace(b"X\4\0\0\0" + old, b"X\4\0\0\0" + new), records))
        assert reason == "inconsistent" and "twice" in detail


def test_numbered_records_that_no_pickle_names_are_unexplained() -> None:
    pickle, records = plain_items()
    named = list(records.items())
    place = next(i for i, (n, _) in enumerate(named) if n == "archive/data/20")
    for at in (place, len(named)):
        more = dict([*named[:at], (f"archive/data/{N}", bytes(5000)), (f"archive/data/{N + 7}", bytes(300)), *named[at:]])
        assert same(around(pickle, more))[4].unexplained == 5300


@pytest.mark.parametrize("changed", [{"archive/data/5": b""}, {"archive/data/5": bytes(129)}])
def test_a_numbered_record_of_another_size_is_refused(changed: dict[str, bytes]) -> None:
    pickle, records = plain_items()
    assert same(around(pickle, records | changed))[0] == "inconsistent"
    del records["archive/data/30"]
    assert same(around(pickle, records))[0] == "missing"


def test_records_that_are_there_twice_or_overlap_are_refused() -> None:
    pickle, records = plain_items()
    entries = [Entry("archive/data.pkl", pickle), *(Entry(n, v) for n, v in records.items())]
    for twice in ("archive/data/5", "archive/DATA/5"):
        assert same(write_zip([*entries, Entry(twice, b"x")]))[0] == "inconsistent"
        assert same(write_zip([entries[0], Entry(twice, b"x"), *entries[1:]]))[0] == "inconsistent"
    data = write_zip(entries)
    for of, to in (
        ("archive/data/9", "archive/data/8"),
        ("archive/byteorder", "archive/data/8"),
        ("archive/data/9", "archive/version"),
    ):
        entry, at = (data.rindex(n.encode()) - 46 for n in (of, to))
        moved = data[: entry + 42] + data[at + 42 : at + 46] + data[entry + 46 :]
        assert same(moved)[0] == "inconsistent"
    gap = [Entry(e.name, e.data, gap=b"hidden" if e.name.endswith("/9") else b"") for e in entries]
    assert same(write_zip(gap))[4].unexplained == 6


def test_a_payload_among_the_items_is_named() -> None:
    pickle, records = plain_items()
    at = pickle.index(b"X\x04\0\0\0w.40")
    for payload in (b"cos\nsystem\nX\x02\0\0\0id\x85R0", b"X\x01\0\0\0acos\nsystem\nX\x02\0\0\0id\x85R"):
        findings = same(around(pickle[:at] + payload + pickle[at:], records))[3]
        assert any("os.system" in f.message and f.severity == "critical" for f in findings)
