"""GGUF: files of the gguf library as the library reads them, older versions and the other byte order by hand, and hostile files.

The rules are those of ggml's docs/gguf.md; each hostile case breaks one of them, or hides bytes where they allow it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.formats._gguf_files import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    V3,
    Form,
    Info,
    Key,
    gguf,
    header,
    span,
)
from weightguard.errors import Unreadable
from weightguard.formats import identify
from weightguard.formats._gguf import header as gguf_header
from weightguard.formats._gguf import model as gguf_model
from weightguard.formats.protocol import Container
from weightguard.kernels import _jit
from weightguard.limits import LIMITS
from weightguard.stores.local import LocalFile
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPES

SMALL: list[Info] = [("token_embd.weight", (32, 8), 8), ("blk.0.attn_norm.weight", (32,), 0), ("output.weight", (32, 8), 2)]
ARCH = V3.string("general.architecture", "llama")


def read(data: bytes, name: str = "memory.gguf") -> Container:
    container = identify(InMemory(name, data), LIMITS)
    assert container is not None and container.format == "gguf"
    a = container.accounts
    assert a.tensors + a.headers + a.padding + a.unexplained == len(data)
    assert min(a.tensors, a.headers, a.padding, a.unexplained) >= 0
    return container


def rows(container: Container) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """name -> (dtype, shape, bytes); every other column must agree with them."""
    table = container.tensors
    found = {n: (DTYPES[table.dtypes[i]][0], table.shape(i), int(table.spans[i])) for i, n in enumerate(table.names)}
    assert table.elements.tolist() == [prod(shape) for _, shape, _ in found.values()]
    assert len(set(table.storages.tolist())) == len(table) and not table.files.any()
    return found


def refused(data: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        identify(InMemory("memory.gguf", data), LIMITS)
    assert caught.value.detail and caught.value.detail.isprintable(), caught.value.detail
    return caught.value


def by_library(path: Path) -> dict[str, tuple[str, tuple[int, ...], int]]:
    reader = pytest.importorskip("gguf").GGUFReader(path)
    return {t.name: (t.tensor_type.name, tuple(t.shape.tolist()[::-1]), int(t.n_bytes)) for t in reader.tensors}


def read_file(path: Path) -> Container:
    with LocalFile(str(path), path.name) as source:
        container = identify(source, LIMITS)
    assert container is not None
    return container


def write(
    path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]], fill: Callable[[Any], None] | None = None, **how: Any
) -> Path:
    """By the library: tensors of zeros, their quantised bytes as raw data."""
    library = pytest.importorskip("gguf")
    writer = library.GGUFWriter(path, "llama", **how)
    if fill is not None:
        fill(writer)
    for name, (dtype, shape) in tensors.items():
        kind = library.GGMLQuantizationType[dtype]
        block, size = library.GGML_QUANT_SIZES[kind]
        data = np.zeros((*shape[:-1], shape[-1] // block * size), np.uint8)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# ---- files of the library

LIBRARY_TYPES = (
    "F32 F16 BF16 F64 I8 I16 I32 I64 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S "
    "IQ3_XXS IQ3_S IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4"
).split()


def test_every_type_of_the_library_has_its_block_and_bytes() -> None:
    library = pytest.importorskip("gguf")
    theirs = {int(k): (k.name, *library.GGML_QUANT_SIZES[k]) for k in library.GGMLQuantizationType}
    assert {k: v for k, v in gguf_model._TYPES.items() if k in theirs} == theirs
    assert not set(theirs) & gguf_model._RETIRED


@pytest.mark.parametrize("dtype", LIBRARY_TYPES)
def test_a_tensor_of_each_type_is_read_as_the_library_reads_it(tmp_path: Path, dtype: str) -> None:
    shapes = {"a": (3, 512), "b.weight": (256,), "c": (2, 3, 256), "d": (2, 2, 2, 256)}
    path = write(tmp_path / "a.gguf", {n: (dtype, shape) for n, shape in shapes.items()})
    assert rows(read_file(path)) == by_library(path)
    assert {n: shape for n, (_, shape, _) in rows(read_file(path)).items()} == shapes


@pytest.mark.parametrize("dtype", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"])
def test_weights_that_the_library_quantised(tmp_path: Path, dtype: str) -> None:
    library = pytest.importorskip("gguf")
    kind = library.GGMLQuantizationType[dtype]
    weights = np.random.default_rng(1).standard_normal((6, 512)).astype(np.float32)
    data = library.quants.quantize(weights, kind)
    writer = library.GGUFWriter(tmp_path / "q.gguf", "llama")
    writer.add_tensor("w", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    container = read_file(tmp_path / "q.gguf")
    assert rows(container) == by_library(tmp_path / "q.gguf")
    assert int(container.tensors.elements[0]) == weights.size


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=10).filter(
    lambda n: not n.startswith("GGUF.")
)
types = st.sampled_from(["F32", "F16", "Q8_0", "Q4_0", "Q4_K", "I8", "MXFP4"])


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tensors=st.dictionaries(names, st.tuples(types, st.lists(st.integers(1, 3), max_size=3), st.integers(1, 2)), max_size=6),
    texts=st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), max_size=4),
    numbers=st.dictionaries(names, st.integers(0, 2**32 - 1), max_size=4),
    vocabulary=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=40),
    alignment=st.sampled_from([None, 8, 32, 64, 4096]),
    big=st.booleans(),
)
def test_what_the_library_writes_is_read_as_the_library_reads_it(
    tmp_path: Path,
    tensors: dict[str, tuple[str, list[int], int]],
    texts: dict[str, str],
    numbers: dict[str, int],
    vocabulary: list[str],
    alignment: int | None,
    big: bool,
) -> None:
    library = pytest.importorskip("gguf")

    def fill(writer: Any) -> None:
        if alignment is not None:
            writer.add_custom_alignment(alignment)
        for key, text in texts.items():
            writer.add_string(f"t.{key}", text)
        for key, number in numbers.items():
            writer.add_uint32(f"n.{key}", number)
        writer.add_array("tokenizer.ggml.tokens", vocabulary)

    shapes = {n: (dtype, (*shape, 256 * last)) for n, (dtype, shape, last) in tensors.items()}
    order = library.GGUFEndian.BIG if big else library.GGUFEndian.LITTLE
    path = write(tmp_path / "h.gguf", shapes, fill, endianess=order)
    container = read_file(path)
    assert {n: row[:2] for n, row in rows(container).items()} == shapes
    if tensors:
        assert rows(container) == by_library(path)
    assert {k[2:]: v for k, v in container.metadata.items() if k.startswith("t.")} == texts
    assert {k[2:]: v for k, v in container.scalars.items() if k.startswith("n.")} == numbers
    assert container.accounts.unexplained == 0


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    values = {
        "uint8": 255,
        "int8": -128,
        "uint16": 65535,
        "int16": -32768,
        "uint32": 2**32 - 1,
        "int32": -(2**31),
        "float32": 0.5,
        "uint64": 2**64 - 1,
        "int64": -(2**63),
        "float64": 0.1,
        "bool": True,
    }

    def fill(writer: Any) -> None:
        for kind, value in values.items():
            getattr(writer, f"add_{kind}")(f"a.{kind}", value)
        writer.add_string("general.name", "Größe")
        writer.add_array("a.list", [1, 2, 3])
        writer.add_array("a.texts", ["x", "yy"])

    container = read_file(write(tmp_path / "v.gguf", {"w": ("F32", (4,))}, fill))
    assert container.scalars == {f"a.{k}": v for k, v in values.items()}
    assert container.metadata["general.name"] == "Größe" and container.metadata["general.architecture"] == "llama"


# ---- versions, byte orders, alignment, by hand


@pytest.mark.parametrize(("version", "order"), [(1, "<"), (2, "<"), (3, "<"), (3, ">")])
def test_each_version_and_byte_order_says_the_same(version: int, order: str) -> None:
    form = Form(version, order)
    keys = [
        form.string("general.architecture", "llama"),
        ("a.number", U32, form.pack("I", 7)),
        ("a.flag", BOOL, b"\1"),
        form.strings("tokenizer.ggml.tokens", ["a", "b" * 300, ""]),
        form.numbers("tokenizer.ggml.scores", F32, bytes(12), 3),
    ]
    container = read(gguf(SMALL, keys, form))
    assert rows(container) == {n: (gguf_model._TYPES[k][0], dims[::-1], span((n, dims, k))) for n, dims, k in SMALL}
    assert container.scalars == {"a.number": 7, "a.flag": True}
    assert container.metadata == {"version": str(version), "general.architecture": "llama"}
    assert container.unexplained == 0


@pytest.mark.parametrize(("version", "order"), [(0, "<"), (4, "<"), (99, "<"), (65536, "<"), (2, ">"), (1, ">"), (4, ">")])
def test_other_versions_are_refused_by_their_number(version: int, order: str) -> None:
    error = refused(gguf(SMALL, [], Form(version, order)))
    assert error.reason == "unsupported" and "version" in error.detail


@pytest.mark.parametrize("alignment", [1, 8, 16, 24, 32, 256, 4096])
def test_an_alignment_holds_for_all_data(alignment: int) -> None:
    keys = [("general.alignment", U32, struct.pack("<I", alignment))]
    assert len(rows(read(gguf(SMALL, keys, alignment=alignment)))) == 3


@pytest.mark.parametrize("value", [0, 12, 33, 2**31])
def test_no_other_alignment_is_read(value: int) -> None:
    assert refused(gguf(SMALL, [("general.alignment", U32, struct.pack("<I", value))])).reason == "malformed"
    assert refused(gguf(SMALL, [V3.string("general.alignment", "32")])).reason == "malformed"


def test_tensors_may_lie_in_any_order() -> None:
    infos = [V3.info("b", (32,), 0, 128), V3.info("a", (32,), 0, 0), V3.info("empty", (0, 4), 0, 128)]
    head = V3.head([], infos)
    container = read(head + bytes(-len(head) % 32) + bytes(256))
    assert list(rows(container)) == ["b", "a", "empty"] and container.unexplained == 0


def test_the_last_tensor_needs_no_padding_after_it() -> None:
    data = gguf([("a", (33,), 24)])
    assert read(data).unexplained == 0
    assert read(data[:-31]).unexplained == 0
    assert refused(data[:-32]).reason == "truncated"


def test_a_file_without_tensors_is_read() -> None:
    assert len(rows(read(V3.head([ARCH], [])))) == 0
    assert len(rows(read(gguf([], [V3.strings("tokenizer.ggml.tokens", ["a", "b"])])))) == 0


def test_a_scalar_has_one_element() -> None:
    assert rows(read(gguf([("a", (), 0)]))) == {"a": ("F32", (), 4)}


def test_arrays_may_be_nested() -> None:
    inner = struct.pack("<IQ", U8, 2) + b"ab" + struct.pack("<IQ", STRING, 2) + V3.text("x") + V3.text("yy")
    deeper = struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQ", ARRAY, 0)
    keys: list[Key] = [("a.b", ARRAY, struct.pack("<IQ", ARRAY, 3) + inner + deeper), ("after", U8, b"\7")]
    assert read(gguf(SMALL, keys)).scalars == {"after": 7}


@pytest.mark.parametrize("window", [1, 7, 64, 1000])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_header_is_the_same_through_any_window(monkeypatch: pytest.MonkeyPatch, window: int, compiled: bool) -> None:
    tokens = [("t" * (i % 40)) for i in range(500)]
    keys = [ARCH, V3.strings("tokenizer.ggml.tokens", tokens), V3.string("long", "x" * 3000), ("after", U8, b"\7")]
    data = gguf(SMALL, keys)
    expected = read(data)
    monkeypatch.setattr(gguf_header, "_WINDOW", window)
    monkeypatch.setattr(gguf_header, "HEAD", window)
    if compiled:
        monkeypatch.setattr(_jit, "_done", _jit.COMPILE_ABOVE)
    found = read(data)
    assert rows(found) == rows(expected)
    assert (found.scalars, found.metadata, found.accounts) == (expected.scalars, expected.metadata, expected.accounts)


# ---- what is hidden shows

BLOB = 200_000


def vocabulary(tokens: int, length: int = 6) -> Key:
    return V3.strings("tokenizer.ggml.tokens", [f"{i:0{length}}"[:length] for i in range(tokens)])


def test_a_vocabulary_is_explained() -> None:
    n = 20_000
    keys = [
        ARCH,
        vocabulary(n),
        V3.strings("tokenizer.ggml.merges", [f"a{i} b{i}" for i in range(2 * n)]),
        V3.numbers("tokenizer.ggml.scores", F32, bytes(4 * n), n),
        V3.numbers("tokenizer.ggml.token_type", I32, bytes(4 * n), n),
        V3.string("tokenizer.chat_template", "{{ messages }}" * 1000),
        V3.numbers(
            "tokenizer.ggml.precompiled_charsmap", I8, struct.pack("<I", 100_000) + bytes(100_000) + b"a\0" * 50_000, 200_004
        ),
        V3.string("tokenizer.huggingface.json", '{"a": "' + "x" * BLOB + '"}'),
    ]
    container = read(gguf([("token_embd.weight", (32, n), 8)], keys))
    assert container.unexplained == 0 and not container.findings


HIDDEN: dict[str, list[Key]] = {
    "bytes under a key of one's own": [V3.numbers("a.b", U8, bytes(BLOB), BLOB)],
    "numbers under the tokenizer": [V3.numbers("tokenizer.ggml.extra", F32, bytes(BLOB), BLOB // 4)],
    "a text": [V3.string("general.description", "x" * BLOB)],
    "many small texts": [V3.string(f"a.{i}", "x" * 500) for i in range(500)],
    "long keys": [(f"{i}" + "x" * 60_000, U8, b"\0") for i in range(4)],
    "more scores than tokens": [vocabulary(100), V3.numbers("tokenizer.ggml.scores", F32, bytes(BLOB), BLOB // 4)],
    "wide scores": [vocabulary(20_000), V3.numbers("tokenizer.ggml.scores", F64, bytes(8 * 20_000), 20_000)],
    "long tokens": [V3.strings("tokenizer.ggml.tokens", ["x" * 2000] * 100)],
    "more tokens than the embedding has rows": [vocabulary(100_000)],
    "tokens that are numbers": [V3.numbers("tokenizer.ggml.tokens", U64, bytes(BLOB), BLOB // 8)],
    "merges without tokens": [V3.strings("tokenizer.ggml.merges", ["a b"] * 10_000)],
    "a charsmap without its form": [V3.numbers("tokenizer.ggml.precompiled_charsmap", U8, b"\xff" * BLOB, BLOB)],
    "a charsmap that is no text": [
        V3.numbers("tokenizer.ggml.precompiled_charsmap", U8, struct.pack("<I", 4) + b"\xff" * (BLOB - 4), BLOB)
    ],
    "a large charsmap": [V3.numbers("tokenizer.ggml.precompiled_charsmap", U8, bytes(1 << 20), 1 << 20)],
    "a tokenizer that is no text": [V3.string("tokenizer.huggingface.json", b"\xff" * BLOB)],
    "nested arrays": [("a.b", ARRAY, struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQ", U8, BLOB) + bytes(BLOB))],
}


@pytest.mark.parametrize("case", sorted(HIDDEN))
def test_what_metadata_is_not_for_is_unexplained(case: str) -> None:
    container = read(gguf(SMALL, [ARCH, *HIDDEN[case]]))
    assert container.unexplained >= 100_000
    assert len(rows(container)) == 3


def test_long_names_and_empty_tensors_hide_nothing() -> None:
    long = [(f"{i:03}" + "x" * 250, (1,), 0) for i in range(400)]
    assert read(gguf(long)).unexplained > 64 << 10
    empty = [(f"{i:06}", (0, i, i), 0) for i in range(2000)]
    assert read(gguf(empty)).unexplained > 64 << 10


@pytest.mark.parametrize("count", [1, 40, 70_000])
def test_what_follows_the_last_tensor_is_unexplained(count: int) -> None:
    data = gguf(SMALL)
    found = read(data + b"\1" * count)
    assert found.unexplained == count
    assert [(f.id, f.severity) for f in found.findings] == ([("trailing-bytes", "critical")] if count > 16 else [])
    assert not read(data + bytes(count)).findings
    assert read(data + bytes(count)).unexplained == count
    assert read(gguf([]) + bytes(count)).unexplained == count


def test_padding_that_is_not_zero_is_unexplained() -> None:
    tensors: list[Info] = [("a", (33,), 24), ("b", (1,), 0)]
    head, size = header(tensors)
    clean = read(head + bytes(size))
    assert clean.accounts.padding >= 31 + 28 and clean.unexplained == 0
    for at, gap in ((len(head) + 33, 31), (len(head) + size - 1, 28)):
        data = bytearray(head + bytes(size))
        data[at] = 1
        assert read(bytes(data)).unexplained == gap
    infos = V3.head([], [V3.info("a", (32,), 0, 0)])
    before = -len(infos) % 32
    assert before and read(infos + b"\1" * before + bytes(128)).unexplained == before


def test_a_hole_between_tensors_is_unexplained() -> None:
    head = V3.head([], [V3.info("a", (32,), 0, 0), V3.info("b", (32,), 0, 1152)])
    container = read(head + bytes(-len(head) % 32) + bytes(1280))
    assert container.unexplained == 1024


def test_more_padding_than_is_read_is_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_model, "_MOST_PADDING", 40)
    assert read(gguf([("a", (33,), 24), ("b", (33,), 24)])).unexplained >= 62


# ---- hostile


def one(name: str | bytes = "a", dims: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0, size: int = 4096) -> bytes:
    head = V3.head([], [V3.info(name, dims, kind, offset)])
    return head + bytes(-len(head) % 32) + bytes(size)


def keyed(*keys: Key, **how: int) -> bytes:
    return V3.head(keys, [V3.info("a", (32,), 0, 0)], **how).ljust(4096, b"\0")


def array(kind: int, count: int, items: bytes = b"") -> Key:
    return "a.b", ARRAY, struct.pack("<IQ", kind, count) + items


NEST = struct.pack("<IQ", ARRAY, 1)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "only a magic": (b"GGUF", "truncated"),
    "a header cut in its counts": (b"GGUF\3\0\0\0\1\0\0\0", "truncated"),
    "2^63 tensors": (keyed(tensors=2**63), "limit"),
    "2^64 - 1 tensors": (keyed(tensors=2**64 - 1), "limit"),
    "a million tensors in a small file": (keyed(tensors=1_000_000), "truncated"),
    "one tensor too many": (V3.head([], [V3.info("a", (32,), 0, 0)], tensors=2), "truncated"),
    "2^64 - 1 keys": (keyed(n_keys=2**64 - 1), "limit"),
    "60,000 keys in a small file": (keyed(n_keys=60_000), "truncated"),
    "a key of 2^63 bytes": (V3.head([], [], n_keys=1) + struct.pack("<Q", 2**63) + bytes(99), "truncated"),
    "a key of 2^64 - 1 bytes": (V3.head([], [], n_keys=1) + struct.pack("<Q", 2**64 - 1) + bytes(99), "truncated"),
    "a long key": (keyed(("x" * 65_536, U8, b"\0")) + bytes(70_000), "malformed"),
    "an empty key": (keyed(("", U8, b"\0")), "malformed"),
    "a key with a NUL": (keyed(("a\0b", U8, b"\0")), "malformed"),
    "a key that is not UTF-8": (keyed((b"\xff", U8, b"\0")), "malformed"),
    "a key twice": (keyed(("a.b", U8, b"\0"), ("a.b", U8, b"\0")), "malformed"),
    "a value of type 13": (keyed(("a.b", 13, bytes(8))), "malformed"),
    "a value of type 2^32 - 1": (keyed(("a.b", 2**32 - 1, bytes(8))), "malformed"),
    "a truth of 2": (keyed(("a.b", BOOL, b"\2")), "malformed"),
    "a text of 2^63 bytes": (keyed(("a.b", STRING, struct.pack("<Q", 2**63))), "truncated"),
    "an array of 2^62 strings": (keyed(array(STRING, 2**62)), "truncated"),
    "an array of 2^64 - 1 bytes": (keyed(array(U8, 2**64 - 1)), "truncated"),
    "an array of 2^61 numbers of 8 bytes": (keyed(array(I64, 2**61)), "truncated"),
    "an array of a string of 2^62 bytes": (keyed(array(STRING, 1, struct.pack("<Q", 2**62))), "truncated"),
    "an array of a string of 2^64 - 1 bytes": (keyed(array(STRING, 2, struct.pack("<2Q", 2**64 - 1, 0))), "truncated"),
    "an array of type 13": (keyed(array(13, 1, bytes(8))), "malformed"),
    "an array of 2^62 arrays": (keyed(array(ARRAY, 2**62)), "limit"),
    "arrays 1,000 deep": (keyed(("a.b", ARRAY, NEST * 1000 + struct.pack("<IQ", U8, 0))) + bytes(9000), "limit"),
    "arrays without an end": (keyed(("a.b", ARRAY, NEST * 8)), "truncated"),
    "an array cut in its head": (V3.head([("a.b", ARRAY, b"\x08\0")], []), "truncated"),
    "five dimensions": (one(dims=(2, 2, 2, 2, 2)), "malformed"),
    "2^32 - 1 dimensions": (V3.head([], [V3.text("a") + b"\xff" * 4]) + bytes(4096), "malformed"),
    "a dimension of 2^63": (one(dims=(2**63,)), "truncated"),
    "a dimension of 2^63 beside one of 0": (one(dims=(0, 2**63)), "inconsistent"),
    "a product of 2^64": (one(dims=(2**32, 2**32)), "truncated"),
    "a product that wraps to 4": (one(dims=(2**62 + 1, 4)), "truncated"),
    "rows that are not whole blocks": (one(dims=(33, 2), kind=8), "inconsistent"),
    "a scalar in blocks": (one(dims=(), kind=12), "inconsistent"),
    "a tensor past the end": (one(size=127), "truncated"),
    "an offset past the end": (one(offset=1 << 20), "truncated"),
    "an offset of 2^63": (one(offset=2**63), "truncated"),
    "an offset of 2^64 - 32": (one(offset=2**64 - 32), "truncated"),
    "an offset between the steps": (one(offset=4), "malformed"),
    "a retired type": (one(kind=31), "unsupported"),
    "Q4_2, retired": (one(kind=4), "unsupported"),
    "a type that is not there": (one(kind=99), "unsupported"),
    "a type of 2^32 - 1": (one(kind=2**32 - 1), "unsupported"),
    "a name with a NUL": (one("a\0b"), "malformed"),
    "an empty name": (one(""), "malformed"),
    "a name of 300 bytes": (one("x" * 300), "malformed"),
    "a name that is not UTF-8": (one(b"\xfe"), "malformed"),
    "a name twice": (V3.head([], [V3.info("a", (32,), 0, 0), V3.info("a", (32,), 0, 128)]).ljust(4096, b"\0"), "malformed"),
    "two tensors in one place": (
        V3.head([], [V3.info("a", (32,), 0, 0), V3.info("b", (32,), 0, 0)]).ljust(4096, b"\0"),
        "inconsistent",
    ),
    "overlapping tensors": (
        V3.head([], [V3.info("a", (32,), 0, 0), V3.info("b", (32,), 0, 96)]).ljust(4096, b"\0"),
        "inconsistent",
    ),
    "lengths in the other byte order": (b"GGUF" + struct.pack("<I", 3) + struct.pack(">QQ", 1, 0) + bytes(99), "limit"),
    "the other byte order's version": (b"GGUF" + struct.pack(">I", 3) + struct.pack("<QQ", 1, 0) + bytes(99), "limit"),
}


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_a_hostile_file_is_refused_with_its_reason(case: str) -> None:
    data, reason = HOSTILE[case]
    assert refused(data).reason == reason


@pytest.mark.parametrize("form", [Form(1), Form(2), V3, Form(3, ">")], ids=["v1", "v2", "v3", "big"])
def test_a_file_cut_anywhere_is_refused(form: Form) -> None:
    keys = [
        form.string("general.architecture", "llama"),
        form.strings("tokenizer.ggml.tokens", ["a", "bc"]),
        form.numbers("a.b", U16, bytes(4), 2),
        ("c", I16, bytes(2)),
    ]
    data = gguf([("a", (32, 2), 8), ("b", (8,), 0)], keys, form)
    read(data)
    for cut in range(4, len(data)):
        assert refused(data[:cut]).reason in ("truncated", "unsupported"), cut


@settings(deadline=None, max_examples=400)
@given(data=st.data())
def test_a_file_gone_wrong_is_refused_or_adds_up(data: st.DataObject) -> None:
    """Bytes are changed, cut out or put in anywhere in the header: an `Unreadable`, or every byte accounted for."""
    form = data.draw(st.sampled_from([Form(1), Form(2), V3, Form(3, ">")]))
    keys = [
        form.string("general.architecture", "llama"),
        form.strings("tokenizer.ggml.tokens", ["a", "bc", ""]),
        ("a.b", ARRAY, form.pack("I" + form.length, ARRAY, 2) + form.pack("I" + form.length, U8, 0) * 2),
        ("general.alignment", U32, form.pack("I", 32)),
        ("n", U64, bytes(8)),
    ]
    good = gguf(SMALL, keys, form)
    end = len(header(SMALL, keys, form)[0])
    wrong = good
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(4, end))
        cut = data.draw(st.sampled_from([0, 0, 1, 4, 8]))
        new = data.draw(st.one_of(st.binary(max_size=9), st.sampled_from([b"\xff" * 8, b"\0" * 7 + b"\x80", b"\0" * 8])))
        wrong = wrong[:at] + new + wrong[at + cut :]
    try:
        container = read(wrong)
    except Unreadable as error:
        assert error.detail.isprintable()
        return
    assert sum(span for _, _, span in rows(container).values()) <= len(wrong)


def test_templates_too_long_to_look_through_are_a_finding() -> None:
    for lengths in ([2 << 20], [300_000] * 4):
        keys = [V3.string(f"tokenizer.chat_template.{i}", "x" * n) for i, n in enumerate(lengths)]
        [finding] = read(gguf(SMALL, keys)).findings
        assert (finding.id, finding.severity) == ("chat-template-code", "critical")


def test_names_of_many_bytes_hide_nothing() -> None:
    assert read(gguf([(f"{i:03}" + "\U0001f600" * 60, (1,), 0) for i in range(400)])).unexplained > 64 << 10


def test_a_hundred_thousand_tensors_and_a_million_empty_strings_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    infos = [V3.info(f"blk.{i}.weight", (1,), 0, 32 * i) for i in range(100_000)]
    head = V3.head([V3.strings("a.b", [""] * 1_000_000)], infos)
    data = head + bytes(-len(head) % 32) + bytes(32 * len(infos))
    container = read(data)
    assert len(container.tensors) == 100_000 and container.unexplained > 8_000_000
