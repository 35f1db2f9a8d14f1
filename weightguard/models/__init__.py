"""Which files make up one model: shards and their index, ranks of a training run, copies, adapters, components, sidecars."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from weightguard.formats.protocol import PART_MISSING
from weightguard.models.adapters import NO_BASE, is_adapter, with_base
from weightguard.models.copies import merge_copies, merge_parts
from weightguard.models.files import (
    ADAPTER,
    CARD,
    CONFIG,
    DECLARATION,
    INDEX_SUFFIX,
    JUDGED_WITH,
    MODEL_CONFIG,
    PIPELINE,
    SIGNATURE,
    TRAINER_STATE,
    WEIGHT_NAMES,
    Folder,
    Group,
    Model,
    WeightFile,
    is_sidecar,
    load_json,
)
from weightguard.models.groups import broken, companions, index_files, indexed, is_projector, numbered, splits
from weightguard.roles import is_optimizer_only, is_small_state

_PIECES = re.compile(r"__\d+_\d+\.distcp")
COMMON = "common.pt"  # what Megatron's ranks have alike, beside the pieces of a distributed checkpoint
_RANKS = ("rank", "_states", "layer_", "iter_", "fsdp")
_NO_WEIGHTS = "only optimizer state, without the weights it belongs to"


def assemble(folders: Sequence[Folder]) -> tuple[Model, ...]:
    """The models of a target's folders, each weight file in at most one of them: files of mere counters and settings are in none."""
    by_path = {f.path: f for f in folders}
    sets: dict[str, list[Model]] = {}
    for at, group, config in _training_sets(by_path):
        by_path.setdefault(at, Folder(at))
        sets.setdefault(at, []).append(_model(group, by_path[at], config))
        for path in {f.path.rpartition("/")[0] for f in (*group.files, *group.beside)}:
            by_path[path] = by_path[path].without((*group.files, *group.beside))
    models = {path: [*sets.get(path, ()), *_in_folder(folder)] for path, folder in sorted(by_path.items())}
    whole = _pipelines(by_path, models)
    in_pipelines = {path for _, components in whole.values() for path in components}
    found: list[Model] = []
    for path, inside in models.items():
        if path in whole:
            found.append(whole[path][0])
        found += [m for m in inside if m.path not in in_pipelines]
    paths = Counter(m.path for m in found)
    return tuple(m if paths[m.path] == 1 or not m.files else replace(m, path=m.files[0].path) for m in found)


def _training_sets(folders: Mapping[str, Folder]) -> Iterable[tuple[str, Group, Mapping[str, Any] | None]]:
    """Sets of ranks: their rules are loaded where there are torch's files, or names that say so."""
    files = (w for f in folders.values() for w in f.weights)
    if not any(w.container.format.startswith(("torch", "pickle")) or any(x in w.path for x in _RANKS) for w in files):
        return ()
    from weightguard.models.training import training_sets

    return training_sets(folders)


def _pipelines(folders: Mapping[str, Folder], models: Mapping[str, Sequence[Model]]) -> dict[str, tuple[Model, set[str]]]:
    if not any(PIPELINE in f.texts for f in folders.values()):
        return {}
    from weightguard.models.pipelines import pipelines

    return pipelines(folders, models)


def _in_folder(folder: Folder) -> list[Model]:
    """The models of one folder by itself."""
    groups, left = indexed(folder)
    by_number, left = numbered(left)
    for group in by_number:
        if all(is_optimizer_only(f.table) or is_small_state(f.table) for f in group.files):
            left += group.files
        else:
            groups.append(group)
    config = load_json(folder.texts[CONFIG]) if CONFIG in folder.texts else None
    common = any(w.container.format == "torch-dcp" for w in left)
    optimizer = [w for w in left if is_optimizer_only(w.table) or (common and w.name == COMMON and len(w.table))]
    small = [w for w in left if is_small_state(w.table)]  # also those without a tensor
    groups += [Group((w,), w.path) for w in left if w not in optimizer and w not in small]
    adapters = [g for g in groups if all(is_adapter(f.table) for f in g.files)]
    groups = [g for g in groups if g not in adapters]
    if config is not None and len(groups) > 1:
        groups = merge_parts(merge_copies(groups))
    groups, adapters = with_base(groups, adapters)
    if len(groups) == 1:
        groups[0] = replace(groups[0], beside=tuple(optimizer))
        optimizer = []
    groups += [Group((w,), w.path, missing=(_NO_WEIGHTS,)) for w in optimizer]
    against = broken(folder)
    found = []
    for group in (*groups, *adapters):
        missing = (*group.missing, *splits(group), *against, *_part_of(group, folder))
        found.append(_model(replace(group, missing=missing), folder, None if is_projector(group) else config))
    return found


def _part_of(group: Group, folder: Folder) -> tuple[str, ...]:
    """Why a group is a part: an adapter with no base that it fits beside it; pieces without their description."""
    if ADAPTER in folder.texts and CONFIG not in folder.texts and len(group.files) == 1:
        return (f"{NO_BASE} ({ADAPTER})",)
    if all(is_adapter(f.table) for f in group.files):
        return (NO_BASE,)
    if any(_PIECES.fullmatch(f.name) for f in group.files):
        return ("pieces of a distributed checkpoint, without the .metadata that describes it",)
    if MODEL_CONFIG in folder.texts and any(f.name == "model_weights.ckpt" for f in group.files):
        from weightguard.models.megatron import stated_ranks

        ranks = stated_ranks(folder.texts[MODEL_CONFIG])
        return (f"one rank's part: {MODEL_CONFIG} says that there are {ranks}",) if ranks > 1 else ()
    return ()


def _model(group: Group, folder: Folder, config: Mapping[str, Any] | None) -> Model:
    files = (*group.files, *group.beside, *group.copies)
    files += tuple(p for f in files for p in f.parts)
    if any(f.container.format == "torch-dcp" for f in group.files):
        from weightguard.models.stacks import with_layers_apart

        group = with_layers_apart(group)
    table, copies = group.table()
    said = [x for f in files for x in f.container.findings]
    name = group.path.rpartition("/")[2]
    if group.path.endswith(INDEX_SUFFIX) or name in ("model.safetensors", "pytorch_model.bin", ".metadata", "."):
        name = folder.name or name
    return Model(
        name=name,
        path=group.path,
        folder=folder.path,
        files=files,
        tensors=table,
        copies=copies,
        texts=folder.texts,
        config=config,
        index_metadata=group.index_metadata,
        missing=(*group.missing, *(x.message for x in said if x.id == PART_MISSING)),
        findings=(*group.findings, *(x for x in said if x.id != PART_MISSING)),
        beside=folder.state,
    )


__all__ = [
    "ADAPTER",
    "CARD",
    "CONFIG",
    "DECLARATION",
    "INDEX_SUFFIX",
    "JUDGED_WITH",
    "PIPELINE",
    "SIGNATURE",
    "TRAINER_STATE",
    "WEIGHT_NAMES",
    "Folder",
    "Model",
    "WeightFile",
    "assemble",
    "companions",
    "index_files",
    "is_sidecar",
    "load_json",
]
