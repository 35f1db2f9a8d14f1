"""bitsandbytes: two 4-bit values a stored byte (NF4, FP4), or int8 with a row of absolute maxima."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, Stored

NAME = "bitsandbytes"
SPEC = "transformers quantizer_bnb_4bit.py, quantizer_bnb_8bit.py: weight, weight.absmax, weight.quant_state.*; weight, SCB"

_BESIDE = (
    "absmax quant_map nested_absmax nested_quant_map nested_offset quant_state.bitsandbytes__nf4 quant_state.bitsandbytes__fp4"
).split()


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """4 bit: twice the stored bytes, whatever dtype they are stored as; the shape [n / 2, 1] hides the matrix."""
    for prefix, _ in stored.ending("absmax"):
        weight = stored.rows.get(prefix[:-1])
        if weight is not None:
            yield Packed(weight, 2 * stored.bits(weight) // 8, stored.beside(prefix, _BESIDE))
    for prefix, _ in stored.ending("SCB"):
        weight = stored.get(prefix, "weight")
        if weight is not None and stored.dtype(weight) == "I8":
            yield Packed(weight, stored.elements(weight), stored.beside(prefix, ("SCB", "weight_format")), kept=True)
