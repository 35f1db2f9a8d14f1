"""scan_safetensors_header against a strict reader over the standard library's JSON: on headers, and on headers gone wrong."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import naive
from weightguard.errors import Unreadable
from weightguard.formats import safetensors as reader
from weightguard.kernels.safetensors_header import find_repeated_name, scan_safetensors_header
from weightguard.limits import LIMITS
from weightguard.tensors import DTYPES, SAFETENSORS_DTYPES

NAMES = [name for name, _ in DTYPES[:SAFETENSORS_DTYPES]]
Tensors = list[tuple[str, str, list[int], list[int]]]


# ---- headers


@st.composite
def blank(draw: st.DrawFn) -> str:
    return draw(st.text(" \n\r\t", max_size=2))


@st.composite
def quoted(draw: st.DrawFn, text: str) -> str:
    """A JSON string for `text`: characters as they are, or as escapes."""
    parts = []
    for c in text:
        choice = draw(st.integers(0, 3))
        if choice == 0 or c in '"\\' or ord(c) < 32 or 0xD800 <= ord(c) < 0xE000:
            parts.append(json.dumps(c)[1:-1])
        elif choice == 1 and ord(c) < 0x10000:
            parts.append(f"\\u{ord(c):04X}")
        elif c == "/" and choice == 2:
            parts.append("\\/")
        else:
            parts.append(c)
    return '"' + "".join(parts) + '"'


names = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "a", "dtype", "data_offsets", "__metadata", "__metadata__ ", "layers.0.mlp.weight", "\x1b[31m"]),
).filter(lambda n: n != "__metadata__")
numbers = st.one_of(st.integers(0, 100), st.integers(0, naive.INT64_MAX), st.just(naive.INT64_MAX))


@st.composite
def spaced(draw: st.DrawFn, *tokens: str) -> str:
    return "".join(draw(blank()) + token for token in tokens) + draw(blank())


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, naive.Header]:
    """A valid header and what it says: any order of keys, any white space, escapes, Unicode, with or without metadata."""
    tensors: Tensors = draw(
        st.lists(
            st.tuples(names, st.sampled_from(NAMES), st.lists(numbers, max_size=4), st.lists(numbers, min_size=2, max_size=2)),
            max_size=5,
        )
    )
    entries = []
    for name, dtype, shape, offsets in tensors:
        values = {
            "dtype": json.dumps(dtype),
            "shape": draw(spaced("[", ", ".join(map(str, shape)), "]")),
            "data_offsets": draw(spaced("[", f"{offsets[0]}", ",", f"{offsets[1]}", "]")),
        }
        keys = draw(st.permutations(list(values)))
        tokens: list[str] = []
        for i, key in enumerate(keys):
            tokens += [*([","] if i else []), f'"{key}"', ":", values[key]]
        entries.append(draw(spaced(draw(quoted(name)), ":", "{", *tokens, "}")))
    metadata = draw(st.one_of(st.none(), st.dictionaries(st.text(max_size=5), st.text(max_size=8), max_size=3)))
    if metadata is not None:
        text = ", ".join(f"{draw(quoted(k))} : {draw(quoted(v))}" for k, v in metadata.items())
        place = draw(st.integers(0, len(entries)))
        entries.insert(place, draw(spaced('"__metadata__"', ":", "{", text, "}")))
    header = draw(spaced("{", ",".join(entries), "}")).encode("utf-8")
    return header, naive.Header(tensors, metadata or {})


INTERESTING = [
    *(bytes([c]) for c in b'"\\{}[],:09-.e \n\t\0\x1f\x7f\xff\xc3'),
    *b'"dtype" "F32" "__metadata__" "shape":[] ,, [] {} null true NaN 1e3 00 99999999999999999999'.split(),
    *rb"\u0000 \ud800 \x \u12".split(),
    *(b"\xed\xa0\x80", b"\xe2\x82\xac", b"\xef\xbb\xbf"),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    header = draw(headers())[0]
    for _ in range(draw(st.integers(1, 3))):
        a = draw(st.integers(0, len(header)))
        b = draw(st.integers(a, min(len(header), a + draw(st.sampled_from([0, 1, 2, 20])))))
        piece = draw(st.one_of(st.just(b""), st.sampled_from(INTERESTING), st.binary(max_size=2), st.just(header[a:b] * 2)))
        header = header[:a] + piece + header[b:]
    return header


# ---- readings


def columns(header: bytes, scan: Any) -> Any:
    """The tensors and metadata that a scan of the reader gives; None if it is Unreadable."""
    try:
        found = scan(header, LIMITS)
    except Unreadable as error:
        assert error.reason == "malformed"
        assert error.detail and "\n" not in error.detail
        return None
    texts, dtypes, dims, starts, offsets, metadata = found
    assert [a.dtype for a in found[1:5]] == [np.uint8, np.int64, np.int64, np.int64]
    shapes = [dims[a:b].tolist() for a, b in pairwise(starts.tolist())]
    rows = zip(texts, (DTYPES[d][0] for d in dtypes.tolist()), shapes, offsets.tolist(), strict=True)
    return naive.Header(list(rows), metadata)


def once(header: naive.Header | None) -> naive.Header | None:
    """The reader refuses a name that stands twice."""
    if header is None or len({name for name, *_ in header.tensors}) < len(header.tensors):
        return None
    return header


def same(header: bytes) -> Any:
    """By the kernel and by JSON: the same, or both refuse."""
    by_kernel, by_json = columns(header, reader._scan_bytes), columns(header, reader._scan_json)
    assert by_kernel == by_json, header
    return by_kernel


@settings(deadline=None, max_examples=150)
@given(case=headers())
def test_a_valid_header_is_read_as_it_was_written(case: tuple[bytes, naive.Header]) -> None:
    header, written = case
    assert same(header) == once(written)
    assert naive.read_header(header, NAMES) == written


@settings(deadline=None, max_examples=300)
@given(header=mutated())
@example(b"")
@example(b"{")
@example(b"{}")
@example(b" {} ")
@example(b"{},")
@example(b"[]")
@example(b'{"a":{}}')
@example(b'{"__metadata__":{},"__metadata__":{}}')
@example(b'{"a":{"dtype":"U8","shape":[,],"data_offsets":[0,0]}}')
@example(b'{"a":{"dtype":"U8","shape":[1,],"data_offsets":[0,0]}}')
@example(b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,0],}}')
@example(b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,0]},}')
@example(b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0]}}')
@example(b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,0,0]}}')
@example(b'{"a":{"dtype":"U8","shape":[01],"data_offsets":[0,0]}}')
@example(b'{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}')
@example(b'{"a":{"dtype":["U8"],"shape":[],"data_offsets":[0,0]}}')
@example(b'{"a":{"dtype":"U8","shape":"","data_offsets":[0,0]}}')
@example(b'{"a":{"dtype":"U8","shape":{},"data_offsets":[0,0]}}')
@example(b'{"\\":{"dtype":"U8","shape":[],"data_offsets":[0,0]}}')
@example(b'{"\\q":{"dtype":"U8","shape":[],"data_offsets":[0,0]}}')
@example(b'{"\\u12":{"dtype":"U8","shape":[],"data_offsets":[0,0]}}')
@example(b'{"__metadata__":{"a":"\\q"}}')
@example(b'{"__metadata__":{"a":"b","a":"b"}}')
@example(b'{"__metadata__":{"a":1}}')
@example(b'{"__metadata__":{"a":{"b":"c"}}}')
@example(b'{"__metadata__":{"a":"\xff"}}')
@example(b'{"__metadata__":{"a":"b",}}')
@example(b"\xef\xbb\xbf{}")
def test_a_header_gone_wrong_is_accepted_by_all_readers_or_by_none(header: bytes) -> None:
    assert same(header) == once(naive.read_header(header, NAMES))


@pytest.mark.full
@settings(deadline=None, max_examples=4_000)
@given(header=mutated())
def test_many_headers_gone_wrong_are_accepted_by_all_readers_or_by_none(header: bytes) -> None:
    assert same(header) == once(naive.read_header(header, NAMES))


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"d\\u0074ype":"U8","shape":[],"data_offsets":[0,1]}}',
        b'{"a":{"dtype":"U\\u0038","shape":[],"data_offsets":[0,1]}}',
        b'{"a":{"dtype":"U8","dtyp\\u0065":"F32","shape":[],"data_offsets":[0,1]}}',
        b'{"\\u005f_metadata__":{"a":"b"}}',
        b'{"\\u005f_metadata__":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}',
        b'{"\\u005f_metadata__":{"a":"b"},"__metadata__":{}}',
    ],
)
def test_an_escape_changes_no_meaning_for_either_reader(header: bytes) -> None:
    """JSON's strings are equal whatever their escapes: a reader that compares bytes would see another tensor."""
    assert same(header) == once(naive.read_header(header, NAMES))


@pytest.mark.parametrize(
    "twice",
    [
        '"a":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,1]}',
        '"a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[0,1]}',
        '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,2]}',
        '"__metadata__":{},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{}',
        '"__metadata__":{"format":"pt","format":"np"}',
    ],
)
def test_no_key_may_be_given_twice(twice: str) -> None:
    assert same(("{" + twice + "}").encode()) is None


# ---- the kernel itself, compiled and plain


def kernel_outputs(form: Any, header: bytes, capacity: int, rooms: int) -> tuple[Any, ...]:
    """Every array that the kernel writes, cut to what it says it wrote."""
    places, dtypes = np.zeros((capacity, 3), np.int64), np.zeros(capacity, np.uint8)
    dims, starts = np.zeros(rooms, np.int64), np.zeros(capacity + 1, np.int64)
    offsets, info = np.zeros((capacity, 2), np.int64), np.zeros(4, np.int64)
    data, words = np.frombuffer(header, np.uint8), reader._words(header)
    with np.errstate(over="ignore"):
        count = int(form(data, words, reader._DTYPE_NAMES, places, dtypes, dims, starts, offsets, info))
    if count < 0:
        return count, int(info[0])
    cut: list[Any] = [
        places[:count],
        dtypes[:count],
        starts[: count + 1],
        dims[: starts[count]],
        offsets[:count],
        info,
    ]
    return (count, *(a.tolist() for a in cut))


@settings(deadline=None, max_examples=200)
@given(
    header=st.one_of(mutated(), headers().map(lambda case: case[0])),
    capacity=st.sampled_from([0, 1, 2, 200]),
    rooms=st.sampled_from([0, 1, 5, 800]),
)
def test_compiled_and_plain_write_the_same_or_stop_at_the_same_byte(header: bytes, capacity: int, rooms: int) -> None:
    compiled = kernel_outputs(scan_safetensors_header.compiled, header, capacity, rooms)
    assert compiled == kernel_outputs(scan_safetensors_header.py_func, header, capacity, rooms)


@settings(deadline=None, max_examples=200)
@given(header=mutated(), capacity=st.integers(0, 3), rooms=st.integers(0, 3))
def test_no_array_is_written_outside_its_length(header: bytes, capacity: int, rooms: int) -> None:
    """The plain function runs over NumPy arrays, whose bounds are checked: an IndexError would be a write outside."""
    kernel_outputs(scan_safetensors_header.py_func, header, capacity, rooms)


# ---- as every writer writes it, far from the end: the way that takes eight bytes at once


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """A header without a space, with room after it; perhaps a piece of it changed."""
    long_names = st.text("abc.01_é", min_size=0, max_size=30) | st.sampled_from(
        ["__metadata__", "___metadata_", "a" * 8, "a" * 16]
    )
    sizes = st.integers(0, 12) | st.integers(0, 10**17) | st.sampled_from([10**7, 10**8 - 1, 10**8, 10**15, 10**16 - 1, 10**16])
    entries = []
    for _ in range(draw(st.integers(1, 4))):
        name, dtype = draw(long_names), draw(st.sampled_from([*NAMES, "F32", "F32"]))
        shape = draw(st.lists(sizes, max_size=10))
        entry = {"dtype": dtype, "shape": shape, "data_offsets": [draw(sizes), draw(sizes)]}
        entries.append(f"{json.dumps(name, ensure_ascii=False)}:{json.dumps(entry, separators=(',', ':'))}")
    header = ("{" + ",".join(entries)).encode()
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(header)))
        piece = draw(
            st.sampled_from([b"", b"0", b"00", b'"', b",", b" ", b"9", b"\\", b"]", b"\n", b"\xc3"]) | st.binary(max_size=1)
        )
        header = header[:at] + piece + header[at + draw(st.integers(0, 2)) :]
    last = ",".join(f'"last{i}":{{"dtype":"U8","shape":[{i}],"data_offsets":[0,{i}]}}' for i in range(6))
    return header + b"," + last.encode() + b"}"


@settings(deadline=None, max_examples=1000)
@given(header=written())
def test_eight_bytes_at_once_give_what_json_gives(header: bytes) -> None:
    assert same(header) == once(naive.read_header(header, NAMES))


@settings(deadline=None, max_examples=100)
@given(header=written(), capacity=st.sampled_from([1, 2, 200]), rooms=st.sampled_from([0, 3, 800]))
def test_eight_bytes_at_once_are_the_same_compiled_and_plain(header: bytes, capacity: int, rooms: int) -> None:
    compiled = kernel_outputs(scan_safetensors_header.compiled, header, capacity, rooms)
    assert compiled == kernel_outputs(scan_safetensors_header.py_func, header, capacity, rooms)


@pytest.mark.full
@settings(deadline=None, max_examples=20_000)
@given(header=written())
def test_many_headers_by_eight_bytes_give_what_json_gives(header: bytes) -> None:
    assert same(header) == once(naive.read_header(header, NAMES))


def test_a_name_has_the_same_hash_whichever_way_it_was_read() -> None:
    """The last entries of a header are read by the states, the first by eight bytes at once."""
    name = "model.layers.0.mlp.down_proj.weight"
    for cut in range(len(name)):
        entry = f'"{name[:cut]}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
        header = (
            "{"
            + entry
            + ","
            + ",".join(f'"{i}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}' for i in range(9))
            + ","
            + entry
            + "}"
        )
        count, places, *_ = kernel_outputs(scan_safetensors_header.compiled, header.encode(), 20, 20)
        assert count == 11 and places[0][1:] == places[10][1:]
        assert same(header.encode()) is None


# ---- names that stand twice


def repeated(form: Any, names: list[bytes], hashes: list[int], size: int) -> int:
    text = b"".join(names)
    ends = np.cumsum([len(n) for n in names], dtype=np.int64)
    rows = np.array([(end - len(n), len(n), h) for end, n, h in zip(ends.tolist(), names, hashes, strict=True)], np.int64)
    with np.errstate(over="ignore"):
        return int(form(np.frombuffer(text, np.uint8), rows.reshape(-1, 3), np.zeros(size, np.int32), np.zeros(1, np.int64)))


@settings(deadline=None, max_examples=300)
@given(names=st.lists(st.binary(max_size=2), max_size=12), spread=st.sampled_from([1, 3, 1 << 60]))
def test_a_name_that_stands_twice_is_found_whatever_the_hashes(names: list[bytes], spread: int) -> None:
    hashes = [int.from_bytes(n, "little") * 0x123456789ABCDEF % spread for n in names]
    expected = naive.first_repeated(names)
    for form in (find_repeated_name.compiled, find_repeated_name.py_func):
        assert repeated(form, names, hashes, 32) == expected


@pytest.mark.parametrize("form", [find_repeated_name.compiled], ids=["compiled"])
def test_hashes_made_to_meet_end_the_search_and_not_the_answer(form: Any) -> None:
    names = [b"%06d" % i for i in range(5000)]
    assert repeated(form, names, [7] * 5000, 1 << 14) == -2
    entries = ",".join(f'"{n.decode()}":{{"dtype":"U8","shape":[],"data_offsets":[{i},{i + 1}]}}' for i, n in enumerate(names))
    with pytest.MonkeyPatch.context() as patch:

        class Tired:
            @staticmethod
            def compiled(*_: Any) -> int:
                return -2

        patch.setattr(reader, "find_repeated_name", Tired)
        assert len(reader._scan_bytes(("{" + entries + "}").encode(), LIMITS)[0]) == 5000
        with pytest.raises(Unreadable):
            reader._scan_bytes(("{" + entries + "," + entries[:70] + "}").encode()[:-1], LIMITS)
