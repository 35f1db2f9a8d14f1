"""Which files of one folder belong together: shards and their index, numbered names, optimizer files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from weightguard.models.files import (
    CONFIG,
    INDEX_SUFFIX,
    JUDGED_WITH,
    WEIGHT_NAMES,
    Folder,
    Group,
    WeightFile,
    is_sidecar,
    load_json,
)
from weightguard.models.ranks import unite_all
from weightguard.tensors import TensorTable
from weightguard.values import Finding

# Names that say "part n of m", or "part n": (stem, number, total or "", rest)
_NUMBERED = (
    re.compile(r"(?P<stem>.*)-(?P<number>\d{1,6})-of-(?P<total>\d{1,6})(?P<rest>\.\w+)"),  # huggingface_hub
    re.compile(r"(?P<stem>consolidated)\.(?P<number>\d{1,6})(?P<total>)(?P<rest>\.\w+)"),  # Meta's tensor-parallel shards
    re.compile(r"(?P<stem>.*_rank_)(?P<number>\d{1,6})(?P<total>)(?P<rest>.*)"),  # Megatron, DeepSpeed, FSDP
    re.compile(r"(?P<stem>(?:.*[-_])?rank-?)(?P<number>\d{1,6})(?P<total>)(?P<rest>\D.*)"),  # accelerate, composer; vLLM
    re.compile(r"(?P<stem>layer_)(?P<number>\d{1,6})(?P<total>)(?P<rest>-model_.*)"),  # DeepSpeed pipelines
)

_META = "layers.0.attention.wq.weight"  # of Meta's own checkpoints
_STATES = re.compile(r".*(?:model|optim)_states\.pt")  # DeepSpeed's ranks, stages and experts


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
    if any(_STATES.fullmatch(n) for n in given):
        wanted.update(n for n in names if _STATES.fullmatch(n))
    if any(n.endswith(".distcp") for n in given):
        wanted.update(n for n in names if n.endswith(".metadata"))
    return (wanted & set(names)) - given


def index_files(text: bytes) -> list[str]:
    """File names that an index names; empty if it is not an index."""
    weight_map = (load_json(text) or {}).get("weight_map")
    if not isinstance(weight_map, dict):
        return []
    return sorted({v for v in weight_map.values() if isinstance(v, str)})


def _family(name: str) -> tuple[str, str, str] | None:
    for pattern in _NUMBERED:
        match = pattern.fullmatch(name)
        if match:
            return match["stem"], match["total"], match["rest"]
    return None


def _number(name: str) -> int:
    return next(int(m["number"]) for p in _NUMBERED if (m := p.fullmatch(name)))


def indexed(folder: Folder) -> tuple[list[Group], list[WeightFile]]:
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
        stored = {n for f in files + surplus for n in f.table.names}
        lost = sorted(set(index.get("weight_map", {})) - stored)
        if lost and not missing:
            missing.append(f"{len(lost)} tensors that {name} names are in no shard, {lost[0]} first")
        metadata = index.get("metadata")
        groups.append(
            Group(
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


def numbered(files: Iterable[WeightFile]) -> tuple[list[Group], list[WeightFile]]:
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
        members.sort(key=lambda w: _number(w.name))
        group = Group(tuple(members), path, missing)
        groups.append(group if total else _tensor_parallel(group))
    return groups, left


def _tensor_parallel(group: Group) -> Group:
    """Ranks whose tensors have the same names hold pieces of them; those of different names are shards."""
    tables = [f.table for f in group.files]
    if len(tables) == 1 and _META in tables[0].names and not _shows_its_size(tables[0]):
        return replace(group, missing=(*group.missing, "one rank's part: its attention is narrower than its norms"))
    if len(tables) < 2 or any(set(t.names).isdisjoint(tables[0].names) for t in tables[1:]):
        return group
    table, copies, problems = unite_all(tables)
    if not _shows_its_size(table):
        problems = (*problems, "nothing says how many ranks there are, each with a part of every tensor")
    return replace(group, joined=(table, copies), missing=(*group.missing, *problems))


def _shows_its_size(table: TensorTable) -> bool:
    """Whether no rank of Meta's `consolidated.*` is missing: attention is as wide as the norms, which each rank holds whole."""
    rows = {name: row for row, name in enumerate(table.names)}
    named = ("norm.weight", _META, "tok_embeddings.weight")
    widths = [table.shape(rows[n]) for n in named if n in rows]
    return len(widths) == 3 and widths[1] == (*widths[0], *widths[0]) and widths[0][0] in widths[2]


def broken(folder: Folder) -> tuple[str, ...]:
    """What the folder says against every model in it being whole."""
    found = [f"{n} could not be read" for n in sorted(folder.unread) if n == CONFIG or n.endswith(INDEX_SUFFIX)]
    if CONFIG in folder.texts and load_json(folder.texts[CONFIG]) is None:
        found.append(f"{CONFIG} can't be parsed")
    return tuple(found)


def splits(group: Group) -> tuple[str, ...]:
    """What GGUF files say of the set that they are a part of, whatever they are called: split.no, split.count and
    split.tensors.count, as llama.cpp's gguf-split writes them."""
    said = [f.container.scalars for f in group.files if f.container.scalars.get("split.count")]
    if not said:
        return ()
    counts, numbers, tensors = ([s.get(f"split.{key}") for s in said] for key in ("count", "no", "tensors.count"))
    count, stored = counts[0], sum(len(f.table) for f in group.files)
    if set(counts) != {count} or len(said) != len(group.files) or set(tensors) != {tensors[0]}:
        return ("GGUF splits that are not of one set",)
    if type(count) is not int or len(numbers) != count or set(numbers) != set(range(len(numbers))):
        return (f"{len(set(numbers))} of {count} splits are there",)
    if tensors[0] is not None and tensors[0] != stored:
        return (f"the splits say {tensors[0]} tensors, and there are {stored}",)
    return ()


def is_gguf(group: Group) -> bool:
    """Whether a group needs no config.json: GGUF files say themselves what they are."""
    return any(f.container.format == "gguf" for f in group.files)


def is_projector(group: Group) -> bool:
    """A vision or audio encoder for llama.cpp: the config.json beside it is of the language model."""
    return any(f.container.metadata.get("general.architecture") == "clip" for f in group.files)


def _ranges(numbers: Sequence[int]) -> str:
    parts: list[list[int]] = []
    for n in numbers:
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in parts)
