"""torchao: tensor subclasses taken apart into `qdata` and scales, flattened into safetensors or pickled as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import FEWEST_BITS, Packed, Stored, larger

NAME = "torchao"
SPEC = (
    "torchao prototype/safetensors (_weight_qdata, _weight_scale, ...; before: weight:qdata) and its tensor subclasses: Int8Tensor,"
    " IntxUnpackedToInt8Tensor and Float8Tensor one element a weight; Int4Tensor int8 [out, in / 2], scale [in / group, out];"
    " Int4TilePackedTo4dTensor int32, eight a word; NVFP4Tensor, MXTensor uint8; AffineQuantizedTensor int_data, packed_weight"
)

_ANCHORS = ("qdata", "int_data", "packed_weight", "float8_data")
_BESIDE = (
    "scale zero_point scale_and_zero act_pre_scale per_tensor_scale act_per_tensor_scale act_quant_scale act_scale act_zero_point"
    " act_quant_zero_point output_act_quant_scale group_scale group_zero row_scale qzeros compensation sparse_metadata meta zero"
).split()
_SPARSE = ("sparse_metadata", "meta")
_GROUPS = {"F8_E4M3": 16, "F8_E8M0": 32}  # weights a scale: NVFP4, MX
_ONE_EACH = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8")


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """By the dtype of the data, and by whether their scales run along the output (a byte a weight) or the input (two a byte)."""
    for anchor in _ANCHORS:
        for prefix, row in (*stored.ending(anchor), *stored.ending(":" + anchor)):
            yield from _one(stored, prefix, row)
        for _, row in stored.ending("_" + anchor.rpartition("_")[2]):
            name = stored.table.names[row]
            if name.endswith("_" + anchor):
                yield from _one(stored, name[: -len(anchor)], row)


def _one(stored: Stored, prefix: str, row: int) -> Iterator[Packed]:
    beside, dtype, elements = stored.beside(prefix, _BESIDE), stored.dtype(row), stored.elements(row)
    scale = stored.get(prefix, "scale", "scale_and_zero", "group_scale")
    if scale is None:
        return
    sparse = 2 if stored.get(prefix, *_SPARSE) is not None else 1
    group = _GROUPS.get(stored.dtype(scale), 0)
    if dtype in ("I32", "U32"):
        yield Packed(row, elements * 8 * sparse, beside)
    elif dtype in _ONE_EACH and (dtype != "I8" or _along_output(stored.shape(row), stored.shape(scale))):
        yield Packed(row, elements * sparse, beside, kept=sparse == 1)
    elif dtype == "U8" and group:
        shown = stored.elements(scale) * group
        if shown in (elements, elements * 4 // 3):  # one a byte, four in three bytes
            yield Packed(row, shown, beside)
        else:  # the scales' own tiles may be filled up
            yield Packed(row, 2 * elements, beside, other=larger(2 * elements, min(shown, 2 * elements))[1])
    elif dtype in ("I8", "U8"):
        bits = 4 if dtype == "I8" else FEWEST_BITS
        yield Packed(row, elements * 8 // bits * sparse, beside)


def _along_output(data: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    """Whether there is a row of scales for each row of the data, or one for all; false where they may as well run the other way."""
    if not data or all(d == 1 for d in scale):
        return bool(data)
    return scale[0] == data[0] and (len(scale) < 2 or scale[1] != data[0])
