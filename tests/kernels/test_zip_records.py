"""scan_zip_directory and match_zip_headers against `struct`, field by field: on archives as torch writes them, and gone wrong."""

from __future__ import annotations

import io
from struct import pack
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import naive
from tests.formats._torch_files import Entry, write_zip
from weightguard.kernels.zip_records import match_zip_headers, scan_zip_directory

forms = pytest.mark.parametrize("form", [lambda k: k.compiled, lambda k: k.py_func], ids=["compiled", "plain"])


def of_torch() -> bytes:
    out = io.BytesIO()
    torch.save({f"w.{i}": torch.zeros(1 + i) for i in range(12)}, out)
    return out.getvalue()


def by_hand() -> bytes:
    """Without descriptors, numbers in another order, other members around."""
    extra = b"FB" + pack("<H", 9) + b"Z" * 9
    records = [Entry(f"archive/data/{i}", b"x" * i, local_extra=extra if i % 2 else b"") for i in (0, 1, 10, 2, 300, 3)]
    return write_zip([Entry("archive/data.pkl", b"N."), Entry("archive/a", b""), *records, Entry("archive/version", b"3")])


FILES = [of_torch(), by_hand()]
PREFIX = b"archive/data/"


def split(data: bytes) -> tuple[bytes, bytes]:
    """The members, and the directory with what follows."""
    at = data.index(b"PK\1\2")
    return data[:at], data[at:]


def directory_rows(form: Any, directory: bytes, numbers: int = 400, capacity: int = 400) -> tuple[list[Any], list[int]]:
    seen, rows, info = np.zeros(numbers, np.uint8), np.zeros((capacity, 4), np.int64), np.zeros(2, np.int64)
    text = np.frombuffer(PREFIX, np.uint8)
    count = int(form(scan_zip_directory)(np.frombuffer(directory, np.uint8), text, seen, rows, info))
    assert np.flatnonzero(seen).tolist() == sorted(rows[:count, 0].tolist())
    return [tuple(r) for r in rows[:count].tolist()], info.tolist()


def matched(form: Any, file: bytes, directory: bytes, rows: list[Any], piece: int) -> tuple[int, int] | int:
    """Window by window of `piece` bytes, as the reader does."""
    info = np.zeros(2, np.int64)
    row = 0
    while row < len(rows):
        begin = max(0, rows[row][2] - 16)
        window = np.frombuffer(file[begin : begin + piece], np.uint8)
        done = int(
            form(match_zip_headers)(
                window, begin, np.frombuffer(directory, np.uint8), np.array(rows, np.int64).reshape(-1, 4), row, info
            )
        )
        if done <= row:
            return -done - 1 if done < 0 else row
        row = done
    return int(info[0]), int(info[1])


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bytes, bytes]:
    file, directory = split(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            at = draw(st.integers(0, len(directory) - 1))
            directory = directory[:at] + bytes([draw(st.integers(0, 255))]) + directory[at + draw(st.integers(0, 2)) :]
        else:
            at = draw(st.integers(0, len(file) - 1))
            file = file[:at] + bytes([draw(st.integers(0, 255))]) + file[at + draw(st.sampled_from([1, 1, 1, 0, 2])) :]
    return file, directory[: draw(st.sampled_from([len(directory), draw(st.integers(0, len(directory)))]))]


@forms
def test_an_archive_of_torch_is_all_taken(form: Any) -> None:
    file, directory = split(FILES[0])
    rows, (begin, end) = directory_rows(form, directory)
    assert [r[0] for r in rows] == list(range(12)) and [r[3] for r in rows] == [4 * (1 + i) for i in range(12)]
    assert directory[begin:].startswith(b"PK\1\2") and directory[end:].startswith(b"PK\1\2")
    assert isinstance(matched(form, file, directory, rows, 1 << 20), tuple)


@forms
@pytest.mark.parametrize("piece", [70, 200, 1 << 20])
def test_pieces_of_the_file_make_no_difference(form: Any, piece: int) -> None:
    file, directory = split(FILES[1])
    rows, _ = directory_rows(form, directory)
    assert [r[0] for r in rows] == [0, 1, 10, 2, 300, 3]
    assert matched(form, file, directory, rows, max(piece, 100)) == naive.local_headers_match(file, directory, rows)


@settings(deadline=None, max_examples=500)
@given(case=mutated(), numbers=st.sampled_from([5, 400]), capacity=st.sampled_from([3, 400]))
def test_a_directory_gone_wrong_gives_what_its_fields_say(case: tuple[bytes, bytes], numbers: int, capacity: int) -> None:
    _, directory = case
    rows, _ = directory_rows(lambda k: k.compiled, directory, numbers, capacity)
    assert rows == naive.zip_directory(directory, PREFIX, numbers, capacity)
    assert directory_rows(lambda k: k.py_func, directory, numbers, capacity)[0] == rows


@settings(deadline=None, max_examples=500)
@given(case=mutated())
def test_headers_gone_wrong_are_seen_at_the_same_row(case: tuple[bytes, bytes]) -> None:
    file, directory = case
    rows, _ = directory_rows(lambda k: k.compiled, directory)
    rows = [r for r in rows if r[2] + 100 < len(file)]
    found = matched(lambda k: k.compiled, file, directory, rows, 1 << 20)
    assert found == naive.local_headers_match(file, directory, rows)
    assert matched(lambda k: k.py_func, file, directory, rows, 1 << 20) == found
