"""Which function implements which sentence: by the citations with which docstrings begin ("4E091 heading: ...").

`python -m weightguard.rules.citations us-ear-4e091` prints the regime's text beside its code.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from weightguard.rules.provenance import sentences
from weightguard.rules.regime import regime

PACKAGE = os.path.dirname(os.path.dirname(__file__))
ROOMS = ("rules", "evidence", "parameters", "operations")  # where the law is implemented


@dataclass(frozen=True)
class Implementer:
    """A function that implements sentences: its module and name, and the ids that its docstring cites."""

    module: str
    name: str
    cites: tuple[str, ...]


def implementers(known: Collection[str], rooms: Collection[str] = ROOMS) -> list[Implementer]:
    """All functions whose docstrings begin with ids of `known` sentences, in the order of rooms, files and lines."""
    return [found for room in rooms for found in _in_room(room) if set(found.cites) <= set(known)]


def citations(docstring: str) -> tuple[str, ...]:
    """The ids with which a docstring begins: what stands before its first colon, parted by commas."""
    return tuple(" ".join(docstring.partition(":")[0].split()).split(", "))


def document(id: str) -> str:
    """The document of a shipped regime, from its text.toml and the citations with which docstrings begin."""
    found = regime(id)
    text = sentences(found.FOLDER)
    functions = implementers(text)
    lines = [
        f"# {found.TITLE}",
        "",
        f"Made by `python -m weightguard.rules.citations {id}` from the text and from the citations with which docstrings begin.",
        "Each sentence in printed order, where it was seen and how surely, and what implements it.",
    ]
    for sentence in text.values():
        by = [f"`{f.module}.{f.name}`" for f in functions if sentence.id in f.cites]
        lines += ["", f"## {sentence.id}", "", f"> {sentence.words}", "", f"{sentence.source} ({sentence.confidence})", ""]
        lines += [f"- {name}" for name in by] or [f"- not evaluated: {sentence.not_evaluated}"]
    return "\n".join(lines) + "\n"


def _in_room(room: str) -> Iterator[Implementer]:
    for folder, folders, names in os.walk(os.path.join(PACKAGE, room)):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as file:
                    tree = ast.parse(file.read())
                module = os.path.relpath(path, os.path.dirname(PACKAGE)).removesuffix(".py").replace(os.sep, ".")
                for node in ast.walk(tree):
                    if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
                        yield Implementer(module, node.name, citations(text))


if __name__ == "__main__":
    sys.stdout.write(document(sys.argv[1]))
