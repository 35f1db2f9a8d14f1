"""Quantised and packed weights: one file a scheme, each turning stored words into logical parameters by its format's rule.

To add a scheme: one module here that satisfies `scheme.Scheme`, and its place in `SCHEMES`. Integer tensors that no scheme
explains stay `other`, and the bound on operations takes each of their bits for a weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weightguard.parameters.packing import bitsandbytes, compressed_tensors, four_bit_floats, gptq, mlx, scaled
from weightguard.parameters.packing.scheme import Packed, Scheme
from weightguard.roles import OTHER, QUANTIZATION, WEIGHT
from weightguard.tensors import DTYPE_CODES, Int64, TensorTable, UInt8
from weightguard.values import Finding

SCHEMES: tuple[Scheme, ...] = (gptq, bitsandbytes, compressed_tensors, four_bit_floats, mlx, scaled)
"""In the order in which they are asked; the first that explains a row has it."""

_PLAIN = frozenset(DTYPE_CODES[n] for n in ("F16", "BF16", "F32", "F64", "C64", "C128"))


def unpack(table: TensorTable, roles: UInt8, logical: Int64, config: Any, path: str) -> tuple[str | None, tuple[Finding, ...]]:
    """Sets `logical` of packed rows and the role of their scales, in place.

    roles: array of uint8, shape (n,). logical: array of int64, shape (n,). config: the config's quantization_config, a claim.
    Returns the names of the schemes met, or None, and findings.
    """
    if set(table.dtypes.tolist()) <= _PLAIN and config is None:
        return None, ()
    rows = {name: row for row, name in enumerate(table.names) if roles[row] in (WEIGHT, OTHER)}
    claimed: Mapping[str, Any] = config if isinstance(config, dict) else {}
    met: dict[str, None] = {}
    findings: list[Finding] = []
    done: set[int] = set()
    overscaled: list[str] = []
    for scheme in SCHEMES:
        for packed in scheme.find(table, rows, claimed):
            if packed.row in done:
                continue
            done.add(packed.row)
            if sum(int(table.elements[r]) for r in packed.beside) > max(packed.logical, 64):
                overscaled.append(table.names[packed.row])
                continue
            roles[packed.row], logical[packed.row] = WEIGHT, packed.logical
            for row in packed.beside:
                roles[row], logical[row] = QUANTIZATION, 0
                done.add(row)
            met[_name(scheme, packed, table)] = None
    if overscaled:
        text = f"{len(overscaled)} tensors have more scales than weights, {overscaled[0]} first: all are counted as weights"
        findings.append(Finding("scales-exceed-weights", "high", text, path))
    method = claimed.get("quant_method")
    if claimed and not met:
        said = f" {method!r}" if isinstance(method, str) else ""
        text = f"config.json says that the weights are quantised{said}, and no scheme known here explains them"
        findings.append(Finding("unknown-quantization", "medium", text, path))
    return ("+".join(met) or None), tuple(findings)


def _name(scheme: Scheme, packed: Packed, table: TensorTable) -> str:
    if scheme is not scaled:
        return scheme.NAME
    return "int8" if table.dtypes[packed.row] == DTYPE_CODES["I8"] else "fp8"
