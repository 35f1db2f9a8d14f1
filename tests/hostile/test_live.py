"""The dangers are real: what the corpus says acts does so, in a process of its own; and what weightguard lets pass doesn't."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.hostile import corpus
from tests.hostile.case import Case

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.full


def run(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout.splitlines()


def test_each_danger_acts_where_it_says_so(tmp_path: Path) -> None:
    cases: list[Case] = [c for c in corpus.dangers() if c.loads and find_spec(c.loads)]
    paths = {str(corpus.write(c, tmp_path)): c for c in cases}
    (tmp_path / "cases.txt").write_text("".join(f"{c.loads}\t{path}\n" for path, c in paths.items()))
    said = dict(line.split("\t", 1) for line in run("tests.hostile.live", str(tmp_path)))
    quiet = [f"{paths[path].name}: {what}" for path, what in said.items() if not what.startswith(("ran", "absent"))]
    assert quiet == [], "\n".join(quiet)
    assert sum(what.startswith("ran") for what in said.values()) > 0.8 * len(cases)


@pytest.mark.parametrize("what", [(), ("--torch",)], ids=["pickles", "torch files"])
def test_no_changed_danger_that_passes_acts(what: tuple[str, ...]) -> None:
    run("tests.hostile.differential", "--rounds", "30000", "--seed", "1", *what)
