"""skip_strings against a reader of one string after another, compiled, plain, and the reader's own plain path."""

from __future__ import annotations

from struct import Struct
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import naive
from weightguard.formats._gguf.header import walk
from weightguard.kernels.gguf_header import skip_strings

FAR = 1 << 62
FORMS = [(8, "little"), (8, "big"), (4, "little"), (4, "big")]
lengths = st.one_of(st.integers(0, 300), st.sampled_from([2**31, 2**32 - 1, 2**62 - 9, 2**62, 2**63 - 1, 2**63, 2**64 - 1]))


@st.composite
def arrays(draw: st.DrawFn) -> tuple[bytes, int, str]:
    """Strings, some of whose lengths lie, cut anywhere."""
    width, order = draw(st.sampled_from(FORMS))
    pieces = [draw(st.binary(max_size=3))]
    for text in draw(st.lists(st.binary(max_size=20), max_size=8)):
        length = draw(st.one_of(st.just(len(text)), st.just(len(text)), lengths)) % (1 << 8 * width)
        pieces.append(length.to_bytes(width, order) + text)  # type: ignore[arg-type]
    data = b"".join(pieces)
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data, width, order


def by_kernel(form: Any, data: bytes, start: int, count: int, width: int, order: str) -> tuple[int, int]:
    end = np.zeros(1, np.int64)
    walked = form(np.frombuffer(data, np.uint8), start, count, width, order == "big", end)
    return int(walked), int(end[0])


@settings(deadline=None, max_examples=400)
@given(case=arrays(), start=st.integers(0, 4), count=st.sampled_from([0, 1, 2, 5, 1000, 2**62]))
@example(case=(b"", 8, "little"), start=0, count=1)
@example(case=(b"\xff" * 8, 8, "little"), start=0, count=1)
@example(case=((2**62 - 8).to_bytes(8, "little"), 8, "little"), start=0, count=2)
@example(case=(bytes(4) + b"\x80\0\0\0", 4, "big"), start=0, count=3)
def test_all_walk_over_the_same_strings(case: tuple[bytes, int, str], start: int, count: int) -> None:
    data, width, order = case
    walked, end = naive.skip_strings(data, start, count, width, order)
    for form in (skip_strings.compiled, skip_strings.py_func):
        assert by_kernel(form, data, start, count, width, order) == (walked, min(end, FAR))
    length = Struct((">" if order == "big" else "<") + ("Q" if width == 8 else "I"))
    assert walk(data, start, min(count, 10_000), length) == (walked, end)


def test_the_work_of_a_call_is_what_lies_in_the_data() -> None:
    data = np.zeros(1600, np.uint8)
    assert skip_strings._work(data, 0, 2**62, 8, False, np.zeros(1, np.int64)) == 101
    assert skip_strings._work(data, 0, 7, 8, False, np.zeros(1, np.int64)) == 7
