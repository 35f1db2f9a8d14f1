"""ExecuTorch's programs and tensors: files that it wrote itself, and flatbuffers by hand that lie."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats._bounds import attempt, check_truncations, counted, unexplained, words
from tests.formats._executorch_files import PROGRAM, TENSORS
from tests.formats._flatbuffers import Spec, built
from weightguard.errors import Unreadable
from weightguard.formats import executorch, identify
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPE_CODES

NOISE = os.urandom(1 << 17)
F32, I8 = DTYPE_CODES["F32"], DTYPE_CODES["I8"]
# What nn.Linear(8, 16), nn.Linear(16, 4), a buffer of six int8 and the 1.0 that is added are.
SHAPES = [((16, 8), F32), ((16,), F32), ((4, 16), F32), ((4,), F32), ((6,), I8)]


def read(data: bytes) -> Container:
    found = attempt(executorch, data)
    assert isinstance(found, Container), found
    return found


def test_a_program_that_executorch_wrote() -> None:
    found = read(PROGRAM)
    rows = counted(found)
    assert rows is not None and [r[1:3] for r in rows] == [*SHAPES, ((), F32)]
    assert found.unexplained == 0 and found.accounts.tensors == 4 * (128 + 16 + 64 + 4 + 1) + 6
    container = identify(InMemory("m.pte", PROGRAM), LIMITS)
    assert container is not None and container.format == "executorch"


def test_tensors_that_executorch_wrote() -> None:
    found = read(TENSORS)
    rows = counted(found)
    assert rows is not None
    assert [r[:3] for r in rows] == [
        (n, *s) for n, s in zip(("a.weight", "a.bias", "b.weight", "b.bias", "k"), SHAPES, strict=True)
    ]
    assert found.unexplained == 0 and found.accounts.tensors == 4 * (128 + 16 + 64 + 4) + 6


def with_header(body: bytes, magic: bytes, segments: bytes) -> bytes:
    """The flatbuffer with the extended header put in, and segments behind it."""
    length = 40 if magic == b"FH01" else 32
    room = 48
    root = struct.unpack("<I", body[:4])[0] + room
    base = (len(body) + room + 15) // 16 * 16
    if magic == b"FH01":
        header = magic + struct.pack("<IQQQQ", length, room, len(body), base, len(segments))
    else:
        header = magic + struct.pack("<IQQQ", length, len(body) + room, base, len(segments))
    whole = struct.pack("<I", root) + body[4:8] + header.ljust(room, b"\0") + body[8:]
    return whole.ljust(base, b"\0") + segments


def flat(entries: Sequence[tuple[str, int, tuple[int, ...]]], sizes: list[tuple[int, int]], data: bytes) -> bytes:
    named: list[Spec] = [
        {0: ("s", n), 1: ("I", i), 2: ("t", {0: ("b", kind), 1: ("v", np.array(shape, np.int32))})}
        for i, (n, kind, shape) in enumerate(entries)
    ]
    segments: list[Spec] = [{0: ("Q", o), 1: ("Q", s)} for o, s in sizes]
    return with_header(built({0: ("I", 0), 1: ("T", segments), 2: ("T", named)}, b"FT01"), b"FH01", data)


def program(tensors: list[Spec], offsets: list[int], data: bytes, **more: Any) -> bytes:
    values = [{0: ("B", 5), 1: ("t", t)} for t in tensors]
    plan: dict[int, Any] = {0: ("s", "forward"), 2: ("T", values)} | more.get("plan", {})
    segments = more.get("segments", [(0, len(data))])
    root: dict[int, Any] = {
        0: ("I", 0),
        1: ("T", [plan]),
        4: ("T", [{0: ("Q", o), 1: ("Q", s)} for o, s in segments]),
        5: ("t", {0: ("I", more.get("segment", 0)), 1: ("v", np.array(offsets, np.uint64))}),
    }
    return with_header(built(root | more.get("root", {}), b"ET12"), b"eh00", data)


def tensor(kind: int, shape: tuple[int, ...], buffer: int, **more: Any) -> Spec:
    return {0: ("b", kind), 2: ("v", np.array(shape, np.int32)), 5: ("I", buffer)} | more.get("fields", {})


def test_programs_and_tensors_by_hand_are_read() -> None:
    found = read(flat([("w", 6, (2, 3)), ("q", 12, (8,))], [(0, 24), (32, 8)], NOISE[:24] + bytes(8) + NOISE[:8]))
    assert counted(found) == [("w", (2, 3), F32, -1), ("q", (8,), I8, 8)] and found.unexplained == 0
    found = read(program([tensor(6, (2, 3), 1), tensor(6, (2, 3), 1), tensor(6, (9,), 0)], [0, 0], NOISE[:24]))
    assert counted(found) == [("forward.0", (2, 3), F32, -1), ("forward.1", (2, 3), F32, -1)] and found.unexplained == 0
    assert found.tensors.storages.tolist() == [0, 0]


def test_constants_within_the_flatbuffer_are_read() -> None:
    root = {2: ("T", [{}, {0: ("x", np.frombuffer(NOISE[:24], np.uint8))}])}
    found = read(program([tensor(6, (2, 3), 1)], [], b"", root=root | {5: ("t", {0: ("I", 0)})}, segments=[]))
    assert counted(found) == [("forward.0", (2, 3), F32, -1)] and found.unexplained == 0


def test_named_data_and_mutable_state_are_read() -> None:
    outside = {9: ("t", {1: ("s", "w"), 2: ("b", 1)})}
    elsewhere = {9: ("t", {1: ("s", "in a .ptd"), 2: ("b", 1)})}
    root = {7: ("T", [{0: ("s", "w"), 1: ("I", 1)}])}
    tensors = [tensor(6, (2, 3), 0, fields=outside), tensor(6, (50,), 0, fields=elsewhere)]
    found = read(program(tensors, [0], NOISE[:48], root=root, segments=[(0, 0), (0, 48)]))
    assert counted(found) == [("w", (2, 3), F32, -1)] and found.unexplained == 24
    planned = {6: ("t", {0: ("I", 1)})}
    root = {6: ("T", [{0: ("I", 0), 1: ("v", np.array([0, 0], np.uint64))}])}
    found = read(program([tensor(6, (6,), 1, fields=planned)], [], NOISE[:24], root=root))
    assert found.tensors.elements.tolist() == [6] and found.unexplained == 0


def test_what_a_backend_made_is_opaque() -> None:
    delegate = {0: ("s", "XnnpackBackend"), 1: ("t", {0: ("b", 1), 1: ("I", 0)})}
    error = attempt(executorch, program([], [], NOISE, plan={7: ("T", [delegate])}))
    assert isinstance(error, Unreadable) and error.reason == "unsupported" and "XnnpackBackend" in error.detail
    small = read(program([], [], NOISE[:1000], plan={7: ("T", [delegate])}))
    assert 1000 <= small.unexplained < 1016 and [f.id for f in small.findings] == ["delegated"]
    inline = {0: ("s", "Other"), 1: ("t", {0: ("b", 0), 1: ("I", 0)})}
    root = {3: ("T", [{0: ("x", np.frombuffer(NOISE, np.uint8))}])}
    error = attempt(executorch, program([], [], b"1234", plan={7: ("T", [inline])}, root=root))
    assert isinstance(error, Unreadable) and "Other" in error.detail


def test_nothing_is_hidden() -> None:
    tensors = [tensor(6, (6,), 1)]
    assert read(program(tensors, [0, 0], NOISE[:24]) + NOISE).unexplained == len(NOISE)
    assert read(program(tensors, [0, 0], NOISE)).unexplained == len(NOISE) - 24
    assert unexplained(
        attempt(executorch, program(tensors, [0, 0], NOISE[:24], root={30: ("v", np.frombuffer(NOISE, np.uint8))})), len(NOISE)
    )
    noise = {1: ("v", np.frombuffer(NOISE, np.uint8)), 0: ("s", "k")}
    delegate = {0: ("s", "b"), 1: ("t", {0: ("b", 1), 1: ("I", 0)}), 2: ("T", [noise])}
    assert unexplained(attempt(executorch, program(tensors, [0, 0], NOISE[:24], plan={7: ("T", [delegate])})), len(NOISE))
    text = {0: ("B", 6), 1: ("t", {0: ("s", NOISE.hex())})}
    assert unexplained(attempt(executorch, program(tensors, [0, 0], NOISE[:24], plan={2: ("T", [text])})), len(NOISE))
    ints = {0: ("B", 7), 1: ("t", {0: ("v", np.frombuffer(NOISE, np.int64))})}
    assert unexplained(attempt(executorch, program(tensors, [0, 0], NOISE[:24], plan={2: ("T", [ints] * 4)})), len(NOISE))


W = [("w", 6, (2, 3))]
HOSTILE = {
    "fewer bytes than the shape": flat(W, [(0, 20)], NOISE[:20]),
    "more bytes than the shape": flat(W, [(0, 28)], NOISE[:28]),
    "a negative dimension": flat([("w", 6, (-2, -3))], [(0, 24)], NOISE[:24]),
    "2^93 elements": flat([("w", 6, (2**31 - 1,) * 3)], [(0, 24)], NOISE[:24]),
    "a type that there is not": flat([("w", 99, (2, 3))], [(0, 24)], NOISE[:24]),
    "four bits": flat([("w", 16, (2, 3))], [(0, 3)], NOISE[:3]),
    "a segment past the end": flat(W, [(0, 25)], NOISE[:24]),
    "a segment at 2^63": flat(W, [(2**63, 24)], NOISE[:24]),
    "a segment of 2^64 - 1": flat(W, [(0, 2**64 - 1)], NOISE[:24]),
    "segments that overlap": flat([("w", 6, (6,)), ("v", 6, (6,))], [(0, 24), (4, 24)], NOISE[:28]),
    "a segment that isn't there": flat([("w", 6, (6,)), ("v", 6, (6,))], [(0, 24)], NOISE[:24]),
    "a name twice": flat([("w", 6, (6,)), ("w", 6, (6,))], [(0, 24), (24, 24)], NOISE[:48]),
    "no header": flat(W, [(0, 24)], NOISE[:24]).replace(b"FH01", b"\0\0\0\0"),
    "a header of 2^32 - 1": flat(W, [(0, 24)], NOISE[:24]).replace(b"FH01\x28\0\0\0", b"FH01\xff\xff\xff\xff"),
    "segments in the header": flat(W, [(0, 24)], NOISE[:24]).replace(b"FH01\x28", b"FH01\x18"),
    "a buffer that isn't there": program([tensor(6, (2, 3), 9)], [0, 0], NOISE[:24]),
    "an offset past the segment": program([tensor(6, (2, 3), 1)], [0, 25], NOISE[:24]),
    "a tensor longer than its segment": program([tensor(6, (7,), 1)], [0, 0], NOISE[:24]),
    "tensors that overlap": program([tensor(6, (3,), 1), tensor(6, (3,), 2)], [0, 0, 4], NOISE[:24]),
    "another layout": program([tensor(6, (2, 3), 1, fields={7: ("b", 1)})], [0, 0], NOISE[:24]),
    "an offset within its storage": program([tensor(6, (2, 3), 1, fields={1: ("i", 1)})], [0, 0], NOISE[:24]),
    "constants in a segment that isn't there": program([tensor(6, (2, 3), 1)], [0, 0], NOISE[:24], segment=7),
    "mutable state that isn't there": program([tensor(6, (6,), 1, fields={6: ("t", {0: ("I", 1)})})], [0, 0], NOISE[:24]),
    "a backend's data that isn't there": program([], [], b"", plan={7: ("T", [{0: ("s", "b"), 1: ("t", {1: ("I", 5)})}])}),
    "only a head": b"\x08\0\0\0ET12",
    "a root past the end": b"\xff\xff\xff\xffET12" + bytes(64),
}


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_what_is_wrong_is_unread(case: str) -> None:
    assert isinstance(attempt(executorch, HOSTILE[case]), Unreadable)


@pytest.mark.parametrize("data", [PROGRAM, TENSORS], ids=["program", "tensors"])
def test_truncated_anywhere_or_with_any_word_changed_it_ends_well(data: bytes) -> None:
    check_truncations(executorch, data, step=3)
    for content in words(data, (0, 0x7FFFFFFF, 0xFFFFFFFF)):
        attempt(executorch, content)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
def test_any_bytes_that_lie_end_well(edits: list[tuple[int, bytes]]) -> None:
    content = bytearray(PROGRAM)
    for at, new in edits:
        at %= len(content)
        content[at : at + len(new)] = new
    attempt(executorch, bytes(content))
