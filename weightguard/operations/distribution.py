"""Where training operations probably lie, within their bounds: quantiles of a simulation. They decide nothing.

What is drawn, log-uniformly and apart from one another: the tokens of a claim between its ends; the mean training context between an
eighth of the stated one (packed documents) and all of it; a factor from 0.95 to 1.3 for packing and what the formula leaves out
(published totals of one run lie that far from it), times 1 to 1.2 for later training of a base or instruction model.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from weightguard.kernels.monte_carlo import simulate_operations
from weightguard.operations.forward import Forward
from weightguard.values import Distribution, Interval

Float64 = npt.NDArray[np.float64]

SAMPLES, LEVEL, SEED = 4096, Fraction(9, 10), 0
FACTOR = (0.95, 1.3 * 1.2)
_SHORTEST = 8
_DIGITS = 6
_WORD = 1 << 64


@dataclass(frozen=True, eq=False)
class Columns:
    """Layers of many models end to end, and what is drawn for each model: see `kernels.monte_carlo`."""

    starts: npt.NDArray[np.int64]
    matmul: Float64
    attention: Float64
    window: Float64
    ranges: Float64


def columns(models: Sequence[tuple[Forward, tuple[float, float], int]]) -> Columns:
    """The columns of (forward operations, [low, high] tokens, training context) of each model."""
    starts = np.zeros(len(models) + 1, np.int64)
    np.cumsum([len(forward.layer_matmul) for forward, _, _ in models], out=starts[1:])
    ranges = np.array(
        [(tokens, (max(1.0, context / _SHORTEST), float(max(context, 1))), FACTOR) for _, tokens, context in models], np.float64
    )
    matmul, attention, window = (
        np.concatenate([getattr(forward, name) for forward, _, _ in models]).astype(np.float64)
        for name in ("layer_matmul", "layer_attention", "window")
    )
    return Columns(starts, matmul, attention, window, ranges.reshape(len(models), 3, 2))


def places(samples: int, level: Fraction) -> tuple[int, int]:
    """Places of the two quantiles among sorted samples, outward."""
    tail = (1 - level) / 2
    return floor(tail * (samples - 1)), ceil((1 - tail) * (samples - 1))


def simulate(
    c: Columns, *, seed: int = SEED, samples: int = SAMPLES, level: Fraction = LEVEL, threads: int = 1
) -> tuple[Float64, Float64]:
    """Lower and upper quantiles of each model, in operations: arrays of float64, shape (models,). The same for any `threads`."""
    n = len(c.starts) - 1
    low, high = np.zeros(n), np.zeros(n)
    below, above = places(samples, level)

    def part(first: int, last: int) -> int:
        buffer = np.empty((5, samples))
        return simulate_operations(
            c.starts, c.matmul, c.attention, c.window, c.ranges, first, last, seed, buffer, below, above, low, high
        )

    edges = [n * t // threads for t in range(threads + 1)]
    if threads == 1:
        with np.errstate(over="ignore"):  # where it runs plain, the generator wraps on purpose
            part(0, n)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, edges[:-1], edges[1:]))
    return low, high


def simulate_plainly(
    c: Columns, model: int, *, seed: int = SEED, samples: int = SAMPLES, level: Fraction = LEVEL
) -> tuple[float, float]:
    """The same for one model by NumPy, which a scan has loaded anyway: no compilation for a handful of models."""
    counters = np.uint64(3) * (np.uint64(model * samples) + np.arange(samples, dtype=np.uint64))
    drawn = []
    for k in range(3):
        x = np.uint64(seed % _WORD) + (counters + np.uint64(k + 1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
        low, high = c.ranges[model, k]
        drawn.append(low * np.exp((x >> np.uint64(11)).astype(np.float64) / 2.0**53 * np.log(high / low)))
    tokens, context, factor = drawn
    total = np.zeros(samples)
    for layer in range(c.starts[model], c.starts[model + 1]):
        w = c.window[layer]
        full = (context + 1) / 2
        keys = full if w == 0 else np.where(w >= context, full, (w * (w + 1) / 2 + (context - w) * w) / context)
        total += c.matmul[layer] + c.attention[layer] * keys
    values = np.sort(3 * total * tokens * factor)
    below, above = places(samples, level)
    return float(values[below]), float(values[above])


def of_tokens(forward: Forward, low: Fraction, high: Fraction, context: int, within: Interval) -> Distribution | None:
    """The distribution of a model whose tokens are claimed, cut to the bounds that decide: what lies outside is not believed."""
    if low <= 0 or not 0 < context < 1 << 31 or high > 10**30 or not len(forward.layer_matmul):
        return None
    found = simulate_plainly(columns([(forward, (float(low), float(high)), context)]), 0)
    a, b = (_rounded(value, within) for value in found)
    return Distribution(float(LEVEL), min(a, b), b, SEED)


def _rounded(value: float, within: Interval) -> float:
    """To six digits, so that no processor's last digit shows, and no further out than the bounds."""
    number = float(f"{value:.{_DIGITS - 1}e}")
    top = float("inf") if within.high is None else float(within.high)
    return min(max(number, float(within.low)), top)
