"""GPTQ and AWQ: b-bit weights in integer words, along the input (GPTQ), the output (AWQ GEMM), or in tiles (Marlin)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import FEWEST_BITS, LONGEST_GROUP, Packed, Stored, claimed, larger

NAME = "gptq/awq"
SPEC = (
    "GPTQModel, AutoRound: qweight [in * b / 32, out], qzeros [groups, out * b / 32], scales [groups, out], g_idx [in];"
    " AutoAWQ GEMM: qweight [in, out / 8]; GEMV: [out, in / 8], qzeros and scales [out, groups, padded];"
    " GEMV fast: int16 [out / 4, in], zeros as floats; Marlin: [in / 16, out * b / 2], no zeros"
)

_BESIDE = ("qzeros", "scales", "g_idx", "scaled_zeros", "workspace", "perm", "g_idx_sort_indices")
_PER_MODULE = ("dynamic", "extra_config")  # GPTQModel, AutoRound: bits of single modules


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """By the bits that the shapes show (qzeros or tiles against scales), by g_idx, and by the config: the largest."""
    bits = min(claimed(config, "bits", "w_bit", depth=1), default=None)
    group = max(claimed(config, "group_size", most=LONGEST_GROUP, depth=1), default=None)
    mixed = any(config.get(key) for key in _PER_MODULE)
    for prefix, row in stored.ending("qweight"):
        scales = stored.get(prefix, "scales")
        if scales is None or stored.dtype(row) not in ("I8", "I16", "I32", "I64"):
            continue
        counts = _by_shapes(stored, prefix, row, scales)
        if not counts and group:
            counts.append(stored.elements(scales) * group)
        if bits and not (mixed and counts):
            counts.append(stored.bits(row) // bits)
        logical, other = larger(*(counts or [stored.bits(row) // FEWEST_BITS]))
        yield Packed(row, logical, stored.beside(prefix, _BESIDE), other=other)


def _by_shapes(stored: Stored, prefix: str, row: int, scales: int) -> list[int]:
    """Each count that the shapes show."""
    zeros, order = stored.get(prefix, "qzeros", "scaled_zeros"), stored.get(prefix, "g_idx")
    shape, scale_shape = stored.shape(row), stored.shape(scales)
    out = scale_shape[-1] if scale_shape else 0
    counts: list[int] = []
    if zeros is not None and stored.is_integer(zeros):
        words = stored.shape(zeros)[-1:] or (0,)
        if out and words[0] * stored.width(zeros) % out == 0 and 1 <= (bits := words[0] * stored.width(zeros) // out) <= 8:
            counts.append(stored.bits(row) // bits)
    elif zeros is not None and stored.dtype(row) == "I16":
        counts.append(stored.bits(row) // 4)
    elif zeros is None and out and len(shape) == 2 and shape[-1] in (2 * out, 4 * out):
        counts.append(stored.bits(row) // (2 * shape[-1] // out))
    elif zeros is None and out and len(shape) == 2 and any(shape[-1] * stored.width(row) == out * b for b in range(2, 9)):
        counts.append(shape[0] * out)
    if order is not None and len(shape) == 2 and shape[-1] == out:
        ordered = stored.elements(order) * out
        if any(ordered * bits == stored.bits(row) for bits in range(1, 9)):
            counts.append(ordered)
    return counts
