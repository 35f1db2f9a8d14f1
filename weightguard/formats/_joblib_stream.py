"""Where the arrays lie in a stream of joblib: their raw bytes stand amid the opcodes, each behind the object that describes it.

Source: joblib, `joblib/numpy_pickle.py` (`NumpyArrayWrapper.write_array`, `NumpyUnpickler.load_build`): after the BUILD of a wrapper
come one byte, the length of a padding of 0xff bytes (where the wrapper has `numpy_array_alignment_bytes`), and the elements; for an
array of objects a whole pickle instead. Opcodes, their arguments and what they do to the stack: CPython, `pickletools`.
"""

from __future__ import annotations

import pickletools
from typing import NamedTuple

from weightguard.errors import Unreadable
from weightguard.limits import Limits
from weightguard.stores import ByteSource

WRAPPER = ("joblib.numpy_pickle", "sklearn.externals.joblib.numpy_pickle")
_WRAPPERS = [(m, "NumpyArrayWrapper") for m in WRAPPER]
_LARGE = "\0large"  # a dictionary of which not all is kept
_OPCODES = 4_000_000
_DEPTH = 8  # pickles within pickles
_MARK = object()
_PIECE = 1 << 20
_MOST = (1 << 62) - 1


class Cut(NamedTuple):
    """An array's bytes. begin, size: of its elements in the file. nested: the pickle of an array of objects, else None.

    code: the dtype as NumPy writes it, without byte order. item: bytes of an element. padding: bytes before the elements.
    """

    begin: int
    size: int
    code: str
    item: int
    shape: tuple[int, ...]
    padding: int
    nested: Stream | None


class Stream(NamedTuple):
    """A pickle without its arrays. data: its opcodes; after each wrapper's state a second one, the number of its cut."""

    data: bytes
    cuts: list[Cut]
    end: int


class _Made:
    """What NEWOBJ or REDUCE made, as far as it matters here."""

    __slots__ = ("args", "callee", "state")

    def __init__(self, callee: object, args: object) -> None:
        self.callee = callee
        self.args = args
        self.state: object = None


def scan(source: ByteSource, start: int, limits: Limits) -> Stream:
    """The pickle at byte `start`. Raises `Unreadable` ("truncated", "malformed", "unsupported", "limit")."""
    budget = [_OPCODES, limits.pickle_bytes]
    return _scan(source, start, budget, 0)


def _scan(source: ByteSource, start: int, budget: list[int], depth: int) -> Stream:
    if depth > _DEPTH:
        raise Unreadable("limit", f"joblib: pickles within pickles, more than {_DEPTH} deep")
    reader = _Reader(source, start, budget)
    kept: list[bytes] = []
    cuts: list[Cut] = []
    stack: list[object] = []
    memo: dict[int, object] = {}
    begin = start
    try:
        while True:
            op, argument = reader.next()
            if op == "STOP":
                kept.append(reader.since(begin))
                return Stream(b"".join(kept), cuts, reader.at)
            _step(op, argument, stack, memo)
            if op != "BUILD" or not _is_wrapper(stack[-1]):
                continue
            kept.append(reader.since(begin) + b"J" + len(cuts).to_bytes(4, "little") + b"b")
            cut = _cut(source, reader.at, stack[-1], budget, depth)
            cuts.append(cut)
            begin = cut.nested.end if cut.nested else cut.begin + cut.size
            reader.go(begin)
    except (IndexError, KeyError) as error:
        raise Unreadable("malformed", f"joblib: no pickle, before byte {reader.at}") from error


def _cut(source: ByteSource, at: int, wrapper: object, budget: list[int], depth: int) -> Cut:
    """The array that a wrapper at byte `at` describes."""
    state = wrapper.state if isinstance(wrapper, _Made) else None
    if not isinstance(state, dict) or _LARGE in state:
        raise Unreadable("malformed", "joblib: an array without a description")
    shape, dtype = state.get("shape"), state.get("dtype")
    code, item, objects = _dtype(dtype)
    if not isinstance(shape, tuple) or len(shape) > 64:
        raise Unreadable("malformed", "joblib: an array whose shape is no tuple")
    count = 1
    lengths: list[int] = []
    for length in shape:
        if type(length) is not int or not 0 <= length <= _MOST:
            raise Unreadable("malformed", "joblib: an array whose shape isn't made of lengths")
        lengths.append(length)
        count *= length
    if objects:
        return Cut(at, 0, code, item, tuple(lengths), 0, _scan(source, at, budget, depth + 1))
    padding = 0
    if state.get("numpy_array_alignment_bytes") is not None:
        padding = 1 + source.read(at, 1)[0]
        if source.read(at + 1, padding - 1).strip(b"\xff"):
            raise Unreadable("inconsistent", "joblib: the padding before an array isn't 0xff")
    if at + padding + count * item > source.size:
        raise Unreadable("truncated", f"joblib: an array of {count} x {item} bytes at byte {at} of {source.size}")
    return Cut(at + padding, count * item, code, item, tuple(lengths), padding, None)


def _is_wrapper(value: object) -> bool:
    return isinstance(value, _Made) and value.callee in _WRAPPERS


def _dtype(value: object) -> tuple[str, int, bool]:
    """(code without byte order, bytes of an item, whether it holds objects) of a numpy.dtype."""
    args = value.args if isinstance(value, _Made) else None
    code = args[0] if isinstance(args, tuple) and args else None
    if not isinstance(value, _Made) or value.callee != ("numpy", "dtype") or not isinstance(code, str):
        raise Unreadable("unsupported", "joblib: an array of a dtype that isn't known")
    bare = code.lstrip("<>|=")
    digits = bare[1:]
    size = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
    state = value.state
    flexible = state[5] if isinstance(state, tuple) and len(state) > 5 else None
    if bare[:1] in ("S", "U", "V") and type(flexible) is int and flexible >= 0:
        size = flexible
    elif bare[:1] == "U":
        size *= 4
    if bare[:1] == "V" and isinstance(state, tuple) and len(state) > 7 and type(state[7]) is int and state[7] & 1:
        raise Unreadable("unsupported", "joblib: an array of records that hold objects")
    if bare == "?":
        bare, size = "b1", 1
    if bare[:1] not in tuple("biufcSUVmMO") or (not size and bare[:1] in tuple("biufcmM")):
        raise Unreadable("unsupported", f"joblib: an array of the dtype {code[:40]!r}")
    return bare, size, bare[:1] == "O"


def _step(op: str, argument: object, stack: list[object], memo: dict[int, object]) -> None:
    """What an opcode does to the stack; of values only those that describe arrays are kept."""
    if op in _CONSTANTS:
        stack.append(_CONSTANTS[op])
    elif op in _VALUES:
        stack.append(argument)
    elif op == "MARK":
        stack.append(_MARK)
    elif op in _TUPLES:
        count = _TUPLES[op]
        values = tuple(stack[len(stack) - count :]) if count else ()
        if len(values) != count:
            raise IndexError
        del stack[len(stack) - count :]
        stack.append(values)
    elif op == "TUPLE":
        stack.append(tuple(_to_mark(stack)))
    elif op in ("EMPTY_DICT", "DICT"):
        if op == "DICT":
            _to_mark(stack)
        stack.append({})
    elif op in ("SETITEMS", "SETITEM"):
        items = _to_mark(stack) if op == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
        target = stack[-1]
        if isinstance(target, dict):
            few = items if len(items) <= 64 else []  # no wrapper has more
            target.update({k: v for k, v in zip(few[::2], few[1::2], strict=False) if isinstance(k, str)})
            target |= {_LARGE: None} if len(items) > 64 else {}
    elif op in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
        memo[len(memo) if op == "MEMOIZE" else _index(argument)] = stack[-1]
    elif op in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[_index(argument)])
    elif op == "STACK_GLOBAL":
        name, module = stack.pop(), stack.pop()
        stack.append(_name((module, name)))
    elif op == "GLOBAL":
        stack.append(_name(argument))
    elif op in ("NEWOBJ", "REDUCE"):
        args, callee = stack.pop(), stack.pop()
        if isinstance(args, tuple) and any(a in _WRAPPERS for a in args if isinstance(a, tuple)):
            raise Unreadable("unsupported", "joblib: an array's wrapper that is made in another way than joblib does")
        stack.append(_Made(callee, args))
    elif op == "BUILD":
        state, target = stack.pop(), stack[-1]
        if isinstance(target, _Made):
            if target.state is not None and target.callee in _WRAPPERS:
                raise Unreadable("inconsistent", "joblib: an array that is described twice")
            target.state = state
    elif op in ("INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
        raise Unreadable("unsupported", f"joblib: the opcode {op}, which joblib doesn't write")
    elif op == "DUP":
        stack.append(stack[-1])
    elif op == "POP":
        stack.pop()
    elif op == "POP_MARK":
        _to_mark(stack)
    else:
        _effects(op, stack)


def _name(pair: object) -> object:
    """A global as (module, name); a wrapper must be named as joblib names it, or its array would not be seen."""
    if isinstance(pair, tuple) and isinstance(pair[1], str) and pair[1].endswith("NumpyArrayWrapper") and pair not in _WRAPPERS:
        raise Unreadable("unsupported", f"joblib: {pair!r:.80} is not where joblib keeps its wrapper")
    return pair


def _effects(op: str, stack: list[object]) -> None:
    """An opcode by its description: so many values off, or all down to the mark, and so many on."""
    before, marked, after = _EFFECTS[op]
    if marked:
        _to_mark(stack)
    for _ in range(before):
        if stack.pop() is _MARK:
            raise IndexError
    stack.extend([None] * after)


def _to_mark(stack: list[object]) -> list[object]:
    values: list[object] = []
    while (value := stack.pop()) is not _MARK:
        values.append(value)
    return values[::-1]


def _index(argument: object) -> int:
    if type(argument) is not int or not 0 <= argument < 1 << 32:
        raise Unreadable("malformed", "joblib: a memo index out of range")
    return argument


class _Reader:
    """Opcodes of a source, one after another, in pieces."""

    def __init__(self, source: ByteSource, at: int, budget: list[int]) -> None:
        self.at = at
        self._source = source
        self._budget = budget
        self._base = at
        self._piece = b""

    def go(self, at: int) -> None:
        self.at = at

    def since(self, begin: int) -> bytes:
        """The bytes from `begin` to here, within the budget of what is kept."""
        self._budget[1] -= self.at - begin
        if self._budget[1] < 0:
            raise Unreadable("limit", "joblib: a pickle larger than weightguard reads")
        return self._source.read(begin, self.at - begin)

    def next(self) -> tuple[str, object]:
        """The name of an opcode and, where it describes something, its argument; `at` is after it."""
        self._budget[0] -= 1
        if self._budget[0] < 0:
            raise Unreadable("limit", f"joblib: more than {_OPCODES} opcodes")
        code = self._take(1)
        found = _CODES.get(code)
        if found is None:
            raise Unreadable("malformed", f"joblib: byte {code[0]:#04x} at {self.at - 1} is no opcode")
        name, width = found
        if width == 0:
            return name, None
        if width > 0:
            data = self._take(width)
            return name, int.from_bytes(data, "little", signed=name == "BININT") if name in _NUMBERS else None
        if width == -1:  # lines
            lines = [self._line() for _ in range(2 if name in ("GLOBAL", "INST") else 1)]
            if name == "GLOBAL":
                return name, (lines[0].decode("utf-8", "replace"), lines[1].decode("utf-8", "replace"))
            if name in ("PUT", "GET", "INT"):
                return name, int(lines[0]) if lines[0].isdigit() and len(lines[0]) < 20 else None
            return name, None
        length = int.from_bytes(self._take(-width // 10), "little")  # counted bytes
        if self.at + length > self._source.size:
            raise Unreadable("truncated", f"joblib: an argument of {length} bytes at byte {self.at} of {self._source.size}")
        if name in _TEXTS and length <= 256:
            return name, self._take(length).decode("utf-8", "replace")
        if name == "LONG1" and length <= 9:
            return name, int.from_bytes(self._take(length), "little", signed=True)
        self.at += length
        return name, None

    def _take(self, length: int) -> bytes:
        i = self.at - self._base
        if not 0 <= i <= len(self._piece) - length:
            if self.at + length > self._source.size:
                raise Unreadable("truncated", "joblib: ends before the STOP of its pickle")
            self._base, i = self.at, 0
            self._piece = self._source.read(self.at, min(_PIECE, self._source.size - self.at))
        self.at += length
        return self._piece[i : i + length]

    def _line(self) -> bytes:
        begin = self.at
        if self.at < self._source.size:
            self._take(1)
            self.at = begin
        i = self._piece.find(b"\n", self.at - self._base)
        if i < 0:
            self._base = self.at
            self._piece = self._source.read(self.at, min(_PIECE, self._source.size - self.at))
            i = self._piece.find(b"\n")
        if i < 0:
            raise Unreadable("malformed", f"joblib: a line without an end, at byte {begin}")
        line = self._piece[begin - self._base : i]
        self.at = self._base + i + 1
        return line.strip()


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NUMBERS = frozenset("BININT BININT1 BININT2 BINPUT LONG_BINPUT BINGET LONG_BINGET".split())
_TEXTS = frozenset("SHORT_BINUNICODE BINUNICODE BINUNICODE8".split())
_VALUES = _TEXTS | frozenset("BININT BININT1 BININT2 INT LONG1".split())
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_COUNTED = {  # arguments with a length before them: by how many bytes it has, times -10
    pickletools.TAKEN_FROM_ARGUMENT1: -10,
    pickletools.TAKEN_FROM_ARGUMENT4: -40,
    pickletools.TAKEN_FROM_ARGUMENT4U: -40,
    pickletools.TAKEN_FROM_ARGUMENT8U: -80,
}


def _describe(op: pickletools.OpcodeInfo) -> tuple[tuple[str, int], tuple[int, bool, int]]:
    """(name, width of the argument) and (values off, down to a mark, values on) of an opcode."""
    length = 0 if op.arg is None else op.arg.n
    width = _COUNTED.get(length, length)  # UP_TO_NEWLINE is -1, and stays
    before = [s for s in op.stack_before if s not in (pickletools.markobject, pickletools.stackslice)]
    marked = pickletools.markobject in op.stack_before
    return (op.name, width), (len(before), marked, len(op.stack_after))


_DESCRIBED = {op.code.encode("latin-1"): _describe(op) for op in pickletools.opcodes}
_CODES = {code: first for code, (first, _) in _DESCRIBED.items()}
_EFFECTS = {first[0]: second for first, second in _DESCRIBED.values()}
