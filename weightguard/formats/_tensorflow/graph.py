"""The graphs of TensorFlow: constants that their nodes hold, and operators that reach out of the graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Final

from weightguard.errors import Unreadable
from weightguard.formats._protobuf import Extent, Message, Numbers, Reader
from weightguard.formats._rows import Rows
from weightguard.formats._tensorflow.saved_schema import (
    ATTRIBUTE,
    DIMENSION,
    FUNCTION,
    FUNCTION_NAME,
    GRAPH,
    LIBRARY,
    LIST,
    NODE,
    SHAPE,
    TENSOR,
    VALUE,
)
from weightguard.formats._tensorflow.schema import DATA_TYPES
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES

DANGEROUS: Final = {
    **dict.fromkeys(("PyFunc", "PyFuncStateless", "EagerPyFunc"), "calls Python"),
    **dict.fromkeys(("ReadFile", "ImmutableConst"), "reads files"),
    **dict.fromkeys(("WriteFile", "Save", "SaveSlices", "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3"), "writes files"),
}
"""Operators that do more than compute. Saving and restoring its own variables (SaveV2, RestoreV2) every model does."""
_SETTING = 16  # elements of a constant that is a setting: a shape, an axis, an epsilon
_FEW = 64  # numbers in an attribute that are settings of its operator; more are data
_VALUES: Final = {
    "F32": "float_val",
    "F64": "double_val",
    "STRING": "string_val",
    "C64": "scomplex_val",
    "C128": "dcomplex_val",
    "I64": "int64_val",
    "U64": "uint64_val",
    "U32": "uint32_val",
    "BOOL": "bool_val",
    "F16": "half_val",
    "BF16": "half_val",
}  # the field of a TensorProto for each element type; int_val for the other integers, float8_val for the other floats
_ALL_VALUES: Final = (*dict.fromkeys(_VALUES.values()), "int_val", "float8_val")


@dataclass
class Graphs:
    """Collects the rows of all graphs; what the graphs do that is more than computing; whether they have variables."""

    reader: Reader
    rows: Rows
    dangers: dict[str, str] = field(default_factory=dict)
    variables: bool = False

    def graph(self, extent: Extent, depth: int) -> None:
        """A GraphDef, with its library of functions."""
        message = self.reader.message(GRAPH, extent, depth)
        for place in message.get("node", ()):
            self._node(place, "", depth + 1)
        if "library" in message:
            library = self.reader.message(LIBRARY, message["library"], depth + 1)
            for number, place in enumerate(library.get("function", ())):
                self._function(place, f"function_{number}/", depth + 2)

    def _function(self, extent: Extent, prefix: str, depth: int) -> None:
        message = self.reader.message(FUNCTION, extent, depth)
        self._attributes(message, prefix, depth + 1)
        for place in message.get("node_def", ()):
            self._node(place, prefix, depth + 1)

    def _node(self, extent: Extent, prefix: str, depth: int) -> None:
        node = self.reader.message(NODE, extent, depth)
        op = node.get("op", "")
        if op in DANGEROUS:
            self.dangers.setdefault(op, prefix + node.get("name", ""))
        self.variables |= op in ("VarHandleOp", "VariableV2", "Variable")
        self._attributes(node, prefix + node.get("name", ""), depth + 1)

    def _attributes(self, message: Message, name: str, depth: int) -> None:
        for place in message.get("attr", ()):
            entry = self.reader.message(ATTRIBUTE, place, depth)
            key = entry.get("key", "")
            if "value" in entry:
                self._value(entry["value"], name if key == "value" else f"{name}/{key}", depth + 1)

    def _value(self, extent: Extent, name: str, depth: int) -> None:
        """An AttrValue: tensors and long lists of numbers are rows."""
        value = self.reader.message(VALUE, extent, depth)
        if "s" in value:
            self.reader.note(value["s"])
        values = self.reader.message(LIST, value["list"], depth + 1) if "list" in value else {}
        tensors = [value["tensor"]] if "tensor" in value else values.get("tensor", ())
        for number, place in enumerate(tensors):
            self._tensor(place, name if "tensor" in value else f"{name}/{number}", depth + 2)
        for key, dtype in (("f", "F32"), ("i", "I64"), ("s", "STRING")):
            numbers: Numbers = values.get(key, Numbers())
            if numbers.count > _FEW or numbers.content > _FEW << 6:
                count = numbers.content if dtype == "STRING" else numbers.count
                self._add(name, DTYPE_CODES[dtype], (count,), numbers.bytes)
        for place in (*([value["func"]] if "func" in value else ()), *values.get("func", ())):
            self._attributes(self.reader.message(FUNCTION_NAME, place, depth + 2), name, depth + 3)

    def _tensor(self, extent: Extent, name: str, depth: int) -> None:
        """A TensorProto. "If a single value is given, it is used for all elements": such a constant counts in full."""
        message = self.reader.message(TENSOR, extent, depth)
        code = message.get("dtype", 0)
        if code not in DATA_TYPES:
            raise Unreadable("unsupported", f"constant {name[:80]!r} has element type {code}, which this version does not know")
        kind = DATA_TYPES[code]
        dtype = DTYPE_CODES[kind]
        shape = self._shape(message, name, depth + 1)
        elements = prod(shape)
        if "variant_val" in message:
            self.reader.unexplained += sum(end - begin for begin, end in message["variant_val"])
        given = [f for f in ("tensor_content", *_ALL_VALUES) if f in message and not _empty(message[f])]
        typed = _VALUES.get(kind, "int_val" if kind[0] in "IU" else "float8_val")
        if len(given) > 1 or (given and given[0] not in ("tensor_content", typed)):
            raise Unreadable("inconsistent", f"constant {name[:80]!r} holds {' and '.join(given)}, which its type does not")
        held = message[given[0]] if given else Numbers()
        if isinstance(held, Numbers):
            count, size = held.count, held.bytes
            if kind in ("C64", "C128"):
                count = -(-count // 2)
        else:
            size = held[1] - held[0]
            count = size if given[0] == "float8_val" else 8 * size // max(8, int(DTYPE_BITS[dtype]))
        exact = bool(given) and given[0] == "tensor_content" and kind != "STRING"
        if count > elements or (exact and count != elements):
            raise Unreadable("inconsistent", f"constant {name[:80]!r} holds {count} elements, its shape has {elements}")
        if kind == "STRING":
            content = held.content if isinstance(held, Numbers) else size
            if content > _FEW << 6:
                self._add(name, dtype, (content,), size)
        elif elements > _SETTING:
            self._add(name, dtype, shape, size)

    def _shape(self, message: Message, name: str, depth: int) -> tuple[int, ...]:
        if "tensor_shape" not in message:
            return ()
        places = self.reader.message(SHAPE, message["tensor_shape"], depth).get("dim", ())
        dims = tuple(self.reader.message(DIMENSION, place, depth + 1).get("size", 0) for place in places)
        if any(d < 0 for d in dims) or prod(dims) >= 1 << 60:
            raise Unreadable("inconsistent", f"constant {name[:80]!r} has a shape that no file can fill")
        return dims

    def _add(self, name: str, dtype: int, shape: tuple[int, ...], span: int) -> None:
        self.reader.data += span
        self.rows.add(name, dtype, shape, span)


def _empty(held: Numbers | Extent) -> bool:
    return not held.count if isinstance(held, Numbers) else held[0] == held[1]
