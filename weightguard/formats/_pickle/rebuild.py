"""From an abstract pickle value to rows of a tensor table, by the rules of torch's own rebuild functions.

Sources: PyTorch `torch/_utils.py`, `torch/_tensor.py` and `torch/serialization.py`: the functions named in
`_HANDLERS` and the order of their arguments. NumPy's rules are in `arrays`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats._pickle import arrays
from weightguard.formats._pickle.abstract import Dict, Global, Object, Persistent, Run, Value
from weightguard.formats._pickle.distributed import shape_elsewhere
from weightguard.formats._pickle.join import joined
from weightguard.formats._pickle.layout import MOST, Extent, extent
from weightguard.formats._pickle.storages import PAIRED, TORCH_DTYPES, Dtype, Slice, Storages
from weightguard.formats.protocol import Scalar
from weightguard.limits import Limits
from weightguard.tensors import TensorTable

_SCALARS = 10_000  # plain values kept
_SCALAR_TEXT = 1024  # characters of one
_LISTED = 64  # longer lists are data (histories, vocabularies), not settings
_LONG = 1 << 64
_WORD = 1024  # characters of a word, a path or a line
_CHARACTERS = 1 << 20  # of longer texts: configurations, code
_NUMBERS = 100_000  # floats in long lists: a history of the training, not weights
_PART = 1024  # characters of one key within a path
_PATH = 16_384  # characters of a path to a container
_NAMES = 1 << 28  # characters of all names
_REVISITS = 1_000_000  # containers met again by another path
_EXPANDED = 1 << 31  # values below a container, each as often as it is shared: whoever prints or compares it meets them all

# name, dtype, size, elements, storage, begin, span
_Row = tuple[str, int, Sequence[int], int, int, int, int]
Child = tuple[str | None, Value]  # None: the child has its parent's name
Handler = Callable[["Collector", str, Object], "list[Child] | None"]


_ENCODED = ("gA", "80")  # how both begin
_PLAIN = frozenset((int, float, str, bytes, bool, type(None), Global))


class _Inner(list[Child]):
    """Children that must hold at least one tensor: the parts of a tensor subclass that has no storage of its own."""


class Collector:
    """Walks abstract values and collects rows.

    storages: what the tensors lie in. scalars: plain values by dotted path. repeated, meta: whether a view that
    shows elements twice, or a tensor without data, was met. numbers: floats in long lists. blobs: bytes of constants
    that became arrays.
    """

    def __init__(self, storages: Storages, limits: Limits) -> None:
        self.storages = storages
        self.scalars: dict[str, Scalar] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}  # of torch.Size
        self.repeated = False
        self.meta = False
        self.numbers = 0
        self.integers = 0  # bytes of those of more than 64 bits
        self.characters = 0  # of long texts
        self.blobs: dict[int, int] = {}
        self.texts: list[bytes | str] = []  # constants that may be pickles themselves
        self._limits = limits
        self._rows: list[_Row] = []
        self._tables: list[TensorTable] = []  # of the rows before those in _rows
        self._count = 0  # rows of both
        self._extents: dict[tuple[int, int], Extent] = {}  # by identity: a file's shapes are few and come back
        self.kept: list[Value] = []  # what was walked: it is known by identity, so none may go
        self._characters = 0
        self._revisits = 0
        self.buffers: dict[int, int] = {}  # storages of constants that became arrays

    def table(self) -> TensorTable:
        """The rows so far."""
        self._close_rows()
        self._tables = [joined(self._tables)]
        return self._tables[0]

    def _close_rows(self) -> None:
        rows = self._rows
        if not rows:
            return
        self._rows = []
        names, dtypes, sizes, elements, storages, begins, spans = zip(*rows, strict=True)
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(size) for size in sizes], out=starts[1:])
        table = TensorTable(
            names=names,
            dtypes=np.array(dtypes, np.uint8),
            dims=np.array(list(chain.from_iterable(sizes)), np.int64),
            starts=starts,
            elements=np.array(elements, np.int64),
            storages=np.array(storages, np.int64),
            begins=np.array(begins, np.int64),
            spans=np.array(spans, np.int64),
            files=np.zeros(len(rows), np.int64),
            logical=np.full(len(rows), -1, np.int64),
        )
        self._tables.append(table)

    def stray_bytes(self, blobs: int) -> int:
        """Bytes that no rule explains: of constants that are no arrays, and of numbers in long lists beyond a history's."""
        stray = max(0, blobs - sum(self.blobs.values()))
        stray += self.integers + (self.characters if self.characters > _CHARACTERS else 0)
        return stray + (8 * self.numbers if self.numbers > _NUMBERS else 0)

    # -- the walk

    def walk(self, root: Value, prefix: str = "") -> None:
        """Rows and scalars of everything below `root`, in the file's order, without recursion.

        A container met again by another path is walked again, since its tensors have two names, unless it holds
        none; one that contains itself is cut. Raises `Unreadable`.
        """
        self.kept.append(root)
        seen: set[int] = set()
        barren: dict[int, int] = {}  # and how many values are below each
        weights = [0]  # values below each frame so far
        active: set[int] = set()
        # One frame a container: its children still to come, its path, its identity, rows before it, quiet, must hold.
        frames: list[tuple[Iterator[Child], str, int, int, bool, bool]] = []
        frames.append((iter([(None, root)]), prefix, 0, 0, False, False))
        while frames:
            children, path, identity, before, quiet, must = frames[-1]
            for part, value in children:
                kind = type(value)
                if kind in _PLAIN:
                    if not quiet:
                        self._scalar(path, part, value)
                    continue
                mark = id(value)
                if mark in active:
                    continue
                if mark in barren:
                    weights[-1] += barren[mark]
                    continue
                name = path if part is None else f"{path}.{part}" if path else part
                if kind is Run:
                    self.run(name, value)  # type: ignore[arg-type]
                    continue
                rows = self._count
                if kind is Object:
                    below = _HANDLERS.get(value.callee.path, _opaque)(self, name, value)  # type: ignore[attr-defined,arg-type]
                elif kind is Dict:
                    below = _pairs(value)  # type: ignore[arg-type]
                elif kind is Persistent:
                    below = _storage(self, name, value)  # type: ignore[arg-type]
                else:
                    below = self.members(value)  # type: ignore[arg-type]
                if not below:
                    continue
                if mark in seen:
                    self._revisits += len(below)
                    if self._revisits > _REVISITS:
                        raise Unreadable("limit", "a pickle that shares its containers too often")
                seen.add(mark)
                if len(frames) > self._limits.pickle_depth or len(name) > _PATH:
                    raise Unreadable("limit", f"containers nested deeper than {self._limits.pickle_depth}")
                active.add(mark)
                inner = type(below) is _Inner
                hush = quiet or part == "_metadata" or (kind is list and len(below) > _LISTED)
                frames.append((iter(below), name, mark, rows, hush, inner))
                weights.append(len(below))
                break
            else:
                frames.pop()
                active.discard(identity)
                weight = weights.pop()
                if weights:
                    weights[-1] += weight
                if weight > _EXPANDED:
                    raise Unreadable("limit", f"{path[:80]!r}: a value that grows to {weight} others, by sharing its parts")
                if self._count == before:
                    barren[identity] = weight
                    if must:
                        raise Unreadable("unsupported", f"{path[:80]!r}: a tensor subclass with no tensor inside")

    def members(self, values: list[Value] | tuple[Value, ...]) -> list[Child]:
        if len(values) > _LISTED:
            kinds = set(map(type, values))
            if float in kinds:
                self.numbers += sum(type(v) is float for v in values)
            if kinds <= _PLAIN:
                self._weigh(kinds, values)
                return []
        return [(str(i), v) for i, v in enumerate(values)]

    def _weigh(self, kinds: set[type], values: Iterable[Value]) -> None:
        """Counts integers and texts that are longer than numbers and words are."""
        if int in kinds:
            self.integers += sum(v.bit_length() >> 3 for v in values if type(v) is int and not -_LONG < v < _LONG)
        if str in kinds:
            self.characters += sum(len(v) for v in values if type(v) is str and len(v) > _WORD)

    def _scalar(self, path: str, part: str | None, value: Value) -> None:
        kind = type(value)
        if kind is int or kind is str:
            self._weigh({kind}, (value,))
        if kind is bytes or (kind is str and len(value) > 6 and (value[-1] == "." or value[:2] in _ENCODED)):  # type: ignore[arg-type,index]
            self.texts.append(value)  # type: ignore[arg-type]
        if kind is bytes or kind is Global or len(self.scalars) >= _SCALARS:
            return
        if kind is str and len(value) > _SCALAR_TEXT:  # type: ignore[arg-type]
            return
        if kind is int and value.bit_length() > 1024:  # type: ignore[attr-defined]
            return
        name = path if part is None else f"{path}.{part}" if path else part
        if kind is str and not value.isascii():  # type: ignore[attr-defined]
            value = _encodable(value)  # type: ignore[arg-type]
        self.scalars[name if name.isascii() else _encodable(name)] = value  # type: ignore[assignment]

    # -- rows

    def view(self, name: str, where: Slice, dtype: Dtype, offset: Value, size: Value, stride: Value) -> None:
        """A row for a strided view, in elements of `dtype`, of a slice of a storage; raises `Unreadable`."""
        if type(offset) is not int or not 0 <= offset <= MOST:
            raise Unreadable("malformed", f"tensor {name[:80]!r}: its offset isn't a number of elements")
        if type(size) is tuple and type(stride) is tuple:
            shape = id(size), id(stride)
            reach = self._extents.get(shape)
            if reach is None:
                reach = self._extents[shape] = _extent(name, size, stride)
        else:
            size, stride = _lengths(name, size), _lengths(name, stride)
            reach = _extent(name, size, stride)
        width = dtype.bytes
        if reach.span and (offset + reach.span) * width > where.bytes:  # an empty view may stand anywhere
            raise Unreadable("inconsistent", f"tensor {name[:80]!r} reaches beyond its storage")
        self.row(name, where, dtype, offset * width, size, reach)  # type: ignore[arg-type]

    def row(self, name: str, where: Slice, dtype: Dtype, offset: int, size: Sequence[int], reach: Extent) -> None:
        """A row that has been checked; `offset` in bytes within the slice."""
        elements, span, repeated = reach
        code, width = dtype
        storage, _, begin, _ = where
        begin += offset
        if elements * width == self.storages.sizes[storage]:
            self.storages.whole.add(storage)
        else:
            self.storages.cover(storage, begin, span * width, elements * width)
        if repeated:
            self.repeated = True
        if code == PAIRED:
            elements *= 2
            size = [*size[:-1], size[-1] * 2] if size else [2]
        if not name.isascii():
            name = _encodable(name)
        self._characters += len(name)
        self._rows.append((name, code, size, elements, storage, begin, span * width))
        self._grow(1)

    def _grow(self, rows: int) -> None:
        self._count += rows
        if self._count > self._limits.tensors or self._characters > _NAMES:
            raise Unreadable("limit", f"more than {self._limits.tensors} tensors")

    def run(self, path: str, run: Run) -> None:
        """The rows of a run; each is all of its storage."""
        prefix = f"{path}." if path.isascii() else f"{_encodable(path)}."
        names = [prefix + name for name in run.names] if path else run.names
        n = len(names)
        self._characters += sum(map(len, names))
        self._grow(n)
        self._close_rows()
        codes, widths = np.array(run.kinds, np.int64).T
        starts = np.zeros(n + 1, np.int64)
        np.cumsum(run.ranks, out=starts[1:])
        zeros = np.zeros(n, np.int64)
        table = TensorTable(
            names=names,
            dtypes=codes.astype(np.uint8)[run.dtypes],
            dims=run.dims,
            starts=starts,
            elements=run.elements,
            storages=np.arange(run.storage, run.storage + n, dtype=np.int64),
            begins=zeros,
            spans=run.elements * widths[run.dtypes],
            files=zeros,
            logical=np.full(n, -1, np.int64),
        )
        self.storages.whole.update(range(run.storage, run.storage + n))
        self._tables.append(table)


def _encodable(text: str) -> str:
    """Half a surrogate pair can stand in a pickle's text, and in no output: it is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _extent(name: str, size: tuple[Value, ...], stride: tuple[Value, ...]) -> Extent:
    try:
        return extent(size, stride)
    except Unreadable as error:
        raise Unreadable(error.reason, f"tensor {name[:80]!r}: {error.detail}") from error


def _storage(to: Collector, name: str, reference: Persistent | Object) -> list[Child] | None:
    """A storage that was saved by itself counts as a vector."""
    where = storage_slice(name, reference)
    count = where.bytes // where.dtype.bytes
    to.row(name, where, where.dtype, 0, (count,), Extent(count, count, False))
    return None


def storage_slice(name: str, value: Value) -> Slice:
    """What a tensor's storage argument stands for; raises `Unreadable` ("malformed")."""
    found = value.slice if type(value) is Persistent else value.state if type(value) is Object else None
    if type(found) is not Slice:
        raise Unreadable("malformed", f"tensor {name[:80]!r} has no storage")
    return found


def _lengths(name: str, value: Value) -> tuple[Value, ...]:
    """Sizes or strides: a tuple, a list, or torch.Size of one; raises `Unreadable` ("malformed")."""
    if type(value) is Object and len(value.args) == 1:
        value = value.args[0]
    if type(value) is list:
        return tuple(value)
    if type(value) is tuple:
        return value
    raise Unreadable("malformed", f"tensor {name[:80]!r}: sizes or strides aren't a list")


# -- torch's rebuild functions


def _arguments(name: str, made: Object, least: int) -> tuple[Value, ...]:
    if len(made.args) < least:
        raise Unreadable("malformed", f"tensor {name[:80]!r}: {made.callee.path} needs {least} arguments")
    return made.args


def _tensor(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_rebuild_tensor(storage, offset, size, stride), _v2(..., requires_grad, hooks, metadata), _rebuild_qtensor"""
    args = made.args
    if len(args) < 4:
        _arguments(name, made, 4)
    reference = args[0]
    where = reference.slice if type(reference) is Persistent else None
    if where is None:
        where = storage_slice(name, reference)
    to.view(name, where, where.dtype, args[1], args[2], args[3])
    return None if made.state is None else _state(made.state)


def _tensor_v3(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)"""
    args = _arguments(name, made, 7)
    to.view(name, storage_slice(name, args[0]), torch_dtype(name, args[6]), args[1], args[2], args[3])
    return _attributes(made)


def _quantised(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_rebuild_qtensor(storage, offset, size, stride, (scheme, scales, zero_points, axis), ...)"""
    args = _arguments(name, made, 5)
    _tensor(to, name, made)
    scheme = args[4]
    if type(scheme) is tuple and len(scheme) == 4:
        return [("scales", scheme[1]), ("zero_points", scheme[2])]
    return None


def _parameter(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_rebuild_parameter(data, requires_grad, hooks), _rebuild_device_tensor_from_cpu_tensor(data, ...)"""
    return [(None, _arguments(name, made, 1)[0]), *(_attributes(made) or ())]


def _parameter_with_state(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_rebuild_parameter_with_state(data, requires_grad, hooks, state)"""
    args = _arguments(name, made, 4)
    return [(None, args[0]), *_state(args[3])]


def _from_type(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_rebuild_from_type_v2(function, type, arguments, state): a tensor subclass, or a tensor with attributes"""
    args = _arguments(name, made, 4)
    function, inner = args[0], args[2]
    if type(function) is not Global or type(inner) is not tuple:
        raise Unreadable("malformed", f"tensor {name[:80]!r}: rebuilt by what isn't a function")
    if function.path == "torch._utils._rebuild_wrapper_subclass":
        return _Inner(_state(args[3]))
    tensor = Object(function, inner)
    to.kept.append(tensor)
    return [(None, tensor), *_state(args[3])]


def _wrapper(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_rebuild_wrapper_subclass(...) outside of _rebuild_from_type_v2: its data are nowhere in the file"""
    kind = made.args[0] if made.args else None
    path = kind.path if type(kind) is Global else "an unknown class"
    raise Unreadable("unsupported", f"tensor {name[:80]!r}: a tensor subclass without its parts, {path[:80]!r}")


def _sparse(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_rebuild_sparse_tensor(layout, (indices, values, size, ...)), compressed: (rows, columns, values, size)"""
    data = _arguments(name, made, 2)[1]
    if type(data) is not tuple or len(data) < 3:
        raise Unreadable("malformed", f"tensor {name[:80]!r}: a sparse tensor without its parts")
    if len(data) == 4 and type(data[2]) is Object and data[2].callee.path in _HANDLERS:
        return _Inner([("compressed_indices", data[0]), ("plain_indices", data[1]), ("values", data[2])])
    return _Inner([("indices", data[0]), ("values", data[1])])


def _nested(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_rebuild_nested_tensor(buffer, sizes, strides, offsets)"""
    args = _arguments(name, made, 4)
    return _Inner(zip(("values", "sizes", "strides", "offsets"), args, strict=False))


def _meta(to: Collector, name: str, made: Object) -> list[Child] | None:
    """_rebuild_meta_tensor_no_storage(dtype, size, stride, requires_grad): a shape with no data at all"""
    args = _arguments(name, made, 3)
    dtype = torch_dtype(name, args[0])
    where = Slice(to.storages.add(dtype, 0), dtype, 0, 0)
    size = args[1].args[0] if type(args[1]) is Object and args[1].args else args[1]
    if type(size) not in (tuple, list) or len(size) != len(extent_sizes(size)):  # type: ignore[arg-type]
        raise Unreadable("malformed", f"tensor {name[:80]!r}: not a shape")
    to.meta = True
    to.row(name, where, dtype, 0, size, Extent(0, 0, False))  # type: ignore[arg-type]
    return None


def extent_sizes(size: Iterable[Value]) -> list[int]:
    """Those of `size` that are lengths."""
    return [n for n in size if type(n) is int and 0 <= n <= MOST]


def torch_dtype(name: str, value: Value) -> Dtype:
    """A torch.dtype, which a pickle writes as a name of torch; raises `Unreadable` ("unsupported")."""
    found = TORCH_DTYPES.get(value.name) if type(value) is Global and value.module == "torch" else None
    if found is None:
        what = value.path if type(value) is Global else "what isn't a dtype"
        raise Unreadable("unsupported", f"tensor {name[:80]!r} of {what[:80]}")
    return found


# -- anything else


def _attributes(made: Object) -> list[Child] | None:
    return None if made.state is None else _state(made.state)


def _mapping(to: Collector, name: str, made: Object) -> list[Child] | None:
    """A dictionary subclass: pairs as argument (Python 2 writes a list of pairs), as items, attributes as state."""
    children: list[Child] = []
    for argument in made.args:
        if type(argument) is Dict:
            children += _pairs(argument)
        elif type(argument) is list:
            flat = Dict()
            for pair in argument:
                if type(pair) in (list, tuple) and len(pair) == 2:
                    flat.extend(pair)
                else:
                    flat.extend((None, pair))
            children += _pairs(flat)
    if made.items is not None:
        children += _pairs(made.items)
    if made.elements is not None:
        children += to.members(made.elements)
    if made.state is not None:
        children += _state(made.state)
    return children


def _opaque(to: Collector, name: str, made: Object) -> list[Child] | None:
    """An object of a class that isn't known: tensors are looked for in all that it was given."""
    if made.callee.path == "torch.Size" and (shape := shape_elsewhere(made)) is not None:
        to.shapes[name if name.isascii() else _encodable(name)] = shape
        return None
    state = made.state
    if type(state) is tuple and len(state) == 4 and type(state[0]) is Persistent:
        # The first versions of torch wrote a tensor as torch.FloatTensor() and (storage, offset, size, stride).
        return _tensor(to, name, Object(made.callee, state))
    if len(made.args) == 1 and state is None and made.items is None and made.elements is None:
        return [(None, made.args[0])]  # an enumeration's value, a device's name, a set's members
    children: list[Child] = [(str(i), v) for i, v in enumerate(made.args)]
    if made.items is not None:
        children += _pairs(made.items)
    if made.elements is not None:
        children += to.members(made.elements)
    if state is not None:
        children += _state(state)
    return children


def _state(state: Value) -> list[Child]:
    """Attributes: a dictionary, or a pair of that and the slots (CPython, `copyreg`)."""
    if type(state) is Dict:
        pairs = _pairs(state)
        keys = {part for part, _ in pairs}
        return _module(pairs) if "_parameters" in keys and "_modules" in keys else pairs
    if type(state) is tuple and len(state) == 2 and all(s is None or type(s) is Dict for s in state):
        return [child for half in state if type(half) is Dict for child in _state(half)]
    return [] if state is None else [("state", state)]


def _module(pairs: list[Child]) -> list[Child]:
    """A torch.nn.Module's tensors have the names that its state_dict() gives them."""
    children: list[Child] = []
    for part, value in pairs:
        if part in ("_parameters", "_buffers", "_modules"):
            if type(value) is Dict:
                children += _pairs(value)
                continue
            if type(value) is Object and value.items is not None and value.callee.name == "OrderedDict":
                children += _pairs(value.items)
                continue
        children.append((part, value))
    return children


def _pairs(flat: Dict) -> list[Child]:
    """The children of a dictionary; raises `Unreadable` ("inconsistent") if a key stands twice."""
    keys = flat[::2]
    runs = [k for k in keys if type(k) is Run]
    parts = [k if type(k) is str and len(k) <= _PART else _key(k) for k in keys if type(k) is not Run]
    names = [*parts, *chain.from_iterable(run.names for run in runs)] if runs else parts
    if len(set(names)) < len(names):
        met: set[tuple[type, str]] = set()
        texts = [k for k in keys if type(k) is not Run] + names[len(parts) :]
        for key, name in zip(texts, names, strict=True):
            plain = type(key) in (str, int, bool) and not (type(key) is str and len(key) > _PART)
            if plain and (type(key), name) in met:
                raise Unreadable("inconsistent", f"a dictionary names {name[:80]!r} twice")
            met.add((type(key), name))
    if runs:
        left = iter(parts)
        return [(None if type(v) is Run else next(left), v) for v in flat[1::2]]
    return list(zip(parts, flat[1::2], strict=True))


def _key(key: Value) -> str:
    """A key as part of a path."""
    if type(key) is str:
        return key[:_PART]
    if type(key) is bytes:
        return key[:_PART].decode("latin-1")
    if type(key) is int:
        return str(key) if key.bit_length() < 1024 else "int"
    if key is None or type(key) in (bool, float):
        return str(key)
    if type(key) is Global:
        return key.path[:_PART]
    return type(key).__name__.lower()


def _loaded(to: Collector, name: str, made: Object) -> list[Child] | None:
    """torch.storage._load_from_bytes(file), after `legacy.load_nested` has put in its state what the file holds"""
    if type(made.state) is Slice:
        return _storage(to, name, made)
    return [(None, made.state)]


_HANDLERS: Mapping[str, Handler] = {
    "torch.storage._load_from_bytes": _loaded,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_qtensor": _quantised,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter_with_state,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _parameter,
    "torch._utils._rebuild_device_tensor_from_numpy": _parameter,
    "torch._utils._rebuild_xla_tensor": _parameter,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_wrapper_subclass": _wrapper,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.tensor._rebuild_from_type": _from_type,
    "torch.tensor._rebuild_from_type_v2": _from_type,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    "collections.Counter": _mapping,
    "builtins.dict": _mapping,
    "__builtin__.dict": _mapping,
} | {
    f"numpy.{core}.{function}": handler
    for core in ("core", "_core")
    for function, handler in (
        ("multiarray._reconstruct", arrays.reconstructed),
        ("multiarray.scalar", arrays.scalar),
        ("multiarray._frombuffer", arrays.from_buffer),
        ("numeric._frombuffer", arrays.from_buffer),
    )
}
