"""Flatbuffers for tests, by the `flatbuffers` package: a table is written down as {field number: (kind, value)}."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

flatbuffers: Any = pytest.importorskip("flatbuffers")

Spec = Mapping[int, "tuple[str, Any]"]
"""kinds: those of `struct` for scalars; "s" a string; "t" a table; "T" a vector of tables; "v" an array's items;
"x" an array's items aligned to 16 bytes."""

_SLOT = {
    "?": "Bool",
    "b": "Int8",
    "B": "Uint8",
    "h": "Int16",
    "i": "Int32",
    "I": "Uint32",
    "q": "Int64",
    "Q": "Uint64",
    "f": "Float32",
}


class Shared(dict[int, "tuple[str, Any]"]):
    """A table that is written once, wherever the same object stands."""

    place = 0


def built(root: Spec, identifier: bytes) -> bytes:
    """A whole flatbuffer."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, root), identifier)
    return bytes(builder.Output())


def _table(b: Any, spec: Spec) -> int:
    if isinstance(spec, Shared) and spec.place:
        return spec.place
    placed: dict[int, int] = {n: _below(b, kind, value) for n, (kind, value) in spec.items() if kind not in _SLOT}
    b.StartObject(max(spec, default=-1) + 1)
    for number, (kind, value) in spec.items():
        if kind in _SLOT:
            getattr(b, f"Prepend{_SLOT[kind]}Slot")(number, value, None)
        else:
            b.PrependUOffsetTRelativeSlot(number, placed[number], 0)
    place = int(b.EndObject())
    if isinstance(spec, Shared):
        spec.place = place
    return place


def _below(b: Any, kind: str, value: Any) -> int:
    makers: dict[str, Callable[[], Any]] = {
        "s": lambda: b.CreateString(value),
        "t": lambda: _table(b, value),
        "T": lambda: _offsets(b, [_table(b, v) for v in value]),
        "v": lambda: _numbers(b, np.ascontiguousarray(value).tobytes(), np.asarray(value).itemsize, np.asarray(value).itemsize),
        "x": lambda: _numbers(b, np.ascontiguousarray(value).tobytes(), 1, 16),
    }
    return int(makers[kind]())


def _offsets(b: Any, offsets: list[int]) -> Any:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _numbers(b: Any, data: bytes, width: int, alignment: int) -> Any:
    b.StartVector(width, len(data) // width, alignment)
    b.head = b.head - len(data)
    b.Bytes[b.head : b.head + len(data)] = data
    return b.EndVector()
