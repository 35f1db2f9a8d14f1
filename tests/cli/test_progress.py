"""Progress: a bar on a real terminal, nothing of it in a pipe, nothing when quiet; the report itself is the same."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

SOON = "import weightguard.cli.progress as p; p._FIRST_AFTER = 0; from weightguard.cli import main; raise SystemExit(main({}))"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(2000):
        (tmp_path / f"{i}.txt").write_text("text")
    return tmp_path


def on_a_terminal(folder: Path, *arguments: str) -> tuple[str, str]:
    """(standard output, what the terminal on standard error was sent)."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", SOON.format(list(arguments))]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # EIO: the other end is closed
                break
            if not part:
                break
            shown += part
        assert process.stdout is not None
        output = process.stdout.read()
    os.close(ours)
    return output, shown.decode(errors="replace")


def test_a_terminal_is_shown_a_bar_and_the_report_is_the_same(folder: Path) -> None:
    output, shown = on_a_terminal(folder, "scan", ".")
    assert "scanning" in shown
    assert "/2000" in shown
    piped = subprocess.run(
        [sys.executable, "-m", "weightguard", "scan", "."], cwd=folder, capture_output=True, text=True, check=False
    )
    assert piped.stdout == output
    assert piped.stderr == "weightguard: no model found\nweightguard: allowed 0 of 0 models\n"


def test_quiet_shows_none(folder: Path) -> None:
    assert "scanning" not in on_a_terminal(folder, "scan", "--quiet", ".")[1]
