"""The graphs of an ONNX model: every tensor that they store or build, by the names that their nodes know them by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Final

from weightguard.errors import Unreadable
from weightguard.formats._onnx.quantized import PASSES_ON, Uses
from weightguard.formats._onnx.schema import ATTRIBUTE, FUNCTION, GRAPH, NODE, SPARSE, TRAINING
from weightguard.formats._onnx.tensors import Place, Tensor, data_type, read_tensor
from weightguard.formats._protobuf import Extent, Message, Numbers, Reader
from weightguard.formats._rows import Rows, called
from weightguard.tensors import DTYPE_CODES, FLOATING

KNOWN_DOMAINS: Final = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft"}
)
_RANDOM: Final = ("RandomNormal", "RandomUniform")
_FEW = 64  # numbers in an attribute that are settings of its operator; more are data
_MOST_RANK = 64
_I64, _F32, _STRING = DTYPE_CODES["I64"], DTYPE_CODES["F32"], DTYPE_CODES["STRING"]


@dataclass(frozen=True)
class Value:
    """What is known of a value before the graph runs. row: of the table, -1 for none. ints: its numbers, if they are a few."""

    row: int
    dims: tuple[int, ...] | None = None
    ints: tuple[int, ...] | None = None


# onnxruntime-extensions (PyOp) and onnxruntime-training (PythonOp, PythonOpGrad)
_PYTHON = frozenset({"PyOp", "PyCustomOp", "PythonOp", "PythonOpGrad"})
_UNKNOWN = Value(-1)


@dataclass(frozen=True)
class Scope:
    """The names of a graph, and those of the graph around it."""

    around: Scope | None = None
    values: dict[str, Value] = field(default_factory=dict)

    def find(self, name: str) -> Value:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.around
        return _UNKNOWN

    def define(self, name: str, value: Value) -> None:
        """Raises `Unreadable` where the graph has given the name already: readers would disagree on it."""
        if name in self.values:
            raise Unreadable("malformed", f"{called(name)} is defined twice in one graph")
        self.values[name] = value


@dataclass
class Graphs:
    """Collects the rows of all graphs of a model, what its nodes do with them, and the domains of its operators.

    places: where those rows lie that are in other files.
    """

    reader: Reader
    rows: Rows
    places: dict[int, Place] = field(default_factory=dict)
    uses: Uses = field(default_factory=Uses)
    domains: set[str] = field(default_factory=set)
    python: set[str] = field(default_factory=set)

    def graph(self, extent: Extent, prefix: str, around: Scope | None, depth: int) -> None:
        """A GraphProto, with all graphs inside of it."""
        message = self.reader.message(GRAPH, extent, depth)
        scope = Scope(around)
        for place in message.get("initializer", ()):
            tensor = read_tensor(self.reader, place, depth + 1)
            scope.define(tensor.name, self._value(prefix + tensor.name, tensor))
        for place in message.get("sparse_initializer", ()):
            name, value = self._sparse(place, prefix, depth + 1)
            scope.define(name, value)
        self._nodes(message, prefix, scope, depth + 1)

    def function(self, extent: Extent, depth: int) -> None:
        """A FunctionProto: its constants are stored once, however often it is called."""
        message = self.reader.message(FUNCTION, extent, depth)
        prefix = f"{message.get('name', '')}{message.get('overload', '')}."
        for place in message.get("attribute_proto", ()):  # defaults of its attributes
            attribute = self.reader.message(ATTRIBUTE, place, depth + 1)
            self._attribute(attribute, prefix + attribute.get("name", ""), None, depth + 1, all_numbers=False)
        self._nodes(message, prefix, Scope(), depth + 1)

    def training(self, extent: Extent, number: int, depth: int) -> None:
        """A TrainingInfoProto: the graphs that start and take a step of training."""
        message = self.reader.message(TRAINING, extent, depth)
        for name in ("initialization", "algorithm"):
            if name in message:
                self.graph(message[name], f"training_info.{number}.{name}.", None, depth + 1)

    def _nodes(self, message: Message, prefix: str, scope: Scope, depth: int) -> None:
        for number, place in enumerate(message.get("node", ())):
            self._node(self.reader.message(NODE, place, depth), number, prefix, scope, depth)

    def _node(self, node: Message, number: int, prefix: str, scope: Scope, depth: int) -> None:
        op_type, domain = node.get("op_type", ""), node.get("domain", "")
        domain = "" if domain == "ai.onnx" else domain
        self.domains.add(domain)
        if domain and op_type in _PYTHON:
            self.python.add(f"{domain}.{op_type}")
        if op_type == "EPContext":
            raise Unreadable("unsupported", "an EPContext node: its weights are compiled for a device")
        outputs: Sequence[str] = node.get("output", ())
        label = prefix + (outputs[0] if outputs and outputs[0] else node.get("name") or f"{op_type}_{number}")
        inputs = [scope.find(name) if name else _UNKNOWN for name in node.get("input", ())]
        constant = domain == "" and op_type == "Constant"
        numbers: dict[str, int] = {}
        shape: tuple[int, ...] | None = None
        stored = _UNKNOWN
        built = _F32
        for place in node.get("attribute", ()):
            attribute = self.reader.message(ATTRIBUTE, place, depth + 1)
            name = attribute.get("name", "")
            if "i" in attribute:
                numbers[name] = attribute["i"]
            if name == "shape" and "ints" in attribute:
                shape = _few_ints(self.reader, attribute["ints"])
            if op_type == "ConstantOfShape" and name == "value" and "t" in attribute and not domain:
                tensor = read_tensor(self.reader, attribute.pop("t"), depth + 2)
                built = tensor.dtype
                if prod(tensor.dims) != 1:
                    self._value(f"{label}.{name}", tensor)
            row_name = label if constant else f"{label}.{name}"
            stored = self._attribute(attribute, row_name, scope, depth + 1, constant or domain == "ai.onnx.ml")
        if constant and outputs:
            scope.define(outputs[0], stored)
            return
        if domain == "":
            built_shape = _built_shape(op_type, inputs, shape)
            if op_type in _RANDOM and "dtype" in numbers:
                built, _ = data_type(numbers["dtype"], label)
            elif built_shape is not None and op_type in ("Expand", "Tile"):
                built = self.rows.dtypes[inputs[0].row] if inputs[0].row >= 0 else _I64
            if built_shape is not None and built in FLOATING and outputs:
                tensor = Tensor(outputs[0], built, built_shape, 0)
                scope.define(outputs[0], self._value(label, tensor))
            elif op_type in PASSES_ON and inputs and outputs and inputs[0].row >= 0:
                scope.define(outputs[0], Value(inputs[0].row, ints=inputs[0].ints if op_type == "Identity" else None))
                return  # what takes its output takes the row
        self.uses.note(domain, op_type, [v.row for v in inputs], numbers, self.rows)

    def _attribute(self, attribute: Message, name: str, scope: Scope | None, depth: int, all_numbers: bool) -> Value:
        """The rows of one attribute; what a Constant that has it holds."""
        value = _UNKNOWN
        if "s" in attribute:
            self.reader.note(attribute["s"])
        for key in ("t", "sparse_tensor"):
            if key in attribute:
                value = self._tensor(key, attribute[key], name, depth + 1)
        for key in ("tensors", "sparse_tensors"):
            for number, place in enumerate(attribute.get(key, ())):
                self._tensor(key, place, f"{name}.{number}", depth + 1)
        for number, place in enumerate([attribute["g"]] if "g" in attribute else attribute.get("graphs", ())):
            if "g" in attribute and "graphs" in attribute:
                raise Unreadable("malformed", f"attribute {name[:80]!r} holds a graph and graphs")
            self.graph(place, f"{name}." if "g" in attribute else f"{name}.{number}.", scope, depth + 1)
        for key, dtype in (("floats", _F32), ("ints", _I64)):
            numbers: Numbers = attribute.get(key, Numbers())
            if numbers.count > _FEW or (numbers.count and all_numbers):
                self.reader.data += numbers.bytes
                ints = _few_ints(self.reader, numbers) if dtype == _I64 else None
                value = self._value(name, Tensor(name, dtype, (numbers.count,), numbers.bytes, ints=ints))
        strings: Numbers = attribute.get("strings", Numbers())
        if strings.content > _FEW << 6:
            self.reader.data += strings.bytes
            value = self._value(name, Tensor(name, _STRING, (strings.content,), strings.bytes))
        if "f" in attribute and all_numbers:
            value = self._value(name, Tensor(name, _F32, (), 4))
            self.reader.data += 4
        if "i" in attribute and all_numbers:
            value = Value(-1, (), (attribute["i"],))
        return value

    def _tensor(self, key: str, place: Extent, name: str, depth: int) -> Value:
        if key.startswith("sparse"):
            return self._sparse(place, name, depth, named=False)[1]
        return self._value(name, read_tensor(self.reader, place, depth))

    def _value(self, name: str, tensor: Tensor) -> Value:
        """A row for a tensor, and what is known of it."""
        ints = tensor.ints if len(tensor.dims) <= 1 else None
        return Value(self._row(name, tensor), tensor.dims, ints)

    def _row(self, name: str, tensor: Tensor) -> int:
        row = self.rows.add(name, tensor.dtype, tensor.dims, tensor.span)
        if tensor.place is not None:
            self.places[row] = tensor.place
        return row

    def _sparse(self, place: Extent, prefix: str, depth: int, named: bool = True) -> tuple[str, Value]:
        """A SparseTensorProto, counted as the tensor that it stands for: what is zero may have been trained."""
        message = self.reader.message(SPARSE, place, depth)
        if "values" not in message or "indices" not in message:
            raise Unreadable("malformed", f"a sparse tensor without values or indices, at byte {place[0]}")
        values, indices = (read_tensor(self.reader, message[k], depth + 1) for k in ("values", "indices"))
        dims = tuple(message.get("dims", ()))
        stored, rank = prod(values.dims), len(dims)
        if any(d < 0 for d in dims) or stored > prod(dims) or prod(indices.dims) not in (stored, stored * rank):
            raise Unreadable("inconsistent", f"{called(values.name)} has more values or indices than its shape")
        name = prefix + values.name if named else prefix
        row = self._row(name, Tensor(name, values.dtype, dims, values.span, values.place))
        self._row(f"{name}.indices", indices)
        return values.name, Value(row, dims)


def _few_ints(reader: Reader, numbers: Numbers) -> tuple[int, ...] | None:
    values = reader.integers(numbers, _MOST_RANK)
    return None if values is None else tuple(values)


def _built_shape(op_type: str, inputs: Sequence[Value], shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The shape of what an operator builds from constants alone; None if it does not, or takes it from what it is fed."""
    if op_type in _RANDOM:
        return shape
    if op_type == "ConstantOfShape":
        return inputs[0].ints if inputs else None
    if op_type not in ("Expand", "Tile") or len(inputs) != 2 or inputs[0].dims is None or inputs[1].ints is None:
        return None
    dims, by = inputs[0].dims, inputs[1].ints
    if op_type == "Tile":
        return tuple(d * n for d, n in zip(dims, by, strict=True)) if len(dims) == len(by) else None
    rank = max(len(dims), len(by))
    left, right = ((1,) * (rank - len(x)) + tuple(x) for x in (dims, by))
    return tuple(b if a == 1 else a for a, b in zip(left, right, strict=True))
