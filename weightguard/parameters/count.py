"""The counts of a model: unique logical parameters, and what every stored element is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightguard.kernels.sums import sum_by_group
from weightguard.models import Model
from weightguard.parameters.packing import unpack
from weightguard.parameters.ties import tie_by_config, tie_by_storage, without_padding
from weightguard.roles import BUFFER, COPY, OPTIMIZER, OTHER, QUANTIZATION, ROLES, SMALL_INTEGERS, WEIGHT, roles_by_name
from weightguard.tensors import BLOCKS, DTYPE_BITS, DTYPE_CODES, DTYPES, FLOATING, Int64, TensorTable, UInt8
from weightguard.values import Finding

# Of 64 bits and more an element could be several weights of 16 bits: no large model is trained in these.
_WIDE = {DTYPE_CODES[name]: bits // 16 - 1 for name, bits in (("F64", 64), ("C64", 64), ("C128", 128), ("F128", 128))}


@dataclass(frozen=True, eq=False)
class Parameters:
    """total: unique logical parameters; stored: elements as stored, and they by role and by dtype (both sum to `stored`).

    roles: array of uint8, shape (n,), codes into `ROLES`. logical: array of int64, shape (n,), the parameters that each row adds
    to `total`. ranks: array of int64, shape (n,), dimensions of what a row holds: 2 for a packed matrix of any stored form.
    possible: parameters that integer tensors of no known scheme could hold at one bit each.
    """

    total: int
    stored: int
    by_role: Mapping[str, int]
    by_dtype: Mapping[str, int]
    quantization: str | None
    roles: UInt8
    logical: Int64
    ranks: Int64
    possible: int
    unused: int
    slots: Mapping[str, int]
    findings: tuple[Finding, ...]


def count(model: Model, tied: bool) -> Parameters:
    """4E091 Technical Note 1 s.1, 4E091 Technical Note 1 s.2: the values learned during training, also known as model weights.

    Buffers, optimizer state, copies and scales are told apart from them. `tied`:
    whether its config ties the output head to the input embedding."""
    table = model.tensors
    roles = roles_by_name(table)
    roles[model.copies] = COPY
    logical = np.where(roles == WEIGHT, table.elements, 0)
    _take_stated(table, roles, logical)
    ranks = table.ranks.copy()
    scheme, findings = unpack(table, roles, logical, ranks, model.config, model.path)
    _tie_storages(table, roles, logical)
    if tied:
        tie_by_config(table, roles, logical)
    unpadded = (model.config or {}).get("unpadded_vocab_size")
    if type(unpadded) is int and unpadded > 0:
        without_padding(table, roles, logical, unpadded)
    possible, unknown = _unexplained(table, roles)
    buffers = (roles == BUFFER) & np.isin(table.dtypes, sorted(FLOATING))
    values = np.where(buffers, table.elements, logical)
    unused = sum(table.elements[buffers].tolist())
    unused += sum(more * sum(values[table.dtypes == code].tolist()) for code, more in _WIDE.items())
    slots: dict[str, int] = {}
    for row in np.flatnonzero(roles == OPTIMIZER).tolist():
        slot = table.names[row].rpartition(".")[2]
        slots[slot] = slots.get(slot, 0) + int(table.elements[row]) * max(1, int(DTYPE_BITS[table.dtypes[row]]) // 32)
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
        quantization=scheme or _block_type(table, roles),
        roles=roles,
        logical=logical,
        ranks=ranks,
        possible=possible,
        unused=unused,
        slots=slots,
        findings=findings,
    )


def _block_type(table: TensorTable, roles: UInt8) -> str | None:
    """The type of ggml's blocks that most weights are stored in; None where none is."""
    stored = _sums(np.where(roles == WEIGHT, table.elements, 0), table.dtypes.astype(np.int64), len(DTYPES))
    most = max(BLOCKS, key=stored.__getitem__)
    return DTYPES[most][0] if stored[most] else None


def _take_stated(table: TensorTable, roles: UInt8, logical: Int64) -> None:
    """What the container itself says of a row: its parameters, or that it is a scale or the like; in place.

    Scales have fewer bits than what they scale has elements: where they are not, they count as weights.
    """
    stated = (table.logical >= 0) & ((roles == WEIGHT) | (roles == OTHER))
    if not stated.any():
        return
    weights, scales = stated & (table.logical > 0), stated & (table.logical == 0)
    roles[weights], logical[weights] = WEIGHT, table.logical[weights]
    sizes = zip(table.elements[scales].tolist(), DTYPE_BITS[table.dtypes[scales]].tolist(), strict=True)
    bits = sum(n * size for n, size in sizes)
    # 32 bits of scale for each group of sixteen weights, and as much again for zero points
    if bits <= max(4 * sum(table.logical[weights].tolist()), 8 * SMALL_INTEGERS):
        roles[scales], logical[scales] = QUANTIZATION, 0


def _tie_storages(table: TensorTable, roles: UInt8, logical: Int64) -> None:
    """Ties of stored elements; a packed row keeps the share of its parameters that its elements keep; in place."""
    elements = table.elements.copy()
    tie_by_storage(table, roles, elements)
    for row in np.flatnonzero((elements < table.elements) & (logical > 0)).tolist():
        logical[row] = -(-int(logical[row]) * int(elements[row]) // int(table.elements[row]))


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
