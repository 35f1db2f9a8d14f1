"""Paddle's parameters, written as its own code writes them: LoDTensors end to end; and the pickles of paddle.save."""

from __future__ import annotations

import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats._bounds import attempt, counted, words
from weightguard.errors import Unreadable
from weightguard.formats import identify, paddle, readers_of
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPE_CODES

NOISE = os.urandom(1 << 12)
KINDS = {"F32": (5, 4), "F16": (4, 2), "BF16": (22, 2), "I64": (3, 8), "I8": (21, 1), "F64": (6, 8)}


def varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def lod_tensor(kind: int, shape: tuple[int, ...], data: bytes, packed: bool = False) -> bytes:
    """lod_tensor.cc, SerializeToStream: uint32 version, uint64 levels; then tensor_util.cc, TensorToStream."""
    dims = b"".join((b"" if packed else b"\x10") + varint(d) for d in shape)
    description = b"\x08" + varint(kind) + (b"\x12" + varint(len(dims)) + dims if packed else dims)
    return struct.pack("<IQIi", 0, 0, 0, len(description)) + description + data


def made(name: str, shape: tuple[int, ...], packed: bool = False) -> bytes:
    kind, width = KINDS[name]
    count = int(np.prod(shape, dtype=np.int64))
    return lod_tensor(kind, shape, (NOISE * (count * width // len(NOISE) + 1))[: count * width], packed)


USUAL = made("F32", (4, 3)) + made("BF16", (300,), packed=True) + made("I64", ()) + made("I8", (0, 5)) + made("F16", (2, 2, 2))


def test_tensors_are_rows() -> None:
    _, readers = readers_of(InMemory("x", USUAL))
    assert [r.NAME for r in readers] == ["paddle"]
    found = attempt(paddle, USUAL)
    shapes = [((4, 3), "F32"), ((300,), "BF16"), ((), "I64"), ((0, 5), "I8"), ((2, 2, 2), "F16")]
    assert counted(found) == [(f"parameter.{i}", s, DTYPE_CODES[k], -1) for i, (s, k) in enumerate(shapes)]
    assert isinstance(found, Container) and found.unexplained == 0 and found.accounts.tensors == 48 + 600 + 8 + 16


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), st.lists(st.integers(0, 6), max_size=5), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_any_tensors_are_read(tensors: list[tuple[str, list[int], bool]]) -> None:
    found = attempt(paddle, b"".join(made(k, tuple(s), p) for k, s, p in tensors))
    rows = counted(found)
    assert rows is not None and [r[1:3] for r in rows] == [(tuple(s), DTYPE_CODES[k]) for k, s, _ in tensors]


HOSTILE = {
    "2^62 x 2^62": lod_tensor(5, (2**62, 2**62), b""),
    "2^63": lod_tensor(5, (2**63,), b""),
    "a negative dimension": lod_tensor(5, (-1, 4), NOISE[:16]),
    "two negative dimensions": lod_tensor(5, (-1, -4), NOISE[:16]),
    "a type that there is not": lod_tensor(99, (4,), NOISE[:16]),
    "fewer bytes": lod_tensor(5, (5,), NOISE[:16]),
    "bytes after the last": lod_tensor(5, (4,), NOISE[:16]) + NOISE[:64],
    "zeros after the last": lod_tensor(5, (4,), NOISE[:16]) + bytes(30),
    "levels of detail": struct.pack("<IQQ", 0, 1, 16) + NOISE[:64],
    "2^64 - 1 levels": lod_tensor(5, (4,), NOISE[:16]) + b"\0\0\0\0" + b"\xff" * 8 + NOISE,
    "another version": lod_tensor(5, (4,), NOISE[:16]) + b"\1" + lod_tensor(5, (4,), NOISE[:16])[1:],
    "a description of 2^31": struct.pack("<IQII", 0, 0, 0, 2**31) + NOISE,
    "a description of nothing": struct.pack("<IQII", 0, 0, 0, 0) + NOISE,
    "a third field": struct.pack("<IQII", 0, 0, 0, 6) + b"\x08\x05\x10\x04\x18\x01" + NOISE[:16],
    "a number of 11 bytes": struct.pack("<IQII", 0, 0, 0, 14) + b"\x08\x05\x10" + b"\xff" * 10 + b"\x01" + NOISE[:16],
    "dimensions past the description": struct.pack("<IQII", 0, 0, 0, 5) + b"\x08\x05\x12\x09\x01" + NOISE[:16],
    "no type": struct.pack("<IQII", 0, 0, 0, 2) + b"\x10\x04" + NOISE[:16],
}


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_what_is_wrong_is_unread(case: str) -> None:
    assert isinstance(attempt(paddle, HOSTILE[case]), Unreadable)


def test_cut_at_a_tensor_it_is_a_smaller_file_and_anywhere_else_it_is_unread() -> None:
    """Nothing in the file says how many tensors it has: the program beside it does."""
    first, second = made("F32", (4, 3)), made("F16", (8,))
    for cut in range(1, len(first + second)):
        assert isinstance(attempt(paddle, (first + second)[:cut]), Unreadable) == (cut != len(first))


def test_any_word_changed_it_ends_well() -> None:
    for content in words(USUAL, (0, 1, 0xFFFFFFFF, 0x7FFFFFFF)):
        attempt(paddle, content)


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_of_paddle_save_are_read(protocol: int) -> None:
    """paddle/framework/io.py, _build_saved_state_dict: names to arrays, and the names within the program."""
    state = {
        "w": np.ones((4, 3), np.float32),
        "b": np.ones(3, np.float32),
        "StructuredToParameterName@@": {"w": "linear_0.w_0"},
    }
    container = identify(InMemory("model.pdparams", pickle.dumps(state, protocol)), LIMITS)
    assert container is not None and int(container.tensors.elements.sum()) == 15 and container.findings == ()
