"""Recurrent mixers, whose cost has no term in the keys: state spaces and linear attention, by the shapes of their tensors.

Their matrix products are those of the chunked form that they are trained in. Sources: Dao and Gu 2024, "Transformers are SSMs",
section 6 (state space duality); Yang et al. 2024, "Gated Delta Networks", section 3.3; Qin et al. 2024, "Lightning Attention-2";
Gu and Dao 2023, "Mamba", appendix D (the selective scan, element by element).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weightguard.architecture.columns import Blocks
from weightguard.architecture.config import Config
from weightguard.tensors import Int64, TensorTable

DELTA_CHUNK = 64
STATE_CHUNK = 256
_SELECTIVE = 9  # operations for each value of the state, of each token
_STATE = ("A_log", "ssm_a")
_OUT = ("out_proj", "o_proj", "dense", "ssm_out")
_MOST = 1 << 20  # heads, widths and states of a mixer


@dataclass(frozen=True, eq=False)
class Scan:
    """Operations a token of each block and a last row: arrays of int64, shape (blocks + 1,).

    products: by matrix multiplication. elementwise: what no matrix product does.
    """

    products: Int64
    elementwise: Int64


def scans(table: TensorTable, blocks: Blocks, config: Config | None) -> Scan:
    """From each block's tensors, and the config for what no shape shows: groups, chunks, the width of a key."""
    rows = len(blocks) + 1
    products, elementwise = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    modules: dict[tuple[int, str], dict[str, tuple[int, ...]]] = defaultdict(dict)
    found = [(row, name) for row, name in enumerate(table.names) if name.endswith((*_STATE, "slope_rate"))]
    if not found:
        return Scan(products, elementwise)
    wanted = {name[: name.rfind(".") + 1] for _, name in found}
    for row, name in enumerate(table.names):
        bare = name.removesuffix(".weight")
        module = bare[: bare.rfind(".") + 1]
        if module in wanted:
            modules[int(blocks.of[row]), module][bare[len(module) :]] = table.shape(row)
    values = config or Config({})
    for (block, _), shapes in modules.items():
        a, b = _operations(shapes, values)
        products[block] += a
        elementwise[block] += b
    return Scan(products, elementwise)


def _operations(shapes: Mapping[str, tuple[int, ...]], config: Config) -> tuple[int, int]:
    """(by matrix products, element by element) a token, of one mixer."""
    state = next((shapes[name] for name in _STATE if name in shapes), None)
    out = next((shapes[name] for name in _OUT if len(shapes.get(name, ())) == 2), None)
    if state is None:
        return _lightning(shapes, out, config), 0
    wide = [size for size in state if size > 1]
    if len(wide) > 1:
        return 0, _SELECTIVE * wide[-2] * wide[-1] * (state[0] if len(wide) > 2 else 1)
    heads = wide[0] if wide else 1
    if out is None or not 0 < heads <= out[1] <= _MOST:
        return 0, 0
    value = out[1] // heads
    if "D" in shapes or "ssm_d" in shapes:
        conv = shapes.get("conv1d") or shapes.get("ssm_conv1d") or ()
        groups = config.number("n_groups", "mamba_n_groups", "mamba_ngroups")
        both = (max(conv) - out[1]) // 2 if conv and max(conv) > out[1] else 0
        width = config.number("state_size", "mamba_d_state", "ssm_state_size") or (both // groups if groups else min(both, 128))
        chunk = config.number("chunk_size", "mamba_chunk_size") or STATE_CHUNK
        if not 0 < width <= _MOST or chunk > _MOST:
            return 0, 0
        return 2 * heads * (chunk * (width + value) + 2 * width * value), 0
    key = config.number("linear_key_head_dim", "linear_head_dim") or value
    if key > _MOST:
        return 0, 0
    return heads * (6 * key * value + 2 * DELTA_CHUNK * (key + 2 * value)), 0


def _lightning(shapes: Mapping[str, tuple[int, ...]], out: tuple[int, ...] | None, config: Config) -> int:
    slopes = shapes.get("slope_rate", ())
    heads = max(slopes, default=0)
    if out is None or not 0 < heads <= out[1] <= _MOST:
        return 0
    width, chunk = out[1] // heads, min(config.number("block_size") or STATE_CHUNK, _MOST)
    return heads * (4 * chunk * width + 4 * width * width)
