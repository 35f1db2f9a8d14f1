"""compressed-tensors, pack-quantized: `weight_packed` words beside `weight_shape` and scales; 4- and 6-bit floats in bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import FEWEST_BITS, Packed, Stored, larger

NAME = "compressed-tensors"
SPEC = (
    "compressed-tensors pack_quantized (weight_packed int32, weight_scale, weight_shape, weight_zero_point, weight_g_idx),"
    " nvfp4, mxfp4, mxfp6 (weight_packed uint8, weight_scale a group of 16 or 32, weight_global_scale)"
)

_BESIDE = (
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_g_idx",
    "weight_global_scale",
    "input_global_scale",
    "input_scale",
    "input_zero_point",
    "weight_scale_2",
)
_GROUPS = {"F8_E4M3": 16, "F8_E8M0": 32, "U8": 32}  # weights a scale, by the scale's dtype: NVFP4, the MX formats


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """Words by whichever of the config's groups fit the shapes, else the largest of all; bytes by their groups' scales."""
    claims = _claims(config)
    for prefix, row in stored.ending("weight_packed"):
        beside = stored.beside(prefix, _BESIDE)
        scale = stored.get(prefix, "weight_scale")
        if stored.dtype(row) == "I32":
            yield _words(stored, prefix, row, scale, claims, beside)
        elif stored.dtype(row) in ("U8", "I8"):
            most = 2 * stored.elements(row)
            group = _GROUPS.get(stored.dtype(scale), 0) if scale is not None else 0
            shown = stored.elements(scale) * group if scale is not None else 0
            if 3 * shown == 4 * stored.elements(row):  # four of six bits in three bytes
                yield Packed(row, shown, beside)
            else:
                logical, other = larger(most, shown or None)
                yield Packed(row, logical, beside, other=other)


def _words(
    stored: Stored, prefix: str, row: int, scale: int | None, claims: list[tuple[int, int]], beside: tuple[int, ...]
) -> Packed:
    shape, scales = stored.shape(row), stored.shape(scale) if scale is not None else ()
    words = shape[-1] if shape else 0
    rows = stored.elements(row) // words if words else 0
    order, zeros = stored.get(prefix, "weight_g_idx"), stored.get(prefix, "weight_zero_point")
    inputs = stored.elements(order) if order is not None else 0
    fit: dict[int, int] = {}  # count -> bits
    every: list[int] = []
    for bits, group in claims:
        most = words * 32 // bits  # the last word may be filled in part
        columns = scales[-1] * group if group and scales else inputs or most
        every += (rows * most, rows * columns)
        if words in _word_counts(columns, bits):
            fit[rows * columns] = bits
    shown = [rows * inputs] if any(words in _word_counts(inputs, b) for b in range(1, 9)) else []
    if zeros is not None and stored.dtype(zeros) == "I32" and len(stored.shape(zeros)) == 2 and rows:  # packed along the output
        possible = [b for b in range(1, 9) if stored.shape(zeros)[0] in _word_counts(rows, b)]
        if not any(b in fit.values() or words in _word_counts(inputs, b) for b in possible):
            shown += [rows * (words * 32 // b) for b in possible[:1]]
    if not fit and not shown:  # no claim, or none that can be true
        return Packed(row, max(stored.bits(row) // FEWEST_BITS, *every, 0), beside, other=min(every, default=None))
    logical, other = larger(max(fit, default=None), *shown)  # of several groups of the config that fit, the largest
    return Packed(row, logical, beside, other=other)


def _word_counts(values: int, bits: int) -> tuple[int, int]:
    """Words for a row of values: dense across words, as releases from 0.13 on pack, and whole values a word, as those before."""
    return -(-values * bits // 32), -(-values // (32 // bits))


def _claims(config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(bits, group size or 0) of every group of the config, least bits first."""
    groups = config.get("config_groups")
    said = []
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if not isinstance(weights, dict):
            continue
        bits, size = weights.get("num_bits"), weights.get("group_size")
        if type(bits) is int and 1 <= bits <= 8:
            said.append((bits, size if type(size) is int and size > 0 else 0))
    return sorted(set(said))
