"""Which tensors of an ONNX graph are quantised weights, and which their scales: by the operators that take them.

After ONNX Operators (ai.onnx) and ONNX Runtime, docs/ContribOperators.md (com.microsoft).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from weightguard.formats._onnx.schema import INTEGERS
from weightguard.formats._rows import Rows
from weightguard.tensors import DTYPE_BITS, FLOATING

_MICROSOFT: Final = "com.microsoft"


@dataclass(frozen=True)
class Operator:
    """Inputs, by number, that are quantised weights, and those that are scales, zero points or orders of groups.

    bits: the attribute that says how many bits a weight has where bytes hold several, or a number; "" where each element is one.
    product: whether the attributes K and N say how many weights there are.
    """

    weights: tuple[int, ...]
    beside: tuple[int, ...]
    bits: str = ""
    default_bits: int = 8
    product: bool = False


OPERATORS: Final[Mapping[tuple[str, str], Operator]] = {
    ("", "DequantizeLinear"): Operator((0,), (1, 2)),
    ("", "QuantizeLinear"): Operator((0,), (1, 2)),
    ("", "QLinearConv"): Operator((3, 8), (1, 2, 4, 5, 6, 7)),
    ("", "QLinearMatMul"): Operator((0, 3), (1, 2, 4, 5, 6, 7)),
    ("", "MatMulInteger"): Operator((0, 1), (2, 3)),
    ("", "ConvInteger"): Operator((0, 1), (2, 3)),
    (_MICROSOFT, "DequantizeLinear"): Operator((0,), (1, 2)),
    (_MICROSOFT, "QuantizeLinear"): Operator((0,), (1, 2)),
    (_MICROSOFT, "DynamicQuantizeMatMul"): Operator((1,), (2, 3)),
    (_MICROSOFT, "MatMulIntegerToFloat"): Operator((0, 1), (2, 3, 4, 5)),
    (_MICROSOFT, "DynamicQuantizeLSTM"): Operator((1, 2), (8, 9, 10, 11)),
    (_MICROSOFT, "QAttention"): Operator((1,), (3, 4, 6, 7)),
    (_MICROSOFT, "QGemm"): Operator((0, 3, 6), (1, 2, 4, 5, 7, 8)),
    (_MICROSOFT, "QLinearAdd"): Operator((0, 3), (1, 2, 4, 5, 6, 7)),
    (_MICROSOFT, "QLinearMul"): Operator((0, 3), (1, 2, 4, 5, 6, 7)),
    (_MICROSOFT, "MatMulNBits"): Operator((1,), (2, 3, 4), "bits", 4, product=True),
    (_MICROSOFT, "MatMulBnb4"): Operator((1,), (2,), "4", 4, product=True),
    (_MICROSOFT, "GatherBlockQuantized"): Operator((0,), (2, 3), "bits", 4),
    (_MICROSOFT, "QMoE"): Operator((2, 5, 8), (3, 6, 9, 11, 12, 13), "expert_weight_bits", 4),
}
PASSES_ON: Final = frozenset({"Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators whose output holds the values of their first input."""


@dataclass
class Uses:
    """What the graph does with the rows of its table.

    weights: logical parameters of each row that an operator takes as quantised weights. beside: for each row that one takes as
    scales and the like, the most elements that such may have. plain: rows that some operator takes as they are.
    """

    weights: dict[int, int] = field(default_factory=dict)
    beside: dict[int, int] = field(default_factory=dict)
    plain: set[int] = field(default_factory=set)

    def note(self, domain: str, op_type: str, inputs: Sequence[int], numbers: Mapping[str, int], rows: Rows) -> None:
        """One node. inputs: the row of each input, -1 for none. numbers: its attributes that are integers."""
        operator = OPERATORS.get((domain, op_type))
        if operator is None:
            self.plain.update(inputs)
            return
        most = 1
        for number, row in enumerate(inputs):
            if row < 0 or number in operator.beside:
                continue
            if number not in operator.weights or rows.dtypes[row] not in INTEGERS:
                self.plain.add(row)
                if number not in operator.weights:
                    continue
            logical = _logical(operator, row, numbers, rows)
            self.weights[row] = max(logical, self.weights.get(row, 0)) if rows.dtypes[row] in INTEGERS else 0
            most = max(most, logical // 8, *rows.dims[row])
        for number in operator.beside:
            if number < len(inputs) and inputs[number] >= 0:
                self.beside[inputs[number]] = max(most, self.beside.get(inputs[number], 0))

    def settle(self, rows: Rows) -> bool:
        """Writes `rows.logical`; false if there is more in scales than scales hold, and then they count as any tensor does."""
        quantised = {row: n for row, n in self.weights.items() if n}
        for row, logical in quantised.items():
            rows.logical[row] = logical
        scales = [
            row for row, most in self.beside.items() if row not in self.plain | set(quantised) and rows.elements(row) <= most
        ]
        weights = sum(quantised.values()) + sum(rows.elements(r) for r in set(self.weights) - set(quantised))
        if sum(rows.elements(row) for row in scales if rows.dtypes[row] in FLOATING) > weights // 4 + len(scales):
            return False
        for row in scales:
            rows.logical[row] = 0
        return True


def _logical(operator: Operator, row: int, numbers: Mapping[str, int], rows: Rows) -> int:
    """Parameters that a row of quantised weights stands for: what the operator says, or all that its bits can be."""
    elements = rows.elements(row)
    width = int(DTYPE_BITS[rows.dtypes[row]])
    if not operator.bits or width < 8:
        return elements
    bits = int(operator.bits) if operator.bits.isdigit() else numbers.get(operator.bits, operator.default_bits)
    codes = elements * width // (bits if 0 < bits <= width else 1)
    if not operator.product:
        return codes
    said = numbers.get("K", 0) * numbers.get("N", 0)
    return said if codes // 2 < said <= codes else codes  # its last block of each row may not be full
