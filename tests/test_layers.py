"""The layout: what may import what, what a scan's path may load, and what is shipped. Read off the source, not the running code."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.layouts import ROOT

PACKAGE = ROOT / "weightguard"
# what a caller has loaded already, when it calls these
CALLERS = {("weightguard.operations.live", "torch"), ("weightguard.gates.trainer", "transformers")}
"""Counts a module that its caller made, and that no file is read for: the one place that imports torch, in a function."""

# Each layer imports from those above it and from itself.
ORDER = (
    ("values", "errors", "limits", "version", "toml_lines"),
    ("kernels",),
    ("stores",),
    ("tensors",),
    ("roles",),
    ("formats",),
    ("archives",),
    ("models",),
    ("parameters",),
    ("architecture",),
    ("evidence",),
    ("operations",),
    ("rules",),
    ("policy",),
    ("decision",),
    ("report", "reading", "facts", "judge", "pipeline"),
    ("reports",),
    ("demo",),
    ("gates", "sweep"),
    ("cli", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
OUTSIDE = {"__init__", "schemas"}
LAZY = {
    ("weightguard.report", "weightguard.reports.json")
}  # Report.to_dict, for callers from Python; nothing on the line uses it
STANDARD = sys.stdlib_module_names
IMPORTED_AS = {"mlflow-skinny": "mlflow", "in-toto-attestation": "in_toto_attestation", "protobuf": "google"}
HEAVY = {"numba", "torch", "zstandard", "yaml", "rich", "transformers", "safetensors", "onnx", "h5py"}


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, of everything that ships; `kernels` is a link to the folder beside."""
    found = {}
    for folder, shown in ((PACKAGE, "weightguard"), (ROOT / "kernels", "weightguard.kernels")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if folder == PACKAGE and parts[0] == "kernels":
                continue
            found[".".join((shown, *parts)).removesuffix(".__init__")] = path
    return found


def layer(module: str) -> str:
    """The layer of a module: the part of its name after `weightguard`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(node: ast.AST, module: str, *, lazy: bool = True, types: bool = False) -> Iterator[tuple[str, int]]:
    """(name imported, line). `lazy`: also inside functions; `types`: also under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if typing_only(child) and not types:
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module}:{child.lineno}: a relative import"
            base = child.module or ""
            for alias in child.names:
                name = f"{base}.{alias.name}"
                yield (name if name in modules() else base), child.lineno
        elif lazy or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from imports(child, module, lazy=lazy, types=types)


def ours(name: str) -> bool:
    return name == "weightguard" or name.startswith("weightguard.")


def test_every_module_has_a_layer() -> None:
    unknown = {layer(m) for m in modules()} - set(LEVEL) - OUTSIDE
    assert not unknown, f"say in ORDER where {unknown} stands"


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_imports_only_from_the_layers_before_its_own(module: str) -> None:
    if layer(module) in OUTSIDE:
        return
    for name, line in imports(tree(modules()[module]), module):
        if ours(name) and layer(name) not in OUTSIDE and (module, name) not in LAZY:
            assert LEVEL[layer(name)] <= LEVEL[layer(module)], f"{module}:{line} imports {name}, which stands later"


def test_values_and_errors_import_no_other_module_of_ours() -> None:
    for module in ("weightguard.values", "weightguard.errors", "weightguard.limits", "weightguard.version"):
        assert [n for n, _ in imports(tree(modules()[module]), module) if ours(n)] == []


@pytest.mark.parametrize("package", ["formats", "parameters.packing", "reports", "architecture.families", "rules"])
def test_siblings_do_not_import_each_other(package: str) -> None:
    """Shared parts are private (_pickle, _zip) or the package's named interface."""
    shared = {"protocol", "signatures", "hidden", "derivation", "scheme", "regime", "provenance", "us_ear_3a090"}
    prefix = f"weightguard.{package}."
    for module in modules():
        if not module.startswith(prefix):
            continue
        own = module.removeprefix(prefix).split(".")[0]
        for name, line in imports(tree(modules()[module]), module):
            other = name.removeprefix(prefix).split(".")[0] if name.startswith(prefix) else own
            allowed = other == own or other in shared or other.startswith("_")
            assert allowed or own in shared, f"{module}:{line} imports its sibling {name}"


def test_rules_see_neither_tensors_nor_files() -> None:
    for module in modules():
        if layer(module) == "rules":
            for name, line in imports(tree(modules()[module]), module, types=True):
                assert layer(name) not in {"tensors", "formats", "stores", "models", "kernels"} or not ours(name), (
                    f"{module}:{line}"
                )
                assert name != "numpy", f"{module}:{line}"


def test_kernels_import_numpy_and_their_decorator_and_nothing_else_when_loaded() -> None:
    for module in modules():
        if layer(module) == "kernels":
            for name, line in imports(tree(modules()[module]), module, lazy=False):
                root = name.split(".")[0]
                assert root == "numpy" or root in STANDARD or name == "weightguard.kernels._jit", (
                    f"{module}:{line} imports {name}"
                )


def test_only_stores_open_what_is_inspected() -> None:
    """ "Only `store` does I/O on the inspected files": no open() in the stages that read them."""
    for module in modules():
        if layer(module) in {"formats", "tensors", "roles", "models", "parameters", "architecture", "operations", "kernels"}:
            for node in ast.walk(tree(modules()[module])):
                called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                assert called not in {"open", "os.open", "io.open"}, f"{module}:{node.lineno} opens a file"  # type: ignore[attr-defined]


def test_nothing_heavy_is_imported_at_module_level() -> None:
    for module, path in modules().items():
        for name, line in imports(tree(path), module, lazy=False):
            if (module, name.split(".")[0]) in CALLERS:
                continue
            assert name.split(".")[0] not in HEAVY, f"{module}:{line} imports {name} when it is loaded"


def test_only_declared_dependencies_are_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {d.split(">")[0].lower() for d in project["dependencies"]} >= {"numpy", "numba", "pyyaml", "rich"}
    optional = project["optional-dependencies"]
    extras = {d.split(">")[0] for name, ds in optional.items() if name not in ("test", "torch") for d in ds}
    extras = {IMPORTED_AS.get(name, name) for name in extras}
    allowed = {"numpy", "numba", "yaml", "rich", "weightguard"} | STANDARD | extras
    for module, path in modules().items():
        for name, line in imports(tree(path), module, types=True):
            if (module, name.split(".")[0]) in CALLERS:
                continue
            assert name.split(".")[0] in allowed, f"{module}:{line} imports {name}, which an install may not have"


def test_nothing_that_could_execute_what_is_inspected_is_called() -> None:
    banned = {"pickle", "torch", "joblib", "dill", "cloudpickle", "marshal", "shelve"}
    for module, path in modules().items():
        for name, line in imports(tree(path), module):
            if (module, name.split(".")[0]) in CALLERS:
                continue
            assert name.split(".")[0] not in banned, f"{module}:{line} imports {name}"
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile", "__import__"}, f"{module}:{node.lineno}"


def test_the_packages_that_ship_are_the_folders() -> None:
    """A folder left out of `packages` works in a checkout and is missing from the wheel."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {m if path.name == "__init__.py" else m.rpartition(".")[0] for m, path in modules().items()}
    assert sorted(settings["packages"]) == settings["packages"]
    assert set(settings["packages"]) == folders
    assert settings["package-dir"]["weightguard.kernels"] == "kernels"
    assert (PACKAGE / "kernels").is_symlink() and (PACKAGE / "kernels").resolve() == (ROOT / "kernels").resolve()


def test_every_folder_of_code_is_a_package() -> None:
    for path in modules().values():
        assert (path.parent / "__init__.py").is_file(), f"{path.parent} has no __init__.py"


def test_every_data_file_ships() -> None:
    """TOML and JSON beside the code are in `package-data`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    data = settings["package-data"]
    for path in [*PACKAGE.rglob("*.toml"), *PACKAGE.rglob("*.json")]:
        package = ".".join(("weightguard", *path.relative_to(PACKAGE).parent.parts))
        assert any(path.match(pattern) for pattern in data.get(package, [])), f"{path.relative_to(ROOT)} doesn't ship"


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import weightguard", {"numpy", "numba", "torch", "argparse", "json"}),
        ("from weightguard.cli import main; main(['--version'])", {"numpy", "numba", "torch"}),
        ("import weightguard.pipeline", HEAVY),
    ],
)
def test_loading_stays_light(code: str, absent: set[str]) -> None:
    script = f"import sys\n{code}\nprint(*sorted(set(sys.modules) & {absent!r}), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.split() == []


def test_no_file_of_code_is_longer_than_a_reader_holds() -> None:
    """ "A file over 600 lines ... is a review stop"."""
    long = {m: n for m, p in modules().items() if (n := len(p.read_text(encoding="utf-8").splitlines())) > 600}
    assert set(long) <= {"weightguard.evidence.declaration"}, long
