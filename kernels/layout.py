"""Element counts and byte checks over the columns of a tensor table, with overflow seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightguard.kernels._jit import kernel

Int64 = npt.NDArray[np.int64]

# Error codes of `check_extents`
OVERFLOW, SIZE, OVERLAP, HOLE, OUTSIDE, PARTIAL_BYTE = range(1, 7)


@kernel(work=lambda dims, starts, out_elements: len(dims) + len(starts))
def count_elements(dims: Int64, starts: Int64, out_elements: Int64) -> int:
    """Product of each shape.

    dims: array of int64, shape (total_rank,), none negative. starts: array of int64, shape (n + 1,).
    out_elements: array of int64, shape (n,); a scalar counts 1.
    Returns -1, or the first row whose product is above 2**63 - 1. Reads each dimension once.
    """
    for row in range(len(out_elements)):
        product = np.int64(1)
        zero = False
        over = False
        for at in range(starts[row], starts[row + 1]):
            d = dims[at]
            if d == 0:
                zero = True
            elif product > 9223372036854775807 // d:
                over = True
            else:
                product *= d
        if over and not zero:
            return row
        out_elements[row] = 0 if zero else product
    return -1


@kernel(work=lambda order, elements, bits, begins, ends, size, out_info: len(order))
def check_extents(order: Int64, elements: Int64, bits: Int64, begins: Int64, ends: Int64, size: int, out_info: Int64) -> int:
    """Whether rows, each as long as its elements need, cover bytes 0 to `size` with no hole and no overlap.

    order: array of int64, shape (n,): rows by begin, then end. elements, begins, ends: arrays of int64, shape (n,); begins and
    ends in bytes. bits: array of int64, shape (n,), bits an element. size: bytes to cover.
    out_info: array of int64, shape (1,): the row at fault.
    Returns 0, or an error code of this module. Reads each row once.
    """
    reached = np.int64(0)
    for place in range(len(order)):
        row = order[place]
        out_info[0] = row
        begin = begins[row]
        end = ends[row]
        if end < begin or end > size:
            return 5
        if elements[row] > 9223372036854775807 // bits[row]:
            return 1
        needed = elements[row] * bits[row]
        if needed % 8 != 0:
            return 6
        if end - begin != needed // 8:
            return 2
        if begin < reached:
            return 3
        if begin > reached:
            return 4
        reached = end
    if reached != size:
        return 4
    return 0
