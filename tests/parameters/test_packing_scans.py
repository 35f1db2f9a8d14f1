"""Whole models in each packed form, from sparse files to the verdict: a 405B is never cleared, a 7B is."""

from __future__ import annotations

from pathlib import Path

import pytest

import weightguard
from tests.parameters.packed import FORMS, Form, Row, write
from weightguard.demo.layouts import Layout, llama, llama_405b
from weightguard.report import ModelReport

TOTAL_405B = 405_853_388_800
TOTAL_7B = 6_738_415_616  # Llama 2 7B


def llama_7b() -> Layout:
    return llama(layers=32, hidden=4096, heads=32, kv_heads=32, ffn=11008, vocab=32000)


def scanned(folder: Path, layout: Layout, name: str, *, config: bool = True) -> ModelReport:
    """The layout with the layers' matrices in a packed form, the rest in BF16."""
    form: Form = FORMS[name]
    rows: list[Row] = []
    for tensor, dtype, shape in layout.tensors:
        if ".layers." in tensor and len(shape) == 2:
            rows += form.model([(tensor.removesuffix(".weight"), *shape)])
        else:
            rows.append((tensor, dtype, shape))
    key = "quantization" if name.startswith("mlx") else "quantization_config"
    claims = {**layout.config, **({key: dict(form.config)} if form.config else {})} if config else None
    (model,) = weightguard.scan(str(write(folder, rows, claims))).models
    return model


@pytest.mark.parametrize("name", FORMS)
def test_405b_is_not_cleared(tmp_path: Path, name: str) -> None:
    model = scanned(tmp_path, llama_405b(), name)
    assert model.parameters.total == TOTAL_405B
    high = model.training_operations.interval.high
    assert high is None or high >= 10**26
    assert model.decision == "block"
    assert all(v.status == "undetermined" for v in model.verdicts)


@pytest.mark.parametrize(
    "name", ["gptq 4 bit", "hqq 4 bit axis 0", "mlx 4 bit", "pack-quantized 4 bit", "bitsandbytes nf4 in F32"]
)
def test_405b_is_not_cleared_without_its_config(tmp_path: Path, name: str) -> None:
    model = scanned(tmp_path, llama_405b(), name, config=False)
    high = model.training_operations.interval.high
    assert model.parameters.total >= TOTAL_405B and (high is None or high >= 10**26) and model.decision == "block"


@pytest.mark.parametrize("name", FORMS)
def test_7b_is_cleared(tmp_path: Path, name: str) -> None:
    model = scanned(tmp_path, llama_7b(), name)
    assert model.parameters.total == TOTAL_7B
    high = model.training_operations.interval.high
    assert high is not None and high < 10**26
    assert model.decision == "allow"
