"""ONNX: models as the onnx library reads them, tensor by tensor, and everything else refused with its reason.

The library is the oracle: `numpy_helper.to_array` of each TensorProto that a generic walk of its messages finds.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weightguard
from tests.layouts import header_of
from tests.layouts import raw as tensors_of
from weightguard.errors import Unreadable
from weightguard.formats import identify
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.local import LocalFile
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPES, FLOATING

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
    container = identify(InMemory("model.onnx", data, others), LIMITS)
    assert container is not None and container.format == "onnx"
    a = container.accounts
    assert a.tensors + a.headers + a.padding + a.unexplained == len(data)
    return container


def rows(container: Container) -> dict[str, tuple[str, tuple[int, ...]]]:
    table = container.tensors
    found = {n: (DTYPES[table.dtypes[i]][0], table.shape(i)) for i, n in enumerate(table.names)}
    assert len(found) == len(table), "names are not unique"
    assert table.elements.tolist() == [prod(shape) for _, shape in found.values()]
    return found


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
    for field, value in message.ListFields():
        if field.message_type is not None:
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


# ---- valid files

KINDS = sorted(set(OURS) & set(DTYPE.values()) - {"STRING"})
shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@pytest.mark.parametrize("how", ["raw", "typed"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_element_type_is_read_as_the_library_reads_it(kind: str, how: str) -> None:
    code = getattr(TensorProto, kind)
    if how == "raw":
        proto = tensor("w", (3, 5), code)
    else:
        proto = helper.make_tensor("w", code, (3, 5), [0] * 15)
        assert not proto.HasField("raw_data")
    assert onnx.numpy_helper.to_array(proto).shape == (3, 5)
    container = read(raw([proto]))
    assert rows(container) == {"w": (OURS[kind], (3, 5))}


@settings(deadline=None, max_examples=60)
@given(
    tensors=st.dictionaries(
        st.text(min_size=1, max_size=6), st.tuples(st.sampled_from(KINDS), shapes, st.booleans()), max_size=6
    )
)
def test_initializers_are_those_of_the_library(tensors: dict[str, tuple[str, tuple[int, ...], bool]]) -> None:
    made = []
    for name, (kind, shape, is_raw) in tensors.items():
        code = getattr(TensorProto, kind)
        made.append(tensor(name, shape, code) if is_raw else helper.make_tensor(name, code, shape, [0] * prod(shape)))
    data = raw(made)
    loaded = onnx.load_model_from_string(data)
    found = rows(read(data))
    assert list(found) == [t.name for t in loaded.graph.initializer]
    assert [s for _, s in found.values()] == [onnx.numpy_helper.to_array(t).shape for t in loaded.graph.initializer]
    assert found == {n: (OURS[kind], shape) for n, (kind, shape, _) in tensors.items()}


def test_numbers_may_be_unpacked() -> None:
    """ "[packed = true]": parsers accept either form."""
    for field, value, kind in ((4, b"\0\0\0\0", TensorProto.FLOAT), (10, bytes(8), TensorProto.DOUBLE)):
        wire = 5 if len(value) == 4 else 1
        body = bytes([1 << 3, 3]) + bytes([2 << 3, kind]) + 3 * (bytes([field << 3 | wire]) + value) + b"\x42\x01w"
        data = model_of(graph_of(initializer=body))
        assert by_library(onnx.load_model_from_string(data)) == Counter(rows(read(data)).values())
    body = b"\x08\x02\x10\x07" + b"\x38\x05" * 2 + b"\x42\x01w"  # int64_data, one varint each
    data = model_of(graph_of(initializer=body))
    assert rows(read(data)) == {"w": ("I64", (2,))}


def test_text_is_counted_by_its_bytes() -> None:
    proto = helper.make_tensor("vocabulary", TensorProto.STRING, (3,), ["a", "bc", "def"])
    assert rows(read(raw([proto]))) == {"vocabulary": ("STRING", (6,))}


def test_constants_are_rows_by_the_names_of_their_outputs() -> None:
    dense = onnx.numpy_helper.from_array(np.zeros((4, 3), np.float32))
    values = helper.make_tensor("v", TensorProto.FLOAT, (2,), [1.0, 2.0])
    indices = helper.make_tensor("i", TensorProto.INT64, (2,), [0, 5])
    nodes = [
        helper.make_node("Constant", [], ["a"], value=dense),
        helper.make_node("Constant", [], ["b"], value_floats=[1.0, 2.0, 3.0]),
        helper.make_node("Constant", [], ["c"], value_float=1.0),
        helper.make_node("Constant", [], ["d"], value_ints=[1, 2]),
        helper.make_node("Constant", [], ["e"], value_int=7),
        helper.make_node("Constant", [], ["f"], value_string="text"),
        helper.make_node("Constant", [], ["g"], sparse_value=helper.make_sparse_tensor(values, indices, [3, 4])),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    assert rows(read(raw(nodes=nodes))) == {
        "a": ("F32", (4, 3)),
        "b": ("F32", (3,)),
        "c": ("F32", ()),
        "d": ("I64", (2,)),
        "g": ("F32", (3, 4)),
        "g.indices": ("I64", (2,)),
    }


def branch(name: str, value: Any) -> Any:
    node = helper.make_node("Constant", [], ["w"], value=value)
    return helper.make_graph(
        [node], name, [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, None)], [tensor("k", (2, 2))]
    )


def test_tensors_of_nested_graphs_functions_and_training_are_found_under_their_own_names() -> None:
    inner = branch("inner", onnx.numpy_helper.from_array(np.zeros(5, np.float32)))
    inner.node.append(
        helper.make_node(
            "If",
            ["c"],
            ["deep"],
            then_branch=branch("then", onnx.numpy_helper.from_array(np.zeros((6, 6), np.float16))),
            else_branch=branch("else", onnx.numpy_helper.from_array(np.zeros(7))),
        )
    )
    loop = helper.make_node("Loop", ["n", "c"], ["out"], body=inner)
    function = helper.make_function(
        "local",
        "f",
        ["x"],
        ["y"],
        [
            helper.make_node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(np.zeros((9, 2), np.float32))),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ],
        [helper.make_opsetid("", 17)],
    )
    proto = model([tensor("k", (2, 2))], [loop], functions=[function])
    training = proto.training_info.add()
    training.algorithm.CopyFrom(helper.make_graph([], "step", [], [], [tensor("momentum", (3, 3))]))
    data = proto.SerializeToString()
    found = rows(read(data))
    assert Counter(found.values()) == by_library(proto)
    assert set(found) == {
        "k",
        "out.body.k",
        "out.body.w",
        "out.body.deep.then_branch.k",
        "out.body.deep.then_branch.w",
        "out.body.deep.else_branch.k",
        "out.body.deep.else_branch.w",
        "f.w",
        "training_info.0.algorithm.momentum",
    }


def test_an_initializer_may_stand_among_the_inputs_too() -> None:
    """IR version 3: "each initializer must be among the graph's inputs"."""
    info = helper.make_tensor_value_info("w", TensorProto.FLOAT, (4, 4))
    assert rows(read(raw([tensor("w", (4, 4))], inputs=[info], ir_version=3))) == {"w": ("F32", (4, 4))}


def test_sparse_initializers_count_as_what_they_stand_for() -> None:
    values = helper.make_tensor("w", TensorProto.FLOAT, (3,), [1.0, 2.0, 3.0])
    indices = helper.make_tensor("i", TensorProto.INT64, (3, 2), [0, 0, 1, 1, 2, 2])
    proto = model()
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [100, 50]))
    assert rows(read(proto.SerializeToString())) == {"w": ("F32", (100, 50)), "w.indices": ("I64", (3, 2))}
    proto.graph.sparse_initializer[0].dims[:] = [1, 2]
    assert refused(proto.SerializeToString()).reason == "inconsistent"


def test_trees_and_linear_models_keep_their_weights_in_attributes() -> None:
    node = helper.make_node(
        "LinearClassifier", ["x"], ["y"], domain="ai.onnx.ml", coefficients=[0.5] * 12, intercepts=[0.0] * 3
    )
    found = rows(read(raw(nodes=[node])))
    assert found == {"y.coefficients": ("F32", (12,)), "y.intercepts": ("F32", (3,))}
    many = helper.make_node("Anything", ["x"], ["y"], domain="mine", w=[0.5] * 1000, sizes=[1] * 1000)
    container = read(raw(nodes=[many]))
    assert rows(container) == {"y.w": ("F32", (1000,)), "y.sizes": ("I64", (1000,))}
    assert [(f.id, f.severity) for f in container.findings] == [("custom-operators", "info")]


# ---- weights that the graph builds


def shape_of(name: str, *dims: int) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, (len(dims),), dims)


def one(value: Any) -> Any:
    return onnx.numpy_helper.from_array(value)


@pytest.mark.parametrize("packed", [True, False])
def test_weights_of_a_constant_shape_count_in_full(packed: bool) -> None:
    shape = shape_of("s", 1000, 2000) if packed else one(np.array([1000, 2000]))
    shape.name = "s"
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["w"], value=one(np.zeros(1, np.float16))),
        helper.make_node("ConstantOfShape", ["s"], ["steps"], value=one(np.zeros(1, np.int64))),
        helper.make_node("ConstantOfShape", ["given"], ["mask"]),
        helper.make_node("Constant", [], ["t"], value_ints=[3, 4]),
        helper.make_node("ConstantOfShape", ["t"], ["b"]),
        helper.make_node("RandomNormal", [], ["r"], shape=[7, 7], dtype=TensorProto.DOUBLE),
        helper.make_node("Expand", ["k", "t"], ["e"]),
        helper.make_node("Tile", ["k", "t2"], ["f"]),
    ]
    found = rows(read(raw([shape, tensor("k", (3, 1)), shape_of("t2", 1, 5)], nodes)))
    assert {n: s for n, s in found.items() if n not in ("s", "t2", "t", "k")} == {
        "w": ("F16", (1000, 2000)),
        "b": ("F32", (3, 4)),
        "r": ("F64", (7, 7)),
        "e": ("F32", (3, 4)),
        "f": ("F32", (3, 5)),
    }


def test_a_shape_without_end_is_refused() -> None:
    node = helper.make_node("ConstantOfShape", ["s"], ["w"])
    assert refused(raw([shape_of("s", 1 << 40, 1 << 40)], [node])).reason == "inconsistent"
    assert refused(raw([shape_of("s", -1, 4)], [node])).reason == "inconsistent"


# ---- quantised weights


def test_int8_weights_count_and_their_scales_do_not() -> None:
    initializers = [
        tensor("w", (64, 32), TensorProto.INT8),
        tensor("s", (64,)),
        tensor("z", (64,), TensorProto.INT8),
        tensor("bias", (64,), TensorProto.INT32),
        tensor("bs", (64,)),
        tensor("norm", (64,)),
        tensor("x_scale", ()),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"], axis=0),
        helper.make_node("DequantizeLinear", ["bias", "bs"], ["bf"], axis=0),
        helper.make_node("QuantizeLinear", ["x", "x_scale"], ["xq"]),
        helper.make_node("Mul", ["wf", "norm"], ["y"]),
    ]
    container = read(raw(initializers, nodes))
    assert logical(container) == {"w": 2048, "s": 0, "z": 0, "bias": 64, "bs": 0, "norm": -1, "x_scale": 0}
    assert not container.findings


@pytest.mark.parametrize(
    ("op", "domain", "at", "inputs"),
    [
        ("QLinearConv", "", 3, 9),
        ("QLinearMatMul", "", 3, 8),
        ("MatMulInteger", "", 1, 4),
        ("ConvInteger", "", 1, 4),
        ("DynamicQuantizeMatMul", "com.microsoft", 1, 5),
        ("QAttention", "com.microsoft", 1, 8),
        ("QGemm", "com.microsoft", 3, 9),
    ],
)
def test_operators_that_take_quantised_weights(op: str, domain: str, at: int, inputs: int) -> None:
    names = [f"i{n}" for n in range(inputs)]
    names[at] = "w"
    node = helper.make_node(op, names, ["y"], domain=domain)
    assert logical(read(raw([tensor("w", (16, 16), TensorProto.UINT8)], [node]))) == {"w": 256}


def test_a_quantised_embedding_is_looked_up_before_it_is_scaled() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("DequantizeLinear", ["rows", "s", "z"], ["y"]),
    ]
    made = [tensor("table", (1000, 8), TensorProto.UINT8), tensor("s", ()), tensor("z", (), TensorProto.UINT8)]
    assert logical(read(raw(made, nodes))) == {"table": 8000, "s": 0, "z": 0}


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_packed_words_of_matmulnbits_hold_n_times_k_weights(bits: int) -> None:
    """ContribOperators.md: "B is a 3D uint8 tensor [N, n_blocks_per_col, blob_size]", blob_size = block_size * bits / 8."""
    n, k, block = 48, 100, 32
    blocks = -(-k // block)
    made = [
        tensor("b", (n, blocks, block * bits // 8), TensorProto.UINT8),
        tensor("s", (n * blocks,), TensorProto.FLOAT16),
        tensor("z", (-(-n * blocks * bits // 8),), TensorProto.UINT8),
    ]
    node = helper.make_node(
        "MatMulNBits", ["x", "b", "s", "z"], ["y"], domain="com.microsoft", K=k, N=n, bits=bits, block_size=block
    )
    assert logical(read(raw(made, [node]))) == {"b": n * k, "s": 0, "z": 0}


def test_packed_words_count_whole_where_the_attributes_claim_less() -> None:
    made = [tensor("b", (1024, 32, 16), TensorProto.UINT8)]
    for k in (1, 0, -5, 1 << 40):
        node = helper.make_node(
            "MatMulNBits", ["x", "b", "s"], ["y"], domain="com.microsoft", K=k, N=1024, bits=4, block_size=32
        )
        assert logical(read(raw(made, [node]))) == {"b": 1024 * 1024}
    node = helper.make_node("MatMulNBits", ["x", "b", "s"], ["y"], domain="com.microsoft", K=1024, N=1024, bits=-4)
    assert logical(read(raw(made, [node])))["b"] >= 1024 * 1024


def test_a_packed_embedding_counts_by_its_bits() -> None:
    node = helper.make_node("GatherBlockQuantized", ["t", "ids", "s"], ["y"], domain="com.microsoft", block_size=32)
    made = [tensor("t", (1000, 64), TensorProto.UINT8), tensor("s", (1000, 4))]
    assert logical(read(raw(made, [node]))) == {"t": 128_000, "s": 0}
    made[0] = tensor("t", (1000, 128), TensorProto.INT4)
    assert logical(read(raw(made, [node])))["t"] == 128_000


def test_weights_are_not_hidden_as_scales() -> None:
    """A tensor as large as scales never are, one that is used as it is, and one scale for each of many uses, are weights."""
    node = helper.make_node("DequantizeLinear", ["w", "s"], ["y"])
    assert logical(read(raw([tensor("w", (8, 8), TensorProto.INT8), tensor("s", (64, 64))], [node])))["s"] == -1
    nodes = [node, helper.make_node("MatMul", ["x", "s"], ["z"])]
    assert logical(read(raw([tensor("w", (64, 64), TensorProto.INT8), tensor("s", (64,))], nodes)))["s"] == -1
    many = [helper.make_node("DequantizeLinear", ["w", f"s{i}"], [f"y{i}"]) for i in range(100)]
    made = [tensor("w", (64, 64), TensorProto.INT8), *(tensor(f"s{i}", (512,)) for i in range(100))]
    container = read(raw(made, many))
    assert {n for v, n in logical(container).items() if v != "w"} == {-1}
    assert [(f.id, f.severity) for f in container.findings] == [("scales-exceed-weights", "high")]


# ---- data in other files


def external(name: str, shape: tuple[int, ...], location: str, kind: int = TensorProto.FLOAT, **more: object) -> Any:
    proto = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        proto.external_data.add(key=key, value=str(value))
    return proto


def test_external_data_is_what_the_library_writes(tmp_path: Path) -> None:
    proto = model(
        [one(np.ones((300, 7), np.float32)), one(np.ones(5000, np.float16)), one(np.zeros(3, np.int64))],
        [helper.make_node("Constant", [], ["c"], value=one(np.zeros((50, 50))))],
    )
    for number, t in enumerate(proto.graph.initializer):
        t.name = f"t{number}"
    onnx.save_model(
        proto,
        str(tmp_path / "m.onnx"),
        save_as_external_data=True,
        location="m.data",
        size_threshold=64,
        convert_attribute=True,
    )
    data, beside = (tmp_path / "m.onnx").read_bytes(), (tmp_path / "m.data").read_bytes()
    container = read(data, {"m.data": beside})
    assert Counter(rows(container).values()) == by_library(onnx.load(str(tmp_path / "m.onnx")))
    [(path, part)] = container.parts.items()
    assert (path, part.unexplained, part.headers) == ("m.data", 0, 0)
    assert part.tensors == 300 * 7 * 4 + 5000 * 2 + 2500 * 8 and part.tensors + part.padding == len(beside)


def test_identical_extents_are_one_tensor_under_two_names() -> None:
    made = [
        external("a", (4, 4), "d", offset=0, length=64),
        external("b", (16,), "d", offset=0),
        external("c", (2,), "./d", offset=64),
    ]
    container = read(raw(made), {"d": bytes(72)})
    a, b, c = container.tensors.storages.tolist()
    assert a == b != c
    assert container.parts["d"].tensors == 72


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ([external("a", (4,), "d", offset=60)], "truncated"),
        ([external("a", (4,), "d", offset=1 << 62)], "truncated"),
        ([external("a", (4,), "d", offset=-4)], "malformed"),
        ([external("a", (4,), "d", offset="0x10")], "malformed"),
        ([external("a", (4,), "d", length=12)], "inconsistent"),
        ([external("a", (4,), "d", length=1 << 62)], "inconsistent"),
        ([external("a", (4,), "d"), external("b", (4,), "d", offset=8)], "inconsistent"),
        ([external("a", (4,), "gone")], "missing"),
        ([external("a", (4,), "/etc/passwd")], "malformed"),
        ([external("a", (4,), "../d")], "malformed"),
        ([external("a", (4,), "x/../../d")], "malformed"),
        ([external("a", (4,), "..\\d")], "malformed"),
        ([external("a", (4,), "C:/d")], "malformed"),
        ([external("a", (4,), "")], "malformed"),
        ([external("a", (4,), "d\0")], "malformed"),
        ([external("a", (1 << 31, 1 << 31), "d")], "inconsistent"),
    ],
)
def test_external_data_that_lies_is_refused(made: list[Any], reason: str) -> None:
    error = refused(raw(made), {"d": bytes(64)})
    assert error.reason == reason
    if reason == "malformed" and made[0].external_data[0].value not in ("d", ""):
        assert "external-data-path" in error.detail


def test_bytes_beside_the_tensors_of_another_file_are_not_padding_unless_they_are_zeros() -> None:
    made = [external("a", (4,), "d", offset=0), external("b", (4,), "d", offset=32)]
    assert read(raw(made), {"d": bytes(48)}).parts["d"].padding == 16
    assert read(raw(made), {"d": bytes(16) + b"x" * 16 + bytes(16)}).parts["d"].unexplained == 16
    assert read(raw(made), {"d": bytes(48) + b"weights"}).parts["d"].unexplained == 7
    assert read(raw(made), {"d": bytes(1 << 20)}).parts["d"].unexplained == (1 << 20) - 48


def test_a_container_is_not_read_as_bare_numbers() -> None:
    """A million weights of 16 bits in a safetensors file would be a quarter as many of 64."""
    header, size = header_of([("w", "F16", (1000, 1000))])
    content = tensors_of(header, bytes(size))
    error = refused(raw([external("x", (len(content) // 8,), "a.safetensors", TensorProto.DOUBLE)]), {"a.safetensors": content})
    assert error.reason == "inconsistent" and "safetensors" in error.detail


def test_a_sparse_file_of_many_gigabytes_is_read_by_its_structure(tmp_path: Path) -> None:
    """A 3 GB tensor inside, 40 GB beside: neither is read."""
    size = 3 << 30
    body = b"\x08" + vi(size // 4) + b"\x10\x01" + b"\x42\x01w" + b"\x4a" + vi(size)
    graph_size = len(vi(len(body) + size)) + 1 + len(body) + size
    start = b"\x08\x08" + b"\x3a" + vi(graph_size) + b"\x2a" + vi(len(body) + size) + body
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(len(start) + size)
        file.seek(0, 2)
        file.write(b"\x42\x02\x10\x11")
    asked: list[int] = []

    class Counting(LocalFile):
        def read(self, offset: int, length: int) -> bytes:
            asked.append(length)
            return super().read(offset, length)

    with Counting(str(path), "m.onnx") as source:
        container = identify(source, LIMITS)
    assert container is not None and container.tensors.elements.tolist() == [size // 4]
    assert container.accounts.tensors == size and container.accounts.unexplained == 0
    assert sum(asked) < 1 << 20


# ---- hostile files


def vi(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number: int, content: bytes) -> bytes:
    return vi(number << 3 | 2) + vi(len(content)) + content


def graph_of(**fields: bytes) -> bytes:
    numbers = {"node": 1, "initializer": 5, "doc": 10, "raw": 0}
    return b"".join(content if name == "raw" else field(numbers[name], content) for name, content in fields.items())


def model_of(graph: bytes) -> bytes:
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x11")


GOOD = field(8, b"w") + b"\x08\x02\x10\x01" + field(9, bytes(8))
HUGE = b"\xff" * 9 + b"\x01"  # 2^64 - 1
LARGE = b"\x80" * 9 + b"\x01"  # 2^63


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "length-2^64": b"\x08\x08\x42\x02\x10\x11\x3a" + HUGE + bytes(100),
        "length-2^63": b"\x08\x08\x42\x02\x10\x11\x3a" + LARGE + bytes(100),
        "inner-length": model_of(b"\x2a" + HUGE + GOOD),
        "raw-length": model_of(graph_of(initializer=b"\x4a" + HUGE + GOOD)),
        "overlong-varint": model_of(b"\x2a" + b"\x80" * 10 + b"\x01"),
        "varint-above-64-bits": model_of(graph_of(initializer=b"\x10" + b"\xff" * 9 + b"\x7f" + GOOD)),
        "group": model_of(b"\x0b\x0c" + graph_of(initializer=GOOD)),
        "wire-type-7": model_of(b"\x0f" + graph_of(initializer=GOOD)),
        "field-0": model_of(b"\x02\x00" + graph_of(initializer=GOOD)),
        "twice-graph": model_of(graph_of(initializer=GOOD)) + field(7, b""),
        "twice-raw": model_of(graph_of(initializer=GOOD + field(9, bytes(8)))),
        "twice-name": model_of(graph_of(initializer=GOOD + field(8, b"v"))),
        "two-of-a-name": model_of(field(5, GOOD) + field(5, GOOD)),
        "no-graph": b"\x08\x08" + field(8, b"\x10\x11"),
        "dim-negative": model_of(graph_of(initializer=GOOD[3:].replace(b"\x08\x02", b"\x08" + HUGE, 1))),
        "dims-2^126": model_of(graph_of(initializer=b"\x08" + vi(1 << 62) + b"\x08" + vi(1 << 62) + GOOD)),
        "too-many-dims": model_of(graph_of(initializer=field(1, b"\x01" * 5000) + GOOD)),
        "size": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x03\x10\x01" + field(9, bytes(8)))),
        "no-data": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x03\x10\x01")),
        "type-0": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x02" + field(9, bytes(8)))),
        "type-99": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x02\x10\x63" + field(9, bytes(8)))),
        "wrong-field": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x02\x10\x01" + field(7, b"\x01\x01"))),
        "two-fields": model_of(graph_of(initializer=GOOD + field(4, bytes(8)))),
        "packed-remainder": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x02\x10\x01" + field(4, bytes(7)))),
        "varint-cut": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x02\x10\x07" + field(7, b"\x01\x80"))),
        "segment": model_of(graph_of(initializer=GOOD + field(3, b"\x08\x00\x10\x02"))),
        "name-not-text": model_of(graph_of(initializer=GOOD[3:] + field(8, b"\xff\xfe"))),
        "name-too-long": model_of(graph_of(initializer=GOOD[3:] + field(8, b"w" * 100_000))),
        "past-its-parent": model_of(b"\x2a\x04" + GOOD)[:-4],
    }.items(),
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_breaks_a_rule_is_refused(name: str, data: bytes) -> None:
    assert refused(data).reason in ("malformed", "truncated", "inconsistent", "limit", "unsupported", "unrecognised")


@pytest.mark.parametrize("levels", [20, 200, 5000])
def test_nesting_has_a_limit(levels: int) -> None:
    graph = graph_of(initializer=GOOD)
    for _ in range(levels):
        graph = graph_of(node=field(2, b"y") + field(5, field(1, b"body") + field(6, graph)))
    if levels == 20:
        assert len(rows(read(model_of(graph)))) == 1
    else:
        assert refused(model_of(graph)).reason == "limit"


def test_a_model_cut_anywhere_is_refused_or_counts_no_more_than_it_did() -> None:
    made = [tensor("w", (6, 6)), helper.make_tensor("v", TensorProto.FLOAT16, (3,), [1.0, 2.0, 3.0])]
    data = raw(made, [helper.make_node("Constant", [], ["c"], value=tensor("t", (5,)))])
    whole = rows(read(data))
    for length in range(len(data)):
        try:
            container = identify(InMemory("model.onnx", data[:length]), LIMITS)
        except Unreadable:
            continue
        # what is whole without the records that are cut off
        assert container is None or rows(container) == whole, length


@pytest.mark.parametrize(
    "more",
    [
        field(99, b"weights" * 1000),  # a field that the schema does not have
        field(6, bytes(range(256)) * 300),  # documentation too long to be any
        field(14, field(1, b"k") + field(2, b"x" * 70_000)),
        vi(100 << 3 | 1) + bytes(8),
    ],
)
def test_what_no_field_explains_is_unexplained(more: bytes) -> None:
    data = raw([tensor("w", (6, 6))])
    assert read(data).unexplained == 0
    assert len(more) - 16 <= read(data + more).unexplained <= len(more)


def test_text_that_carries_what_text_does_not_is_unexplained() -> None:
    hidden = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).hexdigest().encode() for i in range(8000))
    pairs = b"".join(field(14, field(1, b"k%d" % i) + field(2, hidden[i : i + 50_000])) for i in range(0, len(hidden), 50_000))
    assert read(raw([tensor("w", (6, 6))]) + pairs).unexplained >= len(hidden)
    names = b"".join(field(1, field(3, hidden[i : i + 200])) for i in range(0, len(hidden), 200))
    assert read(model_of(names)).unexplained >= len(hidden)


def test_text_that_repeats_as_stack_traces_do_is_text() -> None:
    trace = "\n".join(f'  File "/srv/site-packages/torch/nn/modules/module.py", line {n}, in _call_impl' for n in range(20))
    nodes = [helper.make_node("Relu", [f"/model/layers.{i}/out"], [f"/model/layers.{i + 1}/out"]) for i in range(3000)]
    for number, node in enumerate(nodes):
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
        node.metadata_props.add(key="namespace", value=f"/model.layers.{number}: Layer")
    assert read(raw(nodes=nodes)).unexplained == 0


def test_a_graph_compiled_for_a_device_is_not_read() -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="model.bin", embed_mode=0)
    assert refused(raw(nodes=[node])).reason == "unsupported"


@pytest.mark.parametrize("what", [b"\x0a\x00", b"\x2a\x00", b"\x6a\x00"])
def test_millions_of_empty_messages_end_at_a_limit(what: bytes) -> None:
    assert refused(model_of(what * 3_000_000)).reason in ("limit", "unsupported")


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_changed_bytes_never_surprise(data: st.DataObject) -> None:
    good = bytearray(raw([tensor("w", (6, 6)), shape_of("s", 3, 4)], [helper.make_node("ConstantOfShape", ["s"], ["c"])]))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        container = identify(InMemory("model.onnx", bytes(good)), LIMITS)
    except Unreadable:
        return
    if container is not None and container.format == "onnx":
        a = container.accounts
        assert a.tensors + a.headers + a.padding + a.unexplained == len(good)
        rows(container)


# ---- files of the library's own wheel

LIGHT = {
    "bvlc_alexnet": (60_965_224, 0),
    "vgg19": (143_667_112, 128),
    "zfnet512": (87_250_536, 1),
    "resnet50": (25_608_360, 1_793),
    "densenet121": (8_145_384, 768),
    "inception_v1": (6_997_480, 1_072),
    "inception_v2": (11_229_992, 4_800),
    "shufflenet": (1_420_032, 120),
    "squeezenet": (1_234_856, 640),
}


@pytest.mark.parametrize("name", sorted(LIGHT))
def test_graphs_that_build_their_weights_count_in_full(name: str) -> None:
    """Counted by hand from the library's own messages: products of the shape initializers, and the floats stored beside them."""
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    if not path.is_file():
        pytest.skip("this release of onnx does not ship its light models")
    table = read(path.read_bytes()).tensors
    floating = np.isin(table.dtypes, sorted(FLOATING))
    built, stored = (int(table.elements[floating & at].sum()) for at in (table.spans == 0, table.spans > 0))
    assert (built, stored) == LIGHT[name]
    [report] = weightguard.scan(str(path)).models
    assert report.parameters.total == sum(LIGHT[name])


def test_the_graphs_of_the_librarys_own_tests_are_read() -> None:
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data"
    paths = sorted(folder.rglob("*.onnx"))
    if not paths:
        pytest.skip("this release of onnx does not ship its test models")
    spell: Callable[[Any], Counter[tuple[str, tuple[int, ...]]]] = by_library
    for path in paths:
        proto = onnx.load(str(path))
        container = read(path.read_bytes())
        stored = Counter(
            s for n, s in rows(container).items() if container.tensors.spans[list(container.tensors.names).index(n)]
        )
        assert container.unexplained == 0, path
        if "light_" not in path.name and not any(n.op_type == "ConstantOfShape" for n in proto.graph.node):
            assert not Counter(s for s in spell(proto).elements() if prod(s[1])) - stored, path
