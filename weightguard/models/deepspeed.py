"""DeepSpeed: one folder a step, files of each model-parallel and each data-parallel rank.

Source: DeepSpeed, `runtime/engine.py` (`_save_checkpoint`, `_save_zero_checkpoint`, `_get_zero_ckpt_name`),
`runtime/zero/stage_1_and_2.py` and `stage3.py` (`state_dict`), `runtime/pipe/module.py` (`save_state_dict`),
`utils/zero_to_fp32.py`, `checkpoint/ds_to_universal.py`. ZeRO 1 and 2 store the module whole and partitions of its fp32 copy;
ZeRO 3 stores the weights only as partitions, with their shapes beside them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from weightguard.models.files import CONFIG, Folder, Group, WeightFile, load_json
from weightguard.models.ranks import Join, Place, by_name, is_whole, width
from weightguard.tensors import DTYPE_CODES
from weightguard.values import Finding

_MODEL = re.compile(r"(?:zero_pp_rank_(?P<dp>\d{1,6})_)?mp_rank_(?P<mp>\d{1,6})_model_states\.pt")
_OPTIMIZER = re.compile(r"(?:bf16_)?(?:zero_pp_rank_(?P<dp>\d{1,6})_)?mp_rank_(?P<mp>\d{1,6})_optim_states\.pt")
_LAYER = re.compile(r"layer_(?P<layer>\d{1,6})-model_(?P<mp>\d{1,6})-model_states\.pt")
_EXPERT = re.compile(r"(?:layer_(?P<layer>\d{1,6})_)?expert_(?P<expert>\d{1,6})_mp_rank_(?P<mp>\d{1,6})_model_states\.pt")
_EXPERT_OPTIMIZER = re.compile(r"expp_rank_\d{1,6}_mp_rank_\d{1,6}_optim_states\.pt")
_PARTITION = re.compile(r"optimizer_state_dict\.fp32_flat_groups(?:\.\d+)?$")
_SHAPES = re.compile(r"^param_shapes\.(?:\d+\.)?(?P<name>.+)$")
_FROZEN = re.compile(r"^frozen_param_shapes\.(?P<name>.+)$")
_UNIVERSAL = re.compile(r"(?P<step>.*)/zero/(?P<name>[^/]+)")
_TIED = ("word_embeddings.weight", "embed_tokens.weight", "embed.weight", "wte.weight", "tied_modules.embed.weight")
_ALIGNED = 1 << 12  # elements that a group of flat partitions may be padded by, beside one for each rank and tensor
_MOST_PADDING = 1 << 22
_UNPARTITIONED = 1 << 20  # elements of a parameter that ZeRO 3 may leave whole: param_persistence_threshold is 1e5
_UNTIED = ("untie_embeddings_and_output_weights", "no_weight_tying")  # Megatron-LM's word for it, and GPT-NeoX's
_F32 = DTYPE_CODES["F32"]


@dataclass
class _Step:
    """The files of one step, by rank."""

    model: dict[tuple[int, int], WeightFile] = field(default_factory=dict)  # (mp, dp; -1 for all)
    optimizer: dict[tuple[int, int], WeightFile] = field(default_factory=dict)
    layers: dict[tuple[int, int], WeightFile] = field(default_factory=dict)  # (layer, mp)
    experts: dict[tuple[int, int, int], WeightFile] = field(default_factory=dict)  # (layer, expert, mp)
    others: list[WeightFile] = field(default_factory=list)

    def files(self) -> tuple[WeightFile, ...]:
        named = (self.model, self.layers, self.experts)
        return tuple(f for files in named for _, f in sorted(files.items()))

    def beside(self) -> tuple[WeightFile, ...]:
        return (*(f for _, f in sorted(self.optimizer.items())), *self.others)


def deepspeed(folders: Mapping[str, Folder]) -> Iterator[tuple[str, Group, Mapping[str, Any] | None]]:
    """The checkpoint of each folder that holds one."""
    universal: Mapping[str, dict[str, Folder]] = defaultdict(dict)
    for path, folder in folders.items():
        if (match := _UNIVERSAL.fullmatch(path)) and (folder.weights or folder.unread):
            universal[match["step"]][match["name"]] = folder
    universal = {
        at: named for at, named in universal.items() if any(w.name == "fp32.pt" for f in named.values() for w in f.weights)
    }
    for path, named in universal.items():
        folder = folders.get(path, Folder(path))
        yield path, _universal(folder, named, _step(folder)), _config(folders, path)
    for path, folder in folders.items():
        step = _step(folder)
        if path not in universal and step is not None:
            yield path, _group(folder, step), _config(folders, path)


def _config(folders: Mapping[str, Folder], path: str) -> Mapping[str, Any] | None:
    """config.json of the folder, or of the one around it, where trainers keep it."""
    for at in (path, path.rpartition("/")[0]):
        if at in folders and CONFIG in folders[at].texts:
            return load_json(folders[at].texts[CONFIG])
    return None


def _step(folder: Folder) -> _Step | None:
    step = _Step()
    for w in folder.weights:
        if not w.name.endswith("_states.pt"):
            continue
        if m := _EXPERT.fullmatch(w.name):
            step.experts[int(m["layer"] or 0), int(m["expert"]), int(m["mp"])] = w
        elif m := _LAYER.fullmatch(w.name):
            step.layers[int(m["layer"]), int(m["mp"])] = w
        elif _EXPERT_OPTIMIZER.fullmatch(w.name):
            step.others.append(w)
        elif m := _OPTIMIZER.fullmatch(w.name):
            step.optimizer[int(m["mp"]), int(m["dp"] or 0)] = w
        elif m := _MODEL.fullmatch(w.name):
            step.model[int(m["mp"]), -1 if m["dp"] is None else int(m["dp"])] = w
    return step if step.model or step.optimizer or step.layers else None


def _group(folder: Folder, step: _Step) -> Group:
    partitioned = any(dp >= 0 for _, dp in step.model) or (not step.model and not step.layers)
    missing = [
        *_absent(folder, step, partitioned=partitioned),
        *_disagreement([*step.model.values(), *step.optimizer.values()]),
    ]
    missing += _experts_absent(step)
    if partitioned:
        return _stage_3(folder, step, missing)
    files = step.files()
    join = Join([f.table for f in files])
    where = {id(f): i for i, f in enumerate(files)}
    ranks = [(mp, where[id(f)]) for (mp, _), f in sorted(step.model.items())]
    _unite(join, [t for _, t in ranks], files, "")
    if step.layers:
        missing += _layers(join, step, files, where)
    for (layer, expert, _), f in sorted(step.experts.items()):
        for row, name in enumerate(f.table.names):
            join.keep((where[id(f)], row), name if "expert" in name else f"layers.{layer}.experts.{expert}.{name}")
    table = join.table()
    return Group(files, folder.path or ".", (*missing, *join.problems), beside=step.beside(), joined=table)


def _unite(join: Join, tables: Sequence[int], files: Sequence[WeightFile], prefix: str) -> None:
    """The tensors of tensor-parallel ranks under their names, each with `prefix`."""
    lacking = 0
    for name, places in by_name({t: files[t].table for t in tables}).items():
        if len({t for t, _ in places}) < len(places) or len(places) not in (1, len(tables)):
            for place in places:
                join.keep(place, prefix + name)
            lacking += 1
        else:
            lacking += len(places) < len(tables) and not _is_state(name)
            join.unite(places, prefix + name)
    if lacking:
        join.problems.setdefault(f"{lacking} tensors are not on every rank: the files are not ranks of one model")


def _keep_all(join: Join, files: Sequence[WeightFile], where: Mapping[int, int]) -> None:
    """Files of which no rule says that ranks of this kind write them: every tensor counts."""
    for f in files:
        for row, name in enumerate(f.table.names):
            join.keep((where[id(f)], row), f"{f.name.removesuffix('_states.pt')}.{name}")


def _is_state(name: str) -> bool:
    return name.startswith(("optimizer.", "random", "rng", "cuda_rng", "np_rng", "torch_rng", "data_sampler"))


def _layers(join: Join, step: _Step, files: Sequence[WeightFile], where: Mapping[int, int]) -> list[str]:
    """Files of pipeline layers: the blocks are those with the tensors that most have, numbered from 0."""
    numbers = sorted({layer for layer, _ in step.layers})
    ranks = sorted({mp for _, mp in step.layers})
    inside = {n: [step.layers[n, mp] for mp in ranks if (n, mp) in step.layers] for n in numbers}
    missing = [f"layer file {n} of {len(ranks) - len(f)} ranks is not there" for n, f in inside.items() if len(f) < len(ranks)]
    kinds = {n: frozenset(f[0].table.names) for n, f in inside.items()}
    common, times = Counter(kinds.values()).most_common(1)[0]
    blocks = [n for n in numbers if kinds[n] == common and times > 1]
    if blocks and len(blocks) < blocks[-1] - blocks[0] + 1:
        missing.append(f"files of layers between {blocks[0]} and {blocks[-1]} are not there or not of their kind")
    said = {f.container.scalars.get("args.num_layers") for f in step.model.values()} - {None}
    if said and said != {len(blocks)}:
        missing.append(f"args say {sorted(map(str, said))[0]} layers, and there are files of {len(blocks)}")
    missing += _ends(inside, blocks, step)
    tied: dict[tuple[str, tuple[int, ...]], bool] = {}  # embeddings before the blocks: whether the head was met
    for n in numbers:
        tables = [where[id(f)] for f in inside[n]]
        prefix = f"layers.{blocks.index(n)}." if n in blocks else f"layer_{n}."
        first = files[tables[0]].table
        keys = {(name, first.shape(row)) for row, name in enumerate(first.names) if name in _TIED}
        heads = {key for key in keys if blocks and n > blocks[-1] and tied.get(key) is False}
        if heads:  # TiedLayerSpec: the embedding once more at the head, and no more than once
            for t in tables:
                for row, name in enumerate(files[t].table.names):
                    head = (name, files[t].table.shape(row)) in heads
                    (join.again if head else join.keep)((t, row), prefix + name)
            tied |= dict.fromkeys(heads, True)
            continue
        if blocks and n < blocks[0]:
            tied |= dict.fromkeys(keys, False)
        _unite(join, tables, files, prefix)
    return missing


def _experts_absent(step: _Step) -> list[str]:
    """Experts are numbered from 0, as many in each layer and on each tensor rank."""
    found: dict[tuple[int, int], set[int]] = defaultdict(set)
    for layer, expert, mp in step.experts:
        found[layer, mp].add(expert)
    most = max((max(e) + 1 for e in found.values()), default=0)
    fewer = [layer for (layer, _), e in found.items() if len(e) < most]
    return [f"{len(fewer)} layers lack files of experts, layer {fewer[0]} first"] if fewer else []


def _ends(inside: Mapping[int, Sequence[WeightFile]], blocks: Sequence[int], step: _Step) -> list[str]:
    """What a pipeline has before and after its blocks: an embedding, a norm, and a head where it is said not to be tied."""
    if not blocks:
        return ["no two layer files have the same tensors: the blocks are not there"]
    before = [f[0].table for n, f in inside.items() if n < blocks[0]]
    after = [f[0].table for n, f in inside.items() if n > blocks[-1]]
    found = []
    if not any((t.ranks == 2).any() for t in before):
        found.append("no file of a layer before the blocks: the embedding is not there")
    if not any((t.ranks == 1).any() for t in after):
        found.append("no file of a norm after the blocks")
    untied = any(f.container.scalars.get(f"args.{key}") is True for f in step.model.values() for key in _UNTIED)
    if untied and not any((t.ranks == 2).any() for t in after):
        found.append("no file of a head after the blocks, and the head is not tied to the embedding")
    return found


def _stage_3(folder: Folder, step: _Step, missing: list[str]) -> Group:
    """Parameters by their shapes; the elements lie in the flat groups of every rank."""
    files = (*step.files(), *step.beside())
    findings: list[Finding] = []
    join = Join([f.table for f in files])
    where = {id(f): i for i, f in enumerate(files)}
    for mp in sorted({mp for mp, _ in (*step.model, *step.optimizer)}):
        models = [f for (m, _), f in sorted(step.model.items()) if m == mp]
        states = [f for (m, _), f in sorted(step.optimizer.items()) if m == mp]
        prefix = f"mp_rank_{mp}." if len({m for m, _ in step.model}) > 1 else ""
        shapes = _shapes(models, _SHAPES)
        frozen = _shapes(models, _FROZEN)
        flat: list[Place] = []
        for f in states:
            for row, name in enumerate(f.table.names):
                if _PARTITION.search(name):
                    flat.append((where[id(f)], row))
                else:
                    join.keep((where[id(f)], row), name)
        for names in (shapes, frozen):
            for name, shape in names.items():
                join.row(prefix + name, shape, _F32, prod(shape), 4 * prod(shape))
        trained = sum(prod(s) for s in shapes.values())
        missing += _check_flat(trained, len(shapes), flat, files, max(1, len(states)), join, findings, folder)
        fragments: dict[str, int] = defaultdict(int)
        seen: dict[str, tuple[int, ...]] = {}
        for f in models:
            for row, name in enumerate(f.table.names):
                place = (where[id(f)], row)
                if name.startswith("frozen_param_fragments."):
                    fragments[name.removeprefix("frozen_param_fragments.")] += width(f.table, row)
                    if name.removeprefix("frozen_param_fragments.") not in frozen:
                        join.keep(place, prefix + name)
                elif name.startswith("module.") and int(f.table.elements[row]) == 0:
                    continue  # the place of a partitioned parameter
                elif min(prod(shapes.get(name.removeprefix("module."), (0,))), _UNPARTITIONED) >= width(f.table, row):
                    join.repeat(place, prefix + name)  # small parameters that stay whole on every rank
                elif seen.get(name) == f.table.shape(row) and name.startswith("module."):
                    join.repeat(place, prefix + name)  # what ZeRO 3 does not partition is buffers, alike on all ranks
                else:
                    seen[name] = f.table.shape(row)
                    join.keep(place, prefix + name)
        for name, shape in frozen.items():
            beyond = fragments[name] - prod(shape)
            if beyond < 0:
                missing.append("fragments of frozen parameters are not there")
            elif beyond > len(models):  # each is padded to a multiple of the ranks
                missing.append("fragments of frozen parameters hold more than their shapes say")
                join.row(f"{prefix}{name}.beyond_the_shape", (beyond,), _F32, beyond, 4 * beyond)
        if not shapes and not frozen:
            missing.append("no shapes of the parameters: zero_pp_rank_0_mp_rank_00_model_states.pt is not there or not read")
    _keep_all(join, (*step.layers.values(), *step.experts.values(), *step.others), where)
    table = join.table()
    return Group(files, folder.path or ".", (*dict.fromkeys(missing), *join.problems), tuple(findings), joined=table)


def _check_flat(
    total: int,
    count: int,
    flat: Sequence[Place],
    files: Sequence[WeightFile],
    ranks: int,
    join: Join,
    findings: list[Finding],
    folder: Folder,
) -> list[str]:
    """The flat groups hold every element and no more than their padding beyond: what is more counts as weights."""
    stored = sum(width(files[t].table, row) for t, row in flat)
    if stored < total:
        return [f"the flat groups hold {stored} of {total} parameters: partitions of ranks are not there"]
    padding = min(ranks * (count + _ALIGNED), max(total // 50, _MOST_PADDING))
    if stored - total > padding:
        text = f"the flat groups hold {stored} values, the shapes say {total}: the larger counts"
        findings.append(Finding("flat-groups-larger", "high", text, folder.path))
        join.row("fp32_beyond_the_shapes", (stored - total,), _F32, stored - total, 4 * (stored - total))
    return []


def _shapes(models: Sequence[WeightFile], pattern: re.Pattern[str]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the partitioned parameters: every rank writes the same."""
    found: dict[str, tuple[int, ...]] = {}
    for f in models:
        for key, shape in f.container.shapes.items():
            if (match := pattern.match(key)) and prod(shape) >= prod(found.get(match["name"], (0,))):
                found[match["name"]] = shape
    return found


def _absent(folder: Folder, step: _Step, *, partitioned: bool) -> list[str]:
    """Which rank files are not there: by the sizes that the files state, and by the highest rank in the names."""
    every = [*step.model.values(), *step.optimizer.values()]
    mp_size = max(
        [1 + m for m, _ in (*step.model, *step.optimizer)] + [1 + m for _, m in step.layers] + [_stated(every, "mp_world_size")]
    )
    dp_size = max([1 + d for _, d in (*step.model, *step.optimizer)] + [_stated(every, "dp_world_size")])
    dp_size = max([dp_size, *(_partitions(f) for f in step.optimizer.values())])
    missing = [f"{n} could not be read" for n in sorted(folder.unread) if n.endswith(".pt")]
    if step.layers and not step.model:
        missing.append("the files mp_rank_*_model_states.pt are not there")
    absent = [mp for mp in range(mp_size) if not any(m == mp for m, _ in step.model)]
    if absent and (step.model or not step.layers):
        missing.append(f"model states of {len(absent)} of {mp_size} model-parallel ranks are not there, {absent[0]} first")
    if partitioned:
        lost = [(mp, dp) for mp in range(mp_size) for dp in range(dp_size) if (mp, dp) not in step.optimizer]
        if lost:
            missing.append(
                f"optimizer states of {len(lost)} of {mp_size * dp_size} ranks are not there, rank {lost[0][1]} first"
            )
        lost = [(mp, dp) for mp in range(mp_size) for dp in range(dp_size) if (mp, dp) not in step.model]
        if lost and step.model:
            missing.append(f"model states of {len(lost)} of {mp_size * dp_size} ranks are not there, rank {lost[0][1]} first")
    elif step.optimizer:
        lost = [(mp, dp) for mp in range(mp_size) for dp in range(dp_size) if (mp, dp) not in step.optimizer]
        if lost:
            missing.append(
                f"optimizer states of {len(lost)} of {mp_size * dp_size} ranks are not there, rank {lost[0][1]} first"
            )
    return missing


def _stated(files: Sequence[WeightFile], key: str) -> int:
    """The largest size that the files state, 1 if none: within what a cluster can have."""
    values = [f.container.scalars.get(key) for f in files]
    return max([v for v in values if type(v) is int and 0 < v <= 1 << 20], default=1)


def _partitions(file: WeightFile) -> int:
    scalars = file.container.scalars
    said = [scalars.get("optimizer_state_dict.partition_count"), scalars.get("optimizer_state_dict.partition_count.0")]
    return max([v for v in said if type(v) is int and 0 < v <= 1 << 20], default=1)


_SAME = (
    "ds_version",
    "global_steps",
    "global_samples",
    "dp_world_size",
    "mp_world_size",
    "args.num_layers",
    "args.hidden_size",
)


def _disagreement(files: Sequence[WeightFile]) -> list[str]:
    """Settings that all ranks of one step have alike."""
    found = []
    for key in _SAME:
        said = {f.container.scalars[key] for f in files if key in f.container.scalars}
        if len(said) > 1:
            found.append(f"the ranks say {len(said)} values of {key}: they are not ranks of one model")
    return found


def _universal(folder: Folder, parameters: Mapping[str, Folder], step: _Step | None) -> Group:
    """zero/NAME/fp32.pt is the parameter NAME, whole; exp_avg.pt and the rest are the optimizer's."""
    files: list[WeightFile] = [] if step is None else [*step.files()]
    weights = [(name, w) for name, f in sorted(parameters.items()) for w in f.weights]
    files += [w for _, w in weights]
    join = Join([f.table for f in files])
    where = {id(f): i for i, f in enumerate(files)}
    for name, w in weights:
        for row, inner in enumerate(w.table.names):
            own = inner in ("", "param") and len(w.table) == 1
            plain = name if w.name == "fp32.pt" else f"optimizer.state.{name}.{w.name.removesuffix('.pt')}"
            join.keep((where[id(w)], row), plain if own else f"{plain}.{inner}")
    missing = [f"{f.path}/{n} could not be read" for f in (folder, *parameters.values()) for n in sorted(f.unread)]
    missing += [f"zero/{n} has no fp32.pt" for n, f in parameters.items() if not any(w.name == "fp32.pt" for w in f.weights)]
    if step is not None:
        shapes = _shapes(list(step.model.values()), _SHAPES)
        absent = sorted(set(shapes) - set(parameters))
        if absent:
            missing.append(f"zero/ lacks {len(absent)} of {len(shapes)} parameters, {absent[0][:80]!r} first")
        whole = {name: sum(w.table.elements.tolist()) for name, w in weights if w.name == "fp32.pt"}
        room = dict(whole)
        for _, f in sorted(step.model.items()):  # the module again, in 16 bit: its parts on all ranks are at most the whole
            for row, name in enumerate(f.table.names):
                place, plain, held = (where[id(f)], row), name.removeprefix("module."), width(f.table, row)
                if held <= room.get(plain, -1):
                    room[plain] -= held
                    join.again(place, name)
                elif held <= whole.get(plain, -1) and is_whole(plain, f.table.shape(row)):
                    join.repeat(place, name)
                else:
                    join.keep(place, name)
        _keep_all(join, (*step.layers.values(), *step.experts.values()), where)
    beside = () if step is None else step.beside()
    table = join.table()
    return Group(tuple(files), folder.path or ".", (*missing, *join.problems), beside=beside, joined=table)
