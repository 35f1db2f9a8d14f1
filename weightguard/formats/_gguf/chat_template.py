"""Jinja chat templates that reach for Python: what a renderer without a sandbox would run.

Source: Jinja, `docs/sandbox.rst` (attributes that begin with an underscore are refused) and `docs/templates.rst`; the published
exploits (CVE-2024-34359, llama-cpp-python) go from any object over `__class__` or `__globals__` to `os`.
"""

from __future__ import annotations

import re
from codecs import decode

# Names that lead from any Python object to its module, class or interpreter.
_REACHING = re.compile(
    r"__(?:class|bases?|mro|subclasses|subclasshook|globals|builtins|import|init|init_subclass|new|getattribute|getattr|getitem|"
    r"dict|code|closure|func|self|call|module|loader|spec|reduce|reduce_ex|wrapped)__"
)
# What can write an underscore, or any letter, without showing it.
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3})")
_STRING = r"'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\""
_TOKEN = re.compile(rf"(?P<string>{_STRING})|(?P<end>-?\}}\}}|-?%\}})|(?P<code>[^'\"%}}-]++|.)", re.DOTALL)
_OPENING = re.compile(r"\{\{|\{%|\{#")
_CODE = (
    (re.compile(r"\.\s*_\w"), "an attribute that begins with an underscore"),
    (re.compile(r"\|\s*attr\b"), "the filter attr"),
    (re.compile(r"^\s*[-+]?\s*(?:import|from|include|extends)\b"), "a statement that loads another template"),
    (re.compile(r"(?<![\w.])(?:os|subprocess|builtins|importlib|ctypes)\s*\."), "a module of Python"),
    (re.compile(r"(?<![\w.])(?:lipsum|cycler|joiner)\s*(?:\.|\[|\|)"), "the inside of a global of Jinja"),
    (re.compile(r"\b(?:eval|exec|popen|getattr|check_output)\s*\("), "a call of Python"),
    (re.compile(r"(?<![\w.])(?:self|request|application)\s*\.\s*\w"), "the renderer's own objects"),
)


def reaches_python(template: str) -> str:
    """By what a template reaches for Python, in a few words; empty for one that only lays out messages."""
    if found := _REACHING.search(template):
        return found[0]
    literals: list[str] = []
    for code, strings in _segments(template):
        for pattern, what in _CODE:
            if pattern.search(code):
                return what
        literals += strings
    # pieces of a name, put together or turned round, anywhere in the template
    joined = "".join(literals)
    for text in (joined, joined[::-1]):
        if found := _REACHING.search(text):
            return f"{found[0]}, put together"
    return ""


def _segments(template: str) -> list[tuple[str, list[str]]]:
    """(code with its strings emptied, the strings) of each expression and statement; comments and text are left out."""
    found = []
    at = 0
    while opening := _OPENING.search(template, at):
        at = opening.end()
        if opening[0] == "{#":
            end = template.find("#}", at)
            at = len(template) if end < 0 else end + 2
            continue
        code: list[str] = []
        strings: list[str] = []
        depth = 0  # of brackets, in which no end counts
        while token := _TOKEN.match(template, at):
            at = token.end()
            if token["string"]:
                strings.append(_ESCAPE.sub(_unescape, token["string"][1:-1]))
                code.append("''")
                continue
            if token["end"] and not depth:
                break
            if token["end"]:
                at = token.start() + 1
            piece = template[token.start() : at]
            depth = max(0, depth + sum(map(piece.count, "([{")) - sum(map(piece.count, ")]}")))
            code.append(piece)
        found.append(("".join(code), strings))
    return found


def _unescape(match: re.Match[str]) -> str:
    return decode(match[0].encode("ascii"), "unicode_escape")
