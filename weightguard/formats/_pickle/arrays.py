"""NumPy's arrays and scalars as a pickle writes them.

Source: NumPy, `numpy/_core/src/multiarray/methods.c` and `descriptor.c` (`__reduce__`, `__setstate__`):
an array is _reconstruct(type, (0,), b"b") and the state (version, shape, dtype, Fortran order, data), with protocol 5
_frombuffer(data, dtype, shape, order); a dtype is dtype(code, False, True) and a state whose sixth entry is the size
of a flexible item; the data of an array of objects are a list.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from weightguard.errors import Unreadable
from weightguard.formats._numpy_kinds import KINDS
from weightguard.formats._pickle.abstract import Global, Object, Value
from weightguard.formats._pickle.layout import MOST, Extent
from weightguard.formats._pickle.storages import TORCH_DTYPES, Dtype, Slice
from weightguard.tensors import DTYPE_CODES

if TYPE_CHECKING:
    from weightguard.formats._pickle.rebuild import Child, Collector

_SCALARS = {k: Struct("<" + f) for k, f in zip("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split(), "?bhiqBHIQefd", strict=True)}
_BUFFERS = ("builtins.bytes", "__builtin__.bytes", "builtins.bytearray", "__builtin__.bytearray")
_BYTES = Dtype(DTYPE_CODES["U8"], 1)


def reconstructed(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_reconstruct(type, (0,), b"b") with its state; a subclass with a state of its own is walked, not understood."""
    if len(made.args) == 3 and made.args[2] == b"b":  # the typecode of the empty array that the state then fills
        to.blobs[id(made)] = 1
    state = made.state
    if type(state) is not tuple or len(state) not in (4, 5):
        return [] if state is None else [("state", state)]
    shape, dtype, _, data = state[-4:]
    return _array(to, name, shape, dtype, data)


def from_buffer(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_frombuffer(data, dtype, shape, order)"""
    if len(made.args) != 4:
        raise Unreadable("malformed", f"array {name[:80]!r}: _frombuffer needs 4 arguments")
    data, dtype, shape, _ = made.args
    return _array(to, name, shape, dtype, data)


def scalar(to: Collector, name: str, made: Object) -> list[Child] | None:
    """scalar(dtype, data): a plain value where it is a number"""
    if len(made.args) != 2:
        return None
    code, _ = _dtype(name, made.args[0])
    data, _ = _buffer(to, made.args[1])
    if code == "O":
        return [(None, made.args[1])]
    form = _SCALARS.get(code)
    if form is None or data is None or len(data) != form.size:
        return None
    value = form.unpack(data)[0]
    return [(None, value)]


def _array(to: Collector, name: str, shape: Value, dtype: Value, data: Value) -> list[Child] | None:
    if type(shape) is not tuple:
        raise Unreadable("malformed", f"array {name[:80]!r}: its shape isn't a tuple")
    count = 1
    for length in shape:
        if type(length) is not int or length < 0:
            raise Unreadable("malformed", f"array {name[:80]!r}: its shape isn't made of lengths")
        count *= length
        if count > MOST or length > MOST:
            raise Unreadable("inconsistent", f"array {name[:80]!r}: a shape larger than any memory")
    code, size = _dtype(name, dtype)
    if code == "O":
        if type(data) is not list or len(data) != count:
            raise Unreadable("inconsistent", f"array {name[:80]!r}: {count} objects announced, others given")
        return to.members(data)
    raw, key = _buffer(to, data)
    if raw is None or len(raw) != count * size:
        found = "no bytes" if raw is None else f"{len(raw)} bytes"
        raise Unreadable("inconsistent", f"array {name[:80]!r}: {count} x {size} bytes announced, {found} given")
    known = KINDS.get(code)
    if known is None and code in TORCH_DTYPES:
        element = TORCH_DTYPES[code]
    elif known is not None:
        element = Dtype(DTYPE_CODES[known], size)
    else:  # texts, records, long doubles: as bytes
        element, shape, count = _BYTES, (*shape, size), len(raw)
    storage = to.buffers.get(key)
    if storage is None:
        storage = to.buffers[key] = to.storages.add(element, len(raw))
    to.row(name, Slice(storage, element, 0, len(raw)), element, 0, shape, Extent(count, count, False))
    return None


def _buffer(to: Collector, data: Value) -> tuple[bytes | None, int]:
    """The bytes of a buffer and its identity; protocols below 3 write bytes as _codecs.encode(text, "latin1")."""
    key = id(data)
    if type(data) is Object and data.callee.path == "_codecs.encode" and data.args and type(data.args[0]) is str:
        try:
            return data.args[0].encode("latin-1"), key
        except UnicodeError as error:
            raise Unreadable("malformed", "bytes written as text that isn't Latin-1") from error
    if type(data) is Object and data.callee.path in _BUFFERS:
        data = data.args[0] if data.args else b""
    if type(data) is bytes:
        to.blobs[key] = len(data)
        return data, key
    if type(data) is str and data.isascii():
        return data.encode(), key
    return None, key


def _dtype(name: str, value: Value) -> tuple[str, int]:
    """Kind and bytes of an item: ("f4", 4), ("O", 8), ("bfloat16", 2); raises `Unreadable` ("unsupported")."""
    if type(value) is Object and value.callee.path == "numpy.dtype" and value.args:
        code, state = value.args[0], value.state
        if type(code) is str:
            bare = code.lstrip("<>|=")
            if bare[:1] in "?":
                return "b1", 1
            digits = bare[1:]
            size = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
            if bare[:1] in "OVSUa" and type(state) is tuple and len(state) > 5:
                flexible = state[5]
                if type(flexible) is int and 0 <= flexible <= MOST:
                    size = flexible
            if bare[:1] == "U" and type(state) is not tuple:
                size *= 4
            return ("O", 8) if bare[:1] == "O" else (bare, size)
        if type(code) is Global and code.name in TORCH_DTYPES:  # ml_dtypes
            return code.name, TORCH_DTYPES[code.name].bytes
    raise Unreadable("unsupported", f"array {name[:80]!r}: of a dtype that isn't known")
