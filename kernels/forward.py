"""Forward operations over layer columns, 2 a multiply-accumulate, with overflow seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightguard.kernels._jit import kernel

Int64 = npt.NDArray[np.int64]


@kernel(work=lambda dense, *_: 4 * len(dense))
def forward_by_layer(
    dense: Int64,
    routed: Int64,
    used: Int64,
    experts: Int64,
    heads: Int64,
    qk: Int64,
    v: Int64,
    out_matmul: Int64,
    out_attention: Int64,
) -> int:
    """Operations of each layer for one token, by matrix multiplication, and for one token and one key, by softmax attention.

    dense, routed: arrays of int64, shape (n,), parameters. used, experts: arrays of int64, shape (n,), used <= experts, experts > 0.
    heads, qk, v: arrays of int64, shape (n,): query heads, width of a query and of a value.
    out_matmul: array of int64, shape (n,): 2 * (dense + routed * used / experts), rounded up.
    out_attention: array of int64, shape (n,): 2 * heads * (qk + v).
    Returns -1, or the first layer whose number passes 2**62. Reads each layer once.
    """
    most = np.int64(1) << 61
    for layer in range(len(dense)):
        share = routed[layer] // experts[layer]
        rest = routed[layer] % experts[layer]
        if share > most // used[layer] or rest > most // used[layer] or dense[layer] > most:
            return layer
        part = share * used[layer] + (rest * used[layer] + experts[layer] - 1) // experts[layer]
        if part > most - dense[layer]:
            return layer
        if qk[layer] > most - v[layer] or (heads[layer] > 0 and qk[layer] + v[layer] > most // heads[layer]):
            return layer
        out_matmul[layer] = 2 * (dense[layer] + part)
        out_attention[layer] = 2 * heads[layer] * (qk[layer] + v[layer])
    return -1


@kernel(work=lambda matmul, *_: 4 * len(matmul))
def operations_at_context(matmul: Int64, attention: Int64, window: Int64, context: int, causal: bool, out_twice: Int64) -> int:
    """Twice the mean forward operations a token, of each layer, over a sequence of `context` tokens.

    matmul, attention: arrays of int64, shape (n,), from `forward_by_layer`. window: array of int64, shape (n,), keys that a token
    sees at most, 0 for all. causal: a token sees itself and what stands before it; else all of the sequence or window.
    out_twice: array of int64, shape (n,): 2 * matmul + attention * (twice the mean number of keys, rounded up).
    Returns -1, or the first layer whose number passes 2**63 - 1; the first of all if context > 2**31. Reads each layer once.
    """
    most = 9223372036854775807
    if context > 1 << 31:  # its square passes 2**62
        return 0 if len(matmul) > 0 else -1
    for layer in range(len(matmul)):
        if matmul[layer] > most // 2:
            return layer
        w = window[layer]
        if w == 0 or w > context:
            w = np.int64(context)
        twice_keys = 2 * w
        if causal:
            # the first w tokens see 1 to w keys, the others w
            twice_keys = (w * (w + 1) + 2 * (context - w) * w + context - 1) // max(context, 1)
        if twice_keys > 0 and attention[layer] > (most - 2 * matmul[layer]) // twice_keys:
            return layer
        out_twice[layer] = 2 * matmul[layer] + attention[layer] * twice_keys
    return -1
