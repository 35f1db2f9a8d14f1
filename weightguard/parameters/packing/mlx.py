"""MLX and Metal: b-bit weights in uint32 words, with scales and biases (zero points) a group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import FEWEST_BITS, LONGEST_GROUP, Packed, Stored, claimed, larger

NAME = "mlx"
SPEC = (
    "mlx.nn.QuantizedLinear: weight uint32 [out, in * b / 32], scales, biases [out, in / group_size], group_size 32, 64 or 128;"
    " transformers metal_quantization.py: qbiases; modes mxfp4, mxfp8, nvfp4: scales uint8 a group of 32 or 16"
)

_GROUPS = (16, 32, 64, 128)
_BITS = (2, 3, 4, 5, 6, 8)


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """By the bits and groups that the config gives some layer and the shapes allow; else by the fewest bits that they allow."""
    bits, groups = set(claimed(config, "bits")), set(claimed(config, "group_size", most=LONGEST_GROUP))
    for prefix, row in stored.ending("weight"):
        scales = stored.get(prefix, "scales")
        if stored.dtype(row) != "U32" or scales is None:
            continue
        beside = stored.beside(prefix, ("scales", "biases", "qbiases"))
        total, n = stored.bits(row), stored.elements(scales)
        agreed = [total // b for b in bits if any(n * g == total // b for g in groups or _GROUPS)]
        fit = [total // b for b in _BITS if any(n * g == total // b for g in _GROUPS)]
        if agreed or not bits:
            yield Packed(row, max(agreed or fit or [total // FEWEST_BITS]), beside)
        else:
            logical, other = larger(*(total // b for b in bits), *(n * g for g in groups))
            yield Packed(row, logical, beside, other=other)
