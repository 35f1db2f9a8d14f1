"""TensorFlow Lite models, written by hand with the `flatbuffers` package, and read by the runtime's own interpreter."""

from __future__ import annotations

import io
import random
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats._bounds import attempt, check_truncations, counted, unexplained, words
from tests.formats._flatbuffers import Shared, Spec, built
from tests.real.test_real import unpacked
from weightguard.errors import Unreadable
from weightguard.formats import tflite
from weightguard.formats.protocol import Container
from weightguard.tensors import DTYPE_CODES

TYPES = {
    "F32": 0,
    "F16": 1,
    "I32": 2,
    "U8": 3,
    "I64": 4,
    "STRING": 5,
    "BOOL": 6,
    "I16": 7,
    "I8": 9,
    "F64": 10,
    "I4": 17,
    "BF16": 18,
}
BITS = {
    "F32": 32,
    "F16": 16,
    "I32": 32,
    "U8": 8,
    "I64": 64,
    "STRING": 8,
    "BOOL": 8,
    "I16": 16,
    "I8": 8,
    "F64": 64,
    "I4": 4,
    "BF16": 16,
}
NOISE = random.Random(7).randbytes(1 << 17)


def tensor(name: str, kind: str, shape: tuple[int, ...], buffer: int, **more: Any) -> Spec:
    spec: dict[int, Any] = {
        0: ("v", np.array(shape, np.int32)),
        1: ("b", TYPES[kind]),
        2: ("I", buffer),
        3: ("s", name),
        8: ("?", True),
    }
    if "scales" in more:
        scales = more["scales"]
        spec[4] = (
            "t",
            {
                2: ("v", np.array(scales, np.float32)),
                3: ("v", np.zeros(len(scales), np.int64)),
                6: ("i", more.get("dimension", 0)),
            },
        )
    if "sparsity" in more:
        spec[6] = ("t", more["sparsity"])
    return spec


def model(tensors: list[Spec], buffers: list[bytes | tuple[int, int]], **more: Any) -> bytes:
    """A model of one subgraph; the first buffer is the empty one. A pair is (offset, size) outside of the flatbuffer."""
    stored: list[Spec] = [{}]
    for b in buffers:
        stored.append({0: ("x", np.frombuffer(b, np.uint8))} if isinstance(b, bytes) else {1: ("Q", b[0]), 2: ("Q", b[1])})
    operator = more.get(
        "operator", {0: ("I", 0), 1: ("v", np.arange(len(tensors), dtype=np.int32)), 3: ("B", 9), 4: ("t", {0: ("f", 1.5)})}
    )
    subgraph = {0: ("T", tensors), 3: ("T", [operator]), 4: ("s", "main")}
    codes = (
        [{0: ("b", 25), 2: ("i", 1), 3: ("i", 25)}]
        if "custom" not in more
        else [{0: ("b", 32), 1: ("s", more["custom"]), 3: ("i", 32)}]
    )
    root: dict[int, Any] = {
        0: ("I", more.get("version", 3)),
        1: ("T", codes),
        2: ("T", [subgraph] * more.get("subgraphs", 1)),
        3: ("s", "made for a test"),
        4: ("T", stored),
    }
    root |= more.get("root", {})
    return built(root, b"TFL3")


def data(kind: str, shape: tuple[int, ...]) -> bytes:
    return NOISE[: (prod(shape) * BITS[kind] + 7) // 8]


def read(content: bytes) -> Container:
    found = attempt(tflite, content)
    assert isinstance(found, Container), found
    return found


WEIGHTS = [("a", "F32", (4, 3)), ("b", "F16", (5,)), ("c", "BF16", (2, 2)), ("d", "I64", (3,)), ("e", "BOOL", (9,))]


def usual() -> bytes:
    tensors = [tensor(n, k, s, i + 1) for i, (n, k, s) in enumerate(WEIGHTS)]
    return model([*tensors, tensor("activation", "F32", (1, 1000), 0)], [data(k, s) for _, k, s in WEIGHTS])


def test_constant_tensors_are_rows_and_activations_are_not() -> None:
    found = read(usual())
    assert counted(found) == [(n, s, DTYPE_CODES[k], -1) for n, k, s in WEIGHTS]
    assert found.unexplained == 0
    assert found.accounts.tensors == sum(len(data(k, s)) for _, k, s in WEIGHTS)


def test_the_interpreter_sees_the_same_tensors(tmp_path: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    content = Path(unpacked("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.tflite", NMP, tmp_path)).read_bytes()
    kinds = {np.dtype(k): DTYPE_CODES[v] for k, v in (("f4", "F32"), ("i4", "I32"), ("?", "BOOL"))}
    theirs = {
        d["name"]: (tuple(d["shape"].tolist()), kinds[np.dtype(d["dtype"])])
        for d in litert.Interpreter(model_content=content).get_tensor_details()
    }
    container = read(content)
    ours = container.tensors
    floats = [i for i in range(len(ours)) if ours.dtypes[i] == DTYPE_CODES["F32"]]
    assert len(floats) == 24 and sum(int(ours.elements[i]) for i in floats) == 35_740
    assert sum(int(ours.elements[i]) for i in range(len(ours)) if ours.dtypes[i] == DTYPE_CODES["I32"]) == 165
    assert container.unexplained == 0
    for i in range(len(ours)):
        assert theirs[ours.names[i]] == (ours.shape(i), int(ours.dtypes[i])), ours.names[i]


NMP = "3db297d54af8e01c6e5618245c956b1d71b6a2b978cb2dedb527173186552676"


def test_quantised_weights_count_as_weights_and_other_integers_do_not() -> None:
    tensors = [
        tensor("w8", "I8", (4, 6), 1, scales=[0.5] * 4),
        tensor("w4", "I4", (3, 5), 2, scales=[0.5]),
        tensor("bias", "I32", (4,), 3, scales=[0.1] * 4),
        tensor("shape", "I32", (2,), 4),
        tensor("table", "U8", (7,), 5),
    ]
    kinds = [("I8", (4, 6)), ("I4", (3, 5)), ("I32", (4,)), ("I32", (2,)), ("U8", (7,))]
    found = read(model(tensors, [data(k, s) for k, s in kinds]))
    assert found.tensors.logical.tolist() == [24, 15, 4, -1, -1]
    assert found.tensors.spans.tolist() == [24, 8, 16, 8, 7]
    assert found.unexplained == 0


def test_more_scales_than_slices_are_unexplained() -> None:
    found = read(model([tensor("w", "I8", (2, 3), 1, scales=[1.0] * 5000)], [data("I8", (2, 3))]))
    assert found.unexplained >= 5000 * 4  # the zero points are zeros, which hide nothing


def test_a_buffer_of_two_tensors_is_one_storage() -> None:
    found = read(model([tensor("a", "F32", (2, 3), 1), tensor("b", "F32", (6,), 1)], [data("F32", (6,))]))
    assert found.tensors.storages.tolist()[0] == found.tensors.storages.tolist()[1]
    assert found.accounts.tensors == 24


def test_tensors_of_one_name_keep_two_names() -> None:
    found = read(model([tensor("a", "F32", (2,), 1), tensor("a", "F32", (3,), 2)], [data("F32", (2,)), data("F32", (3,))]))
    assert list(found.tensors.names) == ["a", "a#1"]


def test_subgraphs_are_all_read() -> None:
    found = read(model([tensor("a", "F32", (2,), 1)], [data("F32", (2,))], subgraphs=3))
    assert list(found.tensors.names) == ["a", "1.a", "2.a"]


def test_data_after_the_flatbuffer_is_read_where_the_buffer_says() -> None:
    first = model([tensor("a", "F32", (64,), 1)], [(1 << 20, 256)])
    at = (len(first) + 15) // 16 * 16
    content = model([tensor("a", "F32", (64,), 1)], [(at, 256)])
    content += bytes(at - len(content)) + data("F32", (64,))
    found = read(content)
    assert found.tensors.elements.tolist() == [64] and found.unexplained == 0 and found.accounts.tensors == 256
    assert isinstance(attempt(tflite, content[:-1]), Unreadable)
    assert read(content + NOISE[:100]).unexplained == 100


def test_a_sparse_tensor_counts_as_dense() -> None:
    """Stored elements are fewer than the shape's: the shape's are the parameters."""
    dimension = {
        0: ("b", 1),
        2: ("B", 3),
        3: ("t", {0: ("v", np.array([0, 2], np.uint8))}),
        4: ("B", 3),
        5: ("t", {0: ("v", np.array([0, 3], np.uint8))}),
    }
    sparsity = {0: ("v", np.array([0, 1], np.int32)), 2: ("T", [{1: ("i", 4)}, dimension])}
    found = read(model([tensor("s", "F32", (4, 4), 1, sparsity=sparsity)], [data("F32", (2,))]))
    assert found.tensors.elements.tolist() == [2] and found.tensors.logical.tolist() == [16] and found.unexplained == 0


def test_custom_operators_are_named() -> None:
    found = read(model([tensor("a", "F32", (2,), 1)], [data("F32", (2,))], custom="FlexErf"))
    assert [(f.id, f.severity) for f in found.findings] == [("custom-operators", "info")]
    assert "FlexErf" in found.findings[0].message


# -- what may hide weights


HIDE = NOISE[:100_000]


def test_a_buffer_that_no_tensor_has_is_unexplained() -> None:
    found = read(model([tensor("a", "F32", (2,), 1)], [data("F32", (2,)), HIDE]))
    assert found.unexplained >= len(HIDE)


@pytest.mark.parametrize("size", [70_000, 100_000])
def test_metadata_that_is_more_than_text_is_unexplained(size: int) -> None:
    root = {6: ("T", [{0: ("s", "weights"), 1: ("I", 2)}])}
    assert unexplained(
        attempt(tflite, model([tensor("a", "F32", (2,), 1)], [data("F32", (2,)), NOISE[:size]], root=root)), size
    )
    small = [bytes([i]) + NOISE[i * 5000 : i * 5000 + 4999] for i in range(20)]
    root = {6: ("T", [{0: ("s", f"m{i}"), 1: ("I", i + 2)} for i in range(20)])}
    assert unexplained(attempt(tflite, model([tensor("a", "F32", (2,), 1)], [data("F32", (2,)), *small], root=root)), 99_000)


def test_text_metadata_is_explained_and_kept() -> None:
    root = {6: ("T", [{0: ("s", "min_runtime_version"), 1: ("I", 2)}])}
    found = read(model([tensor("a", "F32", (2,), 1)], [data("F32", (2,)), b"2.3.0".ljust(16, b"\0")], root=root))
    assert found.unexplained == 0 and found.metadata == {"min_runtime_version": "2.3.0"}


def test_options_of_an_operator_that_are_more_than_text_are_unexplained() -> None:
    operator = {0: ("I", 0), 5: ("v", np.frombuffer(HIDE, np.uint8))}
    assert unexplained(attempt(tflite, model([tensor("a", "F32", (2,), 1)], [data("F32", (2,))], operator=operator)), len(HIDE))
    operator = {0: ("I", 0), 1: ("v", np.frombuffer(HIDE, np.int32))}
    assert unexplained(attempt(tflite, model([tensor("a", "F32", (2,), 1)], [data("F32", (2,))], operator=operator)), len(HIDE))


def test_fields_that_the_schema_does_not_have_are_unexplained() -> None:
    assert read(
        model([tensor("a", "F32", (2,), 1)], [data("F32", (2,))], root={20: ("v", np.frombuffer(HIDE, np.uint8))})
    ).unexplained >= len(HIDE)
    spec = {**tensor("a", "F32", (2,), 1), 30: ("v", np.frombuffer(HIDE, np.uint8))}
    assert read(model([spec], [data("F32", (2,))])).unexplained >= len(HIDE)
    options = {0: ("I", 0), 3: ("B", 1), 4: ("t", {9: ("v", np.frombuffer(HIDE, np.uint8))})}
    assert read(model([tensor("a", "F32", (2,), 1)], [data("F32", (2,))], operator=options)).unexplained >= len(HIDE)


def test_names_and_descriptions_that_are_more_than_text_are_unexplained() -> None:
    hexadecimal = HIDE.hex()
    assert unexplained(attempt(tflite, model([tensor(hexadecimal, "F32", (2,), 1)], [data("F32", (2,))])), len(HIDE))
    assert unexplained(
        attempt(tflite, model([tensor("a", "F32", (2,), 1)], [data("F32", (2,))], root={3: ("s", hexadecimal)})), len(HIDE)
    )
    many = [tensor(hexadecimal[i * 200 : i * 200 + 200], "F32", (2,), 1) for i in range(1000)]
    assert unexplained(attempt(tflite, model(many, [data("F32", (2,))])), len(HIDE))


def test_bytes_after_the_end_are_unexplained_unless_they_are_a_zip_of_text() -> None:
    content = usual()
    assert read(content + HIDE).unexplained == len(HIDE)
    out = io.BytesIO(content)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    found = read(out.getvalue())
    assert found.unexplained == 0 and counted(found) == counted(read(content))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("weights.bin", HIDE)
    assert read(out.getvalue()).unexplained >= len(HIDE)


def test_a_zip_with_bytes_before_it_leaves_them_unexplained() -> None:
    content = usual()
    out = io.BytesIO(content + b"PK\3\4" + HIDE)
    out.seek(0, 2)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    assert unexplained(attempt(tflite, out.getvalue()), len(HIDE))


# -- what lies


def test_truncated_anywhere_it_is_unread_or_counts_the_same() -> None:
    check_truncations(tflite, usual())


def test_every_word_that_lies_ends_well() -> None:
    for content in words(usual()):
        attempt(tflite, content)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
def test_any_bytes_that_lie_end_well(edits: list[tuple[int, bytes]]) -> None:
    content = bytearray(usual())
    for at, new in edits:
        at %= len(content)
        content[at : at + len(new)] = new
    attempt(tflite, bytes(content))


CASES: dict[str, bytes] = {
    "size too small": model([tensor("a", "F32", (2, 3), 1)], [NOISE[:20]]),
    "size too large": model([tensor("a", "F32", (2, 3), 1)], [NOISE[:28]]),
    "negative dimension": model([tensor("a", "F32", (-1, 3), 1)], [NOISE[:24]]),
    "a shape of 2^62 elements": model([tensor("a", "F32", (2**31 - 1, 2**31 - 1), 1)], [NOISE[:24]]),
    "a shape of 2^93 elements": model([tensor("a", "F32", (2**31 - 1,) * 3, 1)], [NOISE[:24]]),
    "a type that there is not": model([{**tensor("a", "F32", (6,), 1), 1: ("b", 99)}], [NOISE[:24]]),
    "a resource with data": model([{**tensor("a", "F32", (6,), 1), 1: ("b", 13)}], [NOISE[:24]]),
    "a buffer that there is not": model([tensor("a", "F32", (6,), 7)], [NOISE[:24]]),
    "a buffer of 2^32 - 1": model([tensor("a", "F32", (6,), 2**32 - 1)], [NOISE[:24]]),
    "data past the end": model([tensor("a", "F32", (6,), 1)], [(1 << 20, 24)]),
    "data at 2^63": model([tensor("a", "F32", (6,), 1)], [(1 << 63, 24)]),
    "data of 2^64 - 1 bytes": model([tensor("a", "F32", (6,), 1)], [(64, 2**64 - 1)]),
    "data in the header": model([tensor("a", "F32", (6,), 1)], [(16, 24)]),
    "data that overlap": model([tensor("a", "F32", (6,), 1), tensor("b", "F32", (6,), 2)], [(16, 24), (20, 24)]),
    "another version": model([tensor("a", "F32", (6,), 1)], [NOISE[:24]], version=4),
    "sparse, a billion times": model(
        [tensor("a", "F32", (2**31 - 1, 2**20), 1, sparsity={0: ("v", np.array([0], np.int32))})], [NOISE[:4]]
    ),
    "a buffer in another file": model([{**tensor("a", "F32", (6,), 0), 10: ("I", 1)}], []),
    "groups of other files": model([tensor("a", "F32", (6,), 1)], [NOISE[:24]], root={8: ("T", [{0: ("s", "x.bin")}])}),
    "metadata of a buffer that there is not": model([], [], root={6: ("T", [{0: ("s", "m"), 1: ("I", 9)}])}),
    "a name that is not text": model([{**tensor("a", "F32", (6,), 1), 3: ("v", np.array([200, 201], np.uint8))}], [NOISE[:24]]),
    "options past the end": model([], [], operator={9: ("Q", 1 << 40), 10: ("Q", 8)}),
    "only a head": b"\x08\0\0\0TFL3",
    "a root past the end": b"\xff\xff\xff\xffTFL3" + bytes(64),
    "a root in itself": b"\x04\0\0\0TFL3" + bytes(64),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_what_contradicts_itself_is_unread(case: str) -> None:
    assert isinstance(attempt(tflite, CASES[case]), Unreadable)


def test_one_table_met_again_and_again_ends_soon() -> None:
    """2^9 places of one subgraph, itself with 2^13 places of one tensor: 2^22 rows in 34 kilobytes."""
    shared = Shared({0: ("T", [Shared(tensor("a", "F32", (1,), 1))] * (1 << 13))})
    content = built({0: ("I", 3), 2: ("T", [shared] * (1 << 9)), 4: ("T", [{}, {0: ("v", np.zeros(4, np.uint8))}])}, b"TFL3")
    found = attempt(tflite, content)
    assert len(content) < 40_000 and isinstance(found, Unreadable)
