"""The members PREFIX0, PREFIX1, ... of a zip archive from its bytes to columns, without a Python object a member."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightguard.kernels._jit import kernel

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

_BEFORE = 1000  # other members that may come first
_DESCRIPTOR = 1 << 3
_KNOWN_FLAGS = 1 << 1 | 1 << 2 | _DESCRIPTOR | 1 << 11
_PADDING = 512  # longest extra field


@kernel(work=lambda data, *_: len(data))
def scan_zip_directory(data: UInt8, prefix: UInt8, out_seen: UInt8, out_rows: Int64, out_info: Int64) -> int:
    """Find the first members in a row that are named by `prefix` and a number, stored as they are, in the order of their data.

    data: array of uint8, shape (n_bytes,), the central directory. prefix: array of uint8, how their names begin.
    out_seen: array of uint8, shape (n_numbers,), zeros: 1 for each number met; a member with a larger one, or one met before,
        ends the row.
    out_rows: array of int64, shape (capacity, 4): number, offset of the entry in data, offset of the local header, bytes.
    out_info: array of int64, shape (2,): offset of the first of these entries and after the last.
    Returns the number of members, 0 for none; the very first entry isn't one. Reads each byte once.
    """
    # PKWARE APPNOTE 6.3.10, 4.3.12; without zip64 values, comments, compression, encryption, other disks.
    size = len(data)
    width = len(prefix)
    count = 0
    before = 0
    header = np.int64(-1)
    p: int | np.int64 = 0
    while p + 46 <= size and count < len(out_rows) and before <= _BEFORE:
        name = np.int64(data[p + 28]) | np.int64(data[p + 29]) << 8
        rest = np.int64(data[p + 30]) | np.int64(data[p + 31]) << 8
        rest += np.int64(data[p + 32]) | np.int64(data[p + 33]) << 8
        end = p + 46 + name + rest
        same = data[p] == 80 and data[p + 1] == 75 and data[p + 2] == 1 and data[p + 3] == 2 and end <= size
        if not same:
            break
        flags = np.int64(data[p + 8]) | np.int64(data[p + 9]) << 8
        same = rest == 0 and before > 0 and flags & ~_KNOWN_FLAGS == 0 and width < name <= width + 9
        same &= data[p + 10] == 0 and data[p + 11] == 0 and data[p + 34] == 0 and data[p + 35] == 0
        number = np.int64(0)
        stored = np.int64(0)
        at = np.int64(0)
        if same:
            for i in range(width):
                same &= data[p + 46 + i] == prefix[i]
            for i in range(width, name):
                digit = np.int64(data[p + 46 + i]) - 48
                same &= 0 <= digit <= 9
                number = 10 * number + digit
            same &= name == width + 1 or data[p + 46 + width] != 48
            for i in range(4):
                stored |= np.int64(data[p + 20 + i]) << 8 * i
                at |= np.int64(data[p + 42 + i]) << 8 * i
                same &= data[p + 20 + i] == data[p + 24 + i]
            same &= stored != 0xFFFFFFFF and at != 0xFFFFFFFF and at > header
            same = same and 0 <= number < len(out_seen) and out_seen[number] == 0
        if same:
            if count == 0:
                out_info[0] = p
            header = at
            out_seen[number] = 1
            out_rows[count, 0] = number
            out_rows[count, 1] = p
            out_rows[count, 2] = at
            out_rows[count, 3] = stored
            count += 1
            out_info[1] = end
        elif count > 0:
            break
        else:
            before += 1
        p = end
    return count


@kernel(work=lambda window, base, directory, rows, first, *_: len(rows) - first)
def match_zip_headers(window: UInt8, base: int, directory: UInt8, rows: Int64, first: int, out_info: Int64) -> int:
    """Compare local headers with their entries in the directory, and what lies between members, as far as the window reaches.

    window: array of uint8, shape (n_window,), bytes of the file from offset `base`. directory: array of uint8, shape (n_bytes,).
    rows: array of int64, shape (n, 4), from `scan_zip_directory`. first: the row to begin with; the 16 bytes before its header
        are in the window.
    out_info: array of int64, shape (2,): offset after the data of the last row compared, which must hold that of row `first` - 1;
        the bytes of extra fields, which may hold torch's padding only, are added to the second.
    Returns the row to go on with, n once all are the same, or minus a row's number, less 1, that isn't the same, or doesn't
    follow on the one before. Reads each row once.
    """
    # 4.3.7 and 4.3.12 have the same fields in the same order; with a descriptor (4.3.9), the local sums are zero (4.4.4).
    size = len(window)
    for row in range(first, len(rows)):
        entry = rows[row, 1]
        h = rows[row, 2] - base
        name = np.int64(directory[entry + 28]) | np.int64(directory[entry + 29]) << 8
        if h + 30 + name > size:
            return row
        extra = np.int64(window[h + 28]) | np.int64(window[h + 29]) << 8
        if h + 30 + name + extra > size:
            return row
        described = directory[entry + 8] & _DESCRIPTOR != 0
        same = window[h] == 80 and window[h + 1] == 75 and window[h + 2] == 3 and window[h + 3] == 4
        for i in range(4, 14):
            same &= window[h + i] == directory[entry + i + 2]
        for i in range(14, 26):
            same &= window[h + i] == (0 if described else directory[entry + i + 2])
        same &= window[h + 26] == directory[entry + 28] and window[h + 27] == directory[entry + 29]
        for i in range(name):
            same &= window[h + 30 + i] == directory[entry + 46 + i]
        if extra > 0:
            at = h + 30 + name
            same = same and 4 <= extra < _PADDING and window[at] == 70 and window[at + 1] == 66
            same = same and extra - 4 == np.int64(window[at + 2]) | np.int64(window[at + 3]) << 8
            if same:
                for i in range(4, extra):
                    same &= window[at + i] == 90
        if same and row > 0:
            before = rows[row - 1, 1]
            if directory[before + 8] & _DESCRIPTOR != 0:
                same = rows[row, 2] == out_info[0] + 16 and h >= 16
                if same:
                    same = window[h - 16] == 80 and window[h - 15] == 75 and window[h - 14] == 7 and window[h - 13] == 8
                    for i in range(12):
                        same &= window[h - 12 + i] == directory[before + 16 + i]
            else:
                same = rows[row, 2] == out_info[0]
        if not same:
            return -row - 1
        out_info[0] = rows[row, 2] + 30 + name + extra + rows[row, 3]
        out_info[1] += extra
    return len(rows)
