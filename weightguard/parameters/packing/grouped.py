"""Weights in rows of one group each, packed along the rows, with one scale a row: HQQ, SINQ, Quanto."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import LONGEST_GROUP, Packed, Stored, claimed, larger

NAME = "hqq/sinq/quanto"
SPEC = (
    "hqq core/quantize.py, bitpack.py: W_q [groups * b / 8, group] (axis 1) or [group * b / 8, groups] (axis 0), scale, zero;"
    " 3 bits: ten a word of int32; view_as_float: the same bytes as floats. SINQ: the same. Quanto qint4, qint2: _data, _scale, _shift"
)

_META = (
    "scale zero scale2 zero_scale scale_q zero_q nbits group_size shape axis packing unpack_view_dtype view_as_float quant_scale"
    " quant_zero compute_dtype offload_meta encoded_state_dict stores_quant_config channel_wise optimize round_zero meta_scale.scale"
    " meta_scale.zero meta_zero.scale meta_zero.zero scale.x scale.s scale.m zero.x zero.s zero.m"
).split()
_SCALES = ("scale", "meta.scale", "zero", "meta.zero", "zero.x", "meta.zero.x")  # the first is what there is one a group of
_NESTED = tuple(f"meta.{n}" for n in _META)
_A_BYTE = (1, 2, 4, 8)  # bits of weights that fill a byte
_STORED = {3: 2, 5: 8, 6: 8, 7: 8}  # bits that weights of other widths take in bytes; three are never there: the larger count
_A_WORD = {3: 10, 5: 6, 6: 5}  # weights in a word of 32 bits, where they don't fill it


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """A scale a group: scales x the length of a group, where a row is a group; else by the config's bits, or one bit a weight."""
    bits = claimed(config, "nbits", "bits")
    groups = claimed(config, "group_size", most=LONGEST_GROUP)
    for prefix, row in stored.ending("W_q"):
        beside = stored.beside(prefix, _META) or stored.beside(prefix, _NESTED)
        yield _one(stored, row, stored.get(prefix, *_SCALES), beside, bits, groups)
    for prefix, row in stored.ending("_data"):
        weight = prefix.removesuffix("_data.")
        scale = stored.get(weight, "_scale")
        if weight != prefix and scale is not None and stored.dtype(row) == "U8":
            yield _one(stored, row, scale, stored.beside(weight, ("_scale", "_shift")), [2, 4], [])


def _one(stored: Stored, row: int, scale: int | None, beside: tuple[int, ...], bits: list[int], groups: list[int]) -> Packed:
    shape, total = stored.shape(row), stored.bits(row)
    words = stored.dtype(row) == "I32"
    claims = {stored.elements(row) * _A_WORD.get(b, 32 // b) if words else total // _STORED.get(b, b) for b in bits}
    group = shape[-1] * (1 if stored.is_integer(row) else stored.width(row) // 8) if len(shape) == 2 else 0
    scales = stored.shape(scale) if scale is not None else ()
    if len(scales) == 2 and scales[-1] == 1 and group:
        shown = scales[0] * group
        if shape[0] not in (
            [-(-scales[0] // n) for n in _A_WORD.values()] if words else [-(-scales[0] * b // 8) for b in _A_BYTE]
        ):
            return Packed(row, max(total, *claims, 0), beside, other=shown)
        # rows of a last word may stand for nothing
        agree = any(shown <= c <= shown + 10 * group for c in claims)
        logical, other = larger(shown, *(() if agree else claims))
        return Packed(row, logical, beside, other=other)
    by_groups = [scales[1] * g for g in groups] if len(scales) == 2 and claims else []
    if any(n in claims for n in by_groups):
        return Packed(row, max(n for n in by_groups if n in claims), beside)
    logical, other = larger(*(claims or [total]), *by_groups)
    return Packed(row, logical, beside, other=other)
