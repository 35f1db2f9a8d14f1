"""bitsandbytes: two 4-bit values a stored byte (NF4, FP4), or int8 with a row of absolute maxima."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, dtype_is, siblings
from weightguard.tensors import DTYPE_BITS, TensorTable

NAME = "bitsandbytes"
SPEC = "transformers quantizer_bnb_4bit.py, quantizer_bnb_8bit.py: weight, weight.absmax, weight.quant_state.*; weight, SCB"


def find(table: TensorTable, rows: Mapping[str, int], config: Mapping[str, Any]) -> Iterator[Packed]:
    """4 bit: twice the stored bytes, whatever dtype they are stored as; the shape [n / 2, 1] hides the matrix."""
    for name in rows:
        if name.endswith(".absmax") and not name.endswith(".nested_absmax"):
            weight = rows.get(name[: -len(".absmax")])
            if weight is None:
                continue
            prefix = name[: -len("absmax")]
            states = tuple(
                rows[n]
                for n in (prefix + "quant_state.bitsandbytes__nf4", prefix + "quant_state.bitsandbytes__fp4")
                if n in rows
            )
            beside = siblings(rows, prefix, "absmax", "quant_map", "nested_absmax", "nested_quant_map", "nested_offset")
            bytes_ = int(table.elements[weight]) * int(DTYPE_BITS[table.dtypes[weight]]) // 8
            yield Packed(weight, 2 * bytes_, beside + states)
        elif name.endswith(".SCB"):
            weight = rows.get(name[: -len("SCB")] + "weight")
            if weight is not None and dtype_is(table, weight, "I8"):
                yield Packed(weight, int(table.elements[weight]), siblings(rows, name[: -len("SCB")], "SCB", "weight_format"))
