"""Marlin tiles, dense and 2:4 sparse: 4-bit words, and, where half of the weights are left out, which ones they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import FEWEST_BITS, Packed, Stored, claimed, larger

NAME = "marlin"
SPEC = (
    "Marlin: B int32 [in / 16, out * 2], s; QQQ: B, s_channel, s_group; Sparse-Marlin: B_24 int32, B_meta, s;"
    " compressed-tensors marlin-24: weight_packed, scale_packed, meta"
)

_BESIDE = ("s", "s_channel", "s_group", "workspace", "reduce_buffer", "scale_packed", "weight_shape", "weight_zero_point")


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """Dense: eight a word. 2:4: the metadata have four bits for four weights, so as many weights as bits, zeros included."""
    bits = min(claimed(config, "bits", "num_bits"), default=None)
    for prefix, row in stored.ending("B"):
        if stored.get(prefix, "s", "s_channel") is not None and stored.dtype(row) == "I32":
            yield Packed(row, stored.bits(row) // 4, stored.beside(prefix, _BESIDE))
    for part, meta_part in (("B_24", "B_meta"), ("weight_packed", "meta")):
        for prefix, row in stored.ending(part):
            meta = stored.get(prefix, meta_part)
            if meta is None or stored.dtype(row) != "I32" or not stored.is_integer(meta):
                continue
            shown, most = stored.bits(meta), 2 * stored.bits(row) // FEWEST_BITS
            beside = (*stored.beside(prefix, _BESIDE), meta)
            if 2 * stored.bits(row) in (4 * shown, 8 * shown):
                logical, other = larger(shown, 2 * stored.bits(row) // bits if bits else None)
                yield Packed(row, logical, beside, other=other)
            else:
                yield Packed(row, max(most, shown), beside, other=min(most, shown))
