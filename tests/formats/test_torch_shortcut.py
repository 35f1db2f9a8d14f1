"""The machine's shortcut for one tensor, which must give what its loop gives."""

from __future__ import annotations

import struct
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.formats._torch_values import (
    KINDS,
    pickle_of,
    saved,
)
from weightguard.errors import Unreadable
from weightguard.formats._pickle import abstract, machine, tensor_pattern
from weightguard.formats._pickle.abstract import Globals
from weightguard.formats._pickle.machine import run
from weightguard.limits import LIMITS


class _NoShortcut(tensor_pattern.Shortcut):
    def take(self, *args: Any) -> None:
        return None


def both(data: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The outcome with the shortcut and without it."""

    def outcome() -> str:
        seen = Globals()
        try:
            value, end = run(data, 0, LIMITS, seen)
        except Unreadable as error:
            return f"{error.reason}"
        return f"{end} {shown(value)} {[(g.path, g.uses) for g in seen.values()]} {len(seen.persistent)} {seen.blobs}"

    quick = outcome()
    with monkeypatch.context() as patch:
        patch.setattr(machine, "Shortcut", _NoShortcut)
        return quick, outcome()


def shown(root: Any) -> list[str]:
    """What lies below an abstract value, in writing: the first 20,000 values, since some hold themselves."""
    lines: list[str] = []
    pending = [root]
    while pending and len(lines) < 20_000:
        value = pending.pop()
        if isinstance(value, (str, int, float, bytes, type(None))):
            lines.append(f"{type(value).__name__} {value!r}")
        elif isinstance(value, abstract.Global):
            lines.append(value.path)
        elif isinstance(value, abstract.Object):
            lines.append("Object")
            pending += [value.callee, value.args, value.state, value.items, value.elements]
        elif isinstance(value, abstract.Persistent):
            lines.append("Persistent")
            pending.append(value.id)
        else:
            lines.append(f"{type(value).__name__} of {len(value)}")
            pending += list(value)[:1000]
    return lines


MANY = pickle_of(saved({f"layer.{i}": torch.zeros(1 + i % 3, 2 + i % 5)[: 1 + i % 2] for i in range(90)}))


def test_the_shortcut_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    class Counting(tensor_pattern.Shortcut):
        def take(self, *args: Any) -> Any:
            made = super().take(*args)
            taken.append(made is not None)
            return made

    monkeypatch.setattr(machine, "Shortcut", Counting)
    run(MANY, 0, LIMITS, Globals())
    assert sum(taken) > 80


@pytest.mark.parametrize("kind", KINDS)
def test_the_shortcut_gives_what_the_loop_gives(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow = both(pickle_of(saved(KINDS[kind]())), monkeypatch)
    assert quick == slow


def test_a_memo_entry_that_the_shortcut_skipped_can_still_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    for fetched in range(700):
        quick, slow = both(MANY[:-1] + b"j" + struct.pack("<I", fetched) + b"\x86.", monkeypatch)
        assert quick == slow, fetched


def test_counting_the_memo_after_the_shortcut_gives_the_loops_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(600, 660):
        quick, slow = both(MANY[:-1] + b"N\x94j" + struct.pack("<I", at) + b"\x87.", monkeypatch)
        assert quick == slow


@given(st.lists(st.tuples(st.integers(0, len(MANY) - 1), st.integers(0, 255)), min_size=1, max_size=3))
@example([(324, 31)])  # a fetch of the very entry that the match is about to put
@settings(max_examples=600, deadline=None)
def test_changed_bytes_give_the_loops_answer_with_the_shortcut(changes: list[tuple[int, int]]) -> None:
    data = bytearray(MANY)
    for where, byte in changes:
        data[where] = byte
    with pytest.MonkeyPatch.context() as patch:
        quick, slow = both(bytes(data), patch)
    assert quick == slow
