"""A safetensors header from bytes to columns, without a Python object a tensor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightguard.kernels._jit import kernel

Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

# Error codes, for what stands at the offset in out_info[0].
NOT_JSON, BAD_STRING, BAD_NUMBER, UNEXPECTED, UNKNOWN_DTYPE, BAD_KEY, DUPLICATE_KEY, TOO_MANY = range(1, 9)


@kernel(work=lambda data, *_: len(data))
def scan_safetensors_header(
    data: UInt8,
    dtype_names: UInt8,
    out_names: UInt8,
    out_escaped: UInt8,
    out_dtypes: UInt8,
    out_dims: Int64,
    out_starts: Int64,
    out_offsets: Int64,
    out_info: Int64,
) -> int:
    """Scan the JSON header of a safetensors file, strictly: no other keys, no negative, fractional or wrapping number.

    data: array of uint8, shape (n_bytes,), the header without its length.
    dtype_names: array of uint8, shape (n_dtypes, 16), names padded by zeros; a tensor's dtype is its row.
    out_names: array of uint8, shape (n_bytes + 1,): the names as they stand, each ended by a newline, which no name can hold.
    out_escaped: array of uint8, shape (capacity,): 1 where the name holds an escape.
    out_dtypes: array of uint8, shape (capacity,).
    out_dims: array of int64, shape (dims_capacity,): all shapes end to end.
    out_starts: array of int64, shape (capacity + 1,): where each shape starts in out_dims.
    out_offsets: array of int64, shape (capacity, 2): data_offsets, in bytes.
    out_info: array of int64, shape (5,): offset of the error; first and end byte of the value of `__metadata__` (0, 0: none);
        bytes written to out_names; names that hold an escape.
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
    n_text = 0
    field = 0  # 1 dtype, 2 shape, 3 data_offsets
    seen = 0  # bit set of the fields met in this entry
    n_numbers = 0
    in_metadata = False
    last = -1  # the dtype of the tensor before
    out_info[0] = 0
    out_info[1] = 0
    out_info[2] = 0
    out_info[4] = 0
    out_starts[0] = 0
    # What every writer puts after a name and after a shape, matched at once; where it differs, the states below take over.
    to_dtype = (58, 123, 34, 100, 116, 121, 112, 101, 34, 58, 34)  # :{"dtype":"
    to_shape = (34, 44, 34, 115, 104, 97, 112, 101, 34, 58, 91)  # ","shape":[
    to_offsets = (44, 34, 100, 97, 116, 97, 95, 111, 102, 102, 115, 101, 116, 115, 34, 58, 91)  # ,"data_offsets":[
    p = 0
    while p < size:
        if state == name_colon and last >= 0 and not in_metadata and p + 40 < size:
            same = True
            for i in range(11):
                same &= data[p + i] == to_dtype[i]
            i = 0
            while same and dtype_names[last, i] != 0:
                same = data[p + 11 + i] == dtype_names[last, i]
                i += 1
            if same:
                for k in range(11):
                    same &= data[p + 11 + i + k] == to_shape[k]
            if same:
                p += 22 + i
                out_dtypes[count] = last
                seen = 6
                field = 2
                n_numbers = 0
                state = first_number
        elif state == value_end and seen == 6 and p + 17 < size:
            same = True
            for i in range(17):
                same &= data[p + i] == to_offsets[i]
            if same:
                p += 17
                seen = 14
                field = 3
                n_numbers = 0
                state = first_number
        c = data[p]
        if c == 32 or c == 10 or c == 13 or c == 9:
            p += 1
            continue
        out_info[0] = p
        if c == 34:  # a string
            first = p + 1
            escaped = 0
            p = first
            text = n_text  # where a name is copied to, if this is one
            while p < size:
                c = data[p]
                if c <= 92:  # most signs of a name are lower-case letters
                    if c == 34:
                        break
                    if c < 32:
                        return -2
                    if c == 92:
                        escaped = 1
                        out_names[text] = c
                        text += 1
                        p += 1
                        if p >= size:
                            return -2
                        c = data[p]
                out_names[text] = c
                text += 1
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
                    out_names[text] = 10
                    n_text = text + 1
                    out_escaped[count] = escaped
                    out_info[4] += escaped
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
            digits = 0
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
    out_info[3] = n_text
    if state != end:
        return -1
    return count
