"""Keras' files, made without Keras: its layout in HDF5 and its archive, with configurations as its serialisation writes them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

DENSE = {
    "module": "keras.layers",
    "class_name": "Dense",
    "config": {"name": "dense", "units": 4, "activation": "relu", "dtype": {"module": "keras", "class_name": "DTypePolicy"}},
    "registered_name": None,
    "build_config": {"input_shape": [None, 3]},
}
# keras/src/saving/serialization_lib.py: a Lambda's function, marshalled and base64
LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {"name": "evil", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAAA", "defaults": None}}},
    "registered_name": None,
}
LEGACY_LAMBDA = {"class_name": "Lambda", "config": {"function": ["4wEAAAAA\n", None, None], "function_type": "lambda"}}


def model(*layers: Any) -> dict[str, Any]:
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "sequential", "layers": list(layers)},
        "registered_name": None,
        "compile_config": {"loss": "mse", "optimizer": {"module": "keras.optimizers", "class_name": "Adam", "config": {}}},
    }


def weights(**datasets: Any) -> bytes:
    """model.weights.h5 of a Dense layer with its optimizer, as keras.saving writes it."""
    out = io.BytesIO()
    with h5py.File(out, "w") as f:
        f["layers/dense/vars/0"] = np.ones((3, 4), "f4")
        f["layers/dense/vars/1"] = np.zeros(4, "f4")
        f["optimizer/vars/0"] = np.int64(7)
        f["optimizer/vars/1"] = np.zeros((3, 4), "f4")
        for name, value in datasets.items():
            f[name] = value
    return out.getvalue()


def archive(
    config: Any, h5: bytes | None = None, method: int = zipfile.ZIP_STORED, others: Mapping[str, bytes] | None = None
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        z.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "2026-11-25@00:00:00"}))
        z.writestr("config.json", config if isinstance(config, (str, bytes)) else json.dumps(config))
        for name, content in (others or {}).items():
            z.writestr(name, content)
        z.writestr("model.weights.h5", weights() if h5 is None else h5)
    return out.getvalue()


def legacy(config: Any) -> bytes:
    """model.save("m.h5"): model_config as an attribute, the layers' names listed, model_weights and optimizer_weights."""
    out = io.BytesIO()
    with h5py.File(out, "w") as f:
        f.attrs["keras_version"] = "2.15.0"
        f.attrs["backend"] = "tensorflow"
        f.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        group = f.create_group("model_weights")
        group.attrs["layer_names"] = [b"dense", b"batch_normalization"]
        group.create_group("dense").attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        group["dense/dense/kernel:0"] = np.ones((3, 4), "f4")
        group["dense/dense/bias:0"] = np.ones(4, "f4")
        names = [f"batch_normalization/{n}:0" for n in ("gamma", "beta", "moving_mean", "moving_variance")]
        group.create_group("batch_normalization").attrs["weight_names"] = [n.encode() for n in names]
        for name in names:
            group[f"batch_normalization/{name}"] = np.ones(4, "f4")
        f["optimizer_weights/Adam/iteration:0"] = np.int64(7)
        f["optimizer_weights/Adam/m/dense/kernel:0"] = np.ones((3, 4), "f4")
    return out.getvalue()
