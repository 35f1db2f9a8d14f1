"""Flax' msgpack files, made by the msgpack library to the layout of `flax.serialization`, and by Flax where it is installed."""

from __future__ import annotations

import pickle
import random
from typing import Any

import msgpack as packer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.formats._bounds import attempt, check_truncations, identified, rows, unexplained
from weightguard.errors import Unreadable
from weightguard.formats import msgpack
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory

W = np.ones((3, 4), "f4")
ARRAY = 1


def array(value: Any) -> bytes:
    """_ndarray_to_bytes"""
    return packer.packb((value.shape, value.dtype.name, value.tobytes()), use_bin_type=True)


def _default(value: Any) -> Any:
    """_msgpack_ext_pack"""
    if isinstance(value, np.ndarray):
        return packer.ExtType(1, array(value))
    if isinstance(value, np.generic):
        return packer.ExtType(3, array(np.asarray(value)))
    if isinstance(value, complex):
        return packer.ExtType(2, packer.packb((value.real, value.imag)))
    return value


def packed(tree: Any) -> bytes:
    return packer.packb(tree, default=_default, strict_types=True)


def chunked(value: Any, size: int) -> dict[str, Any]:
    """_chunk, with chunks of `size` elements instead of 2^30 bytes"""
    flat = value.reshape(-1)
    return {
        "__msgpack_chunked_array__": True,
        "shape": {str(i): d for i, d in enumerate(value.shape)},
        "chunks": {str(i): flat[at : at + size] for i, at in enumerate(range(0, flat.size, size))},
    }


def read(data: bytes) -> Container:
    return identified(data, "flax_model", "msgpack")


def refused(data: bytes, *reasons: str) -> None:
    found = attempt(msgpack, data)
    assert isinstance(found, Unreadable) and found.reason in reasons, found


# ---- what Flax writes


def test_a_tree_of_parameters() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    tree = {
        "params": {"dense": {"kernel": W, "bias": np.ones(4, ml_dtypes.bfloat16)}, "scale": np.float32(2)},
        "opt_state": {"0": {"mu": [np.zeros((0, 3)), np.zeros(5, ">i4").astype("<i4")]}},
        "step": 3,
        "z": 1j,
        "none": None,
    }
    container = read(packed(tree))
    assert rows(container) == {
        "params.dense.kernel": ("F32", (3, 4)),
        "params.dense.bias": ("BF16", (4,)),
        "params.scale": ("F32", ()),
        "opt_state.0.mu.0": ("F64", (0, 3)),
        "opt_state.0.mu.1": ("I32", (5,)),
    }
    assert container.accounts.tensors == 48 + 8 + 4 + 20 and container.unexplained == 0
    assert container.scalars["step"] == 3


def test_an_array_in_chunks_is_one() -> None:
    tree = {"a": {"big": chunked(np.ones((5, 7)), 10)}, "b": W, "c": chunked(np.ones((2, 2, 2), "i1"), 3)}
    assert rows(read(packed(tree))) == {"a.big": ("F64", (5, 7)), "b": ("F32", (3, 4)), "c": ("I8", (2, 2, 2))}


leaves = hnp.arrays(
    st.sampled_from(["f4", "f2", "f8", "i8", "u1", "?", "c8"]), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)
)
keys = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=40)
trees = st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, min_size=1, max_size=4), max_leaves=12)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(keys, trees, min_size=1, max_size=4))
def test_any_tree_has_the_leaves_that_it_has(tree: dict[str, Any]) -> None:
    truth: dict[str, tuple[int, ...]] = {}

    def walk(node: Any, path: str) -> None:
        for key, value in node.items():
            name = f"{path}.{key}" if path else key
            if isinstance(value, dict):
                walk(value, name)
            else:
                truth[name] = value.shape

    walk(tree, "")
    container = read(packed(tree))
    assert {n: shape for n, (_, shape) in rows(container).items()} == truth and container.unexplained == 0


def test_a_file_that_flax_writes(tmp_path: Any) -> None:
    serialization = pytest.importorskip("flax.serialization", exc_type=ImportError)
    data = serialization.msgpack_serialize({"params": {"kernel": W, "bias": np.zeros(4, "f4")}})
    assert rows(read(data)) == {"params.kernel": ("F32", (3, 4)), "params.bias": ("F32", (4,))}


def test_elements_are_not_read() -> None:
    class Counting(InMemory):
        total = 0

        def read(self, offset: int, length: int) -> bytes:
            Counting.total += length
            return super().read(offset, length)

    data = packed({f"w{i}": np.zeros(1 << 20, "f4") for i in range(8)})
    msgpack.read(Counting("x", data), LIMITS)
    assert Counting.total < 1 << 20 < len(data)


def test_a_thousand_arrays_of_every_length_class() -> None:
    tree = {f"layer_{i}": {"w": np.zeros(i, "u1")} for i in range(1000)} | {"long": np.zeros(70_000, "u1")}
    assert len(read(packed(tree)).tensors) == 1001


# ---- hidden bytes

SECRET = random.Random(1).randbytes(70_000)


def test_bytes_after_the_map_are_unexplained() -> None:
    assert read(packed({"w": W}) + SECRET).unexplained == 70_000


@pytest.mark.parametrize(
    "hidden",
    [
        SECRET,
        SECRET.hex(),
        [SECRET[i : i + 500].hex() for i in range(0, 70_000, 500)],
        {SECRET[i : i + 500].hex(): SECRET[i : i + 500] for i in range(0, 70_000, 500)},
        packer.ExtType(42, SECRET),
        packer.ExtType(2, SECRET),
        np.frombuffer(SECRET[:64_000], "f8").tolist(),
        packer.Timestamp(5, 5),
    ],
    ids=["bytes", "text", "texts", "pieces", "extension", "complex", "numbers", "time"],
)
def test_what_is_no_array_is_unexplained(hidden: Any) -> None:
    container = read(packed({"w": W, "more": hidden}))
    assert container.unexplained >= (8 if isinstance(hidden, packer.Timestamp) else 60_000)


# ---- structures that lie


def ext(content: bytes, kind: int = ARRAY) -> bytes:
    """A map of one array whose extension holds these bytes."""
    return b"\x81\xa1w" + packer.packb(packer.ExtType(kind, content))


GOOD = array(W)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (ext(b""), "truncated"),
        (ext(GOOD[:-1]), "inconsistent"),
        (ext(GOOD + b"w"), "inconsistent"),
        (ext(packer.packb(((3, 5), "float32", bytes(48)))), "inconsistent"),
        (ext(packer.packb(((1 << 62, 1 << 62), "float32", bytes(48)))), "inconsistent"),
        (ext(packer.packb((((1 << 64) - 1,), "float32", bytes(48)))), "malformed"),
        (ext(packer.packb(((-3, -4), "float32", bytes(48)))), "malformed"),
        (ext(packer.packb(((3.0, 4), "float32", bytes(48)))), "malformed"),
        (ext(packer.packb((((3,), 4), "float32", bytes(48)))), "malformed"),
        (ext(packer.packb((12, "float32", bytes(48)))), "malformed"),
        (ext(packer.packb(((3, 4), "float31", bytes(48)))), "unsupported"),
        (ext(packer.packb(((3, 4), "object", bytes(48)))), "unsupported"),
        (ext(packer.packb(((3, 4), 4, bytes(48)))), "malformed"),
        (ext(packer.packb(((3, 4), "f" * 100, bytes(48)))), "malformed"),
        (ext(packer.packb(((3, 4), "float32", "x" * 48))), "malformed"),
        (ext(packer.packb(((3, 4), "float32"))), "malformed"),
        (ext(packer.packb({"a": 1})), "malformed"),
        (ext(packer.packb(([1] * 65, "float32", bytes(4)))), "malformed"),
        (b"\x81\xa1w\xc9\xff\xff\xff\xff\x01" + GOOD, "inconsistent"),
        (b"\x81\xa1w\xc6\xff\xff\xff\xff", "truncated"),
        (b"\x81\xa1w\xdb\xff\xff\xff\xff", "truncated"),
        (b"\x81\xa1w\xdd\xff\xff\xff\xff", "truncated"),
        (b"\x81\xa1w\xdf\xff\xff\xff\xff", "truncated"),
        (b"\xdf\xff\xff\xff\xff\xa1w", "truncated"),
        (b"\x81\xa1w\xc1", "malformed"),
        (b"\x81\xc0\xc0", "malformed"),
        (b"\x81\xa2\xff\xfe\xc0", "malformed"),
        (b"\x81\xa1w" * 5000 + b"\xc0", "limit"),
        (b"\x81\xa1w" + b"\x91" * 5000 + b"\xc0", "limit"),
        (b"\x82\xa1w" + b"\xc0" + b"\xa1w" + b"\xc0", "inconsistent"),
        (b"\x81\xda\x08\x00" + b"k" * 2048 + b"\xc0", "limit"),
        (b"\x80", "malformed"),
        (b"", "malformed"),
    ],
)
def test_a_file_that_lies_is_refused(data: bytes, reason: str) -> None:
    refused(data, reason)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": {"0": 6, "1": 7}},
        {"shape": {"0": -5, "1": -7}},
        {"shape": {}},
        {"shape": {"0": 5}},
        {"shape": None},
        {"chunks": {}},
        {"chunks": {"0": W, "2": W}},
        {"chunks": {"0": np.ones(30), "1": np.ones(5, "f4")}},
        {"more": W},
    ],
)
def test_chunks_that_do_not_make_the_array_are_refused(change: dict[str, Any]) -> None:
    refused(packed({"big": chunked(np.ones((5, 7)), 10) | change}), "inconsistent", "malformed")


def test_more_values_than_a_model_has() -> None:
    refused(b"\x81\xa1w\xdd" + (2_000_000).to_bytes(4, "big") + b"\xc0" * 2_000_000, "limit")


def test_a_file_cut_short_is_unread() -> None:
    check_truncations(msgpack, packed({"params": {"w": W, "c": chunked(np.ones((5, 7)), 10)}, "step": 3}))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_changed_bytes_give_a_count_or_an_unreadable(data: st.DataObject) -> None:
    whole = bytearray(packed({"params": {"w": W, "c": chunked(np.ones((5, 7)), 10)}, "l": [1, 2.5, "x", None], "z": 1j}))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)):
        whole[at] = value
    attempt(msgpack, bytes(whole))


# ---- what is none


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81",
        b"\x82\xa1a\x01\xa1b\x02",  # a map without arrays: any program writes such
        packer.packb({"w": b"bytes"}),
        packer.packb([1, 2]),
        "\u00c1text".encode(),
        *(pickle.dumps({"w": W, "n": [1, 2, 3]}, p) for p in range(6)),
        bytes(range(0x81, 0x100)) * 10,
        random.Random(1).randbytes(100),
    ],
)
def test_other_files_are_not_claimed(data: bytes) -> None:
    assert not msgpack.sniff(data, b"")


def test_an_array_that_begins_in_the_head_and_ends_after_it_is_seen() -> None:
    data = packed({"w": np.zeros(1 << 20)})
    assert msgpack.sniff(data[: 64 << 10], b"")
    assert unexplained(attempt(msgpack, data + SECRET), 70_000)
