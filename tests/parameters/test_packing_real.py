"""What the quantisers' own libraries store, as `make_packed.py` made it: 2 layers of 512 x 256."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests.parameters.packed import write
from weightguard.report import ModelReport

DATA = Path(__file__).parent / "data"
TRUTH = 2 * 512 * 256
CASES: dict[str, dict[str, Any]] = {
    case: made
    for name in ("packed.json", "packed_old.json", "packed_sources.json")
    for case, made in json.loads((DATA / name).read_text(encoding="utf-8")).items()
}
# what no shape shows: bits without zero points, a codebook's vectors without packed indices, groups along the other axis
ONLY_CONFIG = {"vptq", "hqq 4 bit axis 0", "hqq 2 bit axis 0", "gemma 4 bit", "quark int4 by channel"}
ONLY_CONFIG |= {
    c for c in CASES if c.startswith(("compressed-tensors", "old compressed-tensors")) and " bit" in c and "zeros" not in c
}
ONLY_CONFIG |= {"metal 4 bit", "metal 8 bit"}


def scanned(folder: Path, case: str, config: dict[str, Any] | None) -> ModelReport:
    rows = [(n, d, tuple(s)) for n, d, s in CASES[case]["tensors"]]
    (model,) = weightguard.scan(str(write(folder, rows, config))).models
    return model


@pytest.mark.parametrize("case", CASES)
def test_what_the_library_stores_counts_as_what_it_stands_for(tmp_path: Path, case: str) -> None:
    key = "quantization" if case.startswith("metal") else "quantization_config"
    model = scanned(tmp_path, case, {key: CASES[case]["config"]})
    assert model.parameters.total == TRUTH
    assert model.parameters.by_role["other"] == 0
    assert not {f.id for f in model.findings} & {"packing-contradiction", "unknown-quantization", "scales-exceed-weights"}


@pytest.mark.parametrize("case", CASES)
def test_without_its_config_it_counts_no_lower(tmp_path: Path, case: str) -> None:
    model = scanned(tmp_path, case, None)
    assert model.parameters.by_role["other"] == 0
    if case in ONLY_CONFIG:
        assert TRUTH <= model.parameters.total <= 4 * TRUTH
    else:
        assert model.parameters.total == TRUTH


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("hqq.pt", 128 * 256),
        ("torchao_int8.pt", 128 * 256),
        ("torchao_intx.pt", 128 * 256),
        ("torch_qint8.pt", 128 * 256 + 128),
    ],
)
def test_pickles_of_packed_modules_count_the_same(tmp_path: Path, name: str, truth: int) -> None:
    """torch.save of dicts (HQQ), of tensor subclasses (torchao), of torch's own quantised modules with their bias."""
    (tmp_path / name).write_bytes((DATA / name).read_bytes())
    (model,) = weightguard.scan(str(tmp_path)).models
    assert model.parameters.total == truth
    assert model.parameters.by_role["other"] == 0


def test_fixtures_are_small_and_from_libraries_of_stated_versions() -> None:
    assert all(path.stat().st_size < 100_000 for path in DATA.iterdir())
    assert all(made["library"].split()[1][0].isdigit() for made in CASES.values())


def test_torchs_own_quantised_modules(tmp_path: Path) -> None:
    """A traced module of qint8, and a state of a convolution and a linear layer quantised after calibration."""
    import torch

    warnings.simplefilter("ignore")
    plain = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256))
    dynamic = torch.ao.quantization.quantize_dynamic(plain, dtype=torch.qint8)
    (tmp_path / "traced").mkdir()
    torch.jit.save(torch.jit.trace(dynamic, torch.zeros(1, 256)), tmp_path / "traced" / "m.pt")
    (model,) = weightguard.scan(str(tmp_path / "traced")).models
    assert model.parameters.total == 2 * 256 * 512 + 512 + 256 and model.parameters.by_role["other"] == 0

    static = torch.nn.Sequential(
        torch.ao.quantization.QuantStub(), torch.nn.Conv2d(16, 64, 3), torch.nn.Conv2d(64, 256, 1)
    ).eval()
    static.qconfig = torch.ao.quantization.get_default_qconfig("x86")
    torch.ao.quantization.prepare(static, inplace=True)
    static(torch.randn(2, 16, 8, 8))
    torch.ao.quantization.convert(static, inplace=True)
    (tmp_path / "static").mkdir()
    torch.save(static.state_dict(), tmp_path / "static" / "m.pt")
    (model,) = weightguard.scan(str(tmp_path / "static")).models
    truth = 16 * 64 * 9 + 64 + 64 * 256 + 256
    assert truth <= model.parameters.total <= truth + 1  # the scale of the input stub stands beside no weight
    assert model.parameters.by_role["other"] == 0
