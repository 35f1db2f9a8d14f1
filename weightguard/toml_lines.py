"""TOML read exactly, with the line of every key.

Policies and declarations are TOML written by people, and a declaration may be written by whoever wants a model cleared. So
numbers stay as written (`Decimal`, never a binary float), every complaint names FILE:LINE, and the text is checked for size,
nesting, key length and number length, in one linear pass, before `tomllib` sees it.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from weightguard.errors import ConfigurationError

Key = tuple[str | int, ...]  # ("run", 1, "operations"): table names and positions in arrays

TEXT_CHARACTERS = 8 << 20  # a declaration of 100,000 runs; a policy is a page
KEY_PARTS = 16  # dots in one key: `tomllib` takes time that grows with their square
DEPTH = 16  # brackets within brackets
WORD = 100  # characters of one bare key or number
WORDS = 500  # known words that a mistyped one is compared with
PROBLEMS = 50  # complaints about one file; the rest are counted
MAGNITUDE = 40  # numbers of more than 1e40 or less than 1e-40 are refused unread

_AT_LINE = r" \(at line (\d+), column \d+\)$"


@functools.cache
def _token_pattern() -> re.Pattern[str]:
    """Compiled on first use: most scans read no TOML of anybody's."""
    return re.compile(
        r"""
    (?P<newline>\n)
  | (?P<space>[ \t\r]++)
  | (?P<comment>\#[^\n]*+)
  | (?P<string>\"\"\"(?:[^"\\]++|\\.|"{1,2}(?!"))*+"{3,5}
              |'''(?:[^']++|'{1,2}(?!'))*+'{3,5}
              |"(?:[^"\\\n]++|\\[^\n])*+"
              |'[^'\n]*+')
  | (?P<word>[A-Za-z0-9_+:\-]++)
  | (?P<mark>[\[\]{}.,=])
  | (?P<other>.)
    """,
        re.VERBOSE | re.DOTALL,
    )


class _Token(NamedTuple):
    kind: str  # "string", "word", "mark", "newline", "other"
    text: str
    line: int  # from 1


def _tokens(text: str) -> Iterator[_Token]:
    """The text without spaces and comments. Any text has tokens; whether it is TOML, `tomllib` says."""
    line = 1
    for match in _token_pattern().finditer(text):
        kind, word = match.lastgroup or "other", match.group()
        if kind not in ("space", "comment"):
            yield _Token(kind, word, line)
        line += word.count("\n")


@dataclass(frozen=True)
class Document:
    """A TOML file: its data, and where each key stands. `path` is as the user wrote it."""

    path: str
    data: dict[str, Any]
    lines: Mapping[Key, int]

    def line(self, key: Key) -> int:
        """The line of a key, or of the nearest table around it that is written; 1 for the file itself."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines[key] if key else 1

    def where(self, key: Key) -> str:
        """FILE:LINE of a key."""
        return f"{self.path}:{self.line(key)}"


def read(path: str, text: str) -> Document:
    """Read TOML with every number as written; floats are `Decimal`, those no `Decimal` holds are NaN.

    Raises `ConfigurationError` "FILE:LINE: what is wrong" for a syntax error and for text beyond the limits above.
    """
    tokens = _checked(path, text)
    try:
        data = tomllib.loads(text, parse_float=_exact)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = re.search(_AT_LINE, message)
        line = int(found.group(1)) if found else text.count("\n") + 1
        message = message[: found.start()] if found else message
        raise ConfigurationError(f"{path}:{line}: not valid TOML: {shown(message, 200, quote=False)}") from None
    except (RecursionError, ValueError) as error:  # ValueError: a date such as 2026-02-30
        raise ConfigurationError(f"{path}:1: not valid TOML: {shown(str(error), 200, quote=False)}") from None
    return Document(path, data, _lines(tokens))


def line_of(text: str, key: Key) -> int:
    """The line of `key` in TOML text that `tomllib` accepts; of the nearest table around it where it isn't written."""
    return Document("", {}, _lines(list(_tokens(text)))).line(key)


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent beyond what decimal holds
        return Decimal("NaN")


def _checked(path: str, text: str) -> list[_Token]:
    """The tokens of a text that is safe to hand to `tomllib`: bounded in size, depth, and length of keys and numbers."""
    if len(text) > TEXT_CHARACTERS:
        raise ConfigurationError(f"{path}:1: longer than {TEXT_CHARACTERS} characters: not a file of this kind")
    tokens, depth, dots = [], 0, 0
    for token in _tokens(text):
        tokens.append(token)
        if token.kind == "word" and len(token.text) > WORD:
            raise ConfigurationError(f"{path}:{token.line}: a key or number of more than {WORD} characters; shorten it")
        if token.kind == "mark" and token.text in "[{":
            depth += 1
        elif token.kind == "mark" and token.text in "]}":
            depth -= 1
        if depth > DEPTH:
            raise ConfigurationError(f"{path}:{token.line}: brackets nested more than {DEPTH} deep; flatten them")
        if token.kind == "mark":
            dots = dots + 1 if token.text == "." else 0
        elif token.kind == "newline":
            dots = 0
        if dots >= KEY_PARTS:
            raise ConfigurationError(f"{path}:{token.line}: a key of more than {KEY_PARTS} parts; no key has that many")
    return tokens


class _Walk:
    """Assigns a line to every key of valid TOML by one pass over its tokens."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.lines: dict[Key, int] = {}
        self.lengths: dict[Key, int] = {}  # of arrays of tables

    def run(self) -> dict[Key, int]:
        table: Key = ()
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.kind == "newline":
                self.at += 1
            elif token.text == "[":
                table = self._header()
            else:
                self._pair(table)
        return self.lines

    def _take(self) -> _Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def _text(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def _newlines(self) -> None:
        while self.at < len(self.tokens) and self.tokens[self.at].kind == "newline":
            self.at += 1

    def _key(self) -> list[str]:
        """The parts of a dotted key."""
        parts = []
        while True:
            token = self._take()
            parts.append(tomllib.loads("k = " + token.text)["k"] if token.kind == "string" else token.text)
            if self._text() != ".":
                return parts
            self.at += 1

    def _mark(self, key: Key, line: int) -> None:
        self.lines.setdefault(key, line)

    def _header(self) -> Key:
        line = self._take().line
        array = self._text() == "["
        self.at += array
        parts = self._key()
        self.at += 1 + array
        key: Key = ()
        for position, part in enumerate(parts):
            key += (part,)
            self._mark(key, line)
            last = position == len(parts) - 1
            if last and array:
                self.lengths[key] = self.lengths.get(key, 0) + 1
            if key in self.lengths:  # "[a.b]" after "[[a]]" speaks of the newest element of a
                key += (self.lengths[key] - 1,)
                self._mark(key, line)
        return key

    def _pair(self, table: Key) -> None:
        line = self.tokens[self.at].line
        key = table
        for part in self._key():
            key += (part,)
            self._mark(key, line)
        self.at += 1  # "="
        self._value(key)

    def _value(self, key: Key) -> None:
        self._mark(key, self.tokens[self.at].line)
        if self._text() == "[":
            self._items(key)
        elif self._text() == "{":
            self._inline_table(key)
        else:
            while self.at < len(self.tokens) and self.tokens[self.at].kind != "newline" and self._text() not in (",", "]", "}"):
                self.at += 1

    def _items(self, key: Key) -> None:
        self.at += 1
        position = 0
        while True:
            self._newlines()
            if self._text() in ("]", ""):
                self.at += 1
                return
            self._value((*key, position))
            position += 1
            self._newlines()
            self.at += self._text() == ","

    def _inline_table(self, key: Key) -> None:
        self.at += 1
        while True:
            self._newlines()
            if self._text() in ("}", ""):
                self.at += 1
                return
            self._pair(key)
            self._newlines()
            self.at += self._text() == ","


def _lines(tokens: Sequence[_Token]) -> dict[Key, int]:
    return _Walk(tokens).run()


def is_sha256(value: object) -> bool:
    """Whether a value is a SHA-256 in hexadecimal."""
    return isinstance(value, str) and len(value) == 64 and all(c in "0123456789abcdef" for c in value.lower())


def shown(value: object, length: int = 60, *, quote: bool = True) -> str:
    """A value from the file as text for a message: one line, printable, at most `length` characters of it."""
    text = value if isinstance(value, str) else str(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: length + 1])
    text = text if len(text) <= length else text[:length] + "..."
    return f'"{text}"' if quote and isinstance(value, str) else text


def nearest(word: str, known: Sequence[str]) -> str:
    """The known word that `word` most likely means, or "". `difflib` loads only when somebody mistyped."""
    import difflib

    found = difflib.get_close_matches(word[:WORD], known[:WORDS], n=1)
    return found[0] if found else ""


@dataclass
class Checker:
    """Reads values of expected types out of a document and collects every problem instead of stopping at the first.

    Each getter returns None (or an empty value) for a key that is absent or wrong; a wrong one leaves a problem.
    """

    document: Document
    problems: list[tuple[int, str]] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether more problems would only be counted: nothing costly need go into their words."""
        return len(self.problems) > PROBLEMS

    def problem(self, key: Key, message: str) -> None:
        """Record "FILE:LINE: message" for `key`."""
        line = self.document.line(key)
        if len(self.problems) < PROBLEMS:
            self.problems.append((line, f"{self.document.path}:{line}: {message}"))
        elif len(self.problems) == PROBLEMS:
            self.problems.append((1 << 60, f"{self.document.path}: more problems than {PROBLEMS}; mend these first"))

    def finish(self) -> None:
        """Raise one `ConfigurationError` with all problems, in the order of their lines."""
        if self.problems:
            raise ConfigurationError(*dict.fromkeys(text for _, text in sorted(self.problems, key=lambda p: p[0])))

    def known_keys(self, table: Mapping[str, Any], key: Key, known: Sequence[str]) -> None:
        """Unknown keys are problems, with the known key that was probably meant."""
        for name in table:
            if name not in known and not self.full:
                guess = nearest(name, known)
                hint = f"did you mean {guess}?" if guess else "known here: " + ", ".join(known)
                inside = f" in {key_text(key)}" if key else ""
                self.problem((*key, name), f"unknown key {shown(name)}{inside}; {hint}")

    def table(self, parent: Mapping[str, Any], key: Key, known: Sequence[str]) -> Mapping[str, Any] | None:
        """A table with none but `known` keys."""
        value = parent.get(str(key[-1]))
        if value is None:
            return None
        if not isinstance(value, dict):
            self.problem(key, f"{key_text(key)} must be a table: write [{key_text(key)}] on its own line or {{...}}")
            return None
        self.known_keys(value, key, known)
        return value

    def tables(self, parent: Mapping[str, Any], key: Key, known: Sequence[str]) -> list[tuple[Key, Mapping[str, Any]]]:
        """An array of tables, each with its key."""
        value = parent.get(str(key[-1]), [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            name = ".".join(str(part) for part in key if isinstance(part, str))
            self.problem(key, f"{name} must be an array of tables: write [[{name}]] above each")
            return []
        found = [((*key, position), item) for position, item in enumerate(value)]
        for item_key, item in found:
            self.known_keys(item, item_key, known)
        return found

    def string(self, table: Mapping[str, Any], key: Key, *, required: bool = False) -> str | None:
        """A string that isn't empty."""
        value = table.get(str(key[-1]))
        if value is None:
            if required:
                self.problem(key, f'{key_text(key)} is missing: write {key[-1]} = "..."')
            return None
        if not isinstance(value, str) or not value.strip():
            self.problem(key, f'{key_text(key)} must be a string that is not empty: write {key[-1]} = "..."')
            return None
        return value

    def choice(self, table: Mapping[str, Any], key: Key, known: Sequence[str]) -> str | None:
        """One of `known`."""
        value = self.string(table, key)
        if value is not None and value not in known:
            guess = nearest(value, known)
            hint = f"did you mean {guess}?" if guess else "write one of " + ", ".join(f'"{word}"' for word in known)
            self.problem(key, f"{key_text(key)} can't be {shown(value)}; {hint}")
            return None
        return value

    def boolean(self, table: Mapping[str, Any], key: Key) -> bool | None:
        """true or false."""
        value = table.get(str(key[-1]))
        if value is None or isinstance(value, bool):
            return value
        self.problem(key, f"{key_text(key)} must be true or false, without quotes")
        return None

    def day(self, table: Mapping[str, Any], key: Key, *, required: bool = False) -> date | None:
        """A date without a time."""
        value = table.get(str(key[-1]))
        if value is None:
            if required:
                self.problem(key, f"{key_text(key)} is missing: write {key[-1]} = 2027-06-30 (a date, without quotes)")
            return None
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        self.problem(key, f"{key_text(key)} must be a date: write {key[-1]} = 2027-06-30, without quotes or a time")
        return None

    def number(self, value: object, key: Key) -> Fraction | None:
        """A finite number, exactly as written, of at most 1e40 and not negative; `value` is what stands at `key`."""
        name = key_text(key)
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            self.problem(key, f"{name} must be a number, without quotes, such as 9.1e25")
            return None
        if isinstance(value, Decimal) and not value.is_finite():
            self.problem(key, f"{name} must be a finite number; NaN and infinity say nothing")
            return None
        if value < 0:
            self.problem(key, f"{name} can't be negative")
            return None
        if isinstance(value, int):
            if value > 10**MAGNITUDE:
                self.problem(key, f"{name} is larger than 1e{MAGNITUDE}: no such quantity exists; check the exponent")
                return None
            return Fraction(value)
        if value == 0:
            return Fraction(0)
        if value.adjusted() > MAGNITUDE:  # before the conversion: 1e999999 as a fraction has a million digits
            self.problem(key, f"{name} is larger than 1e{MAGNITUDE}: no such quantity exists; check the exponent")
            return None
        if value.adjusted() < -MAGNITUDE:
            self.problem(key, f"{name} is smaller than 1e-{MAGNITUDE}: no such quantity exists; check the exponent")
            return None
        return Fraction(value)

    def whole_number(self, value: object, key: Key, *, least: int = 0) -> int | None:
        """An integer of at least `least`; 8192 and 8.192e3 are the same."""
        number = self.number(value, key)
        if number is None:
            return None
        if number.denominator != 1 or number < least:
            self.problem(key, f"{key_text(key)} must be a whole number of at least {least}")
            return None
        return int(number)


def key_text(key: Key) -> str:
    """A key as people read it: run 2 data 1 share -> "run[2].data[1].share", counted from 1."""
    text = ""
    for part in key:
        text += f"[{part + 1}]" if isinstance(part, int) else ("." if text else "") + shown(part, 40, quote=False)
    return text
