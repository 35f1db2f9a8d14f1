"""Harmless checkpoints as people save them: none may be flagged, and none unread. What a library must write is left out without it."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import json
import pathlib
import pickle
import random
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from tests.formats._torch_files import Entry, write_zip
from tests.hostile.case import Case
from tests.hostile.wire import gguf, onnx_model, safetensors_file

Made = tuple[str, str, bytes] | tuple[str, str, bytes, dict[str, bytes]]
"""A case's name, its file, the file's bytes, and what lies beside it."""


def _class(name: str, base: type, module: str) -> type:
    return types.new_class(name, (base,), {}, lambda body: body.update(__module__=module))


@contextmanager
def classes(*paths: str, base: type = object) -> Iterator[list[type]]:
    """Classes of packages that needn't be installed: while it lasts, pickle finds them under these names."""
    made: list[type] = []
    added: list[str] = []
    kept: list[tuple[types.ModuleType, str, Any]] = []
    for path in paths:
        module, _, name = path.rpartition(".")
        parts = module.split(".")
        for i in range(len(parts)):
            part = ".".join(parts[: i + 1])
            if part not in sys.modules:
                sys.modules[part] = types.ModuleType(part)
                added.append(part)
        kept.append((sys.modules[module], name, getattr(sys.modules[module], name, None)))
        made.append(_class(name, base, module))
        setattr(sys.modules[module], name, made[-1])
    try:
        yield made
    finally:
        for home, name, old in kept:
            if old is not None:
                setattr(home, name, old)
        for part in added:
            del sys.modules[part]


def _saved(value: Any, **options: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def _filled(cls: Any, **state: Any) -> Any:
    made = cls.__new__(cls)
    made.__dict__.update(state)
    return made


def torch_files() -> Iterator[Made]:
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    optimizers: list[tuple[str, Any]] = [
        ("sgd", torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)),
        ("adam", torch.optim.Adam(model.parameters())),
        ("adamw-amsgrad", torch.optim.AdamW(model.parameters(), amsgrad=True)),
        ("rmsprop", torch.optim.RMSprop(model.parameters())),
        ("lbfgs", torch.optim.LBFGS(model.parameters())),
    ]
    for _, optimizer in optimizers:
        loss = model(torch.randn(4, 8)).square().mean()
        loss.backward()
        optimizer.step(lambda: 0.5) if isinstance(optimizer, torch.optim.LBFGS) else optimizer.step()
    state = model.state_dict()
    yield "state-dict", "pytorch_model.bin", _saved(state)
    yield "state-dict-plain", "model.pt", _saved(dict(state))
    for protocol in (2, 3, 4, 5):
        yield f"state-dict-protocol-{protocol}", "model.pt", _saved(state, pickle_protocol=protocol)
    yield "legacy", "model.pth", _saved(state, _use_new_zipfile_serialization=False)
    for name, optimizer in optimizers:
        yield (
            f"optimizer-{name}",
            "optimizer.pt",
            _saved({"optimizer": optimizer.state_dict(), "step": 10}),
            {"pytorch_model.bin": _saved(state)},
        )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizers[0][1], 10)
    yield "scheduler", "scheduler.pt", _saved(scheduler.state_dict())
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizers[0][1])
    yield "scheduler-plateau", "scheduler.pt", _saved(plateau.state_dict())
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), 0.1, total_steps=10)
    yield "scheduler-one-cycle", "scheduler.pt", _saved(one_cycle.state_dict())
    yield "whole-model", "model.pt", _saved(model)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    yield "whole-transformer", "model.pt", _saved(nn.Sequential(nn.Embedding(9, 8), encoder, nn.LayerNorm(8), nn.Linear(8, 9)))
    yield "whole-lstm", "model.pt", _saved(nn.LSTM(4, 8, 2, bidirectional=True))
    yield "whole-conv", "model.pt", _saved(nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.GELU(), nn.Flatten()))
    yield "whole-optimizer", "model.pt", _saved({"model": model, "optimizer": optimizers[1][1]})
    yield "parameter-list", "model.pt", _saved(list(model.parameters()))
    yield (
        "dtypes",
        "model.pt",
        _saved(
            {
                str(d): torch.zeros(4, dtype=d)
                for d in (
                    torch.float16,
                    torch.bfloat16,
                    torch.float64,
                    torch.int8,
                    torch.int64,
                    torch.bool,
                    torch.complex64,
                    torch.float8_e4m3fn,
                    torch.float8_e5m2,
                )
            }
        ),
    )
    yield "views", "model.pt", _saved({"a": torch.arange(24.0).reshape(4, 6).t(), "b": torch.arange(24.0)[::2]})
    tied = torch.randn(8, 4)
    yield "tied", "model.pt", _saved({"embed": tied, "head": tied})
    yield "sparse", "model.pt", _saved({"a": torch.eye(4).to_sparse(), "b": torch.eye(4).to_sparse_csr()})
    quantised = torch.quantize_per_tensor(torch.randn(4, 4), 0.1, 0, torch.qint8)
    channels = torch.quantize_per_channel(torch.randn(4, 4), torch.ones(4), torch.zeros(4, dtype=torch.int64), 0, torch.qint8)
    yield "quantised", "model.pt", _saved({"a": quantised, "b": channels})
    yield (
        "random-state",
        "rng_state.pth",
        _saved({"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}),
    )
    yield (
        "numpy-inside",
        "model.pt",
        _saved(
            {
                "loss": np.float64(0.5),
                "n": np.int64(3),
                "hist": np.arange(6.0),
                "text": np.array(["a", "b"]),
                "when": np.datetime64("2026-01-01"),
            }
        ),
    )
    args = argparse.Namespace(lr=0.1, layers=[1, 2], path=pathlib.PurePosixPath("/data"), name=None)
    yield "namespace", "checkpoint.pt", _saved({"model": state, "args": args, "epoch": 3})
    yield (
        "common-values",
        "checkpoint.pt",
        _saved(
            {
                "model": state,
                "time": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
                "took": datetime.timedelta(1),
                "log": collections.defaultdict(list, a=[1]),
                "count": collections.Counter("abc"),
                "queue": collections.deque([1], 10),
                "set": {1, 2},
                "complex": 1j,
                "slice": slice(1),
                "range": range(3),
                "bytes": b"x" * 10,
                "simple": types.SimpleNamespace(a=1),
                "dtype": torch.float16,
                "device": torch.device("cuda:0"),
                "size": torch.Size([1, 2]),
            }
        ),
    )
    hparams = ["pytorch_lightning.utilities.parsing.AttributeDict"]
    with classes(*hparams, base=dict) as (attribute_dict,):
        lightning = {
            "epoch": 1,
            "global_step": 10,
            "pytorch-lightning_version": "1.9.0",
            "state_dict": state,
            "loops": {},
            "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.5)}},
            "optimizer_states": [optimizers[1][1].state_dict()],
            "lr_schedulers": [],
            "hyper_parameters": attribute_dict(lr=0.1),
        }
        yield "lightning", "last.ckpt", _saved(lightning)
    for name, file, paths in (
        (
            "omegaconf",
            "model.ckpt",
            (
                "omegaconf.dictconfig.DictConfig",
                "omegaconf.base.ContainerMetadata",
                "omegaconf.base.Metadata",
                "omegaconf.nodes.AnyNode",
                "omegaconf.listconfig.ListConfig",
            ),
        ),
        ("lightning-callback", "old.ckpt", ("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",)),
        ("fairseq", "checkpoint_best.pt", ("fairseq.data.dictionary.Dictionary", "fairseq.meters.AverageMeter")),
        (
            "megatron",
            "model_optim_rng.pt",
            ("megatron.core.enums.ModelType", "megatron.core.transformer.transformer_config.TransformerConfig"),
        ),
        (
            "deepspeed",
            "mp_rank_00_model_states.pt",
            ("deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler", "deepspeed.utils.tensor_fragment.fragment_address"),
        ),
        (
            "ultralytics",
            "best.pt",
            (
                "ultralytics.nn.tasks.DetectionModel",
                "ultralytics.nn.modules.conv.Conv",
                "ultralytics.utils.IterableSimpleNamespace",
            ),
        ),
        ("mmcv", "latest.pth", ("mmengine.config.config.ConfigDict", "mmengine.logging.history_buffer.HistoryBuffer")),
        ("own-module", "model.pt", ("models.unet.UNet", "models.blocks.ResBlock", "__main__.Net")),
        ("fastai", "export.pkl", ("fastai.learner.Learner", "fastai.data.core.DataLoaders", "fastcore.foundation.L")),
        ("speechbrain", "model.ckpt", ("speechbrain.dataio.encoder.CategoricalEncoder",)),
        ("nemo-enum", "model.ckpt", ("nemo.core.classes.ModelPT",)),
    ):
        with classes(*paths) as made:
            yield (
                name,
                file,
                _saved({"state_dict": state, "objects": [_filled(c, lr=0.1, names=["a"], weight=torch.ones(4)) for c in made]}),
            )
    yield "torchscript", "model.pt", _scripted(torch.jit.script(model))
    yield "torchscript-trace", "model.pt", _scripted(torch.jit.trace(model.eval(), torch.randn(1, 8)))
    with tempfile.TemporaryDirectory() as folder:
        from torch.distributed import checkpoint

        checkpoint.save({"model": state}, checkpoint_id=folder, no_dist=True)
        files = {file.name: file.read_bytes() for file in pathlib.Path(folder).iterdir()}
        yield "dcp", ".metadata", files.pop(".metadata"), files
    from torch.nn.utils import parametrizations, prune

    yield "weight-norm", "model.pt", _saved(parametrizations.weight_norm(nn.Linear(4, 4)).state_dict())
    yield "pruned", "model.pt", _saved(prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5).state_dict())
    yield "averaged", "model.pt", _saved(torch.optim.swa_utils.AveragedModel(model).state_dict())
    yield "subclass-parameter", "model.pt", _saved({"w": nn.Parameter(torch.ones(4)), "b": nn.parameter.Buffer(torch.ones(4))})
    yield "meta", "model.pt", _saved({"w": torch.ones(4), "m": torch.empty(4, device="meta")})
    yield "scalar-tensor", "model.pt", _saved({"w": torch.tensor(0.5), "step": torch.tensor(3)})
    yield "empty-tensor", "model.pt", _saved({"w": torch.ones(4), "e": torch.empty(0, 5)})
    yield "nested", "model.pt", _saved({"w": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])})
    dynamic = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 8)), {nn.Linear}, dtype=torch.qint8)
    yield "dynamic-quantised", "model.pt", _saved(dynamic.state_dict())
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0}
    yield "amp", "model.pt", _saved({"model": state, "scaler": scaler})


def _scripted(module: Any) -> bytes:
    buffer = io.BytesIO()
    import torch

    torch.jit.save(module, buffer)
    return buffer.getvalue()


def trained() -> Iterator[Made]:
    if find_spec("transformers") and find_spec("accelerate"):
        from transformers import TrainingArguments

        yield "training-arguments", "training_args.bin", _saved(TrainingArguments("out", use_cpu=True))
    enums = (
        "transformers.training_args.TrainingArguments",
        "transformers.trainer_utils.IntervalStrategy",
        "transformers.trainer_utils.SchedulerType",
        "transformers.training_args.OptimizerNames",
        "accelerate.utils.dataclasses.DistributedType",
        "accelerate.state.PartialState",
    )
    with classes(*enums) as made:
        yield (
            "training-arguments-like",
            "training_args.bin",
            _saved(_filled(made[0], lr=0.1, parts=[_filled(c) for c in made[1:]])),
        )
    if find_spec("sklearn"):
        yield from _sklearn()
    for protocol in (0, 1, 2, 3, 4, 5):
        value = {
            "w": np.arange(12.0, dtype=np.float32).reshape(3, 4),
            "b": np.zeros(4),
            "n": np.float32(0.5),
            "s": "text",
            "l": [1, 2.5, None, True],
        }
        yield f"numpy-dict-{protocol}", "weights.pkl", pickle.dumps(value, protocol=protocol)
    structured = np.zeros(3, dtype=[("a", "<f4"), ("b", "<i8", (2,))])
    yield "numpy-structured", "weights.pkl", pickle.dumps(structured)
    yield "numpy-masked", "weights.pkl", pickle.dumps(np.ma.masked_array([1.0, 2.0], [False, True]))
    yield "numpy-generator", "rng.pkl", pickle.dumps({"g": np.random.default_rng(0), "r": np.random.RandomState(0)})
    yield "history", "history.pkl", pickle.dumps({"loss": [0.5, 0.25], "acc": [0.1, 0.2]})
    with classes("xgboost.core.Booster", "xgboost.sklearn.XGBClassifier") as made:
        yield (
            "xgboost",
            "model.pkl",
            pickle.dumps(_filled(made[1], n=3, _Booster=_filled(made[0], handle=bytearray(b"binf" + bytes(60))))),
        )
    with classes("gensim.models.word2vec.Word2Vec", "gensim.models.keyedvectors.KeyedVectors") as made:
        yield (
            "gensim",
            "word2vec.model",
            pickle.dumps(_filled(made[0], wv=_filled(made[1], vectors=np.ones((5, 4), np.float32)))),
        )


def _sklearn() -> Iterator[Made]:
    import joblib  # type: ignore[import]
    from sklearn.cluster import KMeans  # type: ignore[import]
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier  # type: ignore[import]
    from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import]
    from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier  # type: ignore[import]
    from sklearn.neighbors import KNeighborsClassifier  # type: ignore[import]
    from sklearn.neural_network import MLPClassifier  # type: ignore[import]
    from sklearn.pipeline import make_pipeline  # type: ignore[import]
    from sklearn.preprocessing import OneHotEncoder, StandardScaler  # type: ignore[import]
    from sklearn.svm import SVC  # type: ignore[import]

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)), np.arange(40) % 2
    estimators: list[tuple[str, Any]] = [
        ("logistic", LogisticRegression().fit(x, y)),
        ("ridge", Ridge().fit(x, y)),
        ("sgd", SGDClassifier().fit(x, y)),
        ("forest", RandomForestClassifier(3).fit(x, y)),
        ("boosting", GradientBoostingClassifier(n_estimators=2).fit(x, y)),
        ("hist-boosting", HistGradientBoostingClassifier(max_iter=2).fit(x, y)),
        ("svc", SVC().fit(x, y)),
        ("neighbours", KNeighborsClassifier(algorithm="kd_tree").fit(x, y)),
        ("mlp", MLPClassifier((4,), max_iter=2).fit(x, y)),
        ("kmeans", KMeans(2, n_init=1).fit(x)),
        ("pipeline", make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)),
        ("tfidf", TfidfVectorizer().fit(["a text of words", "more words"])),
        ("encoder", OneHotEncoder().fit([["a"], ["b"]])),
    ]
    for name, estimator in estimators:
        yield f"sklearn-{name}", "model.pkl", pickle.dumps(estimator)
        buffer = io.BytesIO()
        joblib.dump(estimator, buffer)
        yield f"joblib-{name}", "model.joblib", buffer.getvalue()
    for compress in (("zlib", 3), ("gzip", 3), ("xz", 3), ("bz2", 3)):
        buffer = io.BytesIO()
        joblib.dump(estimators[0][1], buffer, compress=compress)
        yield f"joblib-packed-{compress[0]}", "model.joblib", buffer.getvalue()


def other_containers() -> Iterator[Made]:
    yield (
        "safetensors",
        "model.safetensors",
        safetensors_file({"w": ("F32", (2, 2), 16), "b": ("BF16", (4,), 8)}, metadata={"format": "pt"}),
    )
    yield "safetensors-empty", "model.safetensors", safetensors_file({"w": ("F32", (2, 2), 16), "e": ("F32", (0, 4), 0)})
    vocabulary = {
        "general.architecture": "llama",
        "general.name": "tiny",
        "tokenizer.chat_template": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}",
    }
    yield "gguf", "model.gguf", gguf(vocabulary)
    yield "onnx", "model.onnx", onnx_model()
    for name, array in (
        ("f4", np.ones((3, 4), np.float32)),
        ("i8", np.arange(5)),
        ("fortran", np.asfortranarray(np.ones((3, 4)))),
        ("big-endian", np.ones(3, ">f4")),
        ("bool", np.ones(3, bool)),
    ):
        buffer = io.BytesIO()
        np.save(buffer, array)
        yield f"npy-{name}", "array.npy", buffer.getvalue()
    for name, write in (("npz", np.savez), ("npz-packed", np.savez_compressed)):
        buffer = io.BytesIO()
        write(buffer, w=np.ones((3, 4), np.float32), b=np.zeros(4))
        yield name, "arrays.npz", buffer.getvalue()
    if find_spec("h5py"):
        yield from _keras()
    if find_spec("msgpack"):
        import msgpack  # type: ignore[import]

        array = msgpack.packb(((2, 2), "float32", b"\0" * 16), use_bin_type=True)
        yield "flax", "flax_model.msgpack", msgpack.packb({"params": {"kernel": msgpack.ExtType(1, array)}}, use_bin_type=True)


def _keras() -> Iterator[Made]:
    import h5py  # type: ignore[import]

    config = {
        "class_name": "Sequential",
        "config": {
            "name": "s",
            "layers": [
                {
                    "module": "keras.layers",
                    "class_name": "Dense",
                    "config": {"units": 2, "activation": "relu"},
                    "registered_name": None,
                }
            ],
        },
    }
    for name, old in (("h5", True), ("keras", False)):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            if old:
                file.attrs["model_config"] = json.dumps(config)
                file.attrs["keras_version"] = "2.15.0"
                group = file.create_group("model_weights")
                group.attrs["layer_names"] = [b"dense"]
                dense = group.create_group("dense")
                dense.attrs["weight_names"] = [b"dense/kernel:0"]
                dense["dense/kernel:0"] = np.ones((4, 2), np.float32)
            else:
                file.create_group("layers/dense/vars")["0"] = np.ones((4, 2), np.float32)
        if old:
            yield name, "model.h5", buffer.getvalue()
        else:
            members = [
                Entry("metadata.json", b'{"keras_version": "3.9.0", "date_saved": "2026-01-01@00:00:00"}'),
                Entry("config.json", json.dumps(config).encode()),
                Entry("model.weights.h5", buffer.getvalue()),
            ]
            yield name, "model.keras", write_zip(members)


def cases() -> Iterator[Case]:
    groups: tuple[tuple[str, Callable[[], Iterator[Made]]], ...] = (
        ("torch", torch_files),
        ("pickle", trained),
        ("other", other_containers),
    )
    for container, source in groups:
        for name, file, content, *beside in source():
            yield Case(f"ok-{name}", container, file, content, "benign", "as its library writes it", others=dict(*beside))
