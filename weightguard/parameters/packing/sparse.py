"""compressed-tensors' sparse forms: the values that are not zero, and a bit a weight that says where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, Stored, larger

NAME = "sparse-bitmask"
SPEC = (
    "compressed-tensors sparse_bitmask.py, sparse_24_bitmask.py: compressed, bitmask uint8 [rows, cols / 8], shape, row_offsets"
)

_BESIDE = ("bitmask", "shape", "row_offsets")
_SCALES = ("weight_scale", "weight_zero_point", "input_scale")


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """As many parameters as the mask has bits (rows filled up to whole bytes), zeros included; never fewer than values."""
    for prefix, row in stored.ending("compressed"):
        mask = stored.get(prefix, "bitmask")
        if mask is None or stored.dtype(mask) != "U8":
            continue
        logical, other = larger(stored.bits(mask), stored.elements(row))
        scales = stored.beside(prefix, _SCALES) or stored.beside(prefix.removesuffix("weight."), _SCALES)
        contradicts = other == stored.bits(mask)
        yield Packed(row, logical, (*stored.beside(prefix, _BESIDE), *scales), other=other if contradicts else None)
