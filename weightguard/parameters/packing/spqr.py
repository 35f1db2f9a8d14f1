"""SpQR: 16 weights of 3 bits and their share of the scales in 64 bits, and outliers apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, Stored

NAME = "spqr"
SPEC = "spqr_quant inference.py: dense_weights int64 [out / 16 * in / 16 * 16], row_offsets, col_vals, in_perm"


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """16 a word. Outliers stand in place of weights, and are none more."""
    for prefix, row in stored.ending("dense_weights"):
        if stored.dtype(row) == "I64" and stored.get(prefix, "row_offsets") is not None:
            beside, tables = stored.beside(prefix, ("row_offsets", "in_perm")), stored.beside(prefix, ("col_vals",))
            yield Packed(row, 16 * stored.elements(row), beside, tables)
