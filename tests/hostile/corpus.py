"""The standing corpus: everything that may lead a reader astray, and what must pass.

`python -m tests.hostile.corpus FOLDER` writes it: a folder a case, and cases.tsv (name, container, truth, file, why).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.hostile import benign, containers, gadgets, malformed, techniques
from tests.hostile.case import Case


def dangers() -> Iterator[Case]:
    for module in (gadgets, techniques, containers, malformed):
        yield from module.cases()


def everything() -> Iterator[Case]:
    yield from dangers()
    yield from benign.cases()


def write(case: Case, folder: Path) -> Path:
    """The case's file in a folder of its own, with what lies beside it."""
    home = folder / case.name
    home.mkdir(parents=True, exist_ok=True)
    for name, content in case.others.items():
        (home / name).write_bytes(content)
    path = home / case.file
    path.write_bytes(case.content)
    return path


def main(folder: str) -> None:
    lines = []
    for case in everything():
        path = write(case, Path(folder))
        lines.append("\t".join((case.name, case.container, case.truth, str(path), case.why)))
    (Path(folder) / "cases.tsv").write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} cases in {folder}")


if __name__ == "__main__":
    main(sys.argv[1])
