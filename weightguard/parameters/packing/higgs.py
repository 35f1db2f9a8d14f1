"""HIGGS: b bits a weight in int16, decoded by tables of 2^b entries (FLUTE)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import FEWEST_BITS, Packed, Stored, claimed, larger

NAME = "higgs"
SPEC = "transformers integrations/higgs.py: weight int16 [out * b / 16, in], scales [out, groups], tables [2^b], tables2 [2^b, 2^b, 2]"


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """By the bits that the tables' length shows, and by the config's."""
    said = min(claimed(config, "bits", depth=1), default=None)
    for prefix, row in stored.ending("weight"):
        tables = stored.get(prefix, "tables")
        if tables is None or stored.dtype(row) != "I16":
            continue
        entries = stored.elements(tables)
        bits = entries.bit_length() - 1
        shown = stored.bits(row) // bits if 1 <= bits <= 8 and entries == 1 << bits else stored.bits(row) // FEWEST_BITS
        logical, other = larger(shown, stored.bits(row) // said if said else None)
        yield Packed(row, logical, stored.beside(prefix, ("scales", "tables", "tables2", "workspace")), other=other)
