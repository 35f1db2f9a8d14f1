"""Walking over the strings of a GGUF array, of which vocabularies have hundreds of thousands."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightguard.kernels._jit import kernel

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]


@kernel(work=lambda data, start, count, *_: min(count, (len(data) - start) // 16 + 1))
def skip_strings(data: UInt8, start: int, count: int, width: int, big_endian: bool, out_end: Int64) -> int:
    """Walk over strings that lie end to end, each its length and its bytes, as long as a whole length lies in `data`.

    data: array of uint8, shape (n_bytes,). start: where the first string begins. count: how many there are at most.
    width: bytes of a length, 8 or 4. big_endian: whether a length's highest byte comes first.
    out_end: array of int64, shape (1,): where the string after the last one begins, which may be past `data`; a length of 2**62 or
        more ends the walk there.
    Returns how many strings were walked over. Reads each length once.
    """
    at = np.int64(start)
    size = len(data)
    walked = 0
    little = width == 8 and not big_endian
    while walked < count and at + width <= size:
        walked += 1
        if (
            little
            and (data[at + 1] | data[at + 2] | data[at + 3] | data[at + 4] | data[at + 5] | data[at + 6] | data[at + 7]) == 0
        ):  # below 256, as nearly all are: the next place depends on one byte, so that the processor runs ahead
            at += 8 + np.int64(data[at])
            continue
        length = np.int64(0)
        high = np.int64(0)  # of the highest byte, which an int64 can't take
        for i in range(width):
            byte = np.int64(data[at + i] if big_endian else data[at + width - 1 - i])
            if i == 0:
                high = byte
            length = (length << 8) | byte
        if (width == 8 and high >= 64) or length > 4611686018427387904 - at - width:
            at = np.int64(4611686018427387904)
            break
        at += width + length
    out_end[0] = at
    return walked
