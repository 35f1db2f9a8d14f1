"""TorchScript archives: torch.jit is the oracle; code explains itself, weights in it don't."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from tests.formats._torch_files import (
    read,
    rows,
)
from tests.formats._torch_values import (
    model,
    reader_of,
    scripted,
)
from weightguard.formats import torch_zip


@pytest.mark.parametrize("make", ["script", "trace"])
def test_torchscript_has_the_names_of_its_state_dict(make: str) -> None:
    net = model().eval()
    net = nn.Sequential(net[0], net[1], nn.Flatten())
    module = torch.jit.script(net) if make == "script" else torch.jit.trace(net.eval(), torch.ones(1, 3, 8, 8))
    data = scripted(module)
    container = read(reader_of(data), data)
    expected = {n: tuple(t.shape) for n, t in module.state_dict().items()}
    found = {r[0]: r[1] for r in rows(container)}
    assert {n: s for n, s in found.items() if n in expected} == expected
    assert set(found) - set(expected) <= {"1.num_batches_tracked"}
    assert [f.id for f in container.findings if f.severity != "low"] == ["torchscript-code"]
    assert container.unexplained == 0


def test_torchscript_constants_are_rows() -> None:
    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.w + torch.arange(3) * torch.full((3,), 2.0)

    traced = torch.jit.freeze(torch.jit.trace(Net().eval(), torch.ones(3)))
    container = read(torch_zip, scripted(traced))
    assert any(r[0].startswith("constants.") for r in rows(container))


def test_extra_files_are_explained_only_as_text() -> None:
    module = torch.jit.script(nn.Linear(2, 2))
    for content, unexplained in ((b"some text", 0), (bytes(range(256)) * 4, 1024)):
        out = io.BytesIO()
        torch.jit.save(module, out, _extra_files={"notes": content})
        assert read(torch_zip, out.getvalue()).unexplained == unexplained


def test_weights_in_code_are_unexplained() -> None:
    data = scripted(torch.jit.script(nn.Linear(2, 2)))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr(old.namelist()[0].split("/")[0] + "/code/weights.py", np.random.default_rng(0).bytes(4000))
    assert read(torch_zip, out.getvalue()).unexplained == 4000
