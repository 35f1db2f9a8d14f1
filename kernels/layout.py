"""Element counts and byte checks over the columns of a tensor table, with overflow seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightguard.kernels._jit import kernel

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

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


@kernel(work=lambda order, *_: len(order))
def check_extents(
    order: Int64, elements: Int64, dtypes: UInt8, dtype_bits: Int64, offsets: Int64, size: int, out_info: Int64
) -> int:
    """Whether rows, each as long as its elements need, cover bytes 0 to `size` in this order, with no hole and no overlap.

    order: array of int64, shape (n,): rows. elements: array of int64, shape (n,). dtypes: array of uint8, shape (n,), indices into
    dtype_bits: array of int64, bits an element. offsets: array of int64, shape (n, 2): first and end byte. size: bytes to cover.
    out_info: array of int64, shape (1,): the row at fault.
    Returns 0, or an error code of this module. Reads each row once.
    """
    reached = np.int64(0)
    for place in range(len(order)):
        row = order[place]
        out_info[0] = row
        begin = offsets[row, 0]
        end = offsets[row, 1]
        bits = dtype_bits[dtypes[row]]
        if end < begin or end > size:
            return 5
        if elements[row] > 9223372036854775807 // bits:
            return 1
        needed = elements[row] * bits
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
