"""Putting pieces together: whatever is cut, and however, the elements are those of the whole."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightguard.models.ranks import is_whole, unite_all
from weightguard.tensors import DTYPE_CODES, TensorTable, from_rows

F32 = DTYPE_CODES["F32"]


def table(rows: Sequence[tuple[str, tuple[int, ...]]], dtype: int = F32) -> TensorTable:
    return from_rows([n for n, _ in rows], [dtype] * len(rows), [s for _, s in rows], [4 * int(np.prod(s)) for _, s in rows])


@st.composite
def cut(draw: st.DrawFn) -> tuple[list[TensorTable], int, dict[str, tuple[int, ...]]]:
    """Tables of ranks, the elements of the whole, and its shapes."""
    ranks = draw(st.integers(1, 5))
    shapes: dict[str, tuple[int, ...]] = {}
    rows: list[list[tuple[str, tuple[int, ...]]]] = [[] for _ in range(ranks)]
    for i in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["column", "row", "norm"]))
        a, b = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        name = {
            "column": f"layers.{i}.linear_fc1.weight",
            "row": f"layers.{i}.linear_fc2.weight",
            "norm": f"layers.{i}.norm.weight",
        }[kind]
        shapes[name] = {"column": (a * ranks, b), "row": (a, b * ranks), "norm": (a,)}[kind]
        for rank in rows:
            rank.append((name, (a,) if kind == "norm" else (a, b)))
    return [table(r) for r in rows], sum(int(np.prod(s)) for s in shapes.values()), shapes


@given(cut())
def test_pieces_have_the_elements_and_shapes_of_the_whole(
    case: tuple[list[TensorTable], int, dict[str, tuple[int, ...]]],
) -> None:
    tables, elements, shapes = case
    whole, copies, problems = unite_all(tables)
    assert not problems
    repeated = set(copies.tolist())
    found = {whole.names[i]: whole.shape(i) for i in range(len(whole)) if i not in repeated}
    assert found == shapes
    assert sum(int(whole.elements[i]) for i in range(len(whole)) if i not in repeated) == elements
    assert sum(whole.elements.tolist()) == sum(sum(t.elements.tolist()) for t in tables), "nothing is lost"


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 5), max_size=3)), max_size=4), min_size=2, max_size=4
    )
)
def test_nothing_is_lost_of_tables_that_do_not_fit(rows: list[list[tuple[str, list[int]]]]) -> None:
    tables = [table([(n, tuple(s)) for n, s in r]) for r in rows]
    whole, copies, _ = unite_all(tables)
    assert sum(whole.elements.tolist()) == sum(sum(t.elements.tolist()) for t in tables)
    assert not len(copies), "no name here says that it is replicated"


def test_a_name_never_makes_a_large_tensor_a_replica() -> None:
    assert not is_whole("layernorm.weight", ((1 << 22) + 1,))
    assert not is_whole("layernorm.weight", (64, 64))
    pieces = [table([("a.router.weight", (3000, 3000)), ("w", (10, 10))]) for _ in range(3)]
    _, _, problems = unite_all(pieces)
    assert any("replicated" in p for p in problems)


def test_other_types_are_no_ranks_of_one_model() -> None:
    _, _, problems = unite_all([table([("w", (2, 2))]), table([("w", (2, 2))], DTYPE_CODES["BF16"])])
    assert problems


def test_the_same_bytes_under_two_names_are_tied_over_ranks() -> None:
    from dataclasses import replace

    ranks = [table([("embed.weight", (8, 4)), ("head.weight", (8, 4))]) for _ in range(2)]
    whole, _, _ = unite_all([replace(t, storages=np.zeros(2, np.int64)) for t in ranks])
    assert whole.storages[0] == whole.storages[1]
    whole, _, _ = unite_all([ranks[0], replace(ranks[1], storages=np.zeros(2, np.int64))])
    assert whole.storages[0] != whole.storages[1], "tied on one rank only"


@pytest.mark.parametrize("ranks", [1000])
def test_a_million_pieces_take_seconds(ranks: int) -> None:
    one = table([(f"layers.{i}.linear_fc1.weight", (4, 4)) for i in range(300)])
    began = time.perf_counter()
    whole, _, problems = unite_all([one] * ranks)
    assert len(whole) == 300 and not problems and int(whole.elements[0]) == 16 * ranks
    assert time.perf_counter() - began < 20
