"""Operations of an image against torch's own count of the class's forward pass, on the meta device."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

import weightguard
from tests.layouts import write_json, write_sparse
from weightguard.report import ModelReport
from weightguard.reports.json import render

OFTEN = ("vit", "swin", "convnext", "resnet")
TYPES = (
    *OFTEN,
    "vit_msn",
    "beit",
    "data2vec-vision",
    "dinov2",
    "dinov2_with_registers",
    "ijepa",
    "donut-swin",
    "swinv2",
    "convnextv2",
)


def scanned(folder: Path, module: Any, config: dict[str, Any]) -> ModelReport:
    write_json(folder / "config.json", config)
    tensors = [(name, "F32", tuple(p.shape)) for name, p in module.named_parameters()]
    write_sparse(folder / "model.safetensors", tensors)
    report = weightguard.scan(str(folder))
    schema = json.loads(resources.files("weightguard.schemas").joinpath("report.schema.json").read_text())
    jsonschema.validate(json.loads(render(report)), schema)
    [model] = report.models
    return model


def operations(module: Any, *args: Any, **kwargs: Any) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(*args, **kwargs)
    return int(counter.get_total_flops())


def agrees(model: ModelReport, truth: int) -> None:
    found = model.forward_operations
    assert found is not None and found.unit == "image"
    assert found.matmul == pytest.approx(truth, rel=0.03)
    assert found.matmul_range[0] <= truth <= found.matmul_range[1]


@pytest.mark.parametrize("model_type", [t if t in OFTEN else pytest.param(t, marks=pytest.mark.full) for t in TYPES])
def test_an_image_takes_what_its_class_takes(tmp_path: Path, model_type: str) -> None:
    config = transformers.AutoConfig.for_model(model_type)
    with torch.device("meta"):
        module = transformers.AutoModelForImageClassification.from_config(config, attn_implementation="eager")
    side = getattr(config, "image_size", 224)
    side = side if isinstance(side, int) else 224
    truth = operations(module, pixel_values=torch.zeros(1, 3, side, side, device="meta"))
    agrees(scanned(tmp_path, module, json.loads(config.to_json_string(use_diff=False))), truth)


def test_the_bound_of_an_image_model_is_that_of_its_weights(tmp_path: Path) -> None:
    """A config that says image changes what is shown, not what decides."""
    config = transformers.AutoConfig.for_model("vit")
    with torch.device("meta"):
        module = transformers.AutoModelForImageClassification.from_config(config)
    values = json.loads(config.to_json_string(use_diff=False))
    image = scanned(tmp_path / "image", module, values).training_operations.interval.high
    other = scanned(tmp_path / "other", module, {**values, "model_type": "nothing"}).training_operations.interval.high
    assert image == other and image is not None and image < 10**26


def test_diffusion_networks(tmp_path: Path) -> None:
    """Stable Diffusion 1's UNet (0.80e12 a step at 64 x 64 latents), cleared by its weights, and DiT-XL/2 (237e9)."""
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    latents, step = torch.zeros(1, 4, 64, 64, device="meta"), torch.zeros(1, device="meta")
    truth = operations(unet, latents, step, encoder_hidden_states=torch.zeros(1, 77, 768, device="meta"))
    model = scanned(tmp_path / "unet", unet, {**json.loads(unet.to_json_string()), "_class_name": "UNet2DConditionModel"})
    agrees(model, truth)
    assert model.parameters.total == sum(p.numel() for p in unet.parameters()) and model.decision == "allow"
    with torch.device("meta"):
        dit = diffusers.DiTTransformer2DModel(
            num_attention_heads=16,
            attention_head_dim=72,
            in_channels=4,
            out_channels=8,
            num_layers=28,
            sample_size=32,
            patch_size=2,
        )
    labels = torch.zeros(1, dtype=torch.long, device="meta")
    truth = operations(dit, torch.zeros(1, 4, 32, 32, device="meta"), timestep=labels, class_labels=labels)
    agrees(scanned(tmp_path / "dit", dit, {**json.loads(dit.to_json_string()), "_class_name": "DiTTransformer2DModel"}), truth)
