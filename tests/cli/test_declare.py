"""`weightguard declare` and `explain`: the real commands on a real folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from weightguard.demo.layouts import llama
from weightguard.demo.write import write_model


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "weightguard", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(str(tmp_path / "m"), llama(126, 16384, 128, 8, 53248, 128256))
    return tmp_path


def test_the_template_once_filled_in_clears_the_model(model: Path) -> None:
    assert run("scan", "m", cwd=model).returncode == 1
    written = run("declare", "m", cwd=model)
    assert written.returncode == 0, written.stderr
    path = model / "m" / "weightguard.toml"
    text = path.read_text()
    assert "405853388800" in text
    assert run("scan", "m", cwd=model).returncode == 2, "a template that is not filled in is no declaration"
    path.write_text(text.replace('"FILL IN"', "15.6e12"))
    checked = run("declare", "--check", "m", cwd=model)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert run("scan", "m", cwd=model).returncode == 0


def test_a_declaration_that_is_there_is_not_overwritten(model: Path) -> None:
    assert run("declare", "m", cwd=model).returncode == 0
    again = run("declare", "m", cwd=model)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert run("declare", "m", "--force", cwd=model).returncode == 0


def test_a_problem_is_named_by_file_and_line(model: Path) -> None:
    (model / "m" / "weightguard.toml").write_text('schema = "weightguard/declaration/1"\n[model]\nwhole = 7\n')
    found = run("declare", "--check", "m", cwd=model)
    assert found.returncode == 2
    assert "m/weightguard.toml:3:" in found.stderr


def test_explain_prints_the_formula_the_inputs_and_the_clause(model: Path) -> None:
    found = run("explain", "m", cwd=model)
    assert found.returncode == 1
    for words in ("Technical Note 2", "100T tokens", "10^26 or more", "maximum_training_tokens", "undetermined"):
        assert words in found.stdout
