"""Megatron-LM's own checkpoints, and NeMo's: a folder a rank, `mp_rank_TT[_PPP][_EEE]`, each with its part of the model.

Source: Megatron-LM, `megatron/training/checkpointing.py` (`get_checkpoint_name`, `generate_state_dict`, `save_checkpoint`);
NeMo 1, `nemo/utils/model_utils.py` (`inject_model_parallel_rank`: `tp_rank_TT_pp_rank_PPP`). Layers are numbered from 0 on every
pipeline stage; `model0`, `model1` are the chunks of an interleaved pipeline. Of data-parallel ranks one writes; an expert-parallel
rank writes the experts that it has, and the rest of the model again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from weightguard.models.files import MODEL_CONFIG, Folder, Group, WeightFile
from weightguard.models.ranks import Join, Place, width

_RANK = re.compile(
    r"(?:^|/)(?:mp_rank_(?P<tp>\d{1,4})(?:_(?P<second>\d{3,4}))?(?:_(?P<third>\d{3,4}))?"
    r"|tp_rank_(?P<tp2>\d{1,4})_pp_rank_(?P<pp2>\d{1,4}))$"
)
_ONLY_OPTIMIZER = frozenset({"distrib_optim.pt", "optim.pt"})
_CHUNK = re.compile(r"^model(?P<chunk>\d{0,3})\.")
_LAYER = re.compile(r"(?P<before>(?:^|\.)layers\.)(?P<number>\d{1,6})(?=\.)")
_LOCAL_EXPERT = re.compile(
    r"(?<=\.local_experts\.)\d{1,6}(?=\.)|(?<=\.experts\.linear_fc[12]\.weight)\d{1,6}$|(?<=\.experts\.linear_fc[12]\.bias)\d{1,6}$"
)
_HEAD = re.compile(r"(?:^|\.)(?:word_embeddings_for_head|word_embeddings|output_layer)\.weight$")
_EMBEDDING = re.compile(r"(?:^|\.)word_embeddings\.weight$")
_STATED = re.compile(rb"^\s*(tensor|pipeline|expert)_model_parallel_size\s*:\s*(\d{1,6})\s*$", re.MULTILINE)
_MOST_RANKS = 1 << 20
_MOST_DENSE = 4  # times the weights of its experts that a rank may hold of what every expert rank has
_KINDS = ("tensor", "pipeline", "expert")
_SAME = (
    "iteration", "checkpoint_version", *(f"args.{kind}_model_parallel_size" for kind in _KINDS), "args.num_layers",
    "args.hidden_size", "args.num_attention_heads", "args.ffn_hidden_size", "args.padded_vocab_size", "args.num_experts",
    "args.seq_length", "args.consumed_train_samples", "args.untie_embeddings_and_output_weights",
)  # fmt: skip


class Rank(NamedTuple):
    pp: int
    ep: int
    tp: int


Piece = tuple[Rank, Place]


def megatron(folders: Mapping[str, Folder]) -> Iterator[tuple[str, Group, Mapping[str, Any] | None]]:
    """The checkpoint around the rank folders of each iteration."""
    sets: dict[str, list[tuple[re.Match[str], Folder]]] = defaultdict(list)
    for path, folder in folders.items():
        match = _RANK.search(path)
        if match and (folder.weights or folder.unread):
            sets[path[: match.start()]].append((match, folder))
    for root, found in sets.items():
        if any(f.weights for _, f in found):
            above = [folders[at].texts.get(MODEL_CONFIG, b"") for at in (root, root.rpartition("/")[0]) if at in folders]
            yield root, _group(root, found, b"\n".join(above)), None


def stated_ranks(config: bytes) -> int:
    """How many model-parallel ranks a NeMo model_config.yaml says that the weights were cut for; 0 if it says nothing."""
    found = dict(_STATED.findall(config))
    return prod(int(found.get(kind.encode(), 1)) or 1 for kind in _KINDS[:2]) if found else 0


def _group(root: str, found: Sequence[tuple[re.Match[str], Folder]], config: bytes) -> Group:
    files = [w for _, folder in found for w in folder.weights]
    sizes, stated = _sizes(files, config)
    ranks, missing = _ranks(found, sizes, stated=stated)
    missing += _disagreement(files)
    join = Join([f.table for f in files])
    where = {id(f): i for i, f in enumerate(files)}
    offsets = _first_layers(ranks)
    pieces: dict[tuple[str, int], list[Piece]] = defaultdict(list)  # by name and stage
    for rank, folder in ranks:
        local = _local_experts(folder)
        for w in folder.weights:
            for row, name in enumerate(w.table.names):
                place = (where[id(w)], row)
                match = _CHUNK.match(name)
                if w.name in _ONLY_OPTIMIZER:
                    join.keep(place, f"optimizer.{name}")
                elif match is None:
                    join.keep(place, name)
                else:
                    plain = _renumbered(name[match.end() :], int(match["chunk"] or 0), rank, offsets, local)
                    pieces[plain, rank.pp].append((rank, place))
    if len({r.ep for r, _ in ranks}) > 1 and not any(".experts." in name for name, _ in pieces):
        join.problems.setdefault("expert ranks without experts: nothing says that they hold the same")
    _Stages(join, files, {r for r, _ in ranks}, tied=_is_tied(files)).unite(pieces)
    table = join.table()
    return Group(tuple(files), root or ".", (*missing, *join.problems), joined=table)


def _sizes(files: Sequence[WeightFile], config: bytes) -> tuple[tuple[int, int, int], bool]:
    """Tensor-, pipeline- and expert-parallel sizes that the files and a NeMo config state, and whether anything is stated."""
    said: dict[str, list[int]] = {kind: [] for kind in _KINDS}
    for f in files:
        scalars = f.container.scalars
        for kind in _KINDS:
            said[kind] += [v for v in [scalars.get(f"args.{kind}_model_parallel_size")] if type(v) is int]
        said["tensor"] += [v for v in [scalars.get("args.model_parallel_size")] if type(v) is int]
    for kind_name, value in _STATED.findall(config):
        said[kind_name.decode()].append(int(value))
    tp, pp, ep = (max([v for v in said[kind] if 0 < v <= _MOST_RANKS], default=1) for kind in _KINDS)
    return (tp, pp, ep), bool(said["tensor"])


def _ranks(
    found: Sequence[tuple[re.Match[str], Folder]], sizes: tuple[int, int, int], *, stated: bool
) -> tuple[list[tuple[Rank, Folder]], list[str]]:
    """Each folder with its rank, in order, and what is missing. A second number is a stage or, without these, an expert rank."""
    tp_size, pp_size, ep_size = sizes
    ranks: list[tuple[Rank, Folder]] = []
    for match, folder in found:
        second, third = int(match["second"] or match["pp2"] or 0), int(match["third"] or 0)
        by_experts = match["third"] is None and pp_size == 1 and ep_size > 1
        pp, ep = (0, second) if by_experts else (second, third)
        ranks.append((Rank(pp, ep, int(match["tp"] or match["tp2"] or 0)), folder))
    ranks.sort(key=lambda r: (r[0], r[1].path))
    there = {r for r, f in ranks if any(w.name not in _ONLY_OPTIMIZER for w in f.weights)}
    missing = [] if stated else ["nothing says how many ranks there are: neither args nor a model_config.yaml"]
    if len(there) < len(ranks):
        twice = len(ranks) - len({r for r, _ in ranks})
        if twice:
            missing.append(f"{twice} ranks are there twice")
    sides = [max([size, *(1 + r[i] for r, _ in ranks)]) for i, size in enumerate((pp_size, ep_size, tp_size))]
    absent = prod(sides) - len(there)
    if absent:
        first = next(
            r
            for r in (Rank(p, e, t) for p in range(sides[0]) for e in range(sides[1]) for t in range(sides[2]))
            if r not in there
        )
        text = f"tensor rank {first.tp}, stage {first.pp}, expert rank {first.ep} first"
        missing.append(f"{absent} of {prod(sides)} ranks are not there or not read: {text}")
    missing += [f"{f.path}/{n} could not be read" for _, f in ranks for n in sorted(f.unread)]
    return ranks, missing


def _disagreement(files: Sequence[WeightFile]) -> list[str]:
    """Settings that all ranks of one model have alike."""
    found = []
    for key in _SAME:
        said = {str(f.container.scalars[key]) for f in files if key in f.container.scalars}
        if len(said) > 1:
            found.append(f"the ranks say {len(said)} values of {key}: they are not ranks of one model")
    return found


def _is_tied(files: Sequence[WeightFile]) -> bool:
    """Whether the files say that the last stage's head is the first stage's embedding again."""
    return {f.container.scalars.get("args.untie_embeddings_and_output_weights") for f in files} - {None} == {False}


def _first_layers(ranks: Sequence[tuple[Rank, Folder]]) -> dict[tuple[str, int, int], int]:
    """What to add to the layer numbers of each (list of layers, chunk, stage): 0 where they are numbered through."""
    spans: dict[tuple[str, int, int], tuple[int, int]] = {}
    for rank, folder in ranks:
        for w in folder.weights:
            for name in w.table.names:
                chunk, layer = _CHUNK.match(name), _LAYER.search(name)
                if chunk and layer:
                    key = (name[chunk.end() : layer.start("number")], int(chunk["chunk"] or 0), rank.pp)
                    number = int(layer["number"])
                    low, high = spans.get(key, (number, number))
                    spans[key] = min(low, number), max(high, number)
    offsets: dict[tuple[str, int, int], int] = {}
    before: dict[str, int] = defaultdict(int)
    for stack, part, stage in sorted(spans):
        low, high = spans[stack, part, stage]
        offset = before[stack] if low < before[stack] else 0
        offsets[stack, part, stage] = offset
        before[stack] = max(before[stack], offset + high + 1)
    return offsets


def _local_experts(folder: Folder) -> int:
    """How many numbered experts a rank has."""
    numbers = [int(m[0]) for w in folder.weights for n in w.table.names if ".experts." in n and (m := _LOCAL_EXPERT.search(n))]
    return max(numbers, default=-1) + 1


def _renumbered(name: str, chunk: int, rank: Rank, offsets: Mapping[tuple[str, int, int], int], local: int) -> str:
    """A name as the whole model has it: layers of earlier stages and experts of earlier ranks counted before its own."""
    layer = _LAYER.search(name)
    if layer:
        at = layer.start("number")
        number = int(layer["number"]) + offsets.get((name[:at], chunk, rank.pp), 0)
        name = f"{name[:at]}{number}{name[layer.end() :]}"
    elif chunk:
        name = f"chunk_{chunk}.{name}"
    if rank.ep and ".experts." in name:
        renamed, times = _LOCAL_EXPERT.subn(lambda m: str(int(m[0]) + rank.ep * local), name)
        return renamed if times else name.replace(".experts.", f".experts.{rank.ep}.", 1)
    return name


class _Stages:
    """Puts the pieces of each stage together: over its tensor ranks, and what expert ranks hold again apart."""

    def __init__(self, join: Join, files: Sequence[WeightFile], ranks: set[Rank], *, tied: bool) -> None:
        self._join = join
        self._files = files
        self._tied = tied
        self._tensor_ranks: dict[tuple[int, int], int] = defaultdict(int)
        for r in ranks:
            self._tensor_ranks[r.pp, r.ep] += 1
        self._has_experts = len({r.ep for r in ranks}) > 1
        self._embedding: list[tuple[int, ...]] = []
        self._lacking = 0
        self._last = max((r.pp for r in ranks), default=0)
        self._experts: dict[tuple[int, int], int] = defaultdict(int)  # elements by expert and tensor rank
        self._dense: dict[tuple[int, int], int] = defaultdict(int)

    def unite(self, pieces: Mapping[tuple[str, int], list[Piece]]) -> None:
        """All pieces; at most one tensor is the embedding again, the head on the last stage."""
        for (name, _), found in pieces.items():
            held = self._experts if ".experts." in name else self._dense
            for rank, (t, row) in found:
                held[rank.ep, rank.tp] += width(self._files[t].table, row)
        met: set[str] = set()
        head = False
        for name, stage in sorted(pieces, key=lambda key: key[1]):  # stable: as stored within a stage
            found = pieces[name, stage]
            shapes = [self._files[t].table.shape(row) for _, (t, row) in found]
            again = not head and 0 < stage == self._last and _HEAD.search(name) is not None and shapes == self._embedding
            if again and (self._tied or "for_head" in name):
                for _, place in found:
                    self._join.again(place, f"stage_{stage}.{name}")
                head = True
                continue
            if stage == 0 and _EMBEDDING.search(name) and not self._embedding:
                self._embedding = shapes
            self._piece(name if name not in met else f"stage_{stage}.{name}", found)
            met.add(name)
        if self._lacking:
            text = f"{self._lacking} tensors are not on every rank: the files are not ranks of one model"
            self._join.problems.setdefault(text)

    def _piece(self, name: str, found: Sequence[Piece]) -> None:
        first = found[0][0]
        if not self._has_experts or ".experts." in name:
            self._over_tensor_ranks(name, first, found)
            return
        by_expert_rank: dict[int, list[Piece]] = defaultdict(list)
        for rank, place in found:
            by_expert_rank[rank.ep].append((rank, place))
        own = by_expert_rank.pop(first.ep)
        shapes = {rank.tp: self._files[t].table.shape(row) for rank, (t, row) in own}
        self._over_tensor_ranks(name, first, own)
        for others in by_expert_rank.values():
            for rank, (t, row) in others:
                if self._dense[rank.ep, rank.tp] > _MOST_DENSE * self._experts[rank.ep, rank.tp]:
                    self._join.keep((t, row), name)
                    self._join.problems.setdefault("expert ranks hold few experts: nothing says that the rest is the same")
                elif shapes.get(rank.tp) == self._files[t].table.shape(row):
                    self._join.again((t, row), name)
                else:
                    self._join.keep((t, row), name)
                    self._join.problems.setdefault(f"expert ranks hold {name[:80]!r} in other shapes")

    def _over_tensor_ranks(self, name: str, rank: Rank, found: Sequence[Piece]) -> None:
        places = [place for _, place in found]
        if len({r for r, _ in found}) < len(found) or len({r.ep for r, _ in found}) > 1:
            self._lacking += 1
            for place in places:
                self._join.keep(place, name)
            return
        self._lacking += len(found) < self._tensor_ranks[rank.pp, rank.ep]
        self._join.unite(places, name)
