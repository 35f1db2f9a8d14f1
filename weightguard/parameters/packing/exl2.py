"""EXL2: rows of words of 2 to 8 bits a weight, mixed by group: only the permutation says how many inputs there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import FEWEST_BITS, Packed, Stored

NAME = "exl2"
SPEC = "exllamav2 linear.py: q_weight int32 [rows, out], q_scale, q_scale_max, q_groups, q_group_map, q_perm, q_invperm [in]"

_BESIDE = ("q_scale", "q_scale_max", "q_groups", "q_group_map", "q_perm", "q_invperm")
_MOST_BITS = 8


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """Inputs x outputs, where that leaves 2 to 8 bits a weight; else two bits a weight."""
    for prefix, row in stored.ending("q_weight"):
        order, shape = stored.get(prefix, "q_invperm", "q_perm"), stored.shape(row)
        if len(shape) != 2 or stored.dtype(row) != "I32":
            continue
        most, beside = stored.bits(row) // FEWEST_BITS, stored.beside(prefix, _BESIDE)
        shown = stored.elements(order) * shape[1] if order is not None else most
        if stored.bits(row) <= _MOST_BITS * shown and shown <= most:
            yield Packed(row, shown, beside)
        else:
            yield Packed(row, max(shown, most), beside, other=min(shown, most))
