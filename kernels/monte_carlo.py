"""Training operations of many models under uncertainty, by simulation: all layers of all models, columns end to end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightguard.kernels._jit import kernel

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@kernel(
    work=lambda starts, matmul, attention, window, ranges, first, last, seed, buffer, *_: (last - first) * buffer.shape[1] * 64
)
def simulate_operations(
    starts: Int64,
    matmul: Float64,
    attention: Float64,
    window: Float64,
    ranges: Float64,
    first: int,
    last: int,
    seed: int,
    buffer: Float64,
    below: int,
    above: int,
    out_low: Float64,
    out_high: Float64,
) -> int:
    """Quantiles of tokens x forward operations x factors, each drawn anew for each sample, of the models from `first` to `last`.

    starts: array of int64, shape (models + 1,): each model's first layer. matmul, attention, window: arrays of float64, shape
    (layers,): operations a token, operations a token and key, keys at most (0 for all). ranges: array of float64, shape
    (models, 3, 2): tokens, context (tokens), and a factor on all; each is drawn log-uniformly between its two ends, which are above
    0. seed: of the run; sample s of model m is drawn by splitmix64 from seed + 3 x (m x samples + s), whatever ran before it.
    buffer: array of float64, shape (5, samples), overwritten. below, above: places of the two quantiles among the sorted samples.
    out_low, out_high: arrays of float64, shape (models,), the two quantiles, in operations.
    Returns the models simulated. The memory used is `buffer`. Reads each model once.
    """
    samples = buffer.shape[1]
    values, contexts, totals, halves, inverses = buffer[0], buffer[1], buffer[2], buffer[3], buffer[4]
    scale = 1.0 / 9007199254740992.0
    for model in range(first, last):
        lows = ranges[model, :, 0]
        spread = np.log(ranges[model, :, 1] / lows) * scale
        for sample in range(samples):
            logarithm = 0.0
            for k in range(3):
                x = np.uint64(seed) + np.uint64(3 * (model * samples + sample) + k + 1) * np.uint64(0x9E3779B97F4A7C15)
                x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                drawn = np.float64((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * spread[k]
                if k == 1:
                    contexts[sample] = lows[1] * np.exp(drawn)
                else:
                    logarithm += drawn
            values[sample] = np.exp(logarithm)
            totals[sample] = 0.0
            halves[sample] = 0.5 * contexts[sample] + 0.5
            inverses[sample] = 0.5 / contexts[sample]
        fixed = 0.0
        for layer in range(starts[model], starts[model + 1]):  # samples inside, so that a processor takes several at once
            fixed += matmul[layer]
            a, w = attention[layer], window[layer]
            if w == 0.0:
                for sample in range(samples):
                    totals[sample] += a * halves[sample]
            else:  # the first w tokens see 1 to w keys, the others w
                less = w * (w - 1.0)
                for sample in range(samples):
                    keys = halves[sample] if contexts[sample] <= w else w - less * inverses[sample]
                    totals[sample] += a * keys
        for sample in range(samples):
            values[sample] *= 3.0 * lows[0] * lows[2] * (fixed + totals[sample])
        for which in range(2):
            place = below if which == 0 else above
            left, right = 0, samples - 1
            while left < right:  # Hoare's selection
                pivot = values[(left + right) // 2]
                i, j = left, right
                while i <= j:
                    while values[i] < pivot:
                        i += 1
                    while values[j] > pivot:
                        j -= 1
                    if i <= j:
                        values[i], values[j] = values[j], values[i]
                        i += 1
                        j -= 1
                if place <= j:
                    right = j
                elif place >= i:
                    left = i
                else:
                    break
            if which == 0:
                out_low[model] = values[place]
            else:
                out_high[model] = values[place]
    return last - first
