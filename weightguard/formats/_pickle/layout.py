"""A strided view of a storage: which elements of it are distinct, and how far it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from weightguard.errors import Unreadable

MOST = (1 << 63) - 1  # torch counts elements in int64


class Extent(NamedTuple):
    """elements: distinct storage elements of the view (an upper bound if it overlaps itself in an irregular way).

    span: elements from the first to the last, both included; 0 for an empty view.
    repeated: the view shows some element more than once.
    """

    elements: int
    span: int
    repeated: bool


def extent(size: Sequence[object], stride: Sequence[object]) -> Extent:
    """The extent of a view with these sizes and strides (in elements), as `torch.Tensor.set_` would make it.

    Raises `Unreadable` ("malformed" for what isn't a shape, "inconsistent" for what no memory could hold).
    """
    if len(size) != len(stride):
        raise Unreadable("malformed", f"a tensor of {len(size)} sizes and {len(stride)} strides")
    count = 1
    dense = True
    # Contiguous (C order) is the rule, and needs one product only.
    for length, step in zip(size[::-1], stride[::-1], strict=True):
        if type(length) is not int or type(step) is not int:
            raise Unreadable("malformed", "a tensor's sizes and strides must be integers")
        if step != count and length != 1:
            dense = False
        count *= length
        if not (0 <= count <= MOST and 0 <= length <= MOST and 0 <= step <= MOST):
            raise Unreadable("inconsistent", "a tensor's shape is negative, or larger than any memory")
    if dense or count == 0:
        return Extent(count, count, False)
    return _strided(size, stride, count)


def _strided(size: Sequence[object], stride: Sequence[object], count: int) -> Extent:
    """Dimensions from the smallest stride up: each either repeats what lies below it in disjoint copies, or overlaps it."""
    steps = sorted((t, n) for n, t in zip(size, stride, strict=True) if isinstance(n, int) and isinstance(t, int) and n > 1)
    elements = span = 1
    for step, length in steps:
        reach = span + (length - 1) * step
        if step >= span:
            elements *= length
        elif elements == span:  # a solid block slid by less than its length stays solid
            elements = reach if step else elements
        else:
            elements = min(elements * length if step else elements, reach)
        span = reach
    return Extent(elements, span, elements < count)
