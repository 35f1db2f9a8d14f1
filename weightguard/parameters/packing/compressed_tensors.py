"""compressed-tensors, pack-quantized and 4-bit floats: `weight_packed` words beside `weight_shape` and scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, dtype_is, siblings
from weightguard.tensors import TensorTable

NAME = "compressed-tensors"
SPEC = "compressed-tensors pack_quantized, nvfp4: weight_packed, weight_scale, weight_shape, weight_zero_point, weight_g_idx"

_FEWEST_BITS = 2
_BESIDE = (
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_g_idx",
    "weight_global_scale",
    "input_global_scale",
    "input_scale",
)


def find(table: TensorTable, rows: Mapping[str, int], config: Mapping[str, Any]) -> Iterator[Packed]:
    """Words of int32 by the config's bits, dense across words (older releases pack fewer, never more); bytes by two."""
    bits = _bits(config)
    for name, row in rows.items():
        if not name.endswith(".weight_packed"):
            continue
        beside = siblings(rows, name[: -len("weight_packed")], *_BESIDE)
        if dtype_is(table, row, "I32"):
            yield Packed(row, int(table.elements[row]) * 32 // bits, beside)
        elif dtype_is(table, row, "U8"):
            yield Packed(row, 2 * int(table.elements[row]), beside)


def _bits(config: Mapping[str, Any]) -> int:
    """The fewest `num_bits` of any group of the config; the fewest that exist if it names none."""
    groups = config.get("config_groups")
    said = []
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        bits = weights.get("num_bits") if isinstance(weights, dict) else None
        if type(bits) is int and _FEWEST_BITS <= bits <= 8:
            said.append(bits)
    return min(said, default=_FEWEST_BITS)
