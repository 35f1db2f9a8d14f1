"""Packed weights: each scheme's documented layout, of a model whose count is known: 4 layers of 512 x 256, and its vectors."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import pytest

import weightguard
from weightguard.report import ModelReport

OUT, IN, LAYERS = 512, 256, 4
NORMS = LAYERS * IN
TRUTH = LAYERS * OUT * IN + NORMS
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "I64": 8, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E8M0": 1}

Rows = Sequence[tuple[str, str, tuple[int, ...]]]


def scanned(folder: Path, rows: Rows, config: Mapping[str, Any] | None = None) -> ModelReport:
    """A report on a file that holds these rows and a norm a layer."""
    all_rows = [*rows, *((f"model.layers.{i}.norm.weight", "F16", (IN,)) for i in range(LAYERS))]
    header, end = {}, 0
    for name, dtype, shape in all_rows:
        begin, end = end, end + prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    (model,) = weightguard.scan(str(folder)).models
    return model


def layers(*parts: tuple[str, str, tuple[int, ...]]) -> Rows:
    return [(f"model.layers.{i}.proj.{name}", dtype, shape) for i in range(LAYERS) for name, dtype, shape in parts]


def gptq(bits: int) -> Rows:
    return layers(
        ("qweight", "I32", (IN * bits // 32, OUT)),
        ("qzeros", "I32", (IN // 128, OUT * bits // 32)),
        ("scales", "F16", (IN // 128, OUT)),
        ("g_idx", "I32", (IN,)),
    )


CASES: dict[str, tuple[Rows, dict[str, Any] | None]] = {
    "bf16": (layers(("weight", "BF16", (OUT, IN))), None),
    **{f"gptq {b} bit": (gptq(b), {"quantization_config": {"quant_method": "gptq", "bits": b}}) for b in (2, 3, 4, 8)},
    **{f"gptq {b} bit, no config": (gptq(b), None) for b in (2, 3, 4, 8)},
    "gptq, config that lies": (gptq(4), {"quantization_config": {"quant_method": "gptq", "bits": 8}}),
    "awq": (
        layers(
            ("qweight", "I32", (IN, OUT // 8)), ("qzeros", "I32", (IN // 128, OUT // 8)), ("scales", "F16", (IN // 128, OUT))
        ),
        None,
    ),
    "bitsandbytes nf4, double quantised": (
        layers(
            ("weight", "U8", (OUT * IN // 2, 1)),
            ("weight.absmax", "U8", (OUT * IN // 64,)),
            ("weight.quant_map", "F32", (16,)),
            ("weight.nested_absmax", "F32", (OUT * IN // 64 // 256,)),
            ("weight.nested_quant_map", "F32", (256,)),
            ("weight.quant_state.bitsandbytes__nf4", "U8", (100,)),
        ),
        None,
    ),
    "bitsandbytes int8": (
        layers(("weight", "I8", (OUT, IN)), ("SCB", "F32", (OUT,)), ("weight_format", "U8", ())),
        None,
    ),
    "fp8 by block": (layers(("weight", "F8_E4M3", (OUT, IN)), ("weight_scale_inv", "F32", (OUT // 128, IN // 128))), None),
    "fp8 by tensor": (
        layers(("weight", "F8_E4M3", (OUT, IN)), ("weight_scale", "F32", ()), ("input_scale", "F32", ())),
        None,
    ),
    "compressed-tensors w4a16": (
        layers(
            ("weight_packed", "I32", (OUT, IN // 8)), ("weight_scale", "BF16", (OUT, IN // 128)), ("weight_shape", "I64", (2,))
        ),
        {"quantization_config": {"config_groups": {"group_0": {"weights": {"num_bits": 4}}}}},
    ),
    "nvfp4": (
        layers(
            ("weight", "U8", (OUT, IN // 2)),
            ("weight_scale", "F8_E4M3", (OUT, IN // 16)),
            ("weight_scale_2", "F32", ()),
            ("input_scale", "F32", ()),
        ),
        None,
    ),
    "mxfp4": (layers(("w_blocks", "U8", (OUT, IN // 32, 16)), ("w_scales", "U8", (OUT, IN // 32))), None),
    "mlx 4 bit": (
        layers(("weight", "U32", (OUT, IN // 8)), ("scales", "F16", (OUT, IN // 64)), ("biases", "F16", (OUT, IN // 64))),
        {"quantization": {"bits": 4, "group_size": 64}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_packed_weights_count_as_the_weights_they_stand_for(tmp_path: Path, case: str) -> None:
    rows, config = CASES[case]
    model = scanned(tmp_path, rows, config)
    assert model.parameters.total == TRUTH
    assert sum(model.parameters.by_role.values()) == model.parameters.stored_elements


def test_without_a_config_the_larger_count_holds(tmp_path: Path) -> None:
    rows = layers(("weight_packed", "I32", (OUT, IN // 8)), ("weight_scale", "BF16", (OUT, IN // 128)))
    assert scanned(tmp_path, rows).parameters.total >= TRUTH


def test_integers_of_no_known_scheme_raise_the_bound_and_are_said(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    known = scanned(plain, CASES["bf16"][0]).training_operations.interval.high
    unknown = scanned(mixed, [*CASES["bf16"][0], ("blob", "U8", (1 << 24,))])
    assert "unknown-integer-tensor" in {f.id for f in unknown.findings}
    high = unknown.training_operations.interval.high
    assert known is not None and high is not None and high >= 3 * 2 * 8 * (1 << 24) * 10**14 > known


def test_scales_larger_than_what_they_scale_are_weights(tmp_path: Path) -> None:
    rows = [("x.weight", "F8_E4M3", (8, 8)), ("x.weight_scale", "F32", (4096, 4096))]
    model = scanned(tmp_path, rows)
    assert model.parameters.total == 64 + 4096 * 4096 + NORMS
    assert "scales-exceed-weights" in {f.id for f in model.findings}


@pytest.mark.parametrize("name", ["a.running_mean", "a.inv_freq", "rotary_emb.cos"])
def test_a_buffers_name_hides_no_weights(tmp_path: Path, name: str) -> None:
    assert scanned(tmp_path, [(name, "F32", (4096, 4096))]).parameters.total == 4096 * 4096 + NORMS


def test_a_flattened_weight_is_bounded_as_a_kernel(tmp_path: Path) -> None:
    model = scanned(tmp_path, [("flat_param", "F32", (1 << 23,))])
    assert model.training_operations.interval.high is not None
    assert model.training_operations.interval.high >= 3 * 2 * (1 << 23) * 1024 * 10**14
