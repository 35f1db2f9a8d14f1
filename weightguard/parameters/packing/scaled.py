"""One stored element a weight, with scales beside it: FP8 by block, row or tensor, int8 by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, dtype_is, siblings
from weightguard.tensors import TensorTable

NAME = "scaled"
SPEC = "transformers finegrained_fp8.py (weight_scale_inv), compressed-tensors and ModelOpt (weight_scale, input_scale)"

_ONE_EACH = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8")
_SCALES = (
    "weight_scale_inv",
    "weight_scale",
    "weight_zero_point",
    "input_scale",
    "input_zero_point",
    "activation_scale",
    "input_scale_ub",
)


def find(table: TensorTable, rows: Mapping[str, int], config: Mapping[str, Any]) -> Iterator[Packed]:
    """As many parameters as elements; the scales are none."""
    for name, row in rows.items():
        if not dtype_is(table, row, *_ONE_EACH):
            continue
        if name.endswith(".weight"):
            beside = siblings(rows, name[: -len("weight")], *_SCALES)
        else:  # stacked experts: gate_up_proj, gate_up_proj_scale
            beside = siblings(rows, name, "_scale", "_scale_inv", "_input_scale")
        if beside or not dtype_is(table, row, "I8"):
            yield Packed(row, int(table.elements[row]), beside)
