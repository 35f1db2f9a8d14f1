"""count_elements, check_extents and sum_by_group against Python's own integers, compiled and plain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import naive
from weightguard.kernels.layout import HOLE, OUTSIDE, OVERFLOW, OVERLAP, PARTIAL_BYTE, SIZE, check_extents, count_elements
from weightguard.kernels.sums import sum_by_group
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES, DTYPES

MOST = naive.INT64_MAX
Form = Callable[[Any], Any]
forms = pytest.mark.parametrize("form", [lambda k: k.compiled, lambda k: k.py_func], ids=["compiled", "plain"])

# sizes that meet at the edge of 64 bits
numbers = st.one_of(
    st.integers(0, 9),
    st.integers(0, MOST),
    st.sampled_from([1 << 31, 1 << 32, 3037000499, 3037000500, (1 << 62) - 1, 1 << 62, MOST - 1, MOST]),
)
shapes = st.lists(st.lists(numbers, max_size=5), max_size=6)


def counted(form: Form, rows: Sequence[Sequence[int]]) -> list[int] | int:
    dims = np.array([d for row in rows for d in row], np.int64)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
    out = np.zeros(len(rows), np.int64)
    wrong = form(count_elements)(dims, starts, out)
    return out.tolist() if wrong < 0 else int(wrong)


@forms
@settings(deadline=None, max_examples=300)
@given(rows=shapes)
def test_elements_are_the_exact_product_or_the_row_is_named(form: Form, rows: list[list[int]]) -> None:
    assert counted(form, rows) == naive.count_elements(rows)


@forms
def test_a_product_that_would_wrap_to_a_small_number_is_seen(form: Form) -> None:
    """2^32 x 2^32 wraps to 0, 2^33 x (2^31 + 1) to a small positive number."""
    assert counted(form, [[2], [1 << 32, 1 << 32]]) == 1
    assert counted(form, [[1 << 33, (1 << 31) + 1]]) == 0
    assert counted(form, [[MOST], [MOST, 2]]) == 1


@forms
def test_a_scalar_counts_one_and_an_empty_tensor_none(form: Form) -> None:
    assert counted(form, [[], [0], [0, MOST, MOST], [MOST]]) == [1, 0, 0, MOST]


def extents(form: Form, rows: Sequence[tuple[int, str, int, int]], size: int) -> tuple[int, int]:
    """(code, row at fault) of rows (elements, dtype, begin, end) in their own order."""
    info = np.full(1, -1, np.int64)
    code = form(check_extents)(
        np.arange(len(rows), dtype=np.int64),
        np.array([r[0] for r in rows], np.int64),
        np.array([DTYPE_CODES[r[1]] for r in rows], np.uint8),
        DTYPE_BITS,
        np.array([r[2:] for r in rows], np.int64).reshape(-1, 2),
        size,
        info,
    )
    return int(code), int(info[0])


@st.composite
def nearly_laid_out(draw: st.DrawFn) -> tuple[list[tuple[int, str, int, int]], int]:
    """Rows end to end, with perhaps one number changed."""
    rows: list[list[Any]] = []
    at = 0
    for _ in range(draw(st.integers(0, 6))):
        dtype, bits = draw(st.sampled_from(DTYPES))
        elements = draw(st.one_of(st.integers(0, 9), st.integers(0, 1 << 40)))
        if draw(st.booleans()):
            elements *= 8  # whole bytes in every dtype
        end = at + elements * bits // 8
        rows.append([elements, dtype, at, end])
        at = end
    if draw(st.booleans()) and rows:
        row = rows[draw(st.integers(0, len(rows) - 1))]
        row[draw(st.sampled_from([0, 2, 3]))] = draw(st.one_of(numbers, st.integers(0, at + 1)))
    size = draw(st.one_of(st.just(at), st.integers(max(0, at - 9), at + 9)))
    return [(r[0], r[1], r[2], r[3]) for r in rows], size


@forms
@settings(deadline=None, max_examples=500)
@given(laid=nearly_laid_out())
def test_extents_pass_exactly_where_the_rows_fill_the_bytes(
    form: Form, laid: tuple[list[tuple[int, str, int, int]], int]
) -> None:
    rows, size = laid
    bits = dict(DTYPES)
    code, _ = extents(form, rows, size)
    assert (code == 0) == naive.covers([(n, bits[dtype], begin, end) for n, dtype, begin, end in rows], size)


@settings(deadline=None, max_examples=300)
@given(laid=nearly_laid_out())
def test_extents_compiled_and_plain_give_the_same_code_and_row(laid: tuple[list[tuple[int, str, int, int]], int]) -> None:
    assert extents(lambda k: k.compiled, *laid) == extents(lambda k: k.py_func, *laid)


@forms
@pytest.mark.parametrize(
    ("rows", "size", "code"),
    [
        ([(2, "F32", 0, 8), (1, "U8", 8, 9)], 9, 0),
        ([], 0, 0),
        ([], 1, HOLE),
        ([(0, "F32", 0, 0)], 0, 0),
        ([(2, "F4", 0, 1)], 1, 0),
        ([(1, "F4", 0, 1)], 1, PARTIAL_BYTE),
        ([(2, "F32", 0, 7)], 7, SIZE),
        ([(2, "F32", 0, 8), (2, "F32", 4, 12)], 12, OVERLAP),
        ([(2, "F32", 0, 8), (2, "F32", 9, 17)], 17, HOLE),
        ([(2, "F32", 1, 9)], 9, HOLE),
        ([(2, "F32", 0, 8)], 9, HOLE),
        ([(2, "F32", 0, 8)], 7, OUTSIDE),
        ([(2, "F32", 8, 0)], 8, OUTSIDE),
        ([(1 << 61, "F32", 0, 0)], 0, OVERFLOW),
        ([(1 << 60, "C128", 0, 0)], 0, OVERFLOW),
    ],
)
def test_each_fault_has_its_code(form: Form, rows: list[tuple[int, str, int, int]], size: int, code: int) -> None:
    assert extents(form, rows, size)[0] == code


def summed(form: Form, values: list[int], groups: list[int], starts: list[int]) -> list[int] | int:
    out = np.array(starts, np.int64)
    wrong = form(sum_by_group)(np.array(values, np.int64), np.array(groups, np.int64), out)
    return out.tolist() if wrong < 0 else int(wrong)


@st.composite
def grouped(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    n_groups = draw(st.integers(1, 4))
    starts = draw(st.lists(st.one_of(st.just(0), numbers), min_size=n_groups, max_size=n_groups))
    pairs = draw(st.lists(st.tuples(numbers, st.integers(0, n_groups - 1)), max_size=8))
    return [v for v, _ in pairs], [g for _, g in pairs], starts


@forms
@settings(deadline=None, max_examples=300)
@given(case=grouped())
def test_sums_are_exact_or_the_row_that_passes_is_named(form: Form, case: tuple[list[int], list[int], list[int]]) -> None:
    assert summed(form, *case) == naive.sums_by_group(*case)


@forms
def test_a_sum_may_reach_but_not_pass_the_largest_integer(form: Form) -> None:
    assert summed(form, [MOST - 1, 1], [0, 0], [0]) == [MOST]
    assert summed(form, [MOST - 1, 1, 1], [0, 0, 0], [0]) == 2
