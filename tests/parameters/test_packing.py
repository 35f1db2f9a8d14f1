"""Packed weights: each scheme's documented layout, of a model whose count is known: 4 layers of 512 x 256, and its vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests.parameters.packed import FORMS, Form, Row, gptq, mlx, pack_quantized, write
from weightguard.report import ModelReport

OUT, IN, LAYERS = 512, 256, 4
NORMS = LAYERS * IN
TRUTH = LAYERS * OUT * IN + NORMS
MATRICES = [(f"model.layers.{i}.proj", OUT, IN) for i in range(LAYERS)]
CONTRADICTION = "packing-contradiction"


def scanned(folder: Path, rows: Sequence[Row], config: Mapping[str, Any] | None = None) -> ModelReport:
    """A report on a file that holds these rows and a norm a layer."""
    all_rows = [*rows, *((f"model.layers.{i}.norm.weight", "F16", (IN,)) for i in range(LAYERS))]
    (model,) = weightguard.scan(str(write(folder, all_rows, config))).models
    return model


def config_of(form: Form) -> dict[str, Any]:
    return {"quantization_config": dict(form.config)}


def ids(model: ModelReport) -> set[str]:
    return {f.id for f in model.findings}


@pytest.mark.parametrize("name", FORMS)
def test_packed_weights_count_as_the_weights_they_stand_for(tmp_path: Path, name: str) -> None:
    model = scanned(tmp_path, FORMS[name].model(MATRICES), config_of(FORMS[name]))
    assert model.parameters.total == TRUTH
    assert model.parameters.by_role["other"] == 0 and model.parameters.by_role["weight"] > 0
    assert sum(model.parameters.by_role.values()) == model.parameters.stored_elements
    assert not ids(model) & {CONTRADICTION, "unknown-quantization", "scales-exceed-weights", "unknown-integer-tensor"}


@pytest.mark.parametrize("name", FORMS)
def test_without_a_config_the_count_is_right_or_the_largest_that_is_possible(tmp_path: Path, name: str) -> None:
    form = FORMS[name]
    model = scanned(tmp_path, form.model(MATRICES))
    if form.without is None:
        assert TRUTH <= model.parameters.total <= 8 * TRUTH
    else:
        assert model.parameters.total == form.without * (TRUTH - NORMS) + NORMS
    assert model.parameters.by_role["other"] == 0
    assert CONTRADICTION not in ids(model)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("name", FORMS)
def test_no_claim_of_bits_lowers_what_the_shapes_show(tmp_path: Path, name: str, bits: int) -> None:
    """ "wrong config bits: the larger count holds": a config that names other bits, wherever quantisers name them."""
    form = FORMS[name]
    lie = {
        **form.config,
        **dict.fromkeys(("bits", "w_bit", "nbits", "num_bits"), bits),
        "quant_config": {"weight_quant_params": {"nbits": bits}},
        "config_groups": {"group_0": {"weights": {"num_bits": bits, "group_size": 128}}},
        "global_quant_config": {"weight": {"dtype": f"uint{bits}"}},
    }
    model = scanned(tmp_path, form.model(MATRICES), {"quantization_config": lie})
    if form.shown or bits <= 2:
        assert model.parameters.total >= TRUTH


LIES = {
    "gptq 4 bit": {"bits": 2},
    "gptq 4 bit, neither": {"bits": 2, "group_size": 128},
    "awq gemm": {"bits": 2},
    "higgs 4 bit": {"bits": 2},
    "hqq 4 bit": {"quant_config": {"weight_quant_params": {"nbits": 2}}},
    "hqq 4 bit axis 0": {"quant_config": {"weight_quant_params": {"nbits": 2, "group_size": 64}}},
    "pack-quantized 4 bit": {"config_groups": {"group_0": {"weights": {"num_bits": 2, "group_size": 128}}}},
    "quark int4": {"global_quant_config": {"weight": {"dtype": "uint2", "group_size": 128}}},
    "mlx 4 bit": {"bits": 2, "group_size": 64},
    "aqlm 2x8": {"in_group_size": 16, "out_group_size": 1},
}


@pytest.mark.parametrize("name", LIES)
def test_of_two_claimed_bits_and_four_real_the_larger_count_holds_and_both_are_said(tmp_path: Path, name: str) -> None:
    model = scanned(tmp_path, FORMS[name].model(MATRICES), {"quantization_config": LIES[name]})
    assert model.parameters.total == 2 * (TRUTH - NORMS) + NORMS
    (finding,) = (f for f in model.findings if f.id == CONTRADICTION)
    assert finding.severity == "medium"
    assert str(2 * OUT * IN) in finding.message and str(OUT * IN) in finding.message and "3 more tensors" in finding.message


@pytest.mark.parametrize(
    ("form", "lie"),
    [
        (gptq(4, zeros=False, order=False), {"bits": 8, "group_size": 128}),
        (mlx(4), {"bits": 8, "group_size": 64}),
        (pack_quantized(4), {"config_groups": {"g": {"weights": {"num_bits": 8, "group_size": 128}}}}),
    ],
)
def test_more_bits_than_there_are_contradict_the_groups(tmp_path: Path, form: Form, lie: dict[str, Any]) -> None:
    model = scanned(tmp_path, form.model(MATRICES), {"quantization_config": lie})
    assert model.parameters.total >= TRUTH
    assert CONTRADICTION in ids(model)


def test_several_groups_of_a_config_each_fit_their_layers(tmp_path: Path) -> None:
    """Mixed precision is no contradiction: a layer of 4 bits, a layer of 8."""
    rows = [*pack_quantized(4).model(MATRICES[:2]), *pack_quantized(8).model(MATRICES[2:])]
    groups = {f"group_{b}": {"weights": {"num_bits": b, "group_size": 128}} for b in (4, 8)}
    model = scanned(tmp_path, rows, {"quantization_config": {"config_groups": groups}})
    assert model.parameters.total == TRUTH and CONTRADICTION not in ids(model)


@pytest.mark.parametrize("key", ["dynamic", "extra_config"])
def test_bits_of_single_modules_are_seen_in_their_shapes(tmp_path: Path, key: str) -> None:
    rows = [*gptq(4).model(MATRICES[:2]), *gptq(8).model(MATRICES[2:])]
    config = {"quant_method": "gptq", "bits": 4, key: {"+:.*layers.[23].*": {"bits": 8}}}
    model = scanned(tmp_path, rows, {"quantization_config": config})
    assert model.parameters.total == TRUTH and CONTRADICTION not in ids(model)


# ---- the widths of a config, against packed words

LLAMA = {"hidden_size": IN, "intermediate_size": OUT, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 640}
HELD = [(f"model.layers.{i}.mlp.up_proj", OUT, IN) for i in range(LAYERS)]


@pytest.mark.parametrize("name", ["mlx 4 bit", "pack-quantized 4 bit by channel", "quark int4", "gemma 2 bit"])
def test_a_matrix_has_no_fewer_parameters_than_the_widths_of_its_config(tmp_path: Path, name: str) -> None:
    """Eight bits are claimed of four real ones (or two), where no shape shows them."""
    lie = {
        "bits": 8,
        "config_groups": {"g": {"weights": {"num_bits": 8}}},
        "global_quant_config": {"weight": {"dtype": "uint8"}},
    }
    model = scanned(tmp_path, FORMS[name].model(HELD), {**LLAMA, "quantization_config": lie})
    assert model.parameters.total >= TRUTH
    assert CONTRADICTION in ids(model) or model.parameters.total == TRUTH
    right = scanned(tmp_path / "right", FORMS[name].model(HELD), {**LLAMA, **config_of(FORMS[name])})
    assert right.parameters.total == TRUTH and CONTRADICTION not in ids(right)


def test_the_widths_of_a_composed_config_are_those_of_its_language_model(tmp_path: Path) -> None:
    rows = mlx(4).model([(f"language_model.{name}", o, i) for name, o, i in HELD])
    config = {"text_config": {**LLAMA, "intermediate_size": 2 * OUT}, "quantization": {"bits": 4, "group_size": 64}}
    model = scanned(tmp_path, rows, config)
    assert model.parameters.total == 2 * (TRUTH - NORMS) + NORMS and CONTRADICTION in ids(model)


# ---- what hides

# scale-like rows of each form that a loader never misses, each made as large as the weights themselves
SCALES = {
    "gptq 4 bit": "scales",
    "hqq 4 bit": "zero",
    "bitsandbytes nf4 in U8": "weight.nested_absmax",
    "fp8 by block": "weight_scale_inv",
    "nvfp4, modelopt": "weight_scale_2",
    "mxfp4, gpt-oss": "w_scales",
    "mlx 4 bit": "biases",
    "pack-quantized 4 bit": "weight_scale",
    "aqlm 2x8": "codebooks",
    "vptq": "centroids.weight",
    "spqr": "col_vals",
    "exl2": "q_scale_max",
    "exl3 3 bit": "suh",
    "higgs 4 bit": "tables2",
    "torchao int8": "_weight_scale",
    "torchao int4": "_weight_zero_point",
    "sparse-bitmask": "row_offsets",
    "marlin-24 4 bit": "scale_packed",
    "quark int4": "weight_scale",
    "int8, eetq": "weight_scales",
}


@pytest.mark.parametrize("name", SCALES)
def test_scales_larger_than_a_group_allows_are_weights(tmp_path: Path, name: str) -> None:
    large = OUT * IN // 2
    rows = [
        (n, d, (*(1 for _ in s[1:]), large) if n.endswith(f".{SCALES[name]}") else s) for n, d, s in FORMS[name].model(MATRICES)
    ]
    model = scanned(tmp_path, rows, config_of(FORMS[name]))
    known = model.parameters.total
    floats = any(d[0] in "BF" for n, d, _ in rows if n.endswith(f".{SCALES[name]}"))
    if floats:
        assert known >= LAYERS * (OUT * IN + large)
    else:  # words of no known meaning: the bound takes each bit for a weight
        assert "unknown-integer-tensor" in ids(model) or known >= LAYERS * (OUT * IN + large)


def test_scales_larger_than_what_they_scale_are_weights(tmp_path: Path) -> None:
    rows: list[Row] = [("x.weight", "F8_E4M3", (8, 8)), ("x.weight_scale", "F32", (4096, 4096))]
    model = scanned(tmp_path, rows)
    assert model.parameters.total == 64 + 4096 * 4096 + NORMS
    assert "scales-exceed-weights" in ids(model)


def test_a_scale_beside_no_packed_weight_is_a_weight(tmp_path: Path) -> None:
    rows: list[Row] = [
        ("a.weight_scale", "F32", (1024, 1024)),
        ("b.scales", "BF16", (1024, 1024)),
        ("c.k_scale", "F32", (1 << 20,)),
    ]
    model = scanned(tmp_path, [*FORMS["fp8 by block"].model(MATRICES), *rows])
    assert model.parameters.total == TRUTH + 3 * (1 << 20)


def test_scales_of_cached_keys_and_values_are_no_parameters(tmp_path: Path) -> None:
    scales: list[Row] = [(f"model.layers.{i}.self_attn.{kv}_scale", "F32", ()) for i in range(LAYERS) for kv in "kv"]
    model = scanned(tmp_path, [*FORMS["fp8 by tensor"].model(MATRICES), *scales])
    assert model.parameters.total == TRUTH
    alone = [(n, "BF16", (OUT, IN)) for n in (f"{m}.weight" for m, _, _ in MATRICES)]
    config = {"quantization_config": {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8}}}
    model = scanned(tmp_path / "alone", [*alone, *scales], config)
    assert model.parameters.total == TRUTH and "unknown-quantization" not in ids(model)


def test_integers_of_no_known_scheme_raise_the_bound_and_are_said(tmp_path: Path) -> None:
    plain: list[Row] = [(f"{m}.weight", "BF16", (OUT, IN)) for m, _, _ in MATRICES]
    known = scanned(tmp_path / "plain", plain).training_operations.interval.high
    unknown = scanned(tmp_path / "mixed", [*plain, ("blob", "U8", (1 << 24,))])
    assert "unknown-integer-tensor" in ids(unknown)
    high = unknown.training_operations.interval.high
    assert known is not None and high is not None and high >= 3 * 2 * 8 * (1 << 24) * 10**14 > known


# forms whose name alone would be a low count: what stands beside the words lies about their number
SMALL_LIES: dict[str, list[Row]] = {
    "quip# of short vectors": [("Qidxs", "I16", (OUT, IN // 8)), ("SU", "F16", (8,)), ("SV", "F16", (8,))],
    "exl2 of a short permutation": [("q_weight", "I32", (IN * 4 // 32, OUT)), ("q_invperm", "I32", (4,))],
    "aqlm of codes for one weight": [("codes", "I16", (OUT, IN // 8, 8)), ("codebooks", "F16", (8, 2, 1, 1))],
    "aqlm of codes for none": [("codes", "I16", (OUT, IN // 8, 8)), ("codebooks", "F16", (8, 0, 0, 8))],
    "exl3 of one tile": [("trellis", "I16", (1, 1, OUT * IN)), ("suh", "F16", (16,)), ("svh", "F16", (16,))],
    "hqq of one group": [("W_q", "U8", (OUT, IN // 2)), ("scale", "F16", (1, 1))],
    "marlin-24 without metadata": [("B_24", "I32", (IN // 32, OUT * 2)), ("B_meta", "I16", (1,))],
    "sparse with a mask of one": [("compressed", "BF16", (OUT * IN,)), ("bitmask", "U8", (1, 1))],
    "gptq of 32 bits": [("qweight", "I32", (IN, OUT)), ("qzeros", "I32", (2, OUT)), ("scales", "F16", (2, OUT))],
    "vptq of no vectors": [
        ("indices", "I32", (64, 1, 1024)),
        ("centroids.weight", "F16", (1, 1)),
        ("weight_scale", "F16", (1,)),
    ],
    "pack-quantized of no rows": [("weight_packed", "I32", (0, OUT)), ("weight_scale", "BF16", (OUT, 2))],
    "higgs of a long table": [("weight", "I16", (OUT, IN)), ("tables", "F16", (1 << 12,))],
}


@pytest.mark.parametrize("name", SMALL_LIES)
def test_words_are_never_fewer_weights_than_bytes(tmp_path: Path, name: str) -> None:
    """No format has more than 8 bits a weight in integers: 2 layers of one matrix each."""
    rows = [(f"l{i}.{n}", d, s) for i in range(2) for n, d, s in SMALL_LIES[name]]
    model = scanned(tmp_path, rows)
    first = SMALL_LIES[name][0]
    size = {"I32": 4, "I16": 2, "BF16": 1, "U8": 1}[first[1]]
    count = first[2][0]
    for d in first[2][1:]:
        count *= d
    assert model.parameters.total - NORMS >= 2 * count * size
    high = model.training_operations.interval.high
    assert high is None or high >= 3 * 2 * 2 * count * size * 10**14


HALVES: dict[str, list[Row]] = {
    "gptq of three fifths of an order": [("qweight", "I32", (32, OUT)), ("g_idx", "I32", (160,)), ("scales", "F16", (2, OUT))],
    "pack-quantized of an order of one": [("weight_packed", "I32", (OUT, 32)), ("weight_g_idx", "I32", (1,))],
    "hqq of three fifths of the groups": [("W_q", "U8", (1024, 64)), ("scale", "F16", (1200, 1))],
    "marlin-24 of a third of the metadata": [("weight_packed", "I32", (8, 1024)), ("meta", "I16", (8, 341))],
    "quip# of a short vector": [("Qidxs", "I16", (OUT, 32)), ("SU", "F16", (1,)), ("SV", "F16", (OUT,))],
}


@pytest.mark.parametrize("name", HALVES)
def test_what_no_layout_can_be_is_read_as_the_most_that_it_holds(tmp_path: Path, name: str) -> None:
    """Four bits are real; what stands beside the words leaves a number of bits that its format doesn't have."""
    model = scanned(tmp_path, [(f"l{i}.{n}", d, s) for i in range(LAYERS) for n, d, s in HALVES[name]])
    assert model.parameters.total >= TRUTH


@pytest.mark.parametrize("wide", [1 << 40, 1 << 62])
def test_shapes_of_nothing_overflow_nothing(tmp_path: Path, wide: int) -> None:
    """A codebook of no vectors may be as wide as it likes: the count is high, and nothing breaks."""
    rows: list[Row] = [("x.codes", "I16", (64, 64, 1)), ("x.codebooks", "F16", (0, 0, 1, wide))]
    model = scanned(tmp_path, rows)
    high = model.training_operations.interval.high
    assert high is None or high >= 10**26


@pytest.mark.parametrize("name", ["a.running_mean", "a.inv_freq", "rotary_emb.cos"])
def test_a_buffers_name_hides_no_weights(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, [(name, "F32", (4096, 4096))]).parameters.total == 4096 * 4096 + NORMS


def test_a_flattened_weight_is_bounded_as_a_kernel(tmp_path: Path) -> None:
    model = scanned(tmp_path, [("flat_param", "F32", (1 << 23,))])
    assert model.training_operations.interval.high is not None
    assert model.training_operations.interval.high >= 3 * 2 * (1 << 23) * 10**16  # maximum_training_pixels
