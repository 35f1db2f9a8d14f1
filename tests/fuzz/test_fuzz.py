"""The kept corpus, each file as it is and changed: see `fuzz_formats`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.fuzz_formats import CORPUS, beside, check, folder_of, seeds

ROOT = Path(__file__).resolve().parents[2]
FORMATS = sorted({folder_of(p) for p in seeds()})


def kept(path: Path) -> object:
    return pytest.param(path, id=f"{folder_of(path)}{path.parent.name}/{path.name}")


def run(rounds: int, seed: int, only: str, failures: Path) -> None:
    """In a process of its own, whose memory is bounded and which a hard crash ends alone."""
    options = ("--bounded", str(rounds), "--seed", str(seed), "--only", only, "--failures", str(failures))
    command = (sys.executable, "-m", "tests.fuzz.fuzz_formats", *options)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("path", [kept(p) for p in seeds()])
def test_a_kept_file_keeps_the_rules(path: Path) -> None:
    check(path.read_bytes(), beside(path), path.name)


@pytest.mark.parametrize("format", FORMATS)
def test_changed_files_keep_the_rules(format: str, tmp_path: Path) -> None:
    run(150, 1, format, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(2, 5))
@pytest.mark.parametrize("format", FORMATS)
def test_more_changed_files_keep_the_rules(format: str, seed: int, tmp_path: Path) -> None:
    run(2_000, seed, format, tmp_path)


def test_the_kept_corpus_is_small() -> None:
    assert sum(p.stat().st_size for p in CORPUS.rglob("*") if p.is_file()) < 1_000_000
