"""Keras: its archive and its HDF5 files counted, and everything in a configuration that loading it would run.

The hostile configurations are those of the advisories, at the depths that they use; the benign ones are what Keras itself writes.
"""

from __future__ import annotations

import base64
import io
import json
import os
import zipfile
from typing import Any

import numpy as np
import pytest

from tests.formats._bounds import attempt, check_truncations, unexplained
from tests.formats._keras_files import DENSE, LAMBDA, LEGACY_LAMBDA, archive, legacy, model, weights
from weightguard.errors import Unreadable
from weightguard.formats import _keras, hdf5, identify, keras_zip
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.roles import ROLES, roles_by_name
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPES


def read(data: bytes) -> Container:
    container = identify(InMemory("model", data), LIMITS)
    assert container is not None
    a = container.accounts
    assert a.tensors + a.headers + a.padding + a.unexplained == len(data)
    return container


def by_role(container: Container) -> dict[str, int]:
    found: dict[str, int] = {}
    for role, n in zip(roles_by_name(container.tensors).tolist(), container.tensors.elements.tolist(), strict=True):
        found[ROLES[role]] = found.get(ROLES[role], 0) + n
    return found


def findings(container: Container) -> set[tuple[str, str]]:
    return {(f.id, f.severity) for f in container.findings}


# ---- counts


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_has_the_datasets_of_its_weights(method: int) -> None:
    container = read(archive(model(DENSE), method=method))
    t = container.tensors
    assert container.format == "keras"
    assert {n: (DTYPES[t.dtypes[i]][0], t.shape(i)) for i, n in enumerate(t.names)} == {
        "layers/dense/vars/0": ("F32", (3, 4)),
        "layers/dense/vars/1": ("F32", (4,)),
        "optimizer/vars/0": ("I64", ()),
        "optimizer/vars/1": ("F32", (3, 4)),
    }
    assert container.unexplained == 0 and findings(container) == set()
    assert by_role(container) == {"weight": 16, "optimizer": 13}
    assert container.metadata["keras_version"] == "3.15.1"


def test_several_weight_files_of_one_archive_count_together() -> None:
    data = archive(model(DENSE), others={"model_00001.weights.h5": weights(), "model.weights.json": b'{"weight_map": {}}'})
    assert by_role(read(data)) == {"weight": 32, "optimizer": 26}


def test_the_roles_of_a_legacy_file() -> None:
    container = read(legacy(model(DENSE)))
    assert container.format == "hdf5" and container.unexplained == 0 and findings(container) == set()
    assert by_role(container) == {"weight": 24, "buffer": 8, "optimizer": 13}
    assert json.loads(container.metadata["model_config"])["class_name"] == "Sequential"


def test_files_that_keras_itself_writes(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    inputs = keras.layers.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="gelu", kernel_regularizer="l2")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.SeparableConv2D(6, 3)(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Dropout(0.5)(x))
    made = keras.Model(inputs, keras.layers.Dense(2)(x))
    made.compile("adam", keras.losses.MeanSquaredError(), metrics=[keras.metrics.MeanAbsoluteError()])
    truth = sum(int(np.prod(w.shape)) for w in made.weights)
    for name in ("m.keras", "m.h5", "m.weights.h5"):
        path = str(tmp_path / name)
        made.save_weights(path) if name.endswith("weights.h5") else made.save(path)
        container = read((tmp_path / name).read_bytes())
        counts = by_role(container)
        small = sum(t for r, t in counts.items() if r in ("optimizer", "other"))
        assert sum(counts.values()) - small == truth, (name, counts)
        assert container.unexplained == 0 and findings(container) == set()
    keras.mixed_precision.set_global_policy("float32")
    half = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(4, dtype="bfloat16")])
    half.save(str(tmp_path / "half.keras"))
    t = read((tmp_path / "half.keras").read_bytes()).tensors
    assert [(DTYPES[d][0], t.shape(i)) for i, d in enumerate(t.dtypes)] == [("BF16", (8, 4)), ("BF16", (4,))]


# ---- what loading would run

FUNCTION = {"class_name": "function", "registered_name": "function"}
HOSTILE = {
    "lambda": LAMBDA,
    "legacy lambda": LEGACY_LAMBDA,
    "bare marshalled function": {"class_name": "__lambda__", "config": {"value": "4wEAAAAA"}},
    "CVE-2025-1550": {**FUNCTION, "module": "os", "config": "system"},
    "a class of another package": {"module": "subprocess", "class_name": "Popen", "config": {"args": ["true"]}},
    "CVE-2025-8747": {**FUNCTION, "module": "keras.utils", "config": "get_file"},
    "CVE-2025-8747 by source": {**FUNCTION, "module": "keras.src.utils.file_utils", "config": "get_file"},
    "CVE-2025-9906": {**FUNCTION, "module": "keras.config", "config": "enable_unsafe_deserialization"},
    "a loader": {**FUNCTION, "module": "keras.models", "config": "load_model"},
    "a loader as class": {"module": "keras.saving", "class_name": "load_model", "config": {}},
    "a builtin": {**FUNCTION, "module": "builtins", "config": "exec"},
    "a builtin class": {"module": "builtins", "class_name": "eval", "config": {}},
    "torch": {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": "gAJj"}},
    "a SavedModel": {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}},
    "custom module": {"module": "my_package.layers", "class_name": "Own", "config": {}, "registered_name": "my>Own"},
    "a name like keras": {"module": "keras_evil.layers", "class_name": "Dense", "config": {}},
    "a name like tensorflow": {**FUNCTION, "module": "tensorflow.io", "config": "write_file"},
    "an operation of TensorFlow": {"class_name": "TFOpLambda", "config": {"name": "w", "function": "io.write_file"}},
}


def nested(part: Any) -> list[Any]:
    layer = {**DENSE, "config": {**DENSE["config"], "activation": part}}  # type: ignore[dict-item]
    return [
        model(part),
        model(DENSE, model(model(DENSE, part))),
        model(layer),
        {**model(DENSE), "compile_config": {"loss": {"a": [[part]]}}},
        {**model(DENSE), "build_config": part},
        {"anything": {"else": [{"config": part}]}},
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_code_in_a_configuration_is_critical_wherever_it_stands(name: str) -> None:
    for config in nested(HOSTILE[name]):
        for data in (archive(config), archive(config, method=zipfile.ZIP_DEFLATED), legacy(config)):
            assert ("keras-lambda", "critical") in findings(read(data)), config


def test_a_lambda_deeper_than_anyone_writes() -> None:
    config: Any = LAMBDA
    for _ in range(200):
        config = {"class_name": "Sequential", "config": {"layers": [config]}}
    assert ("keras-lambda", "critical") in findings(read(archive(config)))


def test_a_configuration_nested_beyond_reading_is_unread() -> None:
    text = '{"a":' * 200_000 + "1" + "}" * 200_000
    with pytest.raises(Unreadable) as caught:
        read(archive(text))
    assert caught.value.reason == "malformed"


def test_weights_that_are_refused_still_say_what_the_configuration_runs() -> None:
    with pytest.raises(Unreadable, match="Lambda"):
        read(archive(model(LAMBDA), h5=b"\x89HDF\r\n\x1a\n" + bytes(200)))


def test_an_archive_with_a_lambda_and_no_weights_is_read_as_keras() -> None:
    """The configuration is run before the weights are looked for."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("config.json", json.dumps(model(LAMBDA)))
        z.writestr("metadata.json", "{}")
    assert ("keras-lambda", "critical") in findings(read(out.getvalue()))


def test_a_vocabulary_that_is_a_path_is_high() -> None:
    """CVE-2025-12058: a file of the machine, or of the network, that loading reads."""
    layer: dict[str, Any] = {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}
    assert findings(read(archive(model(layer)))) == {("keras-file", "high")}
    layer["config"] = {"vocabulary": ["a", "b"]}
    assert findings(read(archive(model(layer)))) == set()


def test_a_registered_object_without_a_module_is_worth_saying() -> None:
    layer: dict[str, Any] = {"module": None, "class_name": "Own", "config": {}, "registered_name": "Custom>Own"}
    assert findings(read(archive(model(layer)))) == {("keras-custom-object", "medium")}


@pytest.mark.parametrize(
    "part",
    [
        DENSE,
        {"module": "builtins", "class_name": "function", "config": "mean_squared_error", "registered_name": "function"},
        {"module": "keras.src.backend.torch.optimizers.torch_adam", "class_name": "Adam", "config": {}},
        {"module": "keras.activations", "class_name": "function", "config": "relu", "registered_name": "relu"},
        {"module": "keras.src.models.functional", "class_name": "Functional", "config": {}},
        {"class_name": "__keras_tensor__", "config": {"shape": [None, 3], "keras_history": ["dense", 0, 0]}},
        {"class_name": "TFOpLambda", "config": {"function": "math.multiply"}},
        {"module": "keras_hub.src.models.bert", "class_name": "BertBackbone", "config": {}, "registered_name": "keras_hub>B"},
        {"class_name": "__numpy__", "config": {"value": [1, 2], "dtype": "float32"}},
    ],
)
def test_what_keras_writes_by_itself_is_no_finding(part: Any) -> None:
    for config in nested(part):
        assert findings(read(archive(config))) == set(), config


def test_many_findings_are_cut_short() -> None:
    layers = [{**LAMBDA, "config": {"name": f"l{i}"}} for i in range(500)]
    found = read(archive(model(*layers))).findings
    assert len(found) == 51 and "450 more" in found[-1].message


# ---- hidden bytes


def test_weights_in_a_configuration_are_unexplained() -> None:
    secret = base64.b64encode(os.urandom(100_000)).decode()
    assert read(archive(model({**DENSE, "note": secret}))).unexplained >= 130_000
    assert read(legacy(model({**DENSE, "note": secret}))).unexplained >= 130_000
    numbers = [i / 7 for i in range(100_000)]
    assert read(archive(model({**DENSE, "note": numbers}))).unexplained >= 800_000


def test_members_that_keras_does_not_write_are_unexplained() -> None:
    assert read(archive(model(DENSE), others={"more.bin": os.urandom(70_000)})).unexplained == 70_000
    assert read(archive(model(DENSE), others={"assets/vocab.bin": os.urandom(70_000)})).unexplained == 70_000
    assert read(archive(model(DENSE), others={"assets/vocabulary.txt": b"one\ntwo\n" * 10_000})).unexplained == 0


def test_weights_hidden_in_the_weights_file_show() -> None:
    assert read(archive(model(DENSE), h5=weights() + os.urandom(70_000))).unexplained >= 69_000


def test_a_file_cut_short_is_unread() -> None:
    data = archive(model(DENSE))
    check_truncations(keras_zip, data, step=97)


def test_arrays_of_pickled_objects_are_refused() -> None:
    data = archive(model(DENSE), others={"model.weights.npz": b"PK"})
    with pytest.raises(Unreadable) as caught:
        read(data)
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize(
    "change",
    [
        {"config": "[]"},
        {"config": "not json"},
        {"config": b"\xff\xfe"},
        {"h5": b""},
        {"h5": b"text"},
        {"h5": bytes(1000)},
    ],
)
def test_parts_that_are_not_what_they_should_be_are_refused(change: dict[str, Any]) -> None:
    assert isinstance(attempt(keras_zip, archive(**{"config": model(DENSE), **change})), Unreadable)


def test_bytes_before_or_after_an_archive_show() -> None:
    data = archive(model(DENSE))
    assert unexplained(attempt(keras_zip, data + os.urandom(3000)), 3000)


def test_other_zips_are_not_claimed() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("config.json", "{}")
        z.writestr("model.safetensors", "")
    assert not keras_zip.sniff(out.getvalue(), out.getvalue())
    assert keras_zip.sniff(archive(model()), archive(model())[-66_000:])


def test_what_is_no_json_object_is_no_configuration() -> None:
    for text in (b"", b"[1]", b"null", b"{", b"{" * 100_000, b"\xff"):
        assert _keras.examine(text, "x", LIMITS) is None
    assert hdf5.sniff(weights(), b"")
