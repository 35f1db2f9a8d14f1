"""Text and code cite each other: no sentence without code, no citation without a sentence, and the document that shows it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.layouts import ROOT
from weightguard.rules.citations import citations, document, implementers
from weightguard.rules.provenance import sentences
from weightguard.rules.us_ear_4e091 import entry

RULES = ROOT / "weightguard" / "rules"
FOLDERS = sorted(path.parent for path in RULES.rglob("text.toml"))
CITATION = re.compile(r"(\d[A-E]\d{3}|§|Supplement No\.)[ .]")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_sentence_has_code_or_says_why_not(folder: Path) -> None:
    text = sentences(str(folder))
    cited = {id for function in implementers(text) for id in function.cites}
    for sentence in text.values():
        assert (sentence.id in cited) != bool(sentence.not_evaluated), sentence.id


def test_the_entry_itself_is_implemented_to_the_last_sentence() -> None:
    """But for licensing, which is about a transaction."""
    for sentence in sentences(entry.FOLDER).values():
        assert not (sentence.id.startswith("4E091") and sentence.not_evaluated), sentence.id


def test_no_citation_without_a_sentence() -> None:
    """A docstring of the rules that begins like a citation cites sentences that are there."""
    known = {id for folder in FOLDERS for id in sentences(str(folder))}
    for path in RULES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            if text and ":" in text and CITATION.match(text):
                unknown = set(citations(text)) - known
                assert not unknown, f"{path.name}: {node.name} cites {unknown}"  # type: ignore[attr-defined]


def test_the_document_is_the_code_s() -> None:
    path = Path(entry.FOLDER) / "BESIDE_THE_ENTRY.md"
    assert path.read_text(encoding="utf-8") == document("us-ear-4e091"), "python -m weightguard.rules.citations us-ear-4e091"
