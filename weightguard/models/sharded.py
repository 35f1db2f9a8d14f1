"""Tensors that each rank pickled its own part of: FSDP's local and sharded state, DTensor; and DCP folders that belong together.

Sources: PyTorch, `torch/distributed/_shard/sharded_tensor/api.py` (`ShardedTensor.__getstate__`: local shards, then metadata with
the size of the whole), `torch/distributed/tensor/_api.py` and `_dtensor_spec.py` (DTensor: `_local_tensor`, `_spec`);
accelerate, `utils/fsdp_utils.py` (`pytorch_model_fsdp_0`, `optimizer_0`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from weightguard.models.files import CONFIG, Folder, Group, WeightFile, load_json
from weightguard.models.ranks import Join, Place
from weightguard.roles import is_optimizer_only

_LOCAL = re.compile(r"^(?P<name>.+?)(?:\.state\.0\.\d{1,6}\.tensor|\._local_tensor)$")
_MESH = re.compile(r"\._spec\.mesh\.(?:_rank_map|_mesh|mesh)$")
_WORLD = re.compile(r"\.state\.2\.global_world_size$")
_MOST_RANKS = 1 << 20
_WEIGHTS_FOLDER = re.compile(r"(?P<before>(?:.*/)?)pytorch_model_fsdp_(?P<number>\d{1,4})$")


def sharded(folders: Mapping[str, Folder]) -> Iterator[tuple[str, Group, Mapping[str, Any] | None]]:
    """The sets of ranks of all folders."""
    for path, folder in folders.items():
        config = load_json(folder.texts[CONFIG]) if CONFIG in folder.texts else None
        files = [w for w in folder.weights if w.container.shapes and any(_LOCAL.match(n) for n in w.table.names)]
        if files:
            yield path, _group(folder, files), config
        match = _WEIGHTS_FOLDER.fullmatch(path)
        states = folders.get(f"{match['before']}optimizer_{match['number']}") if match else None
        if states is not None:
            group = _with_states(folder, states)
            if group is not None:
                yield path, group, config


def _with_states(folder: Folder, states: Folder) -> Group | None:
    weights = [w for w in folder.weights if w.container.format == "torch-dcp"]
    beside = tuple(w for w in states.weights if is_optimizer_only(w.table))
    return Group(tuple(weights), weights[0].path, beside=beside) if len(weights) == 1 and beside else None


def _group(folder: Folder, files: Sequence[WeightFile]) -> Group:
    join = Join([f.table for f in files])
    pieces: dict[str, list[Place]] = defaultdict(list)
    rest: list[tuple[Place, str]] = []
    shapes: dict[str, tuple[int, ...]] = {}
    missing = [f"{n} could not be read" for n in sorted(folder.unread)]
    ranks = 1
    for t, f in enumerate(files):
        for key, shape in f.container.shapes.items():
            name = key.removesuffix(".state.1.size").removesuffix("._spec.tensor_meta.0")
            if shapes.setdefault(name, shape) != shape:
                missing.append(f"the files say two sizes of {name[:80]!r}: they are not ranks of one model")
        said = (v for k, v in f.container.scalars.items() if _WORLD.search(k))
        ranks = max([ranks, *(v for v in said if type(v) is int and v <= _MOST_RANKS)])
        for row, name in enumerate(f.table.names):
            match = _LOCAL.match(name)
            if match:
                pieces[match["name"]].append((t, row))
            else:
                rest.append(((t, row), name))
                if _MESH.search(name):
                    ranks = max(ranks, min(int(f.table.elements[row]), _MOST_RANKS))
    if len(files) < ranks:
        missing.append(f"{ranks - len(files)} of {ranks} ranks are not there or not read")
    lacking = 0
    for name, places in pieces.items():
        lacking += _piece(join, name, places, files, shapes.get(name), ranks)
    if lacking:
        missing.append(f"{lacking} tensors are not there in full")
    inside: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for places in pieces.values():
        for t, row in places:
            inside[t, int(files[t].table.storages[row])].append(_extent(files[t], row))
    for (t, row), name in rest:  # a part of a flat parameter may be shown by its own name too
        begin, end = _extent(files[t], row)
        within = any(b <= begin and end <= e for b, e in inside.get((t, int(files[t].table.storages[row])), ()))
        (join.again if within else join.keep)((t, row), name)
    table = join.table()
    return Group(tuple(files), folder.path or ".", (*missing, *join.problems), joined=table)


def _piece(
    join: Join, name: str, places: list[Place], files: Sequence[WeightFile], shape: tuple[int, ...] | None, ranks: int
) -> bool:
    """One tensor of the whole; whether a part of it is not there."""
    held = [files[t].table.shape(row) for t, row in places]
    stored = sum(int(files[t].table.elements[row]) for t, row in places)
    dtype = int(files[places[0][0]].table.dtypes[places[0][1]])
    if shape is None:  # described with another tensor: cut along the first axis, as FSDP does
        fits = len(held[0]) > 0 and all(len(h) == len(held[0]) and h[1:] == held[0][1:] for h in held)
        join.matrix(places, name, (sum(h[0] for h in held), *held[0][1:]) if fits else (stored,), dtype)
        return len(places) < ranks
    if len(places) > 1 and all(h == shape for h in held):  # replicas
        join.keep(places[0], name)
        for place in places[1:]:
            join.repeat(place, name)
        return False
    join.matrix(places, name, shape if stored == prod(shape) else (stored,), dtype)
    return stored < prod(shape)


def _extent(file: WeightFile, row: int) -> tuple[int, int]:
    """First byte of a row in its storage, and the one after its last."""
    begin = int(file.table.begins[row])
    return begin, begin + int(file.table.spans[row])
