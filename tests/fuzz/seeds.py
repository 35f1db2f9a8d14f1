"""Writes the kept corpus anew: `python -m tests.fuzz.seeds`. Small harmless files of each format, by the corpus's own writers.

Files whose name begins with "crash-" are inputs that once failed; they are left as they are.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

import numpy as np

from tests.formats._torch_files import Entry, state_dict_ops, tensor_ops, torch_entries, write_zip
from tests.fuzz.fuzz_formats import CORPUS, MOST
from tests.hostile import benign
from tests.hostile.case import Build, Call, Name, stream
from tests.hostile.wire import gguf, onnx_model, protobuf, safetensors_file

_KEPT = (
    "state-dict-plain legacy quantised sparse nested namespace numpy-inside tied torchscript amp lightning "
    "own-module numpy-dict-0 numpy-dict-2 numpy-dict-5 numpy-structured numpy-masked numpy-generator random-state "
    "joblib-ridge joblib-packed-zlib sklearn-forest h5 keras flax npz npz-packed npy-f4 npy-fortran npy-big-endian "
    "safetensors common-values meta dtypes dcp gguf onnx"
).split()

_FOLDERS = {
    "npy": "npy",
    "npz": "npz",
    "h5": "hdf5",
    "keras": "keras",
    "msgpack": "msgpack",
    "joblib": "joblib",
    "gguf": "gguf",
}
_FOLDERS |= {"onnx": "onnx", "safetensors": "safetensors"}


def made() -> Iterator[tuple[str, str, bytes]]:
    """(format, name, bytes)"""
    tensor = tensor_ops("0", 4, (2, 2), (2, 1))
    yield "torch_zip", "ops", write_zip(torch_entries(state_dict_ops({"w": tensor}), {"0": b"\1" * 16}))
    yield (
        "torch_zip",
        "deflated",
        write_zip([Entry("a/data.pkl", state_dict_ops({"w": tensor}), deflate=True), Entry("a/data/0", b"\1" * 16)]),
    )
    script = [
        Entry("a/data.pkl", state_dict_ops({"w": tensor})),
        Entry("a/constants.pkl", b"\x80\x02)."),
        Entry("a/code/x.py", b"def f():\n"),
        Entry("a/data/0", b"\1" * 16),
    ]
    yield "torch_zip", "script", write_zip(script)
    array = Build(
        Call(Name("numpy._core.multiarray", "_reconstruct"), Name("numpy", "ndarray"), (0,), b"b"),
        (1, (2, 2), Call(Name("numpy", "dtype"), "f4"), False, b"\0" * 16),
    )
    yield "pickle", "array", stream({"a": array, "b": [1, 2.5, "x", None, True], "c": (b"xy", {"d": -1})})
    yield "pickle", "array-4", stream({"a": array}, 4)
    yield "pickle", "text", stream({"a": [1, 2], "b": Call(Name("collections", "OrderedDict"))}, 0)
    yield "pickle", "memo", b"\x80\x04\x95\x16\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94]\x94(K\x01K\x02e\x8c\x01bh\x02u."
    rows = {"w": ("F32", (2, 2), 16), "b": ("BF16", (3,), 6), "s": ("F64", (), 8), "e": ("I8", (0, 3), 0)}
    yield "safetensors", "rows", safetensors_file(rows, metadata={"format": "pt", "note": "text"})
    pairs: dict[str, str | int] = {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "general.alignment": 32,
        "tokenizer.chat_template": "{{ x }}",
    }
    yield "gguf", "pairs", gguf(pairs, [("a", (32, 2), 0, 0), ("b", (64,), 2, 256)], data=b"\0" * 320)
    yield "gguf", "old", gguf({"general.architecture": "llama"}, version=2)
    yield "onnx", "metadata", onnx_model(metadata={"author": "x"})
    yield "onnx", "external", onnx_model(location="w.bin")
    saved = protobuf(
        (1, 1), (2, protobuf((1, protobuf((4, b"serve"))), (2, protobuf((1, protobuf((1, b"c"), (2, b"Const")))))))
    )
    yield "tensorflow", "saved-model", saved
    for name, dtype in (("structured", [("a", "<f4"), ("b", "<i8", (2,))]), ("text", "<U4"), ("complex", "<c16")):
        buffer = io.BytesIO()
        np.save(buffer, np.zeros(3, dtype=dtype))
        yield "npy", name, buffer.getvalue()
    yield (
        "other",
        "png",
        bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000049454e44ae426082"),
    )
    yield "other", "riff", b"RIFF\x10\0\0\0WAVEfmt \x04\0\0\0abcd"
    yield "other", "records", (14).to_bytes(8, "little") + b"\0" * 4 + b"\x1a\x0dbrain.Event:" + b"\0" * 4
    yield "other", "pieces", b"\x0a\x08\x0a\x01a\x15\0\0\0\0" * 3
    yield "other", "text", b'{"model_type": "llama", "hidden_size": 8}\n'
    yield "tflite", "head", b"\x1c\0\0\0TFL3\x14\0\x20\0\x1c\0\x18\0\x14\0\x10\0\x0c\0\0\0\x08\0\x04\0\x14\0\0\0" + b"\0" * 40


def torch_archives() -> Iterator[tuple[str, str, bytes]]:
    """torch.export and torch.package."""
    import torch
    from torch.package import PackageExporter

    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(model, (torch.ones(2, 3),)), buffer)
    yield "torch_export", "linear", buffer.getvalue()
    buffer = io.BytesIO()
    with PackageExporter(buffer) as package:
        package.extern("**")
        package.save_pickle("weights", "state.pkl", model.state_dict())
    yield "torch_package", "state", buffer.getvalue()


def openvino() -> Iterator[tuple[str, str, bytes]]:
    data = '<data element_type="%s" shape="%s" offset="%d" size="%d"/>'
    constant = f'<layer id="%d" name="c%d" type="Const" version="opset1">{data}</layer>'
    layers = constant % (0, 0, "f32", "2, 3", 0, 24) + constant % (1, 1, "i64", "2", 24, 16)
    edges = '<edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>'
    net = f'<?xml version="1.0"?>\n<net name="n" version="11"><layers>{layers}</layers><edges>{edges}</edges></net>'
    yield "openvino-set", "model.xml", net.encode()
    yield "openvino-set", "model.bin", b"\1" * 40


def tflite() -> Iterator[tuple[str, str, bytes]]:
    from tests.formats.test_tflite import usual

    yield "tflite", "usual", usual()


def hdf5() -> Iterator[tuple[str, str, bytes]]:
    """Each way that h5py lays a file out."""
    import h5py  # type: ignore[import]

    weights = np.arange(24, dtype=np.float32).reshape(4, 6)
    for version in ("earliest", "latest"):
        for kind, options in (
            ("plain", {}),
            ("chunked", {"chunks": (2, 3), "compression": "gzip", "shuffle": True, "fletcher32": True}),
            ("growing", {"chunks": (2, 3), "maxshape": (None, 6)}),
        ):
            buffer = io.BytesIO()
            with h5py.File(buffer, "w", libver=version) as file:
                file.attrs["layer_names"] = ["dense", "out"]
                file.attrs["text"] = "x" * 40
                group = file.create_group("model_weights/dense")
                group.create_dataset("kernel", data=weights, **options)
                group["step"] = np.int64(3)
                group["alias"] = h5py.SoftLink("/model_weights/dense/kernel")
                group["again"] = group["kernel"]
                for i in range(12 if kind == "plain" else 2):
                    group.attrs[f"a{i}"] = i
                    group[f"b{i}"] = np.ones(2, np.float16)
                group["names"] = np.array([b"a", b"bc"])
            yield "hdf5", f"{kind}-{version}", buffer.getvalue()


def kept() -> Iterator[tuple[str, str, bytes]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in benign.cases():
            name = case.name.removeprefix("ok-")
            if name in _KEPT:
                if case.others:
                    for file, content in ((case.file, case.content), *case.others.items()):
                        yield f"{name}-set", file, content
                elif len(case.content) <= MOST:
                    yield _FOLDERS.get(case.file.rpartition(".")[2], case.container), name, case.content


def main() -> None:
    for folder, name, content in (*made(), *hdf5(), *torch_archives(), *openvino(), *tflite(), *kept()):
        path = CORPUS / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
