"""The counts of a model: unique logical parameters, and what every stored element is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightguard.kernels.sums import sum_by_group
from weightguard.models import Model
from weightguard.parameters.packing import unpack
from weightguard.parameters.ties import tie_by_config, tie_by_storage
from weightguard.roles import BUFFER, COPY, OPTIMIZER, OTHER, ROLES, SMALL_INTEGERS, WEIGHT, roles_by_name
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES, DTYPES, FLOATING, Int64, TensorTable, UInt8
from weightguard.values import Finding

_COMPLEX = (DTYPE_CODES["C64"], DTYPE_CODES["C128"])


@dataclass(frozen=True, eq=False)
class Parameters:
    """total: unique logical parameters; stored: elements as stored, and they by role and by dtype (both sum to `stored`).

    roles: array of uint8, shape (n,), codes into `ROLES`. logical: array of int64, shape (n,), the parameters that each row adds
    to `total`. possible: parameters that integer tensors of no known scheme could hold at one bit each.
    """

    total: int
    stored: int
    by_role: Mapping[str, int]
    by_dtype: Mapping[str, int]
    quantization: str | None
    roles: UInt8
    logical: Int64
    possible: int
    unused: int
    slots: Mapping[str, int]
    findings: tuple[Finding, ...]


def count(model: Model, tied: bool) -> Parameters:
    """Counts of a model's tensors; `tied`: whether its config ties the output head to the input embedding."""
    table = model.tensors
    roles = roles_by_name(table)
    copies = np.isin(table.files, sorted(model.copies))
    roles[copies] = COPY
    logical = np.where(roles == WEIGHT, table.elements, 0)
    scheme, findings = unpack(table, roles, logical, _quantization(model.config), model.path)
    tie_by_storage(table, roles, logical)
    if tied:
        tie_by_config(table, roles, logical)
    possible, unknown = _unexplained(table, roles)
    floating = np.isin(table.dtypes, sorted(FLOATING))
    complex_ = np.isin(table.dtypes, _COMPLEX)
    unused = sum(table.elements[floating & (roles == BUFFER)].tolist()) + 3 * sum(logical[complex_].tolist())
    slots: dict[str, int] = {}
    for row in np.flatnonzero(roles == OPTIMIZER).tolist():
        slot = table.names[row].rpartition(".")[2]
        slots[slot] = slots.get(slot, 0) + int(table.elements[row])
    if possible:
        text = (
            f"integer tensors of no known scheme, {unknown} first: up to {possible} weights of one bit are assumed in the bound"
        )
        findings = (*findings, Finding("unknown-integer-tensor", "medium", text, model.path))
    return Parameters(
        total=_sums(logical, np.zeros(len(table), np.int64), 1)[0],
        stored=_sums(table.elements, np.zeros(len(table), np.int64), 1)[0],
        by_role=dict(zip(ROLES, _sums(table.elements, roles.astype(np.int64), len(ROLES)), strict=True)),
        by_dtype={
            DTYPES[code][0]: total
            for code, total in enumerate(_sums(table.elements, table.dtypes.astype(np.int64), len(DTYPES)))
            if total
        },
        quantization=scheme,
        roles=roles,
        logical=logical,
        possible=possible,
        unused=unused,
        slots=slots,
        findings=findings,
    )


def _quantization(config: Mapping[str, Any] | None) -> object:
    """`quantization_config` (transformers), or `quantization` (MLX)."""
    return (config or {}).get("quantization_config", (config or {}).get("quantization"))


def _unexplained(table: TensorTable, roles: UInt8) -> tuple[int, str]:
    """Bits of the integer tensors that no rule explains, if they are more than small tables; and the name of the largest."""
    rows = np.flatnonzero(roles == OTHER)
    bits = [int(table.elements[r]) * int(DTYPE_BITS[table.dtypes[r]]) for r in rows.tolist()]
    if sum(bits) <= SMALL_INTEGERS * 8:
        roles[rows] = BUFFER
        return 0, ""
    return sum(bits), table.names[int(rows[int(np.argmax(bits))])]


def _sums(values: Int64, groups: Int64, n_groups: int) -> list[int]:
    """Exact sums by group: by the kernel, and by Python's integers where a sum passes 2^63."""
    sums = np.zeros(n_groups, np.int64)
    if sum_by_group(values, groups, sums) < 0:
        exact = [0] * n_groups
        for value, group in zip(values.tolist(), groups.tolist(), strict=True):
            exact[group] += value
        return exact
    return [int(s) for s in sums]


def is_tied(config: Mapping[str, Any] | None, default: bool) -> bool:
    """What the config says of `tie_word_embeddings`, else its class's default: a missing key means the default, not false."""
    value = (config or {}).get("tie_word_embeddings")
    return value if isinstance(value, bool) else default
