"""4E091 Technical Note 3: the operations of data-generation models that count, as a set of runs, each once.

A data-generation model that qualifies brings the operations that generated the data and, where its parameters are not
published, its training; that training again counts what qualifies for it. So what counts is all that can be reached from the
model along what qualifies. "More than ten percent" can be read of each model or of all together: both readings are worked out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from weightguard.rules.provenance import values
from weightguard.rules.regime import Reading
from weightguard.values import UNBOUNDED, ZERO, Interval, geometric_mean, highest

if TYPE_CHECKING:  # most scans read no declaration
    from weightguard.operations.graph import RunGraph, Three

FOLDER = os.path.dirname(__file__)
TARGET = -1  # the model itself; others are data-generation models
MOST_ALTERNATIVES = 64  # of which the largest can't be told, worked out one by one

MOST_WORK = 2 * 10**8  # data-generation models, variants merged, times runs

Answers = Mapping[int, "Three"]
Models = frozenset[int]


@dataclass(frozen=True)
class _Counted:
    """Models whose training counts, and models whose generation counts: those that surely do, and those that may."""

    sure: Models
    possible: Models
    sure_generation: Models
    possible_generation: Models


def _choice(generation: Answers, training: Answers) -> _Counted:
    """What counts for one model, itself left out."""
    sure = [frozenset(m for m, answer in answers.items() if answer == "yes") for answers in (training, generation)]
    return _Counted(sure[0], frozenset(training), sure[1], frozenset(generation))


def technical_note_3(clearing: Sequence[RunGraph], raising: Sequence[RunGraph] = ()) -> tuple[Reading, ...]:
    """4E091 Technical Note 3 s.1, 4E091 Technical Note 3 s.2, 4E091 Technical Note 3 s.3, 4E091 Technical Note 3 s.4: what is
    added to a model's own operations, once for each reading of "more than ten percent".

    clearing, raising: the declared provenance, one graph a declaration: by declarations that may clear, and that may only raise.
    Two that speak for one model: the wider interval holds.
    """
    found, more = [_worked_out(graph) for graph in clearing], [_worked_out(graph) for graph in raising]
    readings = []
    for at, (name, _) in enumerate(_READINGS):
        added = ZERO if not found else found[0][at].added
        for other in found[1:]:
            added = added.union(other[at].added)
        for other in more:
            added = highest(added, other[at].added)
        each = [x[at] for x in (*found, *more)]
        uncounted = tuple(dict.fromkeys(text for r in each for text in r.uncounted))
        readings.append(Reading(name, added, uncounted, "; ".join(r.reason for r in each if r.reason)))
    if not any(r.added != ZERO or r.uncounted for r in readings):
        return ()
    same = readings[0].added == readings[1].added and readings[0].uncounted == readings[1].uncounted
    return (replace(readings[1], name=EITHER),) if same else tuple(readings)


EITHER = "read either way"
_READINGS = (("read of each data-generation model", False), ("read of all data-generation models together", True))


def _worked_out(graph: RunGraph) -> tuple[Reading, ...]:
    qualified: dict[int, tuple[Answers, Answers]] = {}
    if len(graph.makers) * len(graph.nodes) > MOST_WORK:
        why = f"{len(graph.makers)} data-generation models over {len(graph.nodes)} runs are too many to work out"
        return tuple(Reading(name, UNBOUNDED, (why,), f"Technical Note 3: {why}") for name, _ in _READINGS)
    return tuple(_reading(_Work(graph, together, qualified), name) for name, together in _READINGS)


def _reading(work: _Work, name: str) -> Reading:
    graph = work.graph
    work.choose_all()
    own = graph.union([TARGET])
    alternatives = [work.reached(TARGET, choice) for choice in work.alternatives or [work.chosen[TARGET]]]
    added = [work.operations(counted, own) for counted in alternatives]
    # which of several is the largest may be open: one of the alternatives is so
    high = None if any(i.high is None for i in added) else max(i.high for i in added if i.high is not None)
    possible = frozenset[int]().union(*(c.possible_generation for c in alternatives))
    uncounted = tuple(dict.fromkeys(text for c in alternatives for text in work.untold(c)))
    names = ", ".join(f'"{graph.makers[m]}"' for m in sorted(possible)[:5])
    reason = f"Technical Note 3 counts operations of {names}" if possible else ""
    low = min(i.low for i in added)
    best = None if high is None else geometric_mean(low, high)
    return Reading(name, Interval(low, best, high), uncounted, reason)


def _qualifying(graph: RunGraph, model: int) -> tuple[Answers, Answers]:
    """s.1 "more than ten percent of the 'operations' involve training on data that was not 'published' ... and was generated by a
    single data-generation model": of each, and of all together. Shares are of the model's own training operations.
    """
    limit = values(FOLDER)["generated_data_share"].value
    nodes = graph.union([model])
    generated = graph.generated(nodes)
    sums = graph.sums(nodes) if generated else (0, 0, 0)
    each = {maker: graph.exceeds(sums, shares, limit) for maker, shares in generated.items()}
    together = dict(each)
    closed = [maker for maker in generated if not graph.makers_published[maker]]
    if len(closed) > 1:
        # s.3 "If multiple models ... were used to generate data used for more than ten percent"
        joint: dict[int, int] = {}
        for maker in closed:
            for run, share in generated[maker].items():
                joint[run] = joint.get(run, 0) + share
        answer = graph.exceeds(sums, joint, limit)
        together |= {maker: _stronger(each[maker], answer) for maker in closed}
    kept = [{maker: answer for maker, answer in answers.items() if answer != "no"} for answers in (each, together)]
    return kept[0], kept[1]


@dataclass
class _Work:
    """One reading of one graph; `qualified`, for both readings, is shared with the other."""

    graph: RunGraph
    together: bool
    qualified: dict[int, tuple[Answers, Answers]]
    chosen: dict[int, _Counted] = field(default_factory=dict)
    known: dict[int, tuple[_Counted, Interval, Any]] = field(
        default_factory=dict
    )  # of a model: what it reaches, its total, nodes
    alternatives: list[_Counted] = field(default_factory=list)  # for the model itself, one of which is so

    def qualifying(self, model: int) -> Answers:
        """The data-generation models that qualify for a model under this reading, and whether surely."""
        if model not in self.qualified:
            self.qualified[model] = _qualifying(self.graph, model)
        each, together = self.qualified[model]
        return together if self.together else each

    def choose_all(self) -> None:
        """Decide for every model that may count, those whose operations others need before them; without recursion."""
        stack = [(TARGET, False)]
        seen = set()
        while stack:
            model, ready = stack.pop()
            if ready:
                self.chosen[model] = self.choose(model)
            elif model not in seen:
                seen.add(model)
                stack.append((model, True))
                stack += [(maker, False) for maker in self.qualifying(model) if not self.graph.makers_published[maker]]

    def choose(self, model: int) -> _Counted:
        """s.1 "if the data-generation model's 'parameters' were not 'published,' then the training 'operations' ... as well"; s.3
        "only the training 'operations' of the data-generation model using the most".
        """
        graph, qualified = self.graph, self.qualifying(model)
        closed = [maker for maker in qualified if not graph.makers_published[maker]]
        own = graph.union([model]) if len(closed) > 1 else None
        # a variant of the model itself, all of whose runs count already, is no reason to leave out another's
        itself = [m for m in closed if own is not None and len(graph.makers_runs[m]) and own[graph.makers_runs[m]].all()]
        others = [m for m in closed if m not in itself]
        training = {m: qualified[m] for m in itself}
        largest = others
        if len(others) > 1:
            # by what counts beyond the model's own: a variant of itself would else leave out another's by what counts anyway
            more = {maker: self.beyond(maker, own) for maker in others}
            least = max((more[m].low for m in others if qualified[m] == "yes"), default=Fraction(0))
            largest = [m for m in others if _reaches(more[m], least)]
        if len(largest) < 2:
            return _choice(qualified, training | {m: qualified[m] for m in largest})
        if model == TARGET and len(largest) <= MOST_ALTERNATIVES:
            self.alternatives = [_choice(qualified, training | {m: qualified[m]}) for m in largest]
        return _choice(qualified, training | dict.fromkeys(largest, "open"))

    def reached(self, model: int, first: _Counted | None = None) -> _Counted:
        """All that counts from a model on, itself too; `first` in place of what was chosen for it."""

        def closure(weak: bool) -> tuple[Models, Models]:
            found, generation, waiting = {model}, set[int](), [model]
            while waiting:
                at = waiting.pop()
                choice = first if first is not None and at == model else self.chosen.get(at)
                if choice is None:  # a circle of merged variants: not decided yet, so all may count and none surely does
                    choice = _choice(self.qualifying(at), dict.fromkeys(self.qualifying(at), "open"))
                generation |= choice.possible_generation if weak else choice.sure_generation
                more = (choice.possible if weak else choice.sure) - found
                found |= more
                waiting += more
            return frozenset(found), frozenset(generation)

        sure, possible = closure(False), closure(True)
        return _Counted(sure[0], possible[0], sure[1], possible[1])

    def beyond(self, maker: int, own: Any) -> Interval:
        """What counts for a data-generation model beyond the nodes of `own`, array of bool, shape (nodes,)."""
        if maker not in self.known:
            counted = self.reached(maker)
            self.known[maker] = counted, self.operations(counted), self.graph.union(counted.possible)
        counted, total, nodes = self.known[maker]
        return self.operations(counted, own) if (nodes & own).any() else total

    def operations(self, counted: _Counted, without: Any = None) -> Interval:
        """s.4 "No actual training 'operation' should be counted more than once": the operations of a set of runs.

        without: nodes that count elsewhere, array of bool, shape (nodes,).
        """
        graph = self.graph
        sure, possible = graph.union(counted.sure), graph.union(counted.possible)
        if without is not None:
            sure, possible = sure & ~without, possible & ~without
        least = graph.total(sure) + self.graph.generated_by(counted.sure_generation)
        most = graph.total(possible) + self.graph.generated_by(counted.possible_generation)
        untold = any(graph.untold[m] for m in counted.possible if m != TARGET)
        return Interval(least.low, None, None if untold else most.high)

    def untold(self, counted: _Counted) -> list[str]:
        """Operations that may count and that nobody states."""
        graph = self.graph
        generation = [
            f'what "{graph.makers[m]}" took to generate the data'
            for m in sorted(counted.possible_generation)
            if graph.generation[m].high is None
        ]
        training = [
            f'the training of "{graph.makers[m]}"'
            for m in sorted(counted.possible)
            if m != TARGET and (graph.untold[m] or graph.total(graph.union([m])).high is None)
        ]
        return generation + training


def _reaches(total: Interval, least: Fraction) -> bool:
    return total.high is None or total.high >= least


def _stronger(a: Three, b: Three) -> Three:
    return max(a, b, key=("no", "open", "yes").index)
