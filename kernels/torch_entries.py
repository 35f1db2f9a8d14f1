"""The tensors of a torch checkpoint's pickle from bytes to columns, without a Python object a tensor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightguard.kernels._jit import kernel

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

PADDING = 2048
"""Zero bytes that must follow the pickle: more than the longest entry, so that no read needs a check of its own."""
DIMS = 64
"""The highest rank of an entry."""

# An item's opcodes (CPython, pickletools; torch/_tensor.py, torch/serialization.py); above 255 what has an argument.
_NAME, _PUT, _GET, _CLASS, _KEY, _COUNT, _ZERO, _SIZES, _STRIDES, _FLAG = range(256, 266)
# name: rebuild(("storage", class, key, location, count) BINPERSID, 0, sizes, strides, flag, OrderedDict())
_ITEM = (
    *(_NAME, _PUT, _GET, 40, 40, _GET, _CLASS, _KEY, _PUT, _GET, _COUNT, 116, _PUT, 81),
    *(_ZERO, _SIZES, _STRIDES, _FLAG, _GET, 41, 82, _PUT, 116, _PUT, 82, _PUT),
)


@kernel(work=lambda data, *_: len(data))
def scan_torch_entries(
    data: UInt8,
    at: int,
    top: int,
    key: int,
    refs: Int64,
    out_names: UInt8,
    out_dims: Int64,
    out_rows: Int64,
    out_info: Int64,
) -> int:
    """Scan consecutive `name: tensor` items of a dictionary, opcode for opcode as torch.save writes them, until one differs.

    An item is taken only if its tensor is contiguous, fills a storage of its own, and that storage's key is one more than the
    last; if all it fetches from the memo is in `refs`, and all it puts there is new and in order. Items count once SETITEMS
    ends their batch: what follows the last such opcode is left to the machine.

    data: array of uint8, shape (n_bytes + PADDING,): the pickle, then zeros. at: offset of the first item's name.
    top: the memo index that comes next. key: the storage key that comes next.
    refs: array of int64, shape (4 + n_classes,): memo indices of _rebuild_tensor_v2, "storage", the location, OrderedDict, and
        of the storage classes.
    out_names: array of uint8, shape (n_bytes + PADDING,): the names, ASCII, each ended by a newline, which no such name holds.
    out_dims: array of int64, shape (n_bytes // 4 + 2 * DIMS,): all shapes end to end.
    out_rows: array of int64, shape (capacity, 4): class (an index into refs, less 4), elements, rank, memo index of the name.
    out_info: array of int64, shape (5,): offset of the SETITEMS that ends the last batch; the memo index after it; bytes written
        to out_names until then, and numbers to out_dims; the offset of the item that ended the scan.
    Returns the number of items before that SETITEMS, 0 for none. Reads each byte once.
    """
    p = np.int64(at)
    memo: int | np.int64 = np.int64(top)
    number: int | np.int64 = np.int64(key)
    row = 0
    n_text: int | np.int64 = 0
    n_dims = 0
    done = 0
    out_info[0] = at
    out_info[1] = top
    out_info[2] = 0
    out_info[3] = 0
    out_info[4] = at
    while row < len(out_rows):
        out_info[4] = p
        out_rows[row, 3] = memo
        gets = 0
        rank = 0
        elements = np.int64(0)
        same: bool | np.bool_ = True
        for step in _ITEM:
            op = data[p]
            value = np.int64(-1)
            if step < 256:
                same = op == step
                p += 1
            elif step == _PUT:  # BINPUT, LONG_BINPUT
                if op == 113:
                    value = np.int64(data[p + 1])
                    p += 2
                elif op == 114:
                    value = np.int64(data[p + 1]) | np.int64(data[p + 2]) << 8 | np.int64(data[p + 3]) << 16
                    value |= np.int64(data[p + 4]) << 24
                    p += 5
                same = value == memo
                memo += 1
            elif step == _GET or step == _CLASS:  # BINGET, LONG_BINGET
                if op == 104:
                    value = np.int64(data[p + 1])
                    p += 2
                elif op == 106:
                    value = np.int64(data[p + 1]) | np.int64(data[p + 2]) << 8 | np.int64(data[p + 3]) << 16
                    value |= np.int64(data[p + 4]) << 24
                    p += 5
                if step == _GET:
                    same = value == refs[gets]
                    gets += 1
                else:
                    found = 4
                    while found < len(refs) and refs[found] != value:
                        found += 1
                    same = found < len(refs)
                    out_rows[row, 0] = found - 4
            elif step == _NAME or step == _KEY:  # BINUNICODE
                length = np.int64(data[p + 1]) | np.int64(data[p + 2]) << 8
                same = op == 88 and data[p + 3] == 0 and data[p + 4] == 0 and length <= 1024
                p += 5
                if same and step == _NAME:
                    for i in range(length):
                        c = data[p + i]
                        out_names[n_text + i] = c
                        same &= c < 128 and c != 10
                    n_text += length
                    out_names[n_text] = 10
                    n_text += 1
                elif same:
                    same = 0 < length <= 9 and (length == 1 or data[p] != 48)
                    value = np.int64(0)
                    for i in range(min(int(length), 9)):
                        digit = np.int64(data[p + i]) - 48
                        same &= 0 <= digit <= 9
                        value = 10 * value + digit
                    same &= value == number
                    number += 1
                if same:
                    p += length
            elif step == _FLAG:  # NEWTRUE, NEWFALSE
                same = op == 136 or op == 137
                p += 1
            else:
                # Numbers: one, or a tuple of them, which is put in the memo unless it is empty.
                marked = 1 if op == 40 and (step == _SIZES or step == _STRIDES) else 0
                many = DIMS if step == _SIZES or step == _STRIDES else 1
                p += marked
                place = n_dims if step == _SIZES else n_dims + DIMS
                n = 0
                while same and n < many:
                    op = data[p]
                    if op == 75:  # BININT1
                        value = np.int64(data[p + 1])
                        p += 2
                    elif op == 77:  # BININT2
                        value = np.int64(data[p + 1]) | np.int64(data[p + 2]) << 8
                        p += 3
                    elif op == 74:  # BININT
                        value = np.int64(data[p + 1]) | np.int64(data[p + 2]) << 8 | np.int64(data[p + 3]) << 16
                        value |= np.int64(data[p + 4]) << 24
                        same = data[p + 4] < 128
                        p += 5
                    else:
                        break
                    out_dims[place + n] = value
                    n += 1
                if step == _COUNT:
                    elements = value
                    same &= n == 1
                elif step == _ZERO:
                    same &= n == 1 and value == 0
                elif op == 41 and n == 0 and marked == 0:  # EMPTY_TUPLE
                    p += 1
                else:
                    op = data[p]
                    # TUPLE after a mark, else TUPLE1, TUPLE2, TUPLE3
                    same &= n > 0 and ((marked == 1 and op == 116) or (marked == 0 and n <= 3 and op == 132 + n))
                    p += 1
                    op = data[p]
                    value = np.int64(-1)
                    if op == 113:
                        value = np.int64(data[p + 1])
                        p += 2
                    elif op == 114:
                        value = np.int64(data[p + 1]) | np.int64(data[p + 2]) << 8 | np.int64(data[p + 3]) << 16
                        value |= np.int64(data[p + 4]) << 24
                        p += 5
                    same &= value == memo
                    memo += 1
                if step == _SIZES:
                    rank = n
                elif step == _STRIDES and same:
                    product = np.int64(1)  # never above elements * 2**31, which int64 holds
                    same = n == rank
                    i = rank - 1
                    while same and i >= 0:
                        size = out_dims[n_dims + i]
                        same = size > 0 and (out_dims[n_dims + DIMS + i] == product or size == 1)
                        product *= size
                        same &= product <= elements
                        i -= 1
                    same &= product == elements
            if not same:
                break
        if not same:
            break
        out_rows[row, 1] = elements
        out_rows[row, 2] = rank
        row += 1
        n_dims += rank
        if data[p] == 117:  # SETITEMS
            done = row
            out_info[0] = p
            out_info[1] = memo
            out_info[2] = n_text
            out_info[3] = n_dims
            if data[p + 1] != 40:  # MARK of another batch
                break
            p += 2
    return done
