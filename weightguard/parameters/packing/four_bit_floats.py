"""MXFP4 and NVFP4: two 4-bit floats a byte, scales in tensors of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, Stored, larger

NAME = "mxfp4/nvfp4"
SPEC = (
    "transformers mxfp4.py (*_blocks, *_scales); ModelOpt NVFP4 (weight uint8, weight_scale e4m3 a group of 16, weight_scale_2);"
    " Quark MXFP4 (weight uint8, weight_scale uint8 a group of 32); FP-Quant (qweight, scales, both uint8);"
    " DeepSeek (weight int8, scale e8m0)"
)

_BESIDE = (
    "weight_scale",
    "weight_scale_2",
    "weight_global_scale",
    "input_scale",
    "input_global_scale",
    "pre_quant_scale",
    "scale",
)
_FP_QUANT = ("scales", "weight_global_scale", "act_global_scale", "forward_hadamard_matrix", "backward_hadamard_matrix")
_GROUP = {"F8_E4M3": 16, "F8_E8M0": 32, "U8": 32}
_STACKED = ("_scale", "_scale_2", "_input_scale", "_scale_inv", "_weight_scale", "_weight_scale_2")


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """Twice the stored bytes. A `weight` of bytes is packed where its scales are one byte a group of 16 or 32."""
    for prefix, row in stored.ending("_blocks"):
        if stored.dtype(row) == "U8" and stored.get(prefix, "scales") is not None:
            yield Packed(row, 2 * stored.elements(row), stored.beside(prefix, ("scales",)))
    for prefix, row in stored.ending("qweight"):
        scales = stored.get(prefix, "scales")
        if stored.dtype(row) == "U8" and scales is not None and stored.dtype(scales) == "U8":
            yield Packed(row, 2 * stored.elements(row), stored.beside(prefix, _FP_QUANT))
    for name, row in stored.of_dtypes("U8", "I8"):
        if name.endswith(".weight"):
            prefix = name[: -len("weight")]
            scale, beside = stored.get(prefix, "weight_scale", "scale"), stored.beside(prefix, _BESIDE)
        else:  # stacked experts: gate_up_proj, gate_up_proj_weight_scale
            scale, beside = stored.get(name, "_weight_scale", "_scale"), stored.beside(name, _STACKED)
        group = _GROUP.get(stored.dtype(scale), 0) if scale is not None else 0
        if scale is not None and group and stored.elements(scale) * group >= stored.elements(row):
            shown = stored.elements(scale) * group
            if shown in (stored.elements(row), stored.elements(row) * 4 // 3):  # one a byte, or four in three
                yield Packed(row, shown, beside)
            else:
                logical, other = larger(2 * stored.elements(row), min(shown, 2 * stored.elements(row)))
                yield Packed(row, logical, beside, other=other)
