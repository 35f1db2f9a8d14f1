"""NumPy's codes of its plain types (numpy.org, "The array interface protocol"), and the dtypes that they are."""

from __future__ import annotations

KINDS = {
    "b1": "BOOL",
    "i1": "I8",
    "i2": "I16",
    "i4": "I32",
    "i8": "I64",
    "u1": "U8",
    "u2": "U16",
    "u4": "U32",
    "u8": "U64",
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
    "c8": "C64",
    "c16": "C128",
    "M8": "I64",
    "m8": "I64",
}
