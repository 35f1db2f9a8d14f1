"""joblib's files, written by joblib: each array is what joblib itself loads, and estimators of scikit-learn are ordinary."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weightguard
from tests.formats._bounds import attempt, check_truncations, counted, unexplained, words
from tests.formats._torch_files import sniffs
from weightguard.errors import Unreadable
from weightguard.formats import identify
from weightguard.formats import joblib as reader
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPES

joblib = pytest.importorskip("joblib")
NOISE = os.urandom(100_000)


def dumped(value: object, **options: Any) -> bytes:
    out = io.BytesIO()
    joblib.dump(value, out, **options)
    return out.getvalue()


def read(data: bytes) -> Container:
    assert sniffs(reader, data)
    found = attempt(reader, data)
    assert isinstance(found, Container), found
    return found


def check(value: dict[str, Any]) -> Container:
    """Each array of a dictionary is a row of its own, and every byte is explained."""
    data = dumped(value)
    found = read(data)
    t = found.tensors
    arrays = {k: v for k, v in joblib.load(io.BytesIO(data)).items() if isinstance(v, np.ndarray) and v.dtype != object}
    assert [t.names[i] for i in range(len(t))] == list(arrays)
    for i, array in enumerate(arrays.values()):
        assert int(t.elements[i]) * DTYPES[t.dtypes[i]][1] // 8 == array.nbytes
        if DTYPES[t.dtypes[i]][0] != "U8":
            assert t.shape(i) == array.shape
    assert found.unexplained == 0
    assert found.accounts.tensors == sum(a.nbytes for a in arrays.values())
    return found


def test_arrays_of_all_kinds_are_rows() -> None:
    found = check(
        {
            "f8": np.arange(6.0).reshape(2, 3),
            "f4": np.asfortranarray(np.ones((4, 5), np.float32)),
            "f2": np.ones(3, np.float16),
            "i8": np.arange(4),
            "i1": np.ones((2, 2), np.int8),
            "u4": np.ones(2, np.uint32),
            "b": np.array([True, False]),
            "c": np.ones(2, np.complex64),
            "big": np.ones(3, ">f8"),
            "scalar": np.array(3.0),
            "none": np.zeros((0, 7)),
            "text": np.array(["ab", "cde"]),
            "bytes": np.array([b"ab", b"cde"]),
            "record": np.ones(3, [("a", "f4"), ("b", "i8")]),
            "plain": 3,
        }
    )
    assert found.scalars["plain"] == 3


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_read(protocol: int) -> None:
    found = read(dumped({"a": np.ones((3, 4)), "b": [np.ones(2, np.float32), "x"]}, protocol=protocol))
    assert list(found.tensors.names) == ["a", "b.0"] and found.unexplained == 0


def test_an_array_of_objects_is_walked() -> None:
    found = read(dumped({"o": np.array([None, {"w": np.ones(5)}], dtype=object), "after": np.ones(3)}))
    assert int(found.tensors.elements.sum()) == 8 and found.tensors.names[-1] == "after" and found.unexplained == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u2", "?"]), st.lists(st.integers(0, 5), max_size=4)),
        min_size=1,
        max_size=6,
    )
)
def test_any_arrays_are_read(arrays: list[tuple[str, list[int]]]) -> None:
    check({f"a{i}": np.ones(shape, code) for i, (code, shape) in enumerate(arrays)})


def test_estimators_of_scikit_learn_are_ordinary(tmp_path: Path) -> None:
    ensemble, linear_model, neural_network, pipeline, preprocessing, svm = (
        pytest.importorskip(f"sklearn.{m}")
        for m in ("ensemble", "linear_model", "neural_network", "pipeline", "preprocessing", "svm")
    )

    x = np.random.default_rng(0).normal(size=(60, 5))
    y = (x[:, 0] > 0).astype(int)
    network = neural_network.MLPClassifier((7,), max_iter=5).fit(x, y)
    data = dumped(network)
    found = read(data)
    assert found.unexplained == 0
    rows = {n: int(e) for n, e in zip(found.tensors.names, found.tensors.elements, strict=True)}
    assert sum(e for n, e in rows.items() if n.startswith(("coefs_", "intercepts_"))) == 5 * 7 + 7 + 7 * 1 + 1
    chain = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
    for estimator in (network, ensemble.RandomForestClassifier(5), chain, svm.SVC()):
        data = dumped(estimator.fit(x, y))
        found = read(data)
        assert [f for f in found.findings if f.severity in ("high", "critical")] == []
        assert found.unexplained == 0
        path = tmp_path / f"{type(estimator).__name__}.joblib"
        path.write_bytes(data)
        assert weightguard.scan(str(path)).unread == ()


@pytest.mark.parametrize("compress", ["zlib", "gzip", "bz2", "xz", "lzma"])
def test_what_joblib_compresses_is_unpacked_first(compress: str, tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump({"a": np.ones((30, 40), np.float32)}, path, compress=(compress, 3))
    report = weightguard.scan(str(path))
    assert report.unread == () and [m.parameters.stored_elements for m in report.models] == [1200]


# -- what lies, and what hides


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def test_what_it_calls_is_found_wherever_it_stands() -> None:
    for value in ({"a": np.ones(3), "x": Payload()}, {"a": np.array([Payload()], dtype=object), "b": np.ones(2)}):
        found = read(dumped(value))
        assert "critical" in [f.severity for f in found.findings]


def usual() -> bytes:
    return dumped(
        {"a": np.arange(12.0).reshape(3, 4), "o": np.array([1, "x"], dtype=object), "b": np.ones(5, np.float32), "n": 7}
    )


def test_bytes_after_the_end_are_unexplained() -> None:
    assert read(usual() + NOISE).unexplained == len(NOISE)


def test_bytes_in_constants_are_unexplained() -> None:
    assert unexplained(attempt(reader, dumped({"a": np.ones(2), "hidden": NOISE})), len(NOISE))


def test_truncated_anywhere_or_with_any_word_changed_it_ends_well() -> None:
    check_truncations(reader, usual())
    for content in words(usual(), (0, 0xFFFFFFFF, 0x7FFFFFFF), step=1):
        attempt(reader, content)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=6)), min_size=1, max_size=5))
def test_any_bytes_that_lie_end_well(edits: list[tuple[int, bytes]]) -> None:
    content = bytearray(usual())
    for at, new in edits:
        at %= len(content)
        content[at : at + len(new)] = new
    attempt(reader, bytes(content))


def wrapper(
    state: bytes, make: bytes = b")\x81", name: bytes = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n", after: bytes = b""
) -> bytes:
    """A pickle of one wrapper: how it is named, made and described, and what follows."""
    return b"\x80\x02" + name + make + state + b"b" + after + b"."


DTYPE = b"cnumpy\ndtype\nU\x02f4\x89\x88\x87R".replace(b"U\x02", b"X\x02\0\0\0")
KEYS = {k: b"X" + len(k).to_bytes(4, "little") + k.encode() for k in ("shape", "dtype", "numpy_array_alignment_bytes")}


def described(shape: bytes = b"K\x02\x85", dtype: bytes = DTYPE, more: bytes = b"") -> bytes:
    return b"}(" + KEYS["shape"] + shape + KEYS["dtype"] + dtype + more + b"u"


HOSTILE = {
    "right": wrapper(described(), after=bytes(8)),
    "no state": wrapper(b"N"),
    "a state that is a list": wrapper(b"]"),
    "no shape": wrapper(b"}(" + KEYS["dtype"] + DTYPE + b"u"),
    "no dtype": wrapper(b"}(" + KEYS["shape"] + b"K\x02\x85u"),
    "a shape of 2^63": wrapper(described(b"\x8a\x09" + (2**63).to_bytes(9, "little") + b"\x85")),
    "a shape of 2^62 twice": wrapper(described(b"\x8a\x08" + (2**62).to_bytes(8, "little") + b"2\x86")),
    "a negative shape": wrapper(described(b"J\xff\xff\xff\xff\x85"), after=bytes(8)),
    "a shape that is a text": wrapper(described(KEYS["shape"])),
    "more than there is": wrapper(described(b"M\xff\xff\x85"), after=bytes(8)),
    "a dtype of no size": wrapper(described(dtype=DTYPE.replace(b"f4", b"f0"))),
    "a dtype that there is not": wrapper(described(dtype=DTYPE.replace(b"f4", b"q4")), after=bytes(8)),
    "padding that isn't 0xff": wrapper(
        described(more=KEYS["numpy_array_alignment_bytes"] + b"K\x10"), after=b"\x03abc" + bytes(8)
    ),
    "padding past the end": wrapper(described(more=KEYS["numpy_array_alignment_bytes"] + b"K\x10"), after=b"\xff\xff\xff"),
    "described twice": wrapper(described(), after=bytes(8) + described() + b"b" + bytes(8)),
    "a wrapper under another name": wrapper(described(), name=b"cother\nNumpyArrayWrapper\n", after=bytes(8)),
    "made by copyreg": b"\x80\x02ccopyreg\n_reconstructor\n(cjoblib.numpy_pickle\nNumpyArrayWrapper\ncbuiltins\nobject\nNtR"
    + described()
    + b"b"
    + bytes(8)
    + b".",
    "made by INST": b"\x80\x02(ijoblib.numpy_pickle\nNumpyArrayWrapper\n" + described() + b"b" + bytes(8) + b".",
    "a description of 100 keys": wrapper(
        b"}("
        + b"".join(b"X\x03\0\0\0" + f"{i:03}".encode() + b"N" for i in range(100))
        + KEYS["shape"]
        + b"K\x02\x85"
        + KEYS["dtype"]
        + DTYPE
        + b"u",
        after=bytes(8),
    ),
    "pickles within pickles": wrapper(described(dtype=DTYPE.replace(b"f4", b"O8"))) * 20,
    "a frame of 2^63": b"\x80\x04\x95" + b"\xff" * 8 + wrapper(described(), after=bytes(8))[2:],
    "a text of 2^32": b"\x80\x02X\xff\xff\xff\xff" + wrapper(described(), after=bytes(8)),
    "a memo that isn't there": b"\x80\x02h\x05" + wrapper(described(), after=bytes(8)),
    "no mark": b"\x80\x02u" + wrapper(described(), after=bytes(8)),
    "a billion marks": b"\x80\x02" + b"(" * 1_000_000 + wrapper(described(), after=bytes(8)),
    "a million bytes of no line end": b"\x80\x02I" + b"1" * 1_000_000,
}


@pytest.mark.parametrize("case", sorted(set(HOSTILE) - {"right"}))
def test_what_is_wrong_is_unread(case: str) -> None:
    assert isinstance(attempt(reader, HOSTILE[case]), Unreadable)


def test_the_case_beside_them_is_read() -> None:
    assert counted(attempt(reader, HOSTILE["right"])) is not None


def test_an_array_of_bytes_cannot_swallow_what_is_called() -> None:
    """Whatever stands in an array's bytes, the opcodes after it are run over."""
    content = dumped({"a": np.frombuffer(b"B\xff\xff\0\0" * 8, np.uint8), "x": Payload()})
    container = identify(InMemory("x", content), LIMITS)
    assert container is not None and "critical" in [f.severity for f in container.findings]
    assert pickle.PROTO in content
