"""scan_torch_entries against the standard library's list of opcodes: on what torch.save writes, and on that gone wrong."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import naive
from weightguard.formats._pickle import tensor_pattern
from weightguard.formats._pickle.abstract import Globals
from weightguard.formats._pickle.machine import run
from weightguard.kernels import _jit
from weightguard.kernels.torch_entries import DIMS, PADDING, scan_torch_entries
from weightguard.limits import LIMITS

forms = pytest.mark.parametrize("form", [lambda k: k.compiled, lambda k: k.py_func], ids=["compiled", "plain"])
Case = tuple[bytes, int, int, int, list[int]]


def pickle_of(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    with zipfile.ZipFile(out) as z:
        return z.read("archive/data.pkl")


def case_of(value: object) -> Case:
    """The arguments that the machine calls the kernel with, the first time."""
    cases: list[Case] = []

    class Recorder:
        @staticmethod
        def compiled(data: Any, at: int, top: int, key: int, refs: Any, *outputs: Any) -> int:
            cases.append((pickle, at, top, key, refs.tolist()))
            return int(scan_torch_entries.compiled(data, at, top, key, refs, *outputs))

    pickle = pickle_of(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "COMPILE_ABOVE", -1)
        patch.setattr(tensor_pattern, "scan_torch_entries", Recorder)
        run(pickle, 0, LIMITS, Globals(), columns=True)
    return cases[0]


def tensors() -> dict[str, torch.Tensor]:
    kinds = (torch.float32, torch.int64)
    sizes = ((2, 3), (4,), (), (1, 2, 1, 3, 2), (300, 2), (70_000,), (1, 1, 1), (2, 1))
    found = {f"a.{i}": torch.zeros(2, dtype=kinds[i % 2]) for i in range(4)}
    return found | {f"w.{i}": torch.zeros(sizes[i % len(sizes)], dtype=kinds[i % 3 % 2]) for i in range(40)}


CASES = [
    case_of(tensors()),
    case_of({f"w.{i}": torch.zeros(1) for i in range(1100)}),
    case_of({"a": {f"w.{i}": torch.zeros(2, 3) for i in range(9)}, "b": {"x" * 1030: torch.zeros(2)}}),
]


def scanned(form: Any, case: Case, capacity: int | None = None) -> tuple[Any, ...]:
    """Every array that the kernel writes, cut to what it says it wrote."""
    pickle, at, top, key, refs = case
    data = np.frombuffer(pickle + bytes(PADDING), np.uint8)
    names = np.zeros(len(data), np.uint8)
    dims = np.zeros(len(pickle) // 4 + 2 * DIMS, np.int64)
    rows = np.zeros((len(pickle) // 40 if capacity is None else capacity, 4), np.int64)
    info = np.zeros(5, np.int64)
    count = int(form(scan_torch_entries)(data, at, top, key, np.array(refs, np.int64), names, dims, rows, info))
    assert at <= info[0] <= max(at, len(pickle)) and at <= info[4]
    return count, rows[:count].tolist(), dims[: info[3]].tolist(), names[: info[2]].tobytes().decode("ascii"), info.tolist()


def expected(case: Case) -> tuple[Any, ...]:
    items, end, after = naive.torch_items(*case)
    rows = [[kind, elements, len(shape), memo] for _, kind, elements, shape, memo in items]
    dims = [d for _, _, _, shape, _ in items for d in shape]
    return len(items), rows, dims, "".join(f"{name}\n" for name, *_ in items), [end, after]


def agree(form: Any, case: Case) -> int:
    found = scanned(form, case)
    assert (*found[:4], found[4][:2]) == expected(case)
    return int(found[0])


@forms
@pytest.mark.parametrize(("case", "count"), [(0, 41), (1, 1098), (2, 7)])
def test_what_torch_writes_is_scanned_to_the_end(form: Any, case: int, count: int) -> None:
    assert agree(form, CASES[case]) >= count - 3


PIECES = [
    *(bytes([c]) for c in b"uts(0123.hjqrX\x85\x86\x87\x88\x89\x94QRbase}]KMJ)\0\n\xff"),
    *(
        b"u(",
        b"h\x02",
        b"h\x00",
        b"K\x00",
        b"K\x01",
        b"q\x05",
        b"r\x05\0\0\0",
        b"(u",
        b"(K\x04t",
        b"X\x01\0\0\x000",
        b"J\xff\xff\xff\xff",
    ),
    *(
        b"J\xff\xff\xff\x7f",
        b"(" + b"K\x01" * 64 + b"t",
        b"(" + b"K\x01" * 65 + b"t",
        b"X\x02\0\0\x0005",
        b"M\x00\x01",
        b"j\x02\0\0\0",
    ),
]


@st.composite
def mutated(draw: st.DrawFn) -> Case:
    pickle, at, top, key, refs = draw(st.sampled_from(CASES))
    for _ in range(draw(st.integers(0, 3))):
        reach = min(len(pickle), at + 3000)
        a = draw(st.integers(at, reach))
        how = draw(st.integers(0, 3))
        if how == 0:
            pickle = pickle[:a] + bytes([draw(st.integers(0, 255))]) + pickle[a + 1 :]
        elif how == 1:
            pickle = pickle[:a] + draw(st.sampled_from(PIECES)) + pickle[a + draw(st.integers(0, 6)) :]
        elif how == 2:
            b = draw(st.integers(a, min(len(pickle), a + 300)))
            pickle = pickle[:a] + pickle[b:]
        else:
            pickle = pickle[:a]
    if draw(st.booleans()):
        near = draw(st.integers(0, 3))
        at, top, key = at + (near == 1), top + (near == 2), key + (near == 3)
        refs = draw(st.permutations(refs)) if near == 0 else refs
    return pickle, at, top, key, refs


@settings(deadline=None, max_examples=500)
@given(case=mutated())
def test_items_gone_wrong_are_taken_as_the_list_of_opcodes_says(case: Case) -> None:
    agree(lambda k: k.compiled, case)


@settings(deadline=None, max_examples=60)
@given(case=mutated(), capacity=st.sampled_from([0, 1, 2, 200]))
def test_compiled_and_plain_write_the_same_and_nothing_outside(case: Case, capacity: int) -> None:
    """The plain function runs over NumPy arrays, whose bounds are checked: an IndexError would be a read or write outside."""
    short = (case[0][: case[1] + 4000], *case[1:])
    compiled = scanned(lambda k: k.compiled, short, capacity)
    assert compiled == scanned(lambda k: k.py_func, short, capacity)


@pytest.mark.parametrize("name", ["ü", "a\nb", "x" * 1025, "\ud800"])
def test_a_name_that_is_not_plain_ends_the_scan(name: str) -> None:
    case = case_of({**{f"a{i}": torch.zeros(1) for i in range(1001)}, name: torch.zeros(1), "z": torch.zeros(1)})
    assert agree(lambda k: k.compiled, case) == 1000 - 2


def test_only_a_mark_begins_another_batch() -> None:
    pickle, *rest = CASES[1]
    at = pickle.index(b"u(X")
    for byte in range(256):
        count = agree(lambda k: k.compiled, (pickle[: at + 1] + bytes([byte]) + pickle[at + 2 :], *rest))  # type: ignore[arg-type]
        assert count == (1098 if byte == 40 else 998)
