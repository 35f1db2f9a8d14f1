"""A safetensors header from bytes to columns, without a Python object a tensor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightguard.kernels._jit import kernel

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

# Error codes, for what stands at the offset in out_info[0].
NOT_JSON, BAD_STRING, BAD_NUMBER, UNEXPECTED, UNKNOWN_DTYPE, BAD_KEY, DUPLICATE_KEY, TOO_MANY = range(1, 9)


# What every writer puts between a name and its dtype, its dtype and its shape, its shape and its data_offsets: as the integers
# that eight bytes make, two or three of them that overlap where the length isn't a multiple of eight.
_DTYPE_1, _DTYPE_2 = (int.from_bytes(b'":{"dtype":"'[i : i + 8], "little") for i in (0, 4))
_SHAPE_1, _SHAPE_2 = (int.from_bytes(b'","shape":['[i : i + 8], "little") for i in (0, 3))
_OFFSETS_1, _OFFSETS_2, _OFFSETS_3 = (int.from_bytes(b',"data_offsets":['[i : i + 8], "little") for i in (0, 8, 9))
# One byte eight times over.
_ONES = 0x0101010101010101
_HIGHS = _ONES * 0x80 - (1 << 64)
_QUOTES, _BACKSLASHES, _SPACES, _ZEROS, _TENS = _ONES * 34, _ONES * 92, _ONES * 32, _ONES * 48, _ONES * (128 - 10)
_PLACES = 0x0001020304050607
_POWERS = tuple(10**i for i in range(9))
_HASH = -7046029254386353131  # an odd number; any would do
_ROOM = 256  # bytes within which what follows a name ends, or is left to the states


@kernel(work=lambda data, *_: len(data))
def scan_safetensors_header(
    data: UInt8,
    words: Int64,
    dtype_names: UInt8,
    out_names: Int64,
    out_dtypes: UInt8,
    out_dims: Int64,
    out_starts: Int64,
    out_offsets: Int64,
    out_info: Int64,
) -> int:
    """Scan the JSON header of a safetensors file, strictly: no other keys, no negative, fractional or wrapping number.

    data: array of uint8, shape (n_bytes,), the header without its length.
    words: array of int64, shape (max(0, n_bytes - 7),): bytes i to i + 7 as a little-endian integer, for each i.
    dtype_names: array of uint8, shape (n_dtypes, 16), names padded by zeros; a tensor's dtype is its row.
    out_names: array of int64, shape (capacity, 3): first byte and length of each name as it stands, and its hash; the length is
        below 0 by one more than it is where the name holds an escape.
    out_dtypes: array of uint8, shape (capacity,).
    out_dims: array of int64, shape (dims_capacity,): all shapes end to end.
    out_starts: array of int64, shape (capacity + 1,): where each shape starts in out_dims.
    out_offsets: array of int64, shape (capacity, 2): data_offsets, in bytes.
    out_info: array of int64, shape (4,): offset of the error; first and end byte of the value of `__metadata__` (0, 0: none);
        names that hold an escape.
    Returns the number of tensors, or minus an error code of this module. Reads each byte once.
    """
    # Grammar: safetensors README, section "Format", over RFC 8259. States are named by what may come next.
    top, first_name, name, name_colon, entry, first_key, key, key_colon, value = 0, 1, 2, 3, 4, 5, 6, 7, 8
    first_number, number, number_end, value_end, entry_end, end = 9, 10, 11, 12, 13, 14
    meta_first, meta_key, meta_colon, meta_value, meta_end = 15, 16, 17, 18, 19
    size = len(data)
    capacity = len(out_dtypes)
    state = top
    count = 0  # tensors complete
    n_dims = 0
    field = 0  # 1 dtype, 2 shape, 3 data_offsets
    seen = 0  # bit set of the fields met in this entry
    n_numbers = 0
    in_metadata = False
    last = -1  # the dtype of the tensor before
    out_info[0] = 0
    out_info[1] = 0
    out_info[2] = 0
    out_info[3] = 0
    out_starts[0] = 0
    p: int | np.int64 = 0
    while p < size:
        if (state == name or state == first_name) and data[p] == 34 and count < capacity:
            # An entry as every writer writes it, eight bytes at once; where it differs, the states below take it from its start.
            q = p + 1
            hashed = np.int64(0)
            special = np.int64(0)
            while special == 0 and q + _ROOM < size:
                w = words[q]
                quotes = w ^ _QUOTES
                backslashes = w ^ _BACKSLASHES
                # a byte that is one of the two or below 32: its highest bit here, of the first such byte always rightly
                special = ((quotes - _ONES) & ~quotes | (backslashes - _ONES) & ~backslashes | (w - _SPACES) & ~w) & _HIGHS
                if special == 0:
                    hashed = (hashed ^ w) * _HASH
                    hashed ^= hashed >> 32
                    q += 8
            same = special != 0
            if same:
                place = ((((special & -special) >> 7) & _ONES) * _PLACES >> 56) & 7
                hashed = (hashed ^ (w & ((1 << 8 * place) - 1)) ^ place) * _HASH
                hashed ^= hashed >> 32
                q += place
                same = words[q] == _DTYPE_1 and words[q + 4] == _DTYPE_2
            length = q - p - 1
            if same and length == 12:
                same = data[p + 1] != 95  # perhaps __metadata__
            q += 12
            if same:
                code = last
                if code >= 0:
                    i = 0
                    while dtype_names[code, i] != 0 and dtype_names[code, i] == data[q + i]:
                        i += 1
                    if dtype_names[code, i] != 0 or data[q + i] != 34:
                        code = -1
                row = 0
                while code < 0 and row < len(dtype_names):
                    i = 0
                    while dtype_names[row, i] != 0 and dtype_names[row, i] == data[q + i]:
                        i += 1
                    if dtype_names[row, i] == 0 and data[q + i] == 34:
                        code = row
                    row += 1
                same = code >= 0 and words[q + i] == _SHAPE_1 and words[q + i + 3] == _SHAPE_2
                q += i + 11
            n = n_dims
            part = 0  # 0 the shape, 1 and 2 the two offsets
            while same and part < 3:
                start = q
                amount = np.int64(0)
                digits = np.int64(8)
                while digits == 8 and q - start <= 8:
                    # digits: bytes that are below 10 without the bits of "0"
                    w = words[q] ^ _ZEROS
                    special = (w + _TENS | w) & _HIGHS
                    digits = np.int64(8)
                    if special != 0:
                        digits = ((((special & -special) >> 7) & _ONES) * _PLACES >> 56) & 7
                    if digits > 0:
                        w = w << 8 * (8 - digits)
                        w = (w * 2561 >> 8) & 0x00FF00FF00FF00FF
                        w = (w * 6553601 >> 16) & 0x0000FFFF0000FFFF
                        amount = amount * _POWERS[digits] + ((w * 42949672960001 >> 32) & 0xFFFFFFFF)
                        q += digits
                same = digits < 8 and q > start and (q == start + 1 or data[start] != 48)
                if same:
                    c = data[q]
                    if part == 0:
                        same = n < len(out_dims) and n - n_dims < 8
                        if same:
                            out_dims[n] = amount
                            n += 1
                        if c == 93:
                            same &= words[q + 1] == _OFFSETS_1 and words[q + 9] == _OFFSETS_2 and words[q + 10] == _OFFSETS_3
                            q += 18
                            part = 1
                        else:
                            same &= c == 44
                            q += 1
                    elif part == 1:
                        out_offsets[count, 0] = amount
                        same = c == 44
                        q += 1
                        part = 2
                    else:
                        out_offsets[count, 1] = amount
                        same = c == 93 and data[q + 1] == 125
                        q += 2
                        part = 3
            if same:
                out_names[count, 0] = p + 1
                out_names[count, 1] = length
                out_names[count, 2] = hashed
                out_dtypes[count] = code
                last = code
                n_dims = n
                count += 1
                out_starts[count] = n_dims
                in_metadata = False
                state = entry_end
                p = q
                continue
        c = data[p]
        if c == 32 or c == 10 or c == 13 or c == 9:
            p += 1
            continue
        out_info[0] = p
        if c == 34:  # a string
            first = p + 1
            escaped = 0
            p = first
            hashed = np.int64(0)
            text = np.int64(0)  # the last bytes, up to eight, as in `words`
            while p < size:
                c = data[p]
                if c == 34:
                    break
                if c < 32:
                    return -2
                if c == 92:
                    escaped = 1
                    p += 1
                    if p >= size:
                        return -2
                at = (p - first) % 8
                text |= np.int64(data[p]) << 8 * at
                if at == 7:
                    hashed = (hashed ^ text) * _HASH
                    hashed ^= hashed >> 32
                    text = np.int64(0)
                p += 1
            if p >= size:
                return -2
            length = p - first
            if state == first_name or state == name:
                in_metadata = length == 12 and escaped == 0
                if in_metadata:
                    for i in range(12):
                        # "__metadata__"
                        expected = 95 if i < 2 or i > 9 else (109, 101, 116, 97, 100, 97, 116, 97)[i - 2]
                        if data[first + i] != expected:
                            in_metadata = False
                if in_metadata:
                    if out_info[2] != 0:
                        return -7
                else:
                    if count >= capacity:
                        return -8
                    out_names[count, 0] = first
                    out_names[count, 1] = -length - 1 if escaped == 1 else length
                    hashed = (hashed ^ text ^ (length % 8)) * _HASH
                    out_names[count, 2] = hashed ^ hashed >> 32
                    out_info[3] += escaped
                state = name_colon
            elif state == first_key or state == key:
                field = 0
                if length == 5 and data[first] == 100:  # dtype
                    if data[first + 1] == 116 and data[first + 2] == 121 and data[first + 3] == 112 and data[first + 4] == 101:
                        field = 1
                elif length == 5 and data[first] == 115:  # shape
                    if data[first + 1] == 104 and data[first + 2] == 97 and data[first + 3] == 112 and data[first + 4] == 101:
                        field = 2
                elif length == 12:  # data_offsets
                    field = 3
                    for i in range(12):
                        if data[first + i] != (100, 97, 116, 97, 95, 111, 102, 102, 115, 101, 116, 115)[i]:
                            field = 0
                if field == 0:
                    return -6
                if seen & (1 << field):
                    return -7
                seen |= 1 << field
                state = key_colon
            elif state == value and field == 1:
                code = last  # most tensors have the dtype of the one before
                i = 0
                while code >= 0 and i < length:
                    if length > 15 or dtype_names[code, i] != data[first + i]:
                        code = -1
                    i += 1
                if code >= 0 and dtype_names[code, length] != 0:
                    code = -1
                row = 0
                while code < 0 and row < len(dtype_names) and length < 16:
                    if dtype_names[row, length] == 0:
                        i = 0
                        while i < length and dtype_names[row, i] == data[first + i]:
                            i += 1
                        if i == length:
                            code = row
                    row += 1
                if code < 0:
                    return -5
                last = code
                out_dtypes[count] = code
                state = value_end
            elif state == meta_first or state == meta_key:
                state = meta_colon
            elif state == meta_value:
                state = meta_end
            else:
                return -4
            p += 1
        elif 48 <= c <= 57:  # a number
            if state != first_number and state != number:
                return -4
            number_value = np.int64(0)
            digits = np.int64(0)
            while p < size and 48 <= data[p] <= 57:
                digit = np.int64(data[p]) - 48
                if digits == 1 and number_value == 0:
                    return -3  # RFC 8259: no leading zero
                if digits >= 18 and number_value > (9223372036854775807 - digit) // 10:
                    return -3
                number_value = number_value * 10 + digit
                digits += 1
                p += 1
            if field == 2:
                if n_dims >= len(out_dims):
                    return -8
                out_dims[n_dims] = number_value
                n_dims += 1
            else:
                if n_numbers >= 2:
                    return -4
                out_offsets[count, n_numbers] = number_value
            n_numbers += 1
            state = number_end
        else:
            p += 1
            if c == 58:  # :
                if state == name_colon:
                    state = entry
                elif state == key_colon:
                    state = value
                elif state == meta_colon:
                    state = meta_value
                else:
                    return -4
            elif c == 44:  # ,
                if state == number_end:
                    state = number
                elif state == value_end:
                    state = key
                elif state == entry_end:
                    state = name
                elif state == meta_end:
                    state = meta_key
                else:
                    return -4
            elif c == 123:  # {
                if state == top:
                    state = first_name
                elif state == entry and in_metadata:
                    out_info[1] = p - 1
                    state = meta_first
                elif state == entry:
                    seen = 0
                    state = first_key
                else:
                    return -4
            elif c == 125:  # }
                if state == value_end and seen == 14:
                    count += 1
                    out_starts[count] = n_dims
                    state = entry_end
                elif state == meta_first or state == meta_end:
                    out_info[2] = p
                    state = entry_end
                elif state == first_name or state == entry_end:
                    state = end
                else:
                    return -4
            elif c == 91:  # [
                if state != value or field == 1:
                    return -4
                n_numbers = 0
                state = first_number
            elif c == 93:  # ]
                if (state == first_number and field == 2) or (state == number_end and (field == 2 or n_numbers == 2)):
                    state = value_end
                else:
                    return -4
            else:
                return -1
    out_info[0] = p
    if state != end:
        return -1
    return count


@kernel(work=lambda data, names, *_: len(names))
def find_repeated_name(data: UInt8, names: Int64, out_table: npt.NDArray[np.int32], out_info: Int64) -> int:
    """Find a name that stands twice, without a Python object a name.

    data: array of uint8, shape (n_bytes,). names: array of int64, shape (n, 3), from `scan_safetensors_header`, without escapes.
    out_table: array of int32, shape (a power of 2 from 2 * n to 2**24,), zeros: 1 more than the row of a name, at a place by its hash.
    out_info: array of int64, shape (1,): rows compared.
    Returns the row of a name that an earlier row has, -1 if there is none, or -2 if the names' hashes are so much alike that
    finding out would take long. Reads each row once.
    """
    mask = len(out_table) - 1
    most = 16 * len(names) + 1000
    compared = 0
    for row in range(len(names)):
        first = names[row, 0]
        length = names[row, 1]
        at = (names[row, 2] * _HASH >> 40) & mask
        while out_table[at] != 0:
            other = np.int64(out_table[at]) - 1
            compared += 1
            if names[other, 2] == names[row, 2] and names[other, 1] == length:
                i = 0
                while i < length and data[first + i] == data[names[other, 0] + i]:
                    i += 1
                if i == length:
                    out_info[0] = compared
                    return row
                compared += i // 8
            if compared > most:
                out_info[0] = compared
                return -2
            at = (at + 1) & mask
        out_table[at] = row + 1
    out_info[0] = compared
    return -1
