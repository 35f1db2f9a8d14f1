"""GPTQ and AWQ: b-bit weights in int32 words, 32/b a word, along the input (GPTQ) or the output (AWQ)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, dtype_is, siblings
from weightguard.tensors import TensorTable

NAME = "gptq/awq"
SPEC = "GPTQModel and AutoAWQ checkpoint layout: qweight, qzeros [groups, out * b / 32], scales [groups, out], g_idx [in]"

_FEWEST_BITS = 2


def find(table: TensorTable, rows: Mapping[str, int], config: Mapping[str, Any]) -> Iterator[Packed]:
    """The bits follow from the shapes, qzeros against scales; without qzeros from the config, else the fewest that exist."""
    for name, row in rows.items():
        if not name.endswith(".qweight") or not dtype_is(table, row, "I32"):
            continue
        prefix = name[: -len("qweight")]
        beside = siblings(rows, prefix, "qzeros", "scales", "g_idx")
        if prefix + "scales" not in rows:
            continue
        bits = _bits(table, rows, prefix, config)
        yield Packed(row, int(table.elements[row]) * 32 // bits, beside)


def _bits(table: TensorTable, rows: Mapping[str, int], prefix: str, config: Mapping[str, Any]) -> int:
    scales = table.shape(rows[prefix + "scales"])
    if prefix + "qzeros" in rows and scales:
        zeros = table.shape(rows[prefix + "qzeros"])
        if zeros and scales[-1] and zeros[-1] * 32 % scales[-1] == 0 and 1 <= zeros[-1] * 32 // scales[-1] <= 8:
            return zeros[-1] * 32 // scales[-1]
    claimed = config.get("bits", config.get("w_bit"))
    return claimed if type(claimed) is int and _FEWEST_BITS <= claimed <= 8 else _FEWEST_BITS
