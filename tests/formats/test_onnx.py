"""ONNX: models as the onnx library reads them, tensor by tensor, and everything else refused with its reason.

The library is the oracle: `numpy_helper.to_array` of each TensorProto that a generic walk of its messages finds.
"""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats._bounds import rows
from tests.formats._onnx_files import (
    DTYPE,
    OURS,
    TensorProto,
    by_library,
    graph_of,
    helper,
    logical,
    model,
    model_of,
    one,
    onnx,
    raw,
    read,
    refused,
    shape_of,
    tensor,
)

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
