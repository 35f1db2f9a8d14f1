"""The files of a target that hold weights, by folder, and the models that they make up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from weightguard.formats.protocol import Container
from weightguard.roles import is_small_state
from weightguard.tensors import Int64, TensorTable, concatenate
from weightguard.values import Finding

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
PIPELINE = "model_index.json"
TRAINER_STATE = "trainer_state.json"
MODEL_CONFIG = "model_config.yaml"
CARD = "README.md"
DECLARATION = "weightguard.toml"
SIGNATURE = "weightguard.toml.sig"
_OF_RUNS = "train_results.json all_results.json progress.txt hyperparameters.yaml"
SIDECARS = frozenset({CONFIG, ADAPTER, PIPELINE, TRAINER_STATE, MODEL_CONFIG, CARD, DECLARATION, SIGNATURE, *_OF_RUNS.split()})
INDEX_SUFFIX = ".index.json"
JUDGED_WITH = frozenset({CONFIG, ADAPTER, TRAINER_STATE, DECLARATION, SIGNATURE})
"""Sidecars that stand for the models beside them where they are targets: a change of one may change a verdict."""
WEIGHT_NAMES = tuple(
    (
        ".safetensors .bin .pt .pth .ckpt .pkl .pickle .joblib .gguf .ggml .onnx .h5 .hdf5 .keras .npz .npy .tflite .msgpack "
        ".mar .nemo .distcp .pt2 .pte"
    ).split()
)
"""Names that say weights: a file of such a name that is none is unread, however small."""


@dataclass(frozen=True, eq=False)
class WeightFile:
    """A file that holds weights. `path` is as reached from the target, `bytes` its size.

    parts: the files that hold the tensors which this one names. archive: path and size of the file that it was unpacked from.
    """

    path: str
    bytes: int
    container: Container
    parts: tuple[WeightFile, ...] = ()
    archive: tuple[str, int] | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def table(self) -> TensorTable:
        return self.container.tensors

    @property
    def whole(self) -> tuple[str, int]:
        """Path and size of the file that a digest of this one is a digest of."""
        return self.archive or (self.path, self.bytes)


@dataclass(frozen=True, eq=False)
class Folder:
    """One folder of a target, read: weight files, sidecars by name, and the names that could not be read."""

    path: str
    weights: tuple[WeightFile, ...] = ()
    texts: Mapping[str, bytes] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @cached_property
    def state(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """Path and plain values of the small files of settings and counters."""
        return tuple((w.path, w.container.scalars) for w in self.weights if w.container.scalars and is_small_state(w.table))

    def below(self, name: str) -> str:
        """The path of a file of this name in the folder."""
        return f"{self.path}/{name}" if self.path else name

    def without(self, files: tuple[WeightFile, ...]) -> Folder:
        """The folder without files that are part of a model already."""
        taken = {f.path for f in files}
        return replace(self, weights=tuple(w for w in self.weights if w.path not in taken))


@dataclass(frozen=True, eq=False)
class Model:
    """Files that are one model. `missing` says, one line each, which parts are not there or not read.

    folder: where its sidecars lie. tensors: its stored tensors; those that ranks store in pieces are put together.
    copies: array of int64, rows of `tensors` that repeat others: another precision, replicas of other ranks.
    components: the models that a pipeline was put together from, each with a config of its own.
    beside: path and plain values of the small files of settings and counters in its folder.
    """

    name: str
    path: str
    folder: str
    files: tuple[WeightFile, ...]
    tensors: TensorTable
    copies: Int64
    texts: Mapping[str, bytes]
    config: Mapping[str, Any] | None
    index_metadata: Mapping[str, Any]
    missing: tuple[str, ...]
    findings: tuple[Finding, ...]
    components: tuple[Model, ...] = ()
    beside: tuple[tuple[str, Mapping[str, Any]], ...] = ()


@dataclass(frozen=True, eq=False)
class Group:
    """A model in the making.

    beside: optimizer files of the same model. copies: the same weights again, in another precision or container.
    joined: a table, and the rows of it that repeat others, which stands for those of `files` where ranks hold pieces.
    """

    files: tuple[WeightFile, ...]
    path: str
    missing: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    index_metadata: Mapping[str, Any] = field(default_factory=dict)
    beside: tuple[WeightFile, ...] = ()
    copies: tuple[WeightFile, ...] = ()
    joined: tuple[TensorTable, Int64] | None = None

    def front(self) -> tuple[TensorTable, Int64]:
        """The tensors of `files`, and the rows that repeat others."""
        if self.joined is not None:
            return self.joined
        tables = [f.table for f in self.files]
        return tables[0] if len(tables) == 1 else concatenate(tables), np.zeros(0, np.int64)

    def table(self) -> tuple[TensorTable, Int64]:
        """All stored tensors, and the rows that repeat others."""
        front, repeated = self.front()
        if not self.beside and not self.copies:
            return front, repeated
        table = concatenate([front, *(f.table for f in (*self.beside, *self.copies))])
        first = len(table) - sum(len(f.table) for f in self.copies)
        return table, np.concatenate([repeated, np.arange(first, len(table), dtype=np.int64)])


def is_sidecar(name: str) -> bool:
    """Whether a text file of this name is evidence about the model beside it."""
    return name in SIDECARS or name.endswith(INDEX_SUFFIX)


def load_json(text: bytes) -> dict[str, Any] | None:
    """A JSON object of a sidecar; None if it is none (a sidecar is a claim: a broken one claims nothing)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
