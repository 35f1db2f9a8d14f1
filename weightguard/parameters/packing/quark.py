"""Quark: 4-bit weights, eight in a word of int32, under the name of an unpacked weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import FEWEST_BITS, LONGEST_GROUP, Packed, Stored, claimed, larger

NAME = "quark"
SPEC = "quark torch/utils/pack.py: weight int32 [out, in / 8], or [in, out / 8] by group; weight_scale, weight_zero_point"

_BESIDE = (
    "weight_scale weight_zero_point input_scale input_zero_point output_scale output_zero_point bias_scale bias_zero_point"
    " weight_quantizer.scale weight_quantizer.zero_point input_quantizer.scale input_quantizer.zero_point"
).split()
_BITS = {"int4": 4, "uint4": 4, "int3": 3, "uint3": 3, "int2": 2, "uint2": 2, "int8": 8, "uint8": 8}


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """By the columns that the scales show, by packed zero points, and by the config's dtype: the largest; else the fewest bits."""
    said, group = _claimed(config)
    for prefix, row in stored.ending("weight"):
        scale = stored.get(prefix, "weight_scale", "weight_quantizer.scale")
        if stored.dtype(row) != "I32" or scale is None:
            continue
        zeros = stored.get(prefix, "weight_zero_point", "weight_quantizer.zero_point")
        counts = [stored.bits(row) // said] if said else []
        shape, scales = stored.shape(row), stored.shape(scale)
        if len(shape) == len(scales) == 2 and any(shape[1] * 32 == scales[1] * b for b in (2, 3, 4, 8)):  # a scale a column
            counts.append(shape[0] * scales[1])
        elif group and said and len(scales) == 2 and 1 not in scales:
            counts.append(stored.elements(scale) * group)
        if zeros is not None and stored.dtype(zeros) == "I32" and stored.elements(scale):
            bits = stored.bits(zeros) // stored.elements(scale)
            if bits in (2, 3, 4, 8):
                counts.append(stored.bits(row) // bits)
        logical, other = larger(*(counts or [stored.bits(row) // FEWEST_BITS]))
        yield Packed(row, logical, stored.beside(prefix, _BESIDE), other=other)


def _claimed(config: Mapping[str, Any]) -> tuple[int, int]:
    """The fewest bits and the longest group of any weights that the config speaks of, globally or of a layer; 0 for none."""
    bits, groups = [], []
    levels: list[Any] = [config]
    for _ in range(5):
        dicts = [v for v in levels if isinstance(v, dict)]
        for level in dicts:
            weights = level.get("weight")
            for entry in weights if isinstance(weights, list) else [weights]:
                dtype = entry.get("dtype") if isinstance(entry, dict) else None
                bits += [_BITS[dtype]] if isinstance(dtype, str) and dtype in _BITS else []
                groups += claimed(entry, "group_size", most=LONGEST_GROUP, depth=1)
        levels = [v for d in dicts for v in d.values()]
    return min(bits, default=0), max(groups, default=0)
