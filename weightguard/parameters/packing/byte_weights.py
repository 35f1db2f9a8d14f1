"""Two or four small integers a byte beside floating-point scales: BitNet, ModelOpt INT4, Gemma's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import FEWEST_BITS, Packed, Stored, claimed

NAME = "packed bytes"
SPEC = (
    "transformers integrations/bitnet.py: weight uint8 [out / 4, in], weight_scale [1]; ModelOpt INT4 AWQ: weight uint8 [out / 2, in],"
    " weight_scale [out, groups]; integrations/gemma_quant.py: weight, embedding_quantized uint8 [out, in * b / 8], *_scale [out, 1]"
)

_BESIDE = (
    "weight_scale",
    "weight_scale_2",
    "input_scale",
    "pre_quant_scale",
    "input_activation_scale",
    "output_activation_scale",
    "embedding_scale",
)


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """Four a byte where one scale serves all (ternary); two where each row has several; else by the config, or four."""
    said = min(claimed(config, "bits", "num_bits", "weight_bits"), default=None)
    for part, scale_part in (("weight", "weight_scale"), ("embedding_quantized", "embedding_scale")):
        for prefix, row in stored.ending(part):
            scale = stored.get(prefix, scale_part)
            if stored.dtype(row) == "U8" and scale is not None and not stored.is_integer(scale):
                yield Packed(row, stored.bits(row) // _bits(stored, row, scale, said), stored.beside(prefix, _BESIDE))


def _bits(stored: Stored, row: int, scale: int, said: int | None) -> int:
    shape, scales = stored.shape(row), stored.shape(scale)
    if len(scales) == 2 and len(shape) == 2 and scales[1] > 1 and scales[0] == 2 * shape[0]:
        return 4
    return 4 if said == 4 and stored.elements(scale) > 1 else FEWEST_BITS
