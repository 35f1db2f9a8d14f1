"""What a container says of its own rows, and packed rows that share a storage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from weightguard.models import Model
from weightguard.parameters.count import Parameters, count
from weightguard.roles import OTHER, QUANTIZATION, WEIGHT
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES, TensorTable, from_rows

Row = tuple[str, str, tuple[int, ...], int]


def table_of(*rows: Row) -> TensorTable:
    codes = [DTYPE_CODES[d] for _, d, _, _ in rows]
    sizes = [int(np.prod(s)) * int(DTYPE_BITS[c]) // 8 for c, (_, _, s, _) in zip(codes, rows, strict=True)]
    return from_rows([n for n, _, _, _ in rows], codes, [s for _, _, s, _ in rows], sizes, [x for _, _, _, x in rows])


def counted(table: TensorTable) -> Parameters:
    model = Model("m", "m", "", (), table, np.zeros(0, np.int64), {}, None, {}, (), ())
    return count(model, tied=False)


def test_a_row_that_its_container_unpacks_counts_so() -> None:
    found = counted(table_of(("w", "U8", (512, 128), 512 * 256), ("s", "F32", (512, 8), 0), ("b", "F32", (512,), -1)))
    assert found.total == 512 * 256 + 512
    assert found.roles.tolist() == [WEIGHT, QUANTIZATION, WEIGHT]
    assert found.logical.tolist() == [512 * 256, 0, 512] and found.possible == 0


def test_no_scheme_takes_what_the_container_has_explained() -> None:
    """MatMulNBits of ONNX may name its parts as another library's: the container's own count holds."""
    found = counted(table_of(("x.qweight", "I32", (32, 512), 131072), ("x.scales", "F16", (2, 512), 0)))
    assert found.total == 131072 and found.quantization is None


def test_scales_that_outnumber_what_they_scale_are_weights() -> None:
    found = counted(table_of(("w", "U8", (8, 8), 128), ("s", "F32", (1 << 20,), 0)))
    assert found.total == 128 + (1 << 20) and found.roles.tolist() == [WEIGHT, WEIGHT]
    hidden = counted(table_of(("w", "U8", (8, 8), 128), ("s", "U8", (1 << 20,), 0)))
    assert hidden.roles.tolist() == [WEIGHT, OTHER] and hidden.possible == 8 << 20


def test_an_optimizers_row_stays_one() -> None:
    found = counted(table_of(("state.0.exp_avg", "U8", (1 << 20,), 1 << 21), ("w", "F32", (1 << 10, 1 << 10), -1)))
    assert found.total == 1 << 20 and found.by_role["optimizer"] == 1 << 20


def test_packed_rows_of_one_storage_keep_their_factor() -> None:
    """Two matrices of 4-bit words in one storage of a pickle: neither is a tie, and both are eight times their words."""
    rows = [
        (f"l{i}.{n}", d, s, -1) for i in range(2) for n, d, s in (("qweight", "I32", (32, 512)), ("qzeros", "I32", (2, 64)))
    ]
    rows += [(f"l{i}.scales", "F16", (2, 512), -1) for i in range(2)]
    table = table_of(*rows)
    storages, begins = table.storages.copy(), table.begins.copy()
    storages[[0, 2]] = 0
    begins[2] = table.spans[0]
    assert counted(replace(table, storages=storages, begins=begins)).total == 2 * 512 * 256
    begins[2] = 0  # the same words by two names count once
    assert counted(replace(table, storages=storages, begins=begins)).total == 512 * 256
    begins[2] = table.spans[0] // 2  # half of them anew
    half = counted(replace(table, storages=storages, begins=begins))
    assert half.total == 512 * 256 + 512 * 128
