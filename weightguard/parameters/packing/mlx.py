"""MLX: b-bit weights in uint32 words, with scales and biases (zero points) a group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, dtype_is, siblings
from weightguard.tensors import TensorTable

NAME = "mlx"
SPEC = "mlx.nn.QuantizedLinear: weight uint32 [out, in * b / 32], scales, biases [out, in / group_size]"

_FEWEST_BITS = 2


def find(table: TensorTable, rows: Mapping[str, int], config: Mapping[str, Any]) -> Iterator[Packed]:
    """The bits from the config, else from the scales' groups of at most 128, which is the larger count."""
    claimed = config.get("bits")
    for name, row in rows.items():
        if not name.endswith(".weight") or not dtype_is(table, row, "U32"):
            continue
        prefix = name[: -len("weight")]
        if prefix + "scales" not in rows:
            continue
        elements = int(table.elements[row])
        if type(claimed) is int and _FEWEST_BITS <= claimed <= 8:
            logical = elements * 32 // claimed
        else:
            logical = min(elements * 32 // _FEWEST_BITS, int(table.elements[rows[prefix + "scales"]]) * 128)
        yield Packed(row, logical, siblings(rows, prefix, "scales", "biases"))
