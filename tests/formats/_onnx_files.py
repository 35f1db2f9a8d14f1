"""ONNX models for tests, by the library's own helpers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import Any

import pytest

from tests.formats._bounds import identified
from tests.formats._wire import field
from weightguard.errors import Unreadable
from weightguard.formats import identify
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPES

onnx = pytest.importorskip("onnx")
helper, TensorProto = onnx.helper, onnx.TensorProto

DTYPE = {v: k for k, v in TensorProto.DataType.items()}
OURS = dict(
    zip(
        """FLOAT UINT8 INT8 UINT16 INT16 INT32 INT64 BOOL FLOAT16 DOUBLE UINT32 UINT64 COMPLEX64 COMPLEX128 BFLOAT16 FLOAT8E4M3FN
        FLOAT8E4M3FNUZ FLOAT8E5M2 FLOAT8E5M2FNUZ UINT4 INT4 FLOAT4E2M1 FLOAT8E8M0 UINT2 INT2 STRING""".split(),
        """F32 U8 I8 U16 I16 I32 I64 BOOL F16 F64 U32 U64 C64 C128 BF16 F8_E4M3 F8_E4M3FNUZ F8_E5M2 F8_E5M2FNUZ U4 I4 F4 F8_E8M0
        U2 I2 STRING""".split(),
        strict=True,
    )
)


def read(data: bytes, others: dict[str, bytes] | None = None) -> Container:
    return identified(data, "model.onnx", "onnx", others)


def logical(container: Container) -> dict[str, int]:
    return dict(zip(container.tensors.names, container.tensors.logical.tolist(), strict=True))


def refused(data: bytes, others: dict[str, bytes] | None = None) -> Unreadable:
    start = time.monotonic()
    with pytest.raises(Unreadable) as caught:
        identify(InMemory("model.onnx", data, others), LIMITS)
    assert caught.value.detail.isprintable() and time.monotonic() - start < 20
    return caught.value


def model(initializers: Any = (), nodes: Any = (), **more: Any) -> Any:
    graph = helper.make_graph(
        list(nodes), "g", more.pop("inputs", []), [], initializer=list(initializers), **more.pop("graph", {})
    )
    return helper.make_model(graph, **more)


def raw(initializers: Any = (), nodes: Any = (), **more: Any) -> bytes:
    return bytes(model(initializers, nodes, **more).SerializeToString())


def tensor(name: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> Any:
    """A tensor of zeros, in raw_data."""
    size = -(-prod(shape) * dict(DTYPES)[OURS[DTYPE[kind]]] // 8)
    return helper.make_tensor(name, kind, shape, bytes(size), raw=True)


def protos(message: Any) -> Iterator[Any]:
    """Every TensorProto of a message, however deep."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for one in value if not hasattr(value, "ListFields") else [value]:
                yield from protos(one)


def by_library(message: Any) -> Counter[tuple[str, tuple[int, ...]]]:
    found: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for proto in protos(message):
        array = onnx.numpy_helper.to_array(proto)
        kind = OURS[DTYPE[proto.data_type]]
        shape = (sum(map(len, proto.string_data)),) if kind == "STRING" else array.shape
        found[kind, shape] += 1
    return found


def one(value: Any) -> Any:
    return onnx.numpy_helper.from_array(value)


def shape_of(name: str, *dims: int) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, (len(dims),), dims)


def graph_of(**fields: bytes) -> bytes:
    numbers = {"node": 1, "initializer": 5, "doc": 10, "raw": 0}
    return b"".join(content if name == "raw" else field(numbers[name], content) for name, content in fields.items())


def model_of(graph: bytes) -> bytes:
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x11")
