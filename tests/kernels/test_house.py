"""How kernels run: plain while the work is small, compiled once it is large, counted, and documented."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.layouts import ROOT, Tensor, write_small, write_sparse
from weightguard.kernels import _jit
from weightguard.kernels._jit import Kernel, kernel

MODULES = sorted(p.stem for p in (ROOT / "kernels").glob("*.py") if not p.stem.startswith("_"))
KERNELS: dict[str, Kernel[..., Any]] = {
    name: found
    for module in MODULES
    for name, found in vars(import_module(f"weightguard.kernels.{module}")).items()
    if isinstance(found, Kernel)
}
# For files so large that other readers than the plain ones pay, and for declarations.
LARGE = {
    "connect",
    "reach",
    "scan_safetensors_header",
    "find_repeated_name",
    "scan_torch_entries",
    "scan_zip_directory",
    "match_zip_headers",
    "skip_strings",
    "simulate_operations",
}
TESTED = {
    *LARGE,
    "count_elements",
    "check_extents",
    "sum_by_group",
    "forward_by_layer",
    "operations_at_context",
}

SCAN = """\
import json, sys
import weightguard
report = weightguard.scan(*sys.argv[1:])
from weightguard.kernels._jit import calls
loaded = [m for m in ("numba", "torch", "yaml", "rich", "transformers", "safetensors") if m in sys.modules]
print(json.dumps({
    "calls": sorted([*key, n] for key, n in calls.items()),
    "loaded": loaded,
    "models": len(report.models),
    "total": sum(m.parameters.total for m in report.models),
    "unread": len(report.unread),
}))
"""


def scanned(*targets: Path) -> dict[str, Any]:
    """A scan in a process of its own: calls of kernels, modules loaded, what was found."""
    done = subprocess.run(
        [sys.executable, "-c", SCAN, *map(str, targets)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_kernel_has_a_twin_in_these_tests() -> None:
    assert set(KERNELS) == TESTED


@pytest.mark.parametrize("name", sorted(TESTED))
def test_a_docstring_names_every_argument_and_the_cost(name: str) -> None:
    found = KERNELS[name]
    doc = inspect.getdoc(found.py_func) or ""
    for argument in inspect.signature(found.py_func).parameters:
        assert re.search(rf"(?<![\w.]){argument}(?:, \w+)*: |\b{argument}\b", doc), f"{name} doesn't say what {argument} is"
    assert re.search(r"Reads each \w+ once\.", doc), f"{name} doesn't say what it costs"
    assert re.search(r"Returns ", doc), f"{name} doesn't say what it returns"


@pytest.mark.parametrize("name", sorted(TESTED))
def test_outputs_come_last_and_are_named_so(name: str) -> None:
    names = list(inspect.signature(KERNELS[name].py_func).parameters)
    outputs = [n.startswith("out_") for n in names]
    assert outputs == sorted(outputs) and outputs[-1], names


def test_a_small_scan_runs_its_kernels_plain_and_loads_nothing_heavy(tmp_path: Path) -> None:
    found = scanned(write_small(tmp_path / "model"))
    assert found["models"] == 1 and found["unread"] == 0
    assert found["loaded"] == []
    calls = {(name, how): n for name, how, n in found["calls"]}
    assert {how for _, how in calls} == {"plain"}
    assert {name for name, _ in calls} == TESTED - LARGE


def test_a_scan_of_100000_tensors_runs_them_compiled(tmp_path: Path) -> None:
    tensors: list[Tensor] = [
        (f"model.layers.{i // 1000}.mlp.experts.{i % 1000}.weight", "BF16", (4, 8)) for i in range(100_000)
    ]
    found = scanned(write_sparse(tmp_path / "a.safetensors", tensors))
    assert found["models"] == 1 and found["total"] == 3_200_000
    compiled = {name for name, how, _ in found["calls"] if how == "compiled"}
    assert compiled >= {"scan_safetensors_header", "count_elements", "check_extents", "sum_by_group"}
    assert "numba" in found["loaded"] and "torch" not in found["loaded"]


def test_calls_of_a_scan_are_counted_one_by_one(tmp_path: Path) -> None:
    """Three files are read by three calls of each kernel of the reader."""
    for i in range(3):
        write_sparse(tmp_path / f"{i}.safetensors", [("a.weight", "F32", (2, 2))])
    calls = {(name, how): n for name, how, n in scanned(tmp_path)["calls"]}
    assert calls["count_elements", "plain"] == calls["check_extents", "plain"] == 3


def test_the_work_done_so_far_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def plain(steps: int) -> int:
        return steps

    def compiled(found: Any) -> Any:
        ran.append("compiled")
        return found

    monkeypatch.setattr(_jit, "_done", 0)
    monkeypatch.setattr(_jit, "_compile", compiled)
    monkeypatch.setattr(_jit, "COMPILE_ABOVE", 100)
    monkeypatch.setattr(_jit, "calls", type(_jit.calls)())
    run = kernel(work=lambda steps: steps)(plain)
    assert [run(60), run(40)] == [60, 40] and ran == []
    assert run(1) == 1 and ran == ["compiled"]
    assert run(1) == 1 and ran == ["compiled"], "compiled once, kept"
    assert _jit.calls == {("plain", "plain"): 2, ("plain", "compiled"): 2}


def test_kernels_import_numpy_and_nothing_else_at_module_level() -> None:
    code = f"import sys\nfrom weightguard.kernels import {', '.join(MODULES)}\nprint('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
