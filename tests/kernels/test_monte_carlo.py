"""simulate_operations against plain NumPy on the same input, compiled and plain."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightguard.kernels.monte_carlo import simulate_operations
from weightguard.operations.distribution import Columns, places, simulate, simulate_plainly

SAMPLES = 257
forms = pytest.mark.parametrize("form", [lambda k: k.compiled, lambda k: k.py_func], ids=["compiled", "plain"])
amounts = st.floats(1, 1e15)


@st.composite
def models(draw: st.DrawFn) -> Columns:
    layers = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    n = sum(layers)
    columns = [np.array(draw(st.lists(amounts, min_size=n, max_size=n))) for _ in range(2)]
    window = np.array(draw(st.lists(st.sampled_from([0.0, 1.0, 128.0, 4096.0]), min_size=n, max_size=n)))
    ends = [sorted(draw(st.tuples(amounts, amounts))) for _ in range(3 * len(layers))]
    starts = np.concatenate([[0], np.cumsum(layers)]).astype(np.int64)
    return Columns(starts, columns[0], columns[1], window, np.array(ends).reshape(len(layers), 3, 2))


def run(form: Any, c: Columns, seed: int, first: int, last: int) -> tuple[Any, Any]:
    low, high = np.zeros(len(c.starts) - 1), np.zeros(len(c.starts) - 1)
    with np.errstate(over="ignore"):  # the generator wraps on purpose
        done = form(simulate_operations)(
            c.starts, c.matmul, c.attention, c.window, c.ranges, first, last, seed, np.empty((5, SAMPLES)), 12, 244, low, high
        )
    assert done == last - first
    return low, high


@forms
@settings(deadline=None, max_examples=25)
@given(c=models(), seed=st.integers(0, 2**62))
def test_the_kernel_draws_and_adds_as_numpy_does(form: Any, c: Columns, seed: int) -> None:
    n = len(c.starts) - 1
    low, high = run(form, c, seed, 0, n)
    assert places(SAMPLES, Fraction(9, 10)) == (12, 244)
    for model in range(n):
        plain = simulate_plainly(c, model, seed=seed, samples=SAMPLES)
        assert (low[model], high[model]) == pytest.approx(plain, rel=1e-9)


@forms
def test_a_model_is_the_same_whatever_ran_before_it(form: Any) -> None:
    c = Columns(
        np.array([0, 1, 2, 3]),
        np.array([10.0, 10.0, 10.0]),
        np.array([1.0, 1.0, 1.0]),
        np.zeros(3),
        np.array([[[1.0, 9.0], [4.0, 8.0], [1.0, 2.0]]] * 3),
    )
    whole, part = run(form, c, 7, 0, 3), run(form, c, 7, 2, 3)
    assert whole[0][2] == part[0][2] and part[0][0] == 0
    assert len(set(whole[0].tolist())) == 3, "each model has draws of its own"


def test_points_have_no_spread_and_count_by_hand() -> None:
    """One layer of 10 and 2 a key at context 3 (mean keys 2): 3 x (10 + 4) x 5 tokens x factor 2."""
    point = np.array([[[5.0, 5.0], [3.0, 3.0], [2.0, 2.0]]])
    c = Columns(np.array([0, 1]), np.array([10.0]), np.array([2.0]), np.zeros(1), point)
    low, high = simulate(c, samples=64)
    assert low[0] == high[0] == pytest.approx(420)


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(1)
    n = 9
    c = Columns(
        np.arange(n + 1) * 3,
        rng.uniform(1, 9, 3 * n),
        rng.uniform(1, 9, 3 * n),
        np.zeros(3 * n),
        np.tile([[1.0, 4.0]] * 3, (n, 1, 1)),
    )
    one, two = simulate(c, samples=SAMPLES), simulate(c, samples=SAMPLES, threads=2)
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])


def test_the_quantiles_of_a_log_uniform_draw_are_those_of_its_law() -> None:
    """Only tokens vary, from 1 to e^10: 5 % lie below e^0.5 and 5 % above e^9.5."""
    ranges = np.array([[[1.0, np.exp(10)], [1.0, 1.0], [1.0, 1.0]]])
    low, high = simulate(Columns(np.array([0, 1]), np.array([1 / 3]), np.zeros(1), np.zeros(1), ranges), samples=1 << 16)
    assert np.log(low[0]) == pytest.approx(0.5, abs=0.05) and np.log(high[0]) == pytest.approx(9.5, abs=0.05)
