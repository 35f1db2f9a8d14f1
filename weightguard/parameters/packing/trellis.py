"""Trellis-coded tiles of 16 x 16 weights: QTIP and EXL3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, Stored, larger

NAME = "exl3/qtip"
SPEC = (
    "exllamav3 modules/quant/exl3.py: trellis int16 [in / 16, out / 16, 16 * bits], suh or su, svh or sv, mcg, mul1;"
    " qtip lib/linear/quantized_linear.py: trellis int16 [tiles, 16 * bits], SU, SV, tlut, rcp, tp_rank"
)

_BESIDE = ("su", "sv", "suh", "svh", "mcg", "mul1", "SU", "SV", "rcp", "tp_rank", "tlut", "had_left", "had_right", "scale")
_TILE = 256


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """256 weights a tile, and the output x the input that stand beside them: the larger."""
    for prefix, row in stored.ending("trellis"):
        shape = stored.shape(row)
        if len(shape) not in (2, 3) or not stored.is_integer(row):
            continue
        tiles = stored.elements(row) // shape[-1] if shape[-1] else 0
        inputs, outputs = stored.get(prefix, "SU", "suh"), stored.get(prefix, "SV", "svh")
        sides = stored.elements(inputs) * stored.elements(outputs) if inputs is not None and outputs is not None else None
        logical, other = larger(tiles * _TILE, sides)
        yield Packed(row, logical, stored.beside(prefix, _BESIDE), other=other)
