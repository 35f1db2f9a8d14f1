"""One stored element a weight, with scales beside it: FP8 by block, row or tensor, int8 by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, Stored

NAME = "scaled"
SPEC = (
    "transformers finegrained_fp8.py (weight_scale_inv), fbgemm_fp8.py (weight_scale, input_scale_ub), eetq.py (weight_scales);"
    " compressed-tensors, ModelOpt, Quark (weight_scale, input_scale); Quanto (weight._data, weight._scale); Mistral (qscale_weight);"
    " torch.ao nn.quantized: _packed_params, weight with scales and zero_points"
)

_PACKED_PARAMETERS = "_packed_params._packed_params."  # torch.ao's quantised modules: (weight, bias)
_ONE_EACH = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8")
_SCALES = (
    "weight_scale_inv weight_scale weight_scales weight_zero_point input_scale input_zero_point output_scale output_zero_point"
    " activation_scale input_scale_ub pre_quant_scale scale scale_inv qscale_weight qscale_act input_activation_scale"
    " output_activation_scale weight_quantizer.scale weight_quantizer.zero_point input_quantizer.scale"
    " weight.scales weight.zero_points"  # torch's own quantised tensors, as their pickles name them
).split()
_STACKED = ("_scale", "_scale_inv", "_input_scale", "_weight_scale", "_weight_scale_inv", ".scales", ".zero_points")


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """As many parameters as elements; the scales are none."""
    for name, row in stored.of_dtypes(*_ONE_EACH):
        if name.endswith(".weight"):
            beside = stored.beside(name[: -len("weight")], _SCALES)
        elif name.endswith(".weight._data"):
            beside = stored.beside(name[: -len("_data")], ("_scale", "_shift"))
        elif name.endswith(".embedding_quantized"):
            beside = stored.beside(name[: -len("embedding_quantized")], ("embedding_scale",))
        elif name.endswith(".qweight"):
            beside = stored.beside(name[: -len("qweight")], ("weight_scales", "scales"))
        elif _PACKED_PARAMETERS in name:  # the module's own scale is that of what it returns
            beside = (
                *stored.beside(name, _STACKED),
                *stored.beside(name[: name.index(_PACKED_PARAMETERS)], ("scale", "zero_point")),
            )
        else:  # stacked experts: gate_up_proj, gate_up_proj_scale
            beside = stored.beside(name, _STACKED)
        if beside or stored.dtype(row) != "I8" or _PACKED_PARAMETERS in name:
            yield Packed(row, stored.elements(row), beside, kept=True)
