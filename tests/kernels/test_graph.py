"""Reachability and connected parts against walks over sets, plain and compiled."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pytest

from weightguard.kernels.graph import connect, reach

Int64 = npt.NDArray[np.int64]


def rows(edges: list[list[int]]) -> tuple[Int64, Int64]:
    return np.cumsum([0, *map(len, edges)]).astype(np.int64), np.array([t for e in edges for t in e], np.int64)


def walk(edges: list[list[int]], sources: list[int]) -> set[int]:
    found, waiting = set(sources), list(sources)
    while waiting:
        for target in edges[waiting.pop()]:
            if target not in found:
                found.add(target)
                waiting.append(target)
    return found


def reached(edges: list[list[int]], sources: list[int], compiled: bool) -> set[int]:
    out = np.zeros(len(edges), np.bool_)
    run = reach.compiled if compiled else reach.py_func
    count = run(*rows(edges), np.array(sources, np.int64), np.empty(len(edges), np.int64), out)
    assert count == out.sum()
    return set(np.flatnonzero(out).tolist())


def parts(edges: list[list[int]], inside: list[bool], compiled: bool) -> list[int]:
    out = np.empty(len(edges), np.int64)
    run = connect.compiled if compiled else connect.py_func
    count = run(*rows(edges), np.array(inside, np.bool_), out)
    assert count == len(set(out.tolist()))
    return [int(label) for label in out]


@pytest.mark.parametrize("compiled", [False, True])
def test_random_graphs(compiled: bool) -> None:
    random_ = random.Random(7)
    for _ in range(200):
        n = random_.randrange(1, 30)
        edges = [
            [random_.randrange(n) for _ in range(random_.choice((0, 0, 1, 2)))] for _ in range(n)
        ]  # cycles, loops, repeats
        sources = [random_.randrange(n) for _ in range(random_.randrange(4))]
        assert reached(edges, sources, compiled) == walk(edges, sources)
        inside = [random_.random() < 0.8 for _ in range(n)]
        both: list[list[int]] = [[] for _ in range(n)]
        for a, targets in enumerate(edges):
            for b in targets:
                if inside[a] and inside[b]:
                    both[a].append(b)
                    both[b].append(a)
        assert parts(edges, inside, compiled) == [min(walk(both, [node])) for node in range(n)]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_long_chain_and_nothing(compiled: bool) -> None:
    edges = [[n + 1] for n in range(999)] + [[]]
    assert len(reached(edges, [0], compiled)) == 1000
    assert parts(edges, [True] * 1000, compiled) == [0] * 1000
    assert reached([], [], compiled) == set()


def test_what_was_reached_before_is_not_counted_again() -> None:
    out = np.array([False, True, False])
    assert reach.py_func(*rows([[1], [2], []]), np.array([0], np.int64), np.empty(3, np.int64), out) == 1
    assert out.tolist() == [True, True, False]
