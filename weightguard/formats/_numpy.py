"""One array as `numpy.save` writes it: a magic string, a Python literal of its dtype and shape, its elements.

Source: NumPy, NEP 1 and `numpy.lib.format` (versions 1.0, 2.0 and 3.0 of the format). The literal is read by a parser of its
own: nothing is evaluated. An array of objects is a pickle, and read as one.
"""

from __future__ import annotations

import re
from math import prod
from typing import NamedTuple

from weightguard.errors import Unreadable
from weightguard.formats._numpy_kinds import KINDS
from weightguard.tensors import DTYPE_CODES

MAGIC = b"\x93NUMPY"
MOST_HEADER = 64 << 10
FIRST = MOST_HEADER + 16  # bytes that hold every header

_MOST = (1 << 63) - 1
_DEPTH = 32  # of nested types
_FREE_TEXT = 4096  # bytes of a header: names of fields beyond it could be anything
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d{1,19})L?|(?P<text>[ub]?(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))"""
    r"""|(?P<word>True|False|None)|(?P<sign>[][{}():,]))"""
)
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_WORDS = {"True": True, "False": False, "None": None}
_CODES = {
    **KINDS,
    "?": "BOOL",
    "f12": "F128",
    "f16": "F128",
    # ml_dtypes' bfloat16 and its eight-bit types have no code of their own
    "V2": "BF16",
    "V1": "F8_E4M3",
}
_STRINGS = {"S": 1, "a": 1, "U": 4, "V": 1}
_OBJECT = re.compile(r"[<>|=]?O(?:8|4)?")
_PLAIN = re.compile(r"[<>|=]?(?:\?|[biufcSaUV]\d{1,9}|[mM]8(?:\[[^\]]{1,40}\])?)")


class Field(NamedTuple):
    """A number within an item. name: "" for an array of plain numbers. dims: of the numbers in one item. size: bytes of one."""

    name: str
    dtype: int
    dims: tuple[int, ...]
    size: int


class Header(NamedTuple):
    """fields: empty for an array of objects (`objects`). item: bytes. start: where the elements begin.

    padding: blanks that end the header. unexplained: bytes of an item, and of the header, that no rule explains.
    """

    fields: list[Field]
    objects: bool
    item: int
    shape: tuple[int, ...]
    start: int
    padding: int
    unexplained: int

    @property
    def bytes(self) -> int:
        """Bytes of all elements, unless they are objects."""
        return prod(self.shape) * self.item

    def rows(self, name: str) -> list[tuple[str, int, tuple[int, ...], int]]:
        """(name, dtype, shape, bytes) of each row of a tensor table."""
        count = prod(self.shape)
        rows = []
        for field in self.fields:
            shape = (*self.shape, *field.dims)
            rows.append((f"{name}.{field.name}" if field.name else name, field.dtype, shape, count * _bytes(field)))
        return rows


def parse_header(data: bytes) -> Header:
    """The header at the start of an array's first bytes; raises `Unreadable`."""
    if data[:6] != MAGIC or len(data) < 12:
        raise Unreadable("malformed", "numpy: an array without its magic string")
    version = data[6], data[7]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise Unreadable("unsupported", f"numpy: version {version[0]}.{version[1]} of the format")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(data[8 : 8 + width], "little")
    start = 8 + width + length
    if length > MOST_HEADER:
        raise Unreadable("limit", f"numpy: a header of {length} bytes")
    if start > len(data):
        raise Unreadable("truncated", f"numpy: a header of {length} bytes in {len(data)}")
    try:
        text = data[8 + width : start].decode("utf-8" if version == (3, 0) else "latin-1")
    except UnicodeDecodeError as error:
        raise Unreadable("malformed", "numpy: a header that isn't UTF-8") from error
    stripped = text.rstrip(" \n")
    found = _parse(stripped)
    if type(found) is not dict or set(found) != {"descr", "fortran_order", "shape"} or type(found["fortran_order"]) is not bool:
        raise Unreadable("malformed", "numpy: a header needs descr, fortran_order and shape")
    shape = found["shape"]
    if type(shape) is not tuple or any(type(d) is not int for d in shape) or len(shape) > 64:
        raise Unreadable("malformed", "numpy: a shape that isn't a tuple of lengths")
    fields: list[Field] = []
    item, gaps, objects = _dtype(found["descr"], "", fields, 0)
    count = prod(shape)
    if any(d > _MOST for d in shape) or count > _MOST or count * max(item, 1) > _MOST:
        raise Unreadable("inconsistent", "numpy: a shape that no file can fill")
    unexplained = gaps * count + (len(stripped) if len(stripped) > _FREE_TEXT else 0)
    return Header([] if objects else fields, objects, item, shape, start, len(text) - len(stripped), unexplained)


def _bytes(field: Field) -> int:
    return prod(field.dims) * field.size


def _dtype(descr: object, name: str, fields: list[Field], depth: int) -> tuple[int, int, bool]:
    """Collects the numbers of a type (`numpy.lib.format.descr_to_dtype`).

    Returns (bytes of an item, bytes of it that belong to no field, whether it holds objects).
    """
    if depth > _DEPTH:
        raise Unreadable("malformed", "numpy: a type nested too deep")
    if type(descr) is str:
        return _plain(descr, name, fields)
    if type(descr) is tuple and len(descr) == 2:  # a type and the shape of an array of it
        return _repeated(descr[0], descr[1], name, fields, depth)
    if type(descr) is not list:
        raise Unreadable("malformed", "numpy: a type that is neither text nor a list")
    item = gaps = 0
    objects = False
    names: set[str] = set()
    for entry in descr:
        if type(entry) is not tuple or len(entry) not in (2, 3):
            raise Unreadable("malformed", "numpy: a field that isn't a name, a type and perhaps a shape")
        label = entry[0][1] if type(entry[0]) is tuple and len(entry[0]) == 2 else entry[0]
        if type(label) is not str:
            raise Unreadable("malformed", "numpy: a field whose name isn't text")
        if label == "" and len(entry) == 2 and type(entry[1]) is str and entry[1].lstrip("|")[:1] == "V":  # padding
            hole, _, _ = _plain(entry[1], "", [])
            item, gaps = item + hole, gaps + hole
            continue
        if label in names:
            raise Unreadable("inconsistent", f"numpy: two fields named {label[:80]!r}")
        names.add(label)
        inner = f"{name}.{label}" if name else label
        if len(entry) == 3:
            size, hole, object_ = _repeated(entry[1], entry[2], inner, fields, depth + 1)
        else:
            size, hole, object_ = _dtype(entry[1], inner, fields, depth + 1)
        item, gaps, objects = item + size, gaps + hole, objects or object_
    return item, gaps, objects


def _repeated(descr: object, shape: object, name: str, fields: list[Field], depth: int) -> tuple[int, int, bool]:
    lengths = (shape,) if type(shape) is int else shape
    if type(lengths) is not tuple or any(type(d) is not int for d in lengths) or len(lengths) > 64:
        raise Unreadable("malformed", "numpy: a field whose shape isn't a tuple of lengths")
    count = prod(lengths)
    if count > _MOST or any(d > _MOST for d in lengths):
        raise Unreadable("inconsistent", "numpy: a field that no file can fill")
    first = len(fields)
    size, gaps, objects = _dtype(descr, name, fields, depth + 1)
    fields[first:] = [f._replace(dims=(*lengths, *f.dims)) for f in fields[first:]]
    return size * count, gaps * count, objects


def _plain(descr: str, name: str, fields: list[Field]) -> tuple[int, int, bool]:
    if _OBJECT.fullmatch(descr):
        return 0, 0, True
    if not _PLAIN.fullmatch(descr):
        raise Unreadable("unsupported", f"numpy: a type {descr[:80]!r}")
    code = descr.lstrip("<>|=")
    if code[0] in "mM":  # dates and durations
        fields.append(Field(name, DTYPE_CODES["I64"], (), 8))
        return 8, 0, False
    size = int(code[1:] or 1)
    known = _CODES.get(code)
    if known is not None:
        fields.append(Field(name, DTYPE_CODES[known], (), size))
    elif code in ("c24", "c32"):
        fields.append(Field(name, DTYPE_CODES["F128"], (2,), size // 2))
    elif code[0] in _STRINGS:
        size *= _STRINGS[code[0]]
        fields.append(Field(name, DTYPE_CODES["U8" if code[0] == "V" else "STRING"], (size,), 1))
    else:
        raise Unreadable("unsupported", f"numpy: a type {descr[:80]!r}")
    return size, 0, False


def _parse(text: str) -> object:
    """A literal of dictionaries, lists, tuples, texts and numbers; raises `Unreadable` ("malformed")."""
    tokens = _tokens(text)
    value, at = _value(tokens, 0, 0)
    if at != len(tokens):
        raise Unreadable("malformed", "numpy: a header that goes on after its dictionary")
    return value


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise Unreadable("malformed", f"numpy: a header that isn't a Python literal, at character {at}")
        kind = match.lastgroup or ""
        tokens.append((kind, match[kind]))
        at = match.end()
    return tokens


def _value(tokens: list[tuple[str, str]], at: int, depth: int) -> tuple[object, int]:
    if at >= len(tokens) or depth > _DEPTH:
        raise Unreadable("malformed", "numpy: a header that ends early, or nests too deep")
    kind, text = tokens[at]
    if kind == "number":
        return int(text), at + 1
    if kind == "word":
        return _WORDS[text], at + 1
    if kind == "text":
        return _text(text), at + 1
    closing = _CLOSING.get(text)
    if closing is None:
        raise Unreadable("malformed", "numpy: a header that isn't a Python literal")
    values: list[object] = []
    keys: dict[str, object] = {}
    at += 1
    commas = 0
    while at < len(tokens) and tokens[at] != ("sign", closing):
        value, at = _value(tokens, at, depth + 1)
        if text == "{":
            if type(value) is not str or value in keys or tokens[at : at + 1] != [("sign", ":")]:
                raise Unreadable("malformed", "numpy: a dictionary whose keys aren't texts, each once")
            keys[value], at = _value(tokens, at + 1, depth + 1)
        values.append(value)
        if tokens[at : at + 1] == [("sign", ",")]:
            commas += 1
            at += 1
        elif tokens[at : at + 1] != [("sign", closing)]:
            break
    if at >= len(tokens) or tokens[at] != ("sign", closing):
        raise Unreadable("malformed", "numpy: a header with a bracket that isn't closed")
    if text == "{":
        return keys, at + 1
    if text == "[":
        return values, at + 1
    return (values[0] if len(values) == 1 and not commas else tuple(values)), at + 1


def _text(literal: str) -> str:
    body = literal.lstrip("ub")[1:-1]
    if "\\" not in body:
        return body
    try:
        return body.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError as error:
        raise Unreadable("malformed", "numpy: a text with a bad escape") from error
