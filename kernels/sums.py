"""Sums by group, with overflow seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightguard.kernels._jit import kernel

Int64 = npt.NDArray[np.int64]


@kernel(work=lambda values, groups, out_sums: len(values))
def sum_by_group(values: Int64, groups: Int64, out_sums: Int64) -> int:
    """Add each value to the sum of its group.

    values: array of int64, shape (n,), none negative. groups: array of int64, shape (n,), each in [0, n_groups).
    out_sums: array of int64, shape (n_groups,), added to.
    Returns -1, or the first row at which a sum would pass 2**63 - 1. Reads each row once.
    """
    for row in range(len(values)):
        group = groups[row]
        if out_sums[group] > 9223372036854775807 - values[row]:
            return row
        out_sums[group] += values[row]
    return -1
