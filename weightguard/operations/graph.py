"""The provenance of a model as columns: runs and models they start from, and the models that generated their data.

What counts is a set of runs: reachability from the model over arrays (`kernels.graph`), each run once whatever the paths to it.
Sums are exact. Nothing here knows a rule: a regime says which data-generation models count (`rules`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from weightguard.kernels.graph import connect, reach
from weightguard.values import UNBOUNDED, ZERO, Interval

if TYPE_CHECKING:  # most scans read no declaration
    from weightguard.evidence.declaration import Declaration, Generator, Run

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Three = Literal["yes", "no", "open"]

SCALE_BITS = 512
LIMB = 40  # bits: the sum of 2**22 digits stays below 2**63, and no declaration has so many runs
TARGET = -1
"""The model itself, where a model is asked for; others are indices of data-generation models."""


@dataclass(frozen=True, eq=False)
class RunGraph:
    """Nodes are runs (the first `runs`), then models known elsewhere; `nodes` are their ids, `intervals` the operations of each alone.

    starts_offsets, starts: what each node starts from, in compressed rows. published: nodes whose parameters are published.
    makers: data-generation models, variants of one model merged ("acme-1 and acme-2"); of each, `makers_published`, `generation`
    (operations that generated the data), `makers_runs` (node indices of the runs that trained it) and `untold` (not published, and
    nobody says how it was trained). data_run, data_maker, data_share: one row for each part of a run's unpublished generated data.
    Shares are times `parts`, their common denominator. ends, generation_ends: those of the intervals times
    `scale`, theirs; low, high: the same as
    digits to the base 2**LIMB, shape (digits, nodes), high 0 where `unbounded`.
    """

    target: int
    runs: int
    nodes: tuple[str, ...]
    intervals: tuple[Interval, ...]
    starts_offsets: Int64
    starts: Int64
    published: Bool
    makers: tuple[str, ...]
    makers_published: tuple[bool, ...]
    generation: tuple[Interval, ...]
    makers_runs: tuple[Int64, ...]
    untold: tuple[bool, ...]
    data_run: Int64
    data_maker: Int64
    data_share: tuple[int, ...]
    parts: int
    scale: int
    ends: tuple[tuple[int, int | None], ...]
    generation_ends: tuple[tuple[int, int | None], ...]
    low: Int64
    high: Int64
    unbounded: Bool

    def lineage(self, model: int) -> Bool:
        """The nodes of a model's own lineage: the runs that trained it and all that they start from. Shape (nodes,)."""
        return self.union([model])

    def union(self, models: Iterable[int]) -> Bool:
        """The nodes of the lineages of several models, each once. Shape (nodes,)."""
        sources = [self._runs(model) for model in models]
        found = np.zeros(len(self.nodes), np.bool_)
        if sources:
            reach(self.starts_offsets, self.starts, np.concatenate(sources), np.empty(len(found), np.int64), found)
        return found

    def total(self, nodes: Bool) -> Interval:
        """The operations of a set of nodes, exactly; `best` is None."""
        low, high, unbounded = self.sums(nodes)
        return Interval(Fraction(low, self.scale), None, None if unbounded else Fraction(high, self.scale))

    def generated_by(self, makers: Iterable[int]) -> Interval:
        """The operations with which several data-generation models generated, exactly; `best` is None."""
        ends = [self.generation_ends[maker] for maker in makers]
        high = None if any(most is None for _, most in ends) else Fraction(sum(most or 0 for _, most in ends), self.scale)
        return Interval(Fraction(sum(least for least, _ in ends), self.scale), None, high)

    def generated(self, nodes: Bool) -> Mapping[int, Mapping[int, int]]:
        """Of each data-generation model that made unpublished data for these runs: run -> share of its operations x `parts`."""
        found: dict[int, dict[int, int]] = {}
        rows = np.flatnonzero(nodes[self.data_run])
        columns = self.data_maker[rows].tolist(), self.data_run[rows].tolist(), rows.tolist()
        for maker, run, row in zip(*columns, strict=True):
            shares = found.setdefault(maker, {})
            shares[run] = shares.get(run, 0) + self.data_share[row]
        return found

    def sums(self, nodes: Bool) -> tuple[int, int, int]:
        """Of a set of nodes: the sum of lows, of the highs that there are, both times `scale`, and how many have no high."""
        return _sum(self.low, nodes), _sum(self.high, nodes), int((self.unbounded & nodes).sum())

    def exceeds(self, sums: tuple[int, int, int], shares: Mapping[int, int], limit: Fraction) -> Three:
        """Whether the generated part of all operations of a lineage is more than `limit`, for all numbers in the intervals.

        sums: of the whole lineage. shares: run -> generated share x `parts`. The part exceeds the limit if the sum over nodes of
        (share - limit) x operations is positive; each node moves it one way, so the ends of the intervals decide. In integers.
        """
        low, high, unbounded = sums  # first of all nodes, then of those without a share
        ends, parts, divisor = self.ends, self.parts * limit.numerator, limit.denominator
        above = below = endless = bottomless = 0
        for run, share in shares.items():
            least, most = ends[run]
            low -= least
            high -= most if most is not None else 0
            unbounded -= most is None
            over = share * divisor - parts
            if over > 0:
                below += over * least
                endless += most is None
                above += over * most if most is not None else 0
            elif over < 0:
                above += over * least
                bottomless += most is None
                below += over * most if most is not None else 0
        if not endless and above <= parts * low:
            return "no"
        return "yes" if not bottomless and not unbounded and below > parts * high else "open"

    def _runs(self, model: int) -> Int64:
        return np.array([self.target], np.int64) if model == TARGET else self.makers_runs[model]


def generation(graph: RunGraph) -> Interval:
    """What generated the unpublished data of a model's own lineage, whatever its share."""
    makers = set(graph.data_maker[graph.union([TARGET])[graph.data_run]].tolist())
    return graph.generated_by(makers)


def original(graph: RunGraph) -> tuple[Interval | None, Interval]:
    """Of the models known elsewhere that a model starts from, what they took (None: it starts from none); and its own runs."""
    own = graph.union([TARGET])
    elsewhere = np.arange(len(own)) >= graph.runs
    return graph.total(own & elsewhere) if (own & elsewhere).any() else None, graph.total(own & ~elsewhere)


def of_declaration(declaration: Declaration, operations: Callable[[Run, bool], Interval]) -> RunGraph:
    """The graph of a declaration that names a last run.

    `operations(run, own)` gives a run's own operations; `own`: it is of the model's lineage, so it trained this architecture.
    """
    assert declaration.run is not None
    runs = list(declaration.runs.values())
    index = {run.id: n for n, run in enumerate(runs)}
    elsewhere: dict[str, int] = {}
    stated: list[Interval] = []
    published: list[bool] = [False] * len(runs)
    offsets, starts = [0], []
    for run in runs:
        for start in run.starts_from:
            if start.run is not None:
                starts.append(index[start.run])
                continue
            name = start.model or ""
            if name not in elsewhere:
                elsewhere[name] = len(runs) + len(stated)
                stated.append(UNBOUNDED)
                published.append(start.published)
            at = elsewhere[name] - len(runs)
            stated[at] = start.operations if start.operations is not None else stated[at]
            starts.append(elsewhere[name])
        offsets.append(len(starts))
    offsets += [len(starts)] * len(stated)
    own = {run.id for run in declaration.lineage()}
    intervals = tuple(operations(run, run.id in own) for run in runs) + tuple(stated)
    rows = [(index[run.id], d) for run in runs for d in run.data if d.generator is not None and not d.published]
    edges = np.array(offsets, np.int64), np.array(starts, np.int64)
    used = {d.generator for _, d in rows}
    makers = _merged(list(declaration.generators.values()), index, *edges)
    number = {g.id: n for n, variants in enumerate(makers) for g in variants}
    generation = tuple(
        sum((g.generation_operations or UNBOUNDED for g in variants if g.id in used), ZERO) for variants in makers
    )
    scale = _scale(x for i in (*intervals, *generation) for x in (i.low, i.high) if x is not None)
    parts = math.lcm(*{d.share.denominator for _, d in rows})
    ends = _ends(intervals, scale)
    return RunGraph(
        target=index[declaration.run],
        runs=len(runs),
        nodes=(*index, *elsewhere),
        intervals=intervals,
        starts_offsets=edges[0],
        starts=edges[1],
        published=np.array(published, np.bool_),
        makers=tuple(" and ".join(g.id for g in variants) for variants in makers),
        makers_published=tuple(all(g.weights_published for g in variants) for variants in makers),
        generation=generation,
        makers_runs=tuple(np.array(sorted({index[r] for g in v for r in g.training_runs}), np.int64) for v in makers),
        untold=tuple(any(not g.weights_published and not g.training_runs for g in variants) for variants in makers),
        data_run=np.array([run for run, _ in rows], np.int64),
        data_maker=np.array([number[d.generator or ""] for _, d in rows], np.int64),
        data_share=tuple(_times(d.share, parts) for _, d in rows),
        parts=parts,
        scale=scale,
        ends=ends,
        generation_ends=_ends(generation, scale),
        low=_digits([low for low, _ in ends]),
        high=_digits([high or 0 for _, high in ends]),
        unbounded=np.array([high is None for _, high in ends], np.bool_),
    )


def _ends(intervals: Iterable[Interval], scale: int) -> tuple[tuple[int, int | None], ...]:
    """The ends of intervals times `scale`, rounded outward where that is no multiple of a denominator."""
    found: list[tuple[int, int | None]] = []
    for i in intervals:
        high = None if i.high is None else -(-i.high.numerator * scale // i.high.denominator)
        found.append((i.low.numerator * scale // i.low.denominator, high))
    return tuple(found)


def _scale(values: Iterable[Fraction]) -> int:
    """The common denominator; where it would be of no sense, one that rounds to a billionth of an operation."""
    scale = 1
    for denominator in {value.denominator for value in values}:
        scale = math.lcm(scale, denominator)
        if scale.bit_length() > SCALE_BITS:
            return 10**9
    return scale


def _times(value: Fraction, denominator: int) -> int:
    return value.numerator * (denominator // value.denominator)


def _digits(values: Sequence[int]) -> Int64:
    """Integers as digits to the base 2**LIMB, the lowest first. Shape (digits, values)."""
    digits = range(-(-max(values).bit_length() // LIMB))
    return np.array([[(n >> LIMB * d) & ((1 << LIMB) - 1) for n in values] for d in digits], np.int64).reshape(-1, len(values))


def _sum(digits: Int64, nodes: Bool) -> int:
    return sum(int(row[nodes].sum()) << LIMB * d for d, row in enumerate(digits))


def _merged(generators: Sequence[Generator], index: Mapping[str, int], offsets: Int64, starts: Int64) -> list[list[Generator]]:
    """Generators with those that are variants of the same model, "such as different checkpoints or fine-tuned variants": that
    have a run or a model they start from in common, over any number of steps.
    """
    inside = np.zeros(len(offsets) - 1, np.bool_)
    sources = np.array([index[r] for g in generators for r in g.training_runs], np.int64)
    reach(offsets, starts, sources, np.empty(len(inside), np.int64), inside)
    parts = np.empty(len(inside), np.int64)
    connect(offsets, starts, inside, parts)
    found: dict[int | str, list[Generator]] = {}
    joined: dict[int, int] = {}  # a generator that was trained by runs of several parts joins them
    for generator in generators:
        labels = sorted({_root(joined, int(parts[index[r]])) for r in generator.training_runs})
        for other in labels[1:]:
            joined[other] = labels[0]
    for generator in generators:
        runs = generator.training_runs
        found.setdefault(_root(joined, int(parts[index[runs[0]]])) if runs else generator.id, []).append(generator)
    return list(found.values())


def _root(joined: Mapping[int, int], label: int) -> int:
    while label in joined:
        label = joined[label]
    return label
