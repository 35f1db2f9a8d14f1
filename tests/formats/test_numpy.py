"""NumPy's files: each array as numpy itself reads it back, pickled objects judged and never loaded, everything hidden seen.

The rules are those of NEP 1 and `numpy.lib.format`.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.formats._bounds import attempt, check_truncations, identified, rows, unexplained
from weightguard.errors import Unreadable
from weightguard.formats import identify, npy, npz
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory

PLAIN = {
    "f4": "F32",
    ">f4": "F32",
    "f2": "F16",
    "f8": "F64",
    "c8": "C64",
    "c16": "C128",
    "?": "BOOL",
    "i1": "I8",
    ">i2": "I16",
    "i4": "I32",
    "i8": "I64",
    "u1": "U8",
    "u2": "U16",
    "u4": "U32",
    ">u8": "U64",
    "M8[ns]": "I64",
    "m8[s]": "I64",
}


def saved(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def archived(compressed: bool = False, **arrays: Any) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


def read(data: bytes) -> Container:
    return identified(data, "arrays")


def refused(data: bytes, *reasons: str) -> str:
    with pytest.raises(Unreadable) as caught:
        identify(InMemory("arrays", data), LIMITS)
    assert caught.value.reason in reasons, (caught.value.reason, caught.value.detail)
    return caught.value.detail


def header(text: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    raw = text.encode("latin-1") if isinstance(text, str) else text
    size = len(raw) if length is None else length
    return b"\x93NUMPY" + bytes(version) + size.to_bytes(2 if version == (1, 0) else 4, "little") + raw + data


def described(descr: str, shape: str, data: bytes = b"") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n", data)


class Calls:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("true",)


# ---- what numpy writes


@pytest.mark.parametrize("code", PLAIN)
def test_each_type_is_read_as_numpy_reads_it(code: str) -> None:
    array = np.zeros((3, 2), code)
    container = read(saved(array))
    assert rows(container) == {"array": (PLAIN[code], np.load(io.BytesIO(saved(array))).shape)}
    assert container.accounts.tensors == array.nbytes and container.unexplained == 0


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(st.sampled_from(["f4", ">f8", "i2", "u8", "?", "c16"]), hnp.array_shapes(min_dims=0, max_dims=5, min_side=0)),
    st.booleans(),
)
def test_any_array_has_the_shape_that_numpy_gives_it(array: np.ndarray[Any, Any], fortran: bool) -> None:
    data = saved(np.asfortranarray(array) if fortran else array)
    again = np.load(io.BytesIO(data))
    container = read(data)
    assert [container.tensors.shape(0)] == [again.shape]
    assert container.accounts.tensors == again.nbytes and container.unexplained == 0


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_each_version_of_the_format(version: tuple[int, int]) -> None:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ones((2, 3), "f4"), version=version)
    assert rows(read(out.getvalue())) == {"array": ("F32", (2, 3))}


def test_names_of_fields_that_only_version_3_can_write() -> None:
    with pytest.warns(UserWarning, match="format"):
        data = saved(np.zeros(2, [("大きさ", "f4")]))
    assert data[6] == 3 and rows(read(data)) == {"array.大きさ": ("F32", (2,))}


def test_the_fields_of_a_record_are_rows() -> None:
    record = [("a", "f4"), ("b", ">i8", (2, 3)), ("c", [("x", "S5"), ("y", "U3")])]
    array = np.zeros(7, record)
    container = read(saved(array))
    assert rows(container) == {
        "array.a": ("F32", (7,)),
        "array.b": ("I64", (7, 2, 3)),
        "array.c.x": ("STRING", (7, 5)),
        "array.c.y": ("STRING", (7, 12)),
    }
    assert container.accounts.tensors == array.nbytes and container.unexplained == 0


def test_bytes_between_fields_could_be_anything() -> None:
    aligned = np.zeros(1000, np.dtype([("a", "i1"), ("b", "f8")], align=True))
    container = read(saved(aligned))
    assert rows(container) == {"array.a": ("I8", (1000,)), "array.b": ("F64", (1000,))}
    assert container.unexplained == 7000


def test_the_types_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert rows(read(saved(np.zeros((4, 2), ml_dtypes.bfloat16)))) == {"array": ("BF16", (4, 2))}
    assert rows(read(saved(np.zeros(4, ml_dtypes.float8_e4m3fn))))["array"][1] == (4,)


def test_wide_numbers_texts_and_opaque_bytes() -> None:
    assert rows(read(saved(np.zeros(3, "g")))) == {"array": ("F128", (3,))}
    assert rows(read(saved(np.zeros(3, "G")))) == {"array": ("F128", (3, 2))}
    assert rows(read(saved(np.zeros(3, "V7")))) == {"array": ("U8", (3, 7))}
    assert rows(read(saved(np.array([b"abc", b"d"])))) == {"array": ("STRING", (2, 3))}
    assert rows(read(saved(np.zeros((), "f4")))) == {"array": ("F32", ())}


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.text("abc/.é_", min_size=1, max_size=8).filter(lambda n: n == n.lower() and ".." not in n and n[0] not in "/."),
        hnp.arrays(st.sampled_from(["f4", "i8"]), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)),
        min_size=1,
        max_size=5,
    ).filter(lambda d: not any("//" in n or n.endswith("/") or "/." in n for n in d)),
    st.booleans(),
)
def test_an_archive_has_the_arrays_that_numpy_finds_in_it(arrays: dict[str, Any], compressed: bool) -> None:
    data = archived(compressed, **arrays)
    with np.load(io.BytesIO(data)) as found:
        truth = {name: found[name].shape for name in found.files}
    container = read(data)
    assert container.format == "npz" and container.unexplained == 0
    assert {n: shape for n, (_, shape) in rows(container).items()} == truth


def test_a_stored_archive_accounts_for_each_byte_of_its_arrays() -> None:
    container = read(archived(a=np.ones((10, 10)), b=np.ones(3, "f4")))
    assert container.accounts.tensors == 812 and container.unexplained == 0


# ---- objects are pickles


def test_the_arrays_within_an_array_of_objects_are_rows() -> None:
    data = saved(np.array([{"w": np.ones((3, 3), "f4")}, None], object))
    assert rows(read(data)) == {"array.0.w": ("F32", (3, 3))}
    data = archived(plain=np.ones(2), state=np.array({"w": np.ones(5, "f2")}, object))
    assert rows(read(data)) == {"plain": ("F64", (2,)), "state.0.w": ("F16", (5,))}


@pytest.mark.parametrize("whole", [saved, lambda a: archived(x=a), lambda a: archived(True, x=a)])
def test_an_object_that_calls_something_is_critical(whole: Any) -> None:
    container = read(whole(np.array([Calls()], object)))
    assert [(f.id, f.severity) for f in container.findings] == [("pickle-call", "critical")]


def test_a_record_with_an_object_in_it_is_unread_and_says_what_it_calls() -> None:
    assert "system" in refused(saved(np.array([(1, Calls())], [("a", "i4"), ("o", "O")])), "inconsistent", "unsupported")


def test_a_pickle_that_breaks_off_still_says_what_it_calls() -> None:
    data = described("'|O'", "(1,)", pickle.dumps(Calls(), 2)[:-1])
    assert "system" in refused(data, "truncated", "malformed")


def test_bytes_after_the_pickle_are_unexplained() -> None:
    data = saved(np.array([None], object)) + os.urandom(5000)
    assert read(data).unexplained >= 5000


# ---- hidden bytes


def test_bytes_after_an_array_are_unexplained() -> None:
    assert read(saved(np.ones(3)) + b"w" * 70_000).unexplained == 70_000


def test_a_member_that_is_no_array_is_unexplained() -> None:
    out = io.BytesIO(archived(a=np.ones(3)))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("notes.bin", b"w" * 1000)
    with pytest.raises(Unreadable):  # not NumPy's any more: an archive, read member by member
        identify(InMemory("arrays", out.getvalue()), LIMITS)
    assert npz.read(InMemory("arrays", out.getvalue()), LIMITS).unexplained >= 1000


def test_bytes_behind_the_elements_of_a_member_are_unexplained() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.writestr("a.npy", saved(np.ones(3)) + b"w" * 3000)
        assert npz.read(InMemory("arrays", out.getvalue()), LIMITS).unexplained >= 3000


def deflated(content: bytes, stream: bytes, size: int | None = None) -> bytes:
    """A zip of one deflated member whose stream is not the one of its content."""
    size = len(content) if size is None else size
    crc = zlib.crc32(content)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(stream), size, 5, 0) + b"a.npy" + stream
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(stream), size, 5, 0, 0, 0, 0, 0, 0) + b"a.npy"
    return local + entry + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(local), 0)


def squeezed(content: bytes) -> bytes:
    stream = zlib.compressobj(9, wbits=-15)
    return stream.compress(content) + stream.flush()


def test_a_deflated_member_is_what_it_says() -> None:
    content = saved(np.zeros(100_000))
    assert rows(read(deflated(content, squeezed(content)))) == {"a": ("F64", (100_000,))}


@pytest.mark.parametrize("hidden", [b"w" * 10, os.urandom(2 << 20)])
def test_bytes_behind_a_deflate_stream_are_not_let_through(hidden: bytes) -> None:
    content = saved(np.zeros(1_000_000))
    refused(deflated(content, squeezed(content) + hidden), "inconsistent")


def test_a_deflated_member_with_fewer_bytes_than_it_says() -> None:
    content = saved(np.zeros(100_000))
    refused(deflated(content, squeezed(content[:-8])), "inconsistent")
    refused(deflated(content, squeezed(content)[:-3]), "inconsistent")
    refused(deflated(content, squeezed(content + b"w")), "inconsistent")


def test_a_bomb_is_refused_by_its_announced_size() -> None:
    content = saved(np.zeros(32 << 20))
    refused(deflated(content, squeezed(content)), "limit")


# ---- headers that lie

SHAPES = [
    ("'<f4'", "(3,)", "truncated"),
    ("'<f4'", "(9223372036854775807,)", "inconsistent"),
    ("'<f4'", "(18446744073709551615,)", "malformed"),
    ("'<f4'", "(4294967296, 4294967296, 4294967296)", "inconsistent"),
    ("'<f4'", "(-1,)", "malformed"),
    ("'<f4'", "(1.5,)", "malformed"),
    ("'<f4'", "(True,)", "malformed"),
    ("'<f4'", "3", "malformed"),
    ("'<f4'", "[3]", "malformed"),
    ("'<f4'", "(" + "1, " * 65 + ")", "malformed"),
    ("'<q99'", "()", "unsupported"),
    ("'<i3'", "()", "unsupported"),
    ("'<f999999999'", "()", "unsupported"),
    ("'float32'", "()", "unsupported"),
    ("3", "()", "malformed"),
    ("None", "()", "malformed"),
    ("[('a', '<f4'), ('a', '<f4')]", "()", "inconsistent"),
    ("[('a',)]", "()", "malformed"),
    ("[('a', '<f4', -1)]", "()", "malformed"),
    ("[('a', '<f4', (4294967296, 4294967296))]", "()", "inconsistent"),
    ("[" * 60 + "'f4'" + "]" * 60, "()", "malformed"),
    ("__import__('os').system('true')", "()", "malformed"),
    ("'<f4' if 1 else 2", "()", "malformed"),
    ("'<f4", "()", "malformed"),
    ("'\\\\U99999999'", "()", "unsupported"),
]


@pytest.mark.parametrize(("descr", "shape", "reason"), SHAPES)
def test_a_header_that_lies_is_refused(descr: str, shape: str, reason: str) -> None:
    refused(described(descr, shape), reason)
    assert isinstance(attempt(npy, described(descr, shape)), Unreadable)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x93NUMPY", "malformed"),
        (header("{}", version=(9, 0)), "unsupported"),
        (header("{}", length=60_000), "truncated"),
        (header("{}", version=(2, 0), length=1 << 31), "limit"),
        (header("{}"), "malformed"),
        (header("{'descr': '<f4', 'shape': ()}"), "malformed"),
        (header("{'descr': '<f4', 'fortran_order': 1, 'shape': ()}"), "malformed"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'more': 1}"), "malformed"),
        (header("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': ()}"), "malformed"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': ()} + {}"), "malformed"),
        (header("{" * 60_000), "malformed"),
        (header("-" * 60_000 + "1"), "malformed"),
        (header(b"\xff\xfe", version=(3, 0)), "malformed"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': ()" + "9" * 50_000), "malformed"),
    ],
)
def test_a_file_that_is_not_well_formed_is_refused(data: bytes, reason: str) -> None:
    refused(data, reason)


def test_text_hidden_in_a_header_is_unexplained() -> None:
    name = "w" * 60_000
    data = described(f"[('{name}', '<f4')]", "(2,)", bytes(8))
    assert read(data).unexplained >= 60_000


def test_python_2_wrote_long_integers() -> None:
    assert rows(read(described("'<f4'", "(2L, 3L)", bytes(24)))) == {"array": ("F32", (2, 3))}


@pytest.mark.parametrize(
    "data",
    [saved(np.arange(6.0)), saved(np.array([{"w": np.ones(3)}], object)), archived(a=np.ones(3), b=np.zeros((2, 2), "i4"))],
    ids=["npy", "objects", "npz"],
)
def test_a_file_cut_short_is_unread(data: bytes) -> None:
    check_truncations(npy if data[:1] == b"\x93" else npz, data)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_bytes_give_a_count_or_an_unreadable(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([saved(np.zeros(9, [("a", "f4"), ("b", "S3")])), archived(a=np.ones(3))])))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)):
        whole[at] = value
    attempt(npy if whole[:1] == b"\x93" else npz, bytes(whole))


def test_weights_behind_an_archive_show() -> None:
    data = archived(a=np.ones(3))
    assert unexplained(attempt(npz, data + os.urandom(4000)), 4000)
    assert unexplained(attempt(npz, os.urandom(4000) + data), 4000)


# ---- what is none


def test_other_zips_and_files_are_not_claimed() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.npy", saved(np.ones(3)))
        archive.writestr("README", "text")
    data = out.getvalue()
    assert not npz.sniff(data, data)
    for other in (b"", b"PK", b"PK\3\4", b"PK\5\6" + bytes(18), b"\x93NUMP"):
        assert not npz.sniff(other, other) and not npy.sniff(other, b"")
