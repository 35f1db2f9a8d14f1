"""QuIP#: indices into a lattice codebook, between two sign vectors as long as the output and the input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import FEWEST_BITS, Packed, Stored

NAME = "quip#"
SPEC = "quip-sharp lib/linear/quantized_linear.py: Qidxs int16 [out, in / 8] or int64, SU [in], SV [out], Wscale, codebook_id"

_BESIDE = ("SU", "SV", "Wscale", "codebook_id", "had_left", "had_right", "rescale_WH", "scaleWH", "ocs_dupe_inds")
_MOST_BITS = 8


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """Output x input, where that leaves 2 to 8 bits a weight (forks round both up); else two bits a weight."""
    for prefix, row in stored.ending("Qidxs"):
        inputs, outputs = stored.get(prefix, "SU"), stored.get(prefix, "SV")
        if not stored.is_integer(row):
            continue
        most = stored.bits(row) // FEWEST_BITS
        beside = stored.beside(prefix, _BESIDE)
        if inputs is None or outputs is None:
            yield Packed(row, most, beside)
            continue
        shown = stored.elements(inputs) * stored.elements(outputs)
        if stored.bits(row) <= _MOST_BITS * shown and shown <= most + most // 64:
            yield Packed(row, shown, beside)
        else:
            yield Packed(row, max(shown, most), beside, other=min(shown, most))
