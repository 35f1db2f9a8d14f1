"""Makes the fixtures of `test_tensorflow.py`: what TensorFlow itself writes, and what it says of it.

Run in an environment of its own (TensorFlow is no test dependency): pip install tensorflow-cpu==2.21.0; python make_tensorflow.py

`data/tensorflow/`: checkpoints and SavedModels as written. `data/tensorflow.json`: of each checkpoint name, dtype and shape of each
variable by `tf.train.load_checkpoint`; of each SavedModel and graph name, dtype and shape of each constant of more than 16 elements by
TensorFlow's own messages.
"""

# mypy: ignore-errors

from __future__ import annotations

import json
import shutil
from math import prod
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

DATA = Path(__file__).parent / "data"
INTO = DATA / "tensorflow"
KINDS = """float32 float64 int32 uint8 int16 int8 complex64 int64 bool bfloat16 uint16 complex128 float16 uint32 uint64 float8_e5m2
    float8_e4m3fn int4 uint4""".split()


def save(prefix: str, tensors: dict, slices: list[str] | None = None) -> None:
    names = [n.partition("|")[0] for n in tensors]
    tf.raw_ops.SaveV2(
        prefix=str(INTO / prefix),
        tensor_names=names,
        shape_and_slices=slices or [""] * len(names),
        tensors=list(tensors.values()),
    )


def dtype(name: str):
    return getattr(tf.dtypes, name, None) or getattr(tf.dtypes.experimental, name)


def checkpoints() -> None:
    every = {n: tf.constant(np.zeros((3, 5), dtype(n).as_numpy_dtype)) for n in KINDS}
    save("every", every | {"text": tf.constant(["a", "bcd", ""]), "none": tf.zeros((0, 4)), "scalar": tf.constant(1.5)})
    cut = {"w": tf.zeros((6, 4)), "w|": tf.zeros((4, 4)), "plain": tf.zeros(3)}
    save("cut", cut, ["10 4 0,6:-", "10 4 6,4:-", ""])
    save("first", {"a": tf.zeros(7)})
    save("second", {"b": tf.zeros((9, 2))})
    both = [str(INTO / "first"), str(INTO / "second")]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=both, destination_prefix=str(INTO / "two"), delete_old_dirs=False)
    save("many", {f"layers/{i:03}/kernel": tf.zeros(2) for i in range(300)})


class Frozen(tf.Module):
    """Weights as constants: none in variables."""

    @tf.function(input_signature=[tf.TensorSpec((None, 20), tf.float32)])
    def __call__(self, x):
        table = tf.constant(np.arange(600, dtype=np.float32).reshape(20, 30))
        return tf.matmul(x, table) + tf.constant(0.5, shape=(30,))


class Reads(tf.Module):
    @tf.function(input_signature=[])
    def __call__(self):
        return tf.io.read_file("/etc/hostname")


def keras():
    layers = [tf.keras.layers.Dense(16), tf.keras.layers.BatchNormalization(), tf.keras.layers.Dense(4)]
    model = tf.keras.Sequential([tf.keras.layers.Input((8,)), *layers])
    model.compile("adam", "mse")
    model.fit(tf.zeros((4, 8)), tf.zeros((4, 4)), verbose=0)
    return model


def constants(nodes, prefix: str = "") -> dict:
    found = {}
    for node in nodes:
        if node.op == "Const":
            tensor = node.attr["value"].tensor
            shape = [d.size for d in tensor.tensor_shape.dim]
            if prod(shape) > 16 and tensor.dtype != tf.string.as_datatype_enum:
                found[prefix + node.name] = [tf.dtypes.as_dtype(tensor.dtype).name, shape]
    return found


def of_graph(graph) -> dict:
    found = constants(graph.node)
    for number, function in enumerate(graph.library.function):
        found |= constants(function.node_def, f"function_{number}/")
    return found


def main() -> None:
    shutil.rmtree(INTO, ignore_errors=True)
    INTO.mkdir(parents=True)
    checkpoints()
    tf.saved_model.save(keras(), str(INTO / "keras"))
    tf.saved_model.save(Frozen(), str(INTO / "frozen"))
    tf.saved_model.save(Reads(), str(INTO / "reads"))
    graph = tf.compat.v1.Graph()
    with graph.as_default():
        tf.matmul(tf.compat.v1.placeholder(tf.float32, (None, 6)), tf.constant(np.zeros((6, 50), np.float32)), name="out")
    (INTO / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    said = {"checkpoints": {}, "constants": {"graph.pb": of_graph(graph.as_graph_def())}}
    for index in sorted(INTO.rglob("*.index")):
        reader = tf.train.load_checkpoint(str(index).removesuffix(".index"))
        dtypes = reader.get_variable_to_dtype_map()
        said["checkpoints"][index.relative_to(INTO).as_posix()] = {
            name: [dtypes[name].name, shape] for name, shape in sorted(reader.get_variable_to_shape_map().items())
        }
    for path in sorted(INTO.rglob("saved_model.pb")):
        model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
        said["constants"][path.relative_to(INTO).as_posix()] = of_graph(model.meta_graphs[0].graph_def)
    (DATA / "tensorflow.json").write_text(json.dumps({"tensorflow": tf.__version__, **said}, indent=1) + "\n", encoding="utf-8")


main()
