"""TOML with exact numbers and the line of every key."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightguard.errors import ConfigurationError
from weightguard.toml_lines import Key, key_text, line_of, read, shown

TEXT = '''\
# a comment with [table] and = signs
top = 1
dotted.key . "with space" = 2

[model]
name = """two
lines with [[run]] and # no comment"""
inline = {a = 1, b = {c = "}"}, d = [1, 2]}

[[run]]
id = 'a#b'
starts_from = [   # comment ]
  "x",
  {model = "m", operations = [1,
     2]},
]
[run.hardware]
device = "d"
[[run.data]]
share = 0.1
[[run.data]]
share = 0.2
[[run]]
id = "c"
when = 2026-11-24 07:32:00
operations = 9.1e25
'''

LINES: dict[Key, int] = {
    (): 1,
    ("absent",): 1,
    ("top",): 2,
    ("dotted", "key", "with space"): 3,
    ("model",): 5,
    ("model", "name"): 6,
    ("model", "inline", "b", "c"): 8,
    ("model", "absent"): 5,
    ("run", 0): 10,
    ("run", 0, "id"): 11,
    ("run", 0, "starts_from"): 12,
    ("run", 0, "starts_from", 0): 13,
    ("run", 0, "starts_from", 1, "operations", 1): 15,
    ("run", 0, "hardware", "device"): 18,
    ("run", 0, "data", 0, "share"): 20,
    ("run", 0, "data", 1, "share"): 22,
    ("run", 0, "data", 1, "generator"): 21,
    ("run", 1): 23,
    ("run", 1, "id"): 24,
    ("run", 1, "operations"): 26,
}


@pytest.mark.parametrize("key", LINES, ids=key_text)
def test_line_of_a_key(key: Key) -> None:
    assert line_of(TEXT, key) == LINES[key]
    assert read("f", TEXT).where(key) == f"f:{LINES[key]}"
    assert line_of(TEXT.replace("\n", "\r\n"), key) == LINES[key]


def test_numbers_are_exact() -> None:
    data = read("f", "a = 9.9e25\nb = 0.1\nc = 15.6e12\n").data
    assert data == {"a": Decimal("9.9e25"), "b": Decimal("0.1"), "c": Decimal("15.6e12")}


def keys_of(value: Any, key: Key = ()) -> list[Key]:
    found = [key] if key else []
    if isinstance(value, dict):
        found += [inner for name, item in value.items() for inner in keys_of(item, (*key, name))]
    if isinstance(value, list):
        found += [inner for position, item in enumerate(value) for inner in keys_of(item, (*key, position))]
    return found


LINE = st.sampled_from([
    "[a]", "[[b]]", "[b.c]", "[[b.d]]", "[a.e]", "x = 1", 'y = "#[]{}=,."', "z = [1, [2, {p = 3}], ]",
    'w = [\n1, # c\n\n2]', "", "v = {q = 1, r.s = 2}", "u.t = 1", "# [c]", "s = '''\n[k]\n'''", 'r = """a\\"""b"""',
    "q = 1.5e-3", "o = 2026-01-01T00:00:00Z", '"k.l" = 1', "'m' . n = 1", "[ a . 'f' ]", "[[ b ]]",
    "p = [{g = 1}, {g = 2}]", 'l = """"quoted""""', "i = +inf",
])  # fmt: skip


@given(st.lists(LINE, max_size=12))
def test_every_key_that_tomllib_finds_has_a_line_within_the_text(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(ConfigurationError):
            read("f", text)
        return
    document = read("f", text)
    for key in keys_of(document.data):
        assert key in document.lines, (text, key)
        assert 1 <= document.lines[key] <= text.count("\n") + 1
    assert set(document.lines) == set(keys_of(document.data))


@given(st.text(alphabet="ab[]{}=.,\"'#\\\n 1", max_size=60))
def test_any_text_is_toml_or_a_configuration_error(text: str) -> None:
    try:
        document = read("f", text)
    except ConfigurationError as error:
        assert error.problems[0].startswith("f:")
    else:
        assert set(document.lines) == set(keys_of(document.data))


def test_shown_values_are_short_and_printable() -> None:
    assert shown("a\nb\x1b") == '"a\\nb\\x1b"'
    assert len(shown("x" * 10_000)) < 100
    assert shown(1) == "1"
