"""Which files make up one model: shards and their index, copies, optimizer files, sidecars."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from weightguard.formats.protocol import Container
from weightguard.roles import is_optimizer_only, is_small_state
from weightguard.tensors import EMPTY, FLOATING, TensorTable, concatenate
from weightguard.values import Finding

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
TRAINER_STATE = "trainer_state.json"
CARD = "README.md"
DECLARATION = "weightguard.toml"
SIDECARS = frozenset({CONFIG, ADAPTER, TRAINER_STATE, CARD, DECLARATION})
INDEX_SUFFIX = ".index.json"
JUDGED_WITH = frozenset({CONFIG, ADAPTER, TRAINER_STATE, DECLARATION})
"""Sidecars that stand for the models beside them where they are targets: a change of one may change a verdict."""
WEIGHT_NAMES = tuple(
    (
        ".safetensors .bin .pt .pth .ckpt .pkl .pickle .joblib .gguf .ggml .onnx .h5 .hdf5 .keras .npz .npy .tflite .msgpack "
        ".mar .nemo .distcp .pt2 .pte"
    ).split()
)
"""Names that say weights: a file of such a name that is none is unread, however small."""

_MOST_COPIES = 64  # files that repeat a model in another precision or container, shards included
# Folders that hold one rank's part of a model (Megatron, NeMo)
_RANK_FOLDER = re.compile(r"(?:^|/)(?:mp|tp|pp|ep|cp|dp)_rank_\d+(?:_\d+)*$")
# Names that say "part n of m", or "part n": (stem, number, total or "", rest)
_NUMBERED = (
    re.compile(r"(?P<stem>.*)-(?P<number>\d{1,6})-of-(?P<total>\d{1,6})(?P<rest>\.\w+)"),  # huggingface_hub
    re.compile(r"(?P<stem>consolidated)\.(?P<number>\d{1,6})(?P<total>)(?P<rest>\.\w+)"),  # Meta's tensor-parallel shards
    re.compile(r"(?P<stem>.*_rank_)(?P<number>\d{1,6})(?P<total>)(?P<rest>.*)"),  # Megatron, DeepSpeed, FSDP
    re.compile(r"(?P<stem>layer_)(?P<number>\d{1,6})(?P<total>)(?P<rest>-model_.*)"),  # DeepSpeed pipelines
)


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


@dataclass(frozen=True, eq=False)
class Model:
    """Files that are one model. `missing` says, one line each, which parts are not there or not read."""

    name: str
    path: str
    files: tuple[WeightFile, ...]
    tensors: TensorTable
    copies: frozenset[int]  # indices into `files` of files that repeat the others' weights
    texts: Mapping[str, bytes]
    config: Mapping[str, Any] | None
    index_metadata: Mapping[str, Any]
    missing: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def folder(self) -> str:
        return self.files[0].path.rpartition("/")[0] if self.files else self.path.rpartition("/")[0]


def is_sidecar(name: str) -> bool:
    """Whether a text file of this name is evidence about the model beside it."""
    return name in SIDECARS or name.endswith(INDEX_SUFFIX)


def companions(targets: Iterable[str], names: Sequence[str], indexes: Mapping[str, Sequence[str]]) -> set[str]:
    """The other files of a folder that must be read for its file targets to be judged as whole models.

    `names` are all names in the folder, `indexes` the file names each index there names. "A file that is a shard stands for its
    whole set on disk, with the folder's sidecars".
    """
    given = set(targets)
    wanted = {n for n in names if is_sidecar(n)}
    for index, named in indexes.items():
        if index in given or not given.isdisjoint(named):
            wanted.update(named)
    if not given.isdisjoint(JUDGED_WITH):
        wanted.update(n for n in names if n.endswith(WEIGHT_NAMES))
    families = {_family(n) for n in wanted | given} - {None}
    wanted.update(n for n in names if _family(n) in families)
    return (wanted & set(names)) - given


def index_files(text: bytes) -> list[str]:
    """File names that an index names; empty if it is not an index."""
    weight_map = (load_json(text) or {}).get("weight_map")
    if not isinstance(weight_map, dict):
        return []
    return sorted({v for v in weight_map.values() if isinstance(v, str)})


def load_json(text: bytes) -> dict[str, Any] | None:
    """A JSON object of a sidecar; None if it is none (a sidecar is a claim: a broken one claims nothing)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def assemble(folder: Folder) -> tuple[Model, ...]:
    """The models of a folder, each weight file in at most one of them: files of mere counters and settings are in none."""
    groups, left = _indexed(folder)
    numbered, left = _numbered(left)
    groups += numbered
    config = load_json(folder.texts[CONFIG]) if CONFIG in folder.texts else None
    optimizer = [w for w in left if is_optimizer_only(w.container.tensors)]
    small = [w for w in left if is_small_state(w.container.tensors)]  # also those without a tensor
    groups += [_Group((w,), w.path) for w in left if w not in optimizer and w not in small]
    if config is not None and len(groups) > 1:
        groups = _merge_parts(_merge_copies(groups))
    if len(groups) == 1:
        groups[0] = replace(groups[0], beside=tuple(optimizer))
        optimizer = []
    groups += [_Group((w,), w.path, missing=("only optimizer state, without the weights it belongs to",)) for w in optimizer]
    broken = _broken(folder)
    return tuple(_model(replace(g, missing=(*g.missing, *broken)), folder, config) for g in groups)


def _broken(folder: Folder) -> tuple[str, ...]:
    """What the folder says against every model in it being whole."""
    found = [f"{n} could not be read" for n in sorted(folder.unread) if n == CONFIG or n.endswith(INDEX_SUFFIX)]
    if CONFIG in folder.texts and load_json(folder.texts[CONFIG]) is None:
        found.append(f"{CONFIG} can't be parsed")
    if ADAPTER in folder.texts and CONFIG not in folder.texts:
        found.append("an adapter without its base model (adapter_config.json)")
    if _RANK_FOLDER.search(folder.path):
        found.append("one rank's part: the parts of other ranks are not put together by this version")
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Group:
    files: tuple[WeightFile, ...]
    path: str
    missing: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    index_metadata: Mapping[str, Any] = field(default_factory=dict)
    beside: tuple[WeightFile, ...] = ()  # optimizer files of the same model
    copies: tuple[WeightFile, ...] = ()  # the same weights again, in another precision or container


def _family(name: str) -> tuple[str, str, str] | None:
    for pattern in _NUMBERED:
        match = pattern.fullmatch(name)
        if match:
            return match["stem"], match["total"], match["rest"]
    return None


def _number(name: str) -> int:
    return next(int(m["number"]) for p in _NUMBERED if (m := p.fullmatch(name)))


def _indexed(folder: Folder) -> tuple[list[_Group], list[WeightFile]]:
    """One group an index, with the shards that it names and those that its names' family adds."""
    left = {w.name: w for w in folder.weights}
    groups = []
    for name in sorted(n for n in folder.texts if n.endswith(INDEX_SUFFIX)):
        path = f"{folder.path}/{name}" if folder.path else name
        named = index_files(folder.texts[name])
        if not named:
            continue
        families = {_family(n) for n in named} - {None}
        files = [left.pop(n) for n in named if n in left]
        surplus = [left.pop(n) for n in sorted(left) if _family(n) in families]
        missing = [f"{n}: named by {name}, {_why(n, folder)}" for n in named if n not in {f.name for f in files}]
        findings = [
            Finding("surplus-shard", "medium", f"a shard that {name} does not name; it is counted", w.path) for w in surplus
        ]
        index = load_json(folder.texts[name]) or {}
        stored = {n for f in files + surplus for n in f.container.tensors.names}
        lost = sorted(set(index.get("weight_map", {})) - stored)
        if lost and not missing:
            missing.append(f"{len(lost)} tensors that {name} names are in no shard, {lost[0]} first")
        metadata = index.get("metadata")
        groups.append(
            _Group(
                tuple(files + surplus),
                path,
                tuple(missing),
                tuple(findings),
                metadata if isinstance(metadata, dict) else {},
            )
        )
    return [g for g in groups if g.files], list(left.values())


def _why(name: str, folder: Folder) -> str:
    if "/" in name or "\\" in name:
        return "outside the folder"
    return "could not be read" if name in folder.unread else "not there"


def _numbered(files: Iterable[WeightFile]) -> tuple[list[_Group], list[WeightFile]]:
    """One group a family of numbered names, where no index says what belongs together."""
    families: dict[tuple[str, str, str], list[WeightFile]] = defaultdict(list)
    left: list[WeightFile] = []
    for w in files:
        family = _family(w.name)
        (left if family is None else families[family]).append(w)
    groups = []
    for (_, total, _), members in families.items():
        numbers = {_number(w.name) for w in members}
        # huggingface_hub counts from 1 to the total that each name states; the others count from 0
        expected = set(range(1, int(total) + 1)) if total else set(range(max(numbers) + 1))
        absent = sorted(expected - numbers)
        missing = (f"shards {_ranges(absent)} of {len(expected)} are not there or not read",) if absent else ()
        path = members[0].path if len(members) == 1 else members[0].path.rpartition("/")[0] or "."
        if len(families) > 1:
            path = members[0].path
        groups.append(_Group(tuple(members), path, missing))
    return groups, left


def _ranges(numbers: Sequence[int]) -> str:
    parts: list[list[int]] = []
    for n in numbers:
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in parts)


def _merge_copies(groups: list[_Group]) -> list[_Group]:
    """Groups with the same names and shapes are one model, stored again; the one with more tensors is the model."""
    merged: list[_Group] = []
    for group in sorted(groups, key=lambda g: (-sum(len(f.container.tensors) for f in g.files), g.path)):
        shapes = _shapes(group)
        for at, other in enumerate(merged):
            alike = shapes and not shapes - _shapes(other) and len(shapes) * 10 >= len(_shapes(other)) * 9
            # of packed words the same shape may stand for more weights
            if alike and not group.missing and len(other.copies) < _MOST_COPIES and _is_floating(group) and _is_floating(other):
                text = f"the same names and shapes as {other.path}: counted once"
                found = Finding("duplicate-weights", "info", text, group.path)
                merged[at] = replace(other, copies=(*other.copies, *group.files), findings=(*other.findings, found))
                break
        else:
            merged.append(group)
    return merged


def _merge_parts(groups: list[_Group]) -> list[_Group]:
    """Groups beside one config that share no name are parts of the model that it describes, however they are named or indexed."""
    merged: list[_Group] = []
    names: list[set[str]] = []
    for group in sorted(groups, key=lambda g: g.path):
        own = {n for f in group.files for n in f.container.tensors.names}
        for at, other in enumerate(merged):
            if names[at].isdisjoint(own):
                text = f"beside one config.json and without a name in common with {other.path}: counted with it"
                found = Finding("merged-parts", "info", text, group.path)
                merged[at] = replace(
                    other,
                    files=(*other.files, *group.files),
                    copies=(*other.copies, *group.copies),
                    missing=(*other.missing, *group.missing),
                    findings=(*other.findings, *group.findings, found),
                )
                names[at] |= own
                break
        else:
            merged.append(group)
            names.append(own)
    return merged


def _is_floating(group: _Group) -> bool:
    return all(set(f.container.tensors.dtypes.tolist()) <= FLOATING for f in group.files)


def _shapes(group: _Group) -> Counter[tuple[str, tuple[int, ...]]]:
    tables = [f.container.tensors for f in group.files]
    return Counter((name, t.shape(row)) for t in tables for row, name in enumerate(t.names))


def _model(group: _Group, folder: Folder, config: Mapping[str, Any] | None) -> Model:
    files = (*group.files, *group.beside, *group.copies)
    first_copy = len(group.files) + len(group.beside)
    files += tuple(p for f in files for p in f.parts)
    tables = [f.container.tensors for f in files]
    name = group.path.rpartition("/")[2]
    if group.path.endswith(INDEX_SUFFIX) or name in ("model.safetensors", "pytorch_model.bin", "."):
        name = folder.path.rpartition("/")[2] or name
    return Model(
        name=name,
        path=group.path,
        files=files,
        tensors=concatenate(tables) if tables else EMPTY,
        copies=frozenset(range(first_copy, first_copy + len(group.copies))),
        texts=folder.texts,
        config=config,
        index_metadata=group.index_metadata,
        missing=group.missing,
        findings=(*group.findings, *(x for f in files for x in f.container.findings)),
    )
