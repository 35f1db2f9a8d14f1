"""Packing over all widths, bits and groups, and over rows of any names and shapes at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.parameters import packed
from tests.parameters.packed import FORMS, Form, Row
from weightguard.parameters.packing import unpack
from weightguard.roles import OTHER, QUANTIZATION, WEIGHT, roles_by_name
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES, FLOATING, TensorTable, from_rows
from weightguard.values import Finding

widths = st.integers(1, 32).map(lambda n: 128 * n)
FEW = 4096


def table_of(rows: Sequence[Row]) -> TensorTable:
    codes = [DTYPE_CODES[d] for _, d, _ in rows]
    sizes = [int(np.prod(s, dtype=object)) * packed.BYTES[d] for _, d, s in rows]
    return from_rows([n for n, _, _ in rows], codes, [s for _, _, s in rows], sizes)


def unpacked(rows: Sequence[Row], config: Mapping[str, Any] | None) -> tuple[int, int, tuple[Finding, ...]]:
    """(parameters, bits of integers that nothing explains, findings)."""
    table = table_of(rows)
    roles = roles_by_name(table)
    logical = np.where(roles == WEIGHT, table.elements, 0)
    _, findings = unpack(table, roles, logical, table.ranks.copy(), config, "m")
    other = roles == OTHER
    return sum(logical.tolist()), sum((table.elements * DTYPE_BITS[table.dtypes])[other].tolist()), findings


def holds(form: Form, out: int, in_: int) -> None:
    """Exact with the config and no finding; no lower without it, and nothing left over."""
    rows = form.model([("model.layers.0.proj", out, in_)])
    total, other, findings = unpacked(rows, {"quantization_config": dict(form.config)})
    # codebooks and the like beside a matrix that is smaller than they are count as weights, and it is said
    if not any(f.id == "scales-exceed-weights" for f in findings):
        assert (total, other) == (out * in_, 0)
        assert not findings
    assert total >= out * in_
    total, other, findings = unpacked(rows, None)
    assert total >= out * in_ and other <= 8 * FEW * len(rows)
    assert not [f for f in findings if f.id == "packing-contradiction"]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(FORMS)), widths, widths)
def test_every_form_at_every_width(name: str, out: int, in_: int) -> None:
    holds(FORMS[name], out, in_)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([2, 3, 4, 8]), st.sampled_from([32, 64, 128]), st.booleans(), st.booleans(), widths, widths)
def test_gptq(bits: int, group: int, zeros: bool, order: bool, out: int, in_: int) -> None:
    holds(packed.gptq(bits, group, zeros=zeros, order=order), out, in_)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 8), st.sampled_from([None, 16, 32, 64, 128]), st.booleans(), st.booleans(), st.booleans(), widths, widths)
def test_pack_quantized(bits: int, group: int | None, old: bool, zeros: bool, order: bool, out: int, in_: int) -> None:
    form = packed.pack_quantized(bits, group, old=old, zeros=zeros, order=order)
    if old and group is None and 32 % bits and not order:  # nothing shows what fills the words: up to all of them do
        total, _, _ = unpacked(form.model([("m.proj", out, in_)]), {"quantization_config": dict(form.config)})
        assert out * in_ <= total <= out * in_ * 8 // 7 + 32 * out
    else:
        holds(form, out, in_)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([1, 2, 3, 4, 8]), st.sampled_from([8, 16, 32, 64, 128]), st.sampled_from([0, 1]), widths, widths)
def test_hqq(bits: int, group: int, axis: int, out: int, in_: int) -> None:
    assume(axis == 1 or bits != 3)
    holds(packed.hqq(bits, group, axis), out, in_)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([2, 3, 4, 5, 6, 8]), st.sampled_from([32, 64, 128]), widths, widths)
def test_mlx(bits: int, group: int, out: int, in_: int) -> None:
    holds(packed.mlx(bits, group), out, in_)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), st.integers(1, 16), st.sampled_from([1, 2, 4, 8, 16]), widths, widths)
def test_aqlm(books: int, bits: int, in_group: int, out: int, in_: int) -> None:
    assume(books * (8 if bits <= 8 else 16) <= 8 * in_group)  # more bits a weight are no quantisation
    holds(packed.aqlm(books, bits, in_group), out, in_)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([4, 8, 16]), st.integers(4, 16), st.integers(0, 12), widths, widths)
def test_vptq(length: int, bits: int, residual: int, out: int, in_: int) -> None:
    holds(packed.vptq(length, bits, residual), out, in_)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 8), st.booleans(), widths, widths)
def test_trellises(bits: int, exl3: bool, out: int, in_: int) -> None:
    holds(packed.exl3(bits) if exl3 else packed.qtip(bits), out, in_)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(n for n in FORMS if FORMS[n].shown)), st.integers(1, 8), widths, widths)
def test_a_config_of_other_bits_lowers_nothing(name: str, bits: int, out: int, in_: int) -> None:
    lie = {
        **FORMS[name].config,
        **dict.fromkeys(("bits", "w_bit", "nbits", "num_bits"), bits),
        "quant_config": {"weight_quant_params": {"nbits": bits, "group_size": 64}},
        "config_groups": {"group_0": {"weights": {"num_bits": bits, "group_size": 128}}},
        "global_quant_config": {"weight": {"dtype": f"uint{bits}", "group_size": 128}},
    }
    rows = FORMS[name].model([("m.proj", out, in_)])
    assert unpacked(rows, {"quantization_config": lie})[0] >= out * in_


# ---- rows of any kind

PARTS = sorted({n for form in FORMS.values() for n, _, _ in form.rows(128, 128)} | {"bias", "input_scale", "k_scale", "meta"})
dims = st.lists(st.one_of(st.integers(0, 5), st.sampled_from([16, 64, 128, 1 << 10, 1 << 20, 1 << 31])), max_size=4).map(tuple)
numbers = st.one_of(st.none(), st.booleans(), st.integers(-2, 200), st.just(1 << 70), st.text(max_size=4), st.floats())
values = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                "bits nbits w_bit group_size num_bits weights config_groups g0 quant_config weight_quant_params dtype weight"
                " vector_lens in_group_size out_group_size config_for_layers m dynamic"
                " hidden_size intermediate_size text_config".split()
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
)


@st.composite
def any_rows(draw: st.DrawFn) -> list[Row]:
    names = draw(
        st.lists(st.tuples(st.sampled_from(["m.", "m.weight.", ""]), st.sampled_from(PARTS)), max_size=12, unique=True)
    )
    rows = [(a + b, draw(st.sampled_from(sorted(packed.BYTES))), draw(dims)) for a, b in names]
    return [(n, d, s) for n, d, s in rows if int(np.prod(s, dtype=object)) < 1 << 50]


@settings(max_examples=500, deadline=None)
@given(any_rows(), st.one_of(st.none(), st.dictionaries(st.sampled_from(["quantization_config", "hidden_size"]), values)))
def test_no_rows_break_it_and_none_count_below_their_bytes(rows: list[Row], config: dict[str, Any] | None) -> None:
    """Floats count each or are scales; integers count each byte at least, are scales, or are left to the bound, bit by bit. Scales
    of all kinds are fewer than half of what they scale, but for a little each."""
    table = table_of(rows)
    roles = roles_by_name(table)
    before = roles.copy()
    logical = np.where(roles == WEIGHT, table.elements, 0)
    ranks = table.ranks.copy()
    unpack(table, roles, logical, ranks, config, "m")
    scales = weights = packed_rows = 0
    for row in range(len(table)):
        elements, floats = int(table.elements[row]), table.dtypes[row] in FLOATING
        size = elements if floats else elements * int(DTYPE_BITS[table.dtypes[row]]) // 8
        if roles[row] == WEIGHT:
            assert int(logical[row]) >= min(size, 1 << 62)
            weights += int(logical[row])
            packed_rows += 1
        elif roles[row] == QUANTIZATION:
            assert logical[row] == 0
            scales += size
        else:
            assert roles[row] == before[row] == OTHER
    assert scales <= weights // 2 + FEW * (packed_rows + len(rows))
