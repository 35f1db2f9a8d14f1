"""joblib's pickles: an object whose NumPy arrays stand as raw bytes amid the opcodes. Estimators of scikit-learn are saved so.

Source: joblib, `joblib/numpy_pickle.py`. Those that joblib compresses are streams of zlib, gzip, bz2, xz or lzma around this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightguard.errors import Unreadable
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.values import Accounts

if TYPE_CHECKING:
    from weightguard.formats._joblib_stream import Cut, Stream
    from weightguard.formats._pickle.abstract import Globals, Value
    from weightguard.formats._pickle.rebuild import Collector
    from weightguard.formats._pickle.storages import Dtype

NAME = "joblib"
SPEC = "joblib, joblib/numpy_pickle.py, at 1.5; CPython, Lib/pickletools.py"


def sniff(head: bytes, tail: bytes) -> bool:
    """A pickle that names joblib's wrapper of an array before it has one."""
    return head[:1] == b"\x80" and b"NumpyArrayWrapper" in head and b"joblib.numpy_pickle" in head


def read(source: ByteSource, limits: Limits) -> Container:
    """The arrays and plain values. Raises `Unreadable`; what it would have called stands in the detail."""
    from weightguard.formats._pickle.abstract import Globals
    from weightguard.formats._pickle.findings import naming_calls

    seen = Globals()
    with naming_calls(seen):
        return _read(source, limits, seen)


def _read(source: ByteSource, limits: Limits, seen: Globals) -> Container:
    from weightguard.formats._joblib_stream import scan
    from weightguard.formats._pickle.findings import pickle_findings
    from weightguard.formats._pickle.legacy import load_nested
    from weightguard.formats._pickle.rebuild import Collector
    from weightguard.formats._pickle.storages import Storages

    stream = scan(source, 0, limits)
    to = Collector(Storages(), limits)
    value = _run(stream, limits, seen, to)
    if seen.persistent:
        raise Unreadable("unsupported", "joblib: a pickle that refers to data outside of it")
    stray = load_nested(seen, to, limits)
    to.walk(value)
    tensors, padding = _sum(stream)
    constants = sum(to.storages.sizes) - tensors  # arrays within the pickle, as bytes of it
    unexplained = source.size - stream.end + stray + to.storages.uncovered() + to.stray_bytes(seen.blobs)
    findings = pickle_findings(seen, to, source.name, limits)
    room = max(0, source.size - padding - unexplained)
    held = min(room, tensors + constants - to.storages.uncovered())
    return Container(NAME, to.table(), {}, to.scalars, tuple(findings), Accounts(held, room - held, padding, unexplained))


def _sum(stream: Stream) -> tuple[int, int]:
    """Bytes of arrays, and of padding before them, in a stream and those within it."""
    tensors = padding = 0
    for cut in stream.cuts:
        inner = _sum(cut.nested) if cut.nested else (cut.size, cut.padding)
        tensors, padding = tensors + inner[0], padding + inner[1]
    return tensors, padding


def _run(stream: Stream, limits: Limits, seen: Globals, to: Collector) -> Value:
    """What the pickle makes, each wrapper replaced by its array."""
    from weightguard.formats._pickle.machine import run

    value, end = run(stream.data, 0, limits, seen)
    if end != len(stream.data):
        raise Unreadable("malformed", "joblib: a pickle that stops early")
    arrays = [_array(cut, limits, seen, to) for cut in stream.cuts]
    _put_arrays(value, arrays)
    to.kept.append(arrays)
    return value


def _array(cut: Cut, limits: Limits, seen: Globals, to: Collector) -> tuple[Value, ...]:
    """Arguments of a call that stands for an array: the tensor that torch would rebuild, or what an array of objects holds."""
    from weightguard.formats._pickle.abstract import Persistent
    from weightguard.formats._pickle.storages import Slice

    if cut.nested:
        return (_run(cut.nested, limits, seen, to),)
    element, shape = _element(cut)
    strides: list[int] = []
    step = 1
    for length in reversed(shape):
        strides.append(step)
        step *= length
    reference = Persistent(None)
    reference.slice = Slice(to.storages.add(element, cut.size), element, 0, cut.size)
    return reference, 0, shape, tuple(reversed(strides))


def _element(cut: Cut) -> tuple[Dtype, tuple[int, ...]]:
    """The type of an array's numbers, and its shape; texts, records and long doubles are bytes."""
    from weightguard.formats._pickle.storages import Dtype
    from weightguard.tensors import DTYPE_CODES

    kind = {"b": "BOOL", "i": f"I{8 * cut.item}", "u": f"U{8 * cut.item}", "f": f"F{8 * cut.item}", "c": f"C{8 * cut.item}"}
    name = kind.get(cut.code[0], "I64" if cut.code[0] in "mM" else "")
    if name in DTYPE_CODES and name not in ("F96", "C32"):
        return Dtype(DTYPE_CODES[name], cut.item), cut.shape
    return Dtype(DTYPE_CODES["U8"], 1), (*cut.shape, cut.item)


def _put_arrays(root: Value, arrays: list[tuple[Value, ...]]) -> None:
    """Makes each wrapper below `root` the call that stands for its array: its second state is the array's number."""
    from weightguard.formats._joblib_stream import WRAPPER
    from weightguard.formats._pickle.abstract import Global, Object

    tensor, objects = Global("torch._utils", "_rebuild_tensor"), Global("numpy", "ndarray")
    met: set[int] = set()
    todo: list[Value] = [root]
    while todo:
        value = todo.pop()
        if isinstance(value, (list, tuple)):
            if id(value) not in met:
                met.add(id(value))
                todo.extend(value)
        elif isinstance(value, Object) and id(value) not in met:
            met.add(id(value))
            state = value.state
            if value.callee.name == "NumpyArrayWrapper" and value.callee.module in WRAPPER:
                if type(state) is not list or len(state) != 2 or type(state[1]) is not int or not 0 <= state[1] < len(arrays):
                    raise Unreadable("malformed", "joblib: an array that is described twice, or not at all")
                value.args, value.state = arrays[state[1]], None
                value.callee = tensor if len(value.args) == 4 else objects
                continue
            todo += [value.args, state, value.items, value.elements]
