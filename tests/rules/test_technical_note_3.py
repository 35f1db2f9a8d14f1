"""Technical Note 3: the note's own example, each sentence from both sides, and a naive walk over sets on random graphs."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightguard.evidence.declaration import DataSource, Declaration, Generator, Run, Start, load
from weightguard.operations.graph import RunGraph, of_declaration
from weightguard.rules.regime import Reading
from weightguard.rules.us_ear_4e091.technical_note_3 import technical_note_3
from weightguard.values import UNBOUNDED, Interval

AS_OF = dt.date(2026, 11, 25)
TENTH = Fraction(1, 10)


def graph_of(declaration: Declaration) -> RunGraph:
    return of_declaration(declaration, lambda run, own: run.operations or UNBOUNDED)


def added(text: str) -> dict[str, tuple[Fraction, Fraction | None]]:
    """What a declaration's generators add: reading -> (low, high). One reading where both agree."""
    found = technical_note_3([graph_of(load("w.toml", 'schema = "weightguard/declaration/1"\n' + text, AS_OF))])
    return {r.name.rpartition(" ")[2]: (r.added.low, r.added.high) for r in found}


def exactly(number: str) -> tuple[Fraction, Fraction]:
    return Fraction(number), Fraction(number)


def run(id: str, operations: str, *data: str, starts: str = "[]") -> str:
    blocks = "".join(f"[[run.data]]\n{d}\n" for d in data)
    return f'[[run]]\nid = "{id}"\nstarts_from = {starts}\noperations = {operations}\n{blocks}'


def maker(id: str, *runs: str, generation: str = "1e20", published: bool = False) -> str:
    names = ", ".join(f'"{r}"' for r in runs)
    return (
        f'[[generator]]\nid = "{id}"\nweights_published = {str(published).lower()}\n'
        f"generation_operations = {generation}\ntraining_runs = [{names}]\n"
    )


def by(generator: str, share: str, more: str = "") -> str:
    return f'share = {share}\ngenerator = "{generator}"\n{more}'


MODEL = '[model]\nrun = "d"\n'


def test_the_note_s_own_example() -> None:
    """s.4: A is used to train B and C, both are used to train D: the operations to train A are added once."""
    text = (
        MODEL
        + run("a", "5e24")
        + run("b", "2e24", by("A", "0.5"))
        + run("c", "1e24", by("A", "0.5"))
        + run("d", "3e25", by("B", "0.4"), by("C", "0.4"))
        + maker("A", "a")
        + maker("B", "b")
        + maker("C", "c")
    )
    # s.3 lets only the larger of B and C count by its training, and B brings A; the generation of A, B and C counts
    assert added(text) == {"way": exactly("7.0003e24")}


def test_more_than_ten_percent() -> None:
    for share, expected in (("0.1", {}), ("0.1000000000000000001", {"way": exactly("4.0001e24")})):
        text = MODEL + run("d", "1e25", by("T", share)) + run("t", "4e24") + maker("T", "t", generation="1e20")
        assert added(text) == expected


def test_shares_are_of_all_training_operations() -> None:
    text = MODEL + run("p", "9e24") + run("d", "{}", by("T", "1"), starts='["p"]') + run("t", "4e24") + maker("T", "t")
    assert added(text.format("1e24")) == {}
    assert added(text.format("1.01e24")) == {"way": exactly("4.0001e24")}


def test_published_data_and_data_nobody_generated_count_nothing() -> None:
    text = MODEL + run("d", "1e25", by("T", "0.5", "published = true"), "share = 0.4") + run("t", "4e24") + maker("T", "t")
    assert added(text) == {}


def test_published_parameters_bring_their_generation_only() -> None:
    text = MODEL + run("d", "1e25", by("T", "0.5")) + run("t", "4e24") + maker("T", "t", generation="3e23", published=True)
    assert added(text) == {"way": exactly("3e23")}


def test_variants_of_one_model_are_one() -> None:
    """s.2: two fine-tunes of one base at six percent each are one data-generation model at twelve."""
    variants = run("t", "4e24") + run("t1", "1e22", starts='["t"]') + run("t2", "2e22", starts='["t"]')
    text = MODEL + run("d", "1e25", by("T1", "0.06"), by("T2", "0.06")) + variants + maker("T1", "t1") + maker("T2", "t2")
    assert added(text) == {"way": (Fraction("4.0302e24"), Fraction("4.0302e24"))}


def test_the_two_readings_of_multiple_models() -> None:
    """s.3: six percent each of two unpublished models: nothing by each, the larger and both generations together."""
    text = MODEL + run("d", "1e25", by("T", "0.06"), by("U", "0.06")) + run("t", "4e24") + run("u", "5e24")
    found = added(text + maker("T", "t") + maker("U", "u"))
    assert found == {"model": exactly("0"), "together": exactly("5.0002e24")}


def test_only_the_largest_of_several_unpublished_models() -> None:
    text = MODEL + run("d", "1e25", by("T", "0.2"), by("U", "0.2")) + run("t", "4e24") + run("u", "5e24")
    assert added(text + maker("T", "t") + maker("U", "u")) == {"way": exactly("5.0002e24")}
    # equal ones: one of them counts, whichever it is
    even = text.replace("5e24", "4e24")
    assert added(even + maker("T", "t") + maker("U", "u")) == {"way": exactly("4.0002e24")}


def test_roll_outs_are_generated_by_the_model_itself() -> None:
    """s.1 and s.4: roll-outs of the runs before are unpublished data; the training is in the lineage already."""
    text = MODEL + run("p", "9e25") + run("d", "1e25", by("self", "1.0"), starts='["p"]')
    assert added(text + maker("self", "p", generation="3e24")) == {}
    text = text.replace("1e25", "2e25")
    assert added(text + maker("self", "p", generation="3e24")) == {"way": exactly("3e24")}
    # and it doesn't stand in for the largest other one
    text = MODEL + run("p", "5e25") + run("d", "5e25", by("self", "0.5"), by("T", "0.5"), starts='["p"]') + run("t", "1e25")
    both = maker("self", "p", generation="3e24") + maker("T", "t")
    assert added(text + both) == {"way": exactly("1.30001e25")}


def test_a_variant_of_the_model_does_not_hide_a_teacher() -> None:
    """s.3: a variant with a small run of its own is large only by what counts anyway."""
    text = MODEL + run("p", "5e25") + run("q", "1e22", starts='["p"]') + run("t", "4e25")
    text += run("d", "1e25", by("self", "0.3"), by("self2", "0.3"), by("T", "0.4"), starts='["p"]')
    text = text.replace("operations = 1e25", "operations = 6e25")
    found = added(text + maker("self", "p") + maker("self2", "q") + maker("T", "t"))
    assert found == {"way": exactly("4.00003e25")}


def test_a_generator_that_shares_runs_with_the_model_adds_only_the_others() -> None:
    text = MODEL + run("p", "9e24") + run("d", "1e25", by("T", "0.5"), starts='["p"]') + run("t", "4e24", starts='["p"]')
    assert added(text + maker("T", "t")) == {"way": exactly("4.0001e24")}


def test_what_nobody_states_has_no_upper_end() -> None:
    text = MODEL + run("d", "1e25", by("T", "0.5")) + '[[generator]]\nid = "T"\n'
    readings = technical_note_3([graph_of(load("w.toml", 'schema = "weightguard/declaration/1"\n' + text, AS_OF))])
    assert readings[0].added == Interval(Fraction(0), None, None)
    assert len(readings[0].uncounted) == 2


def test_an_interval_that_straddles_ten_percent_is_open() -> None:
    text = (
        MODEL + run("p", "1e25") + run("d", "[1e24, 2e24]", by("T", "1"), starts='["p"]') + run("t", "4e24") + maker("T", "t")
    )
    assert added(text) == {"way": (Fraction(0), Fraction("4.0001e24"))}


def test_tokens_of_another_model_are_not_counted_by_this_architecture() -> None:
    text = MODEL + run("d", "1e25", by("T", "0.5")) + '[[run]]\nid = "t"\ntokens = 1e12\n' + maker("T", "t")
    assert added(text)["way"][1] is None


# ---- against a walk over sets, as the note says it, in exact numbers


def declared(random_: random.Random, runs: int, makers: int) -> Declaration:
    """A random declaration without cycles: everything refers to earlier runs only, and ids stand in any order."""
    ids = [f"r{n}" for n in range(runs)]
    cut = sorted(random_.randrange(1, runs) for _ in range(makers))
    generators = {}
    for n, before in enumerate(cut):
        trained = random_.sample(ids[:before], min(before, random_.choice((1, 1, 1, 2))))
        closed, generation = random_.random() < 0.7, Fraction(random_.randrange(1, 10**6))
        generators[f"g{n}"] = Generator(f"g{n}", not closed, Interval(generation, generation, generation), tuple(trained))
    found = {}
    for n, id in enumerate(ids):
        starts = random_.sample(ids[:n], min(n, random_.choice((0, 1, 1, 2))))
        able = [g for g, before in zip(generators, cut, strict=True) if before <= n]
        data, left = [], Fraction(1)
        for g in random_.sample(able, min(len(able), random_.choice((0, 0, 1, 2, 3)))):
            share = min(left, Fraction(random_.randrange(0, 40), 100))
            left -= share
            data.append(DataSource(share, random_.random() < 0.1, g))
        operations = Fraction(random_.randrange(1, 10**9))
        point = Interval(operations, operations, operations)
        opened = (Start(None, f"open-{random_.randrange(3)}", True, None),) if random_.random() < 0.1 else ()
        known = tuple(Start(None, s.model, True, Interval(*[Fraction(len(s.model or "") * 10**8)] * 3)) for s in opened)
        found[id] = Run(
            id,
            "training",
            tuple(Start(s, None, False, None) for s in starts) + known,
            point,
            (),
            None,
            tuple(data),
            True,
            n + 1,
        )
    order = list(found)
    random_.shuffle(order)
    return Declaration("w.toml", None, ids[-1], True, None, None, {}, None, {i: found[i] for i in order}, generators)


class Naive:
    """The note by sets and recursion. A model is the set of runs that trained it last; None where it doesn't end."""

    def __init__(self, declaration: Declaration, together: bool) -> None:
        self.d, self.together = declaration, together
        self.groups = self.variants()
        self.ambiguous = False

    def own(self, runs: frozenset[str]) -> frozenset[str]:
        found, waiting = set(runs), list(runs)
        while waiting:
            name = waiting.pop()
            for start in self.d.runs[name].starts_from if name in self.d.runs else ():
                other = start.run or f"open:{start.model}"
                if other not in found:
                    found.add(other)
                    waiting.append(other)
        return frozenset(found)

    def variants(self) -> list[set[str]]:
        groups = [({g.id}, set(self.own(frozenset(g.training_runs)))) for g in self.d.generators.values()]
        merged = True
        while merged:
            merged = False
            for a in groups:
                for b in groups:
                    if a is not b and a[1] & b[1]:
                        a[0].update(b[0])
                        a[1].update(b[1])
                        groups.remove(b)
                        merged = True
                        break
                if merged:
                    break
        return [ids for ids, _ in groups]

    def operations(self, name: str) -> Fraction:
        if name.startswith("open:"):
            return Fraction(len(name) - len("open:")) * 10**8
        interval = self.d.runs[name].operations
        assert interval is not None
        return interval.low

    def runs_of(self, group: int) -> frozenset[str]:
        return frozenset(r for id in self.groups[group] for r in self.d.generators[id].training_runs)

    def counted(self, runs: frozenset[str], path: tuple[int, ...] = ()) -> tuple[frozenset[str], frozenset[int]]:
        """All that counts for the model that `runs` trained: runs, and data-generation models by their generation.

        Of several the one that adds most counts, the model itself and its variants aside: what is in the lineage counts anyway.
        """
        own = self.own(runs)
        total = sum((self.operations(r) for r in own), Fraction(0))
        parts: dict[int, Fraction] = {}
        for name in own:
            for source in self.d.runs[name].data if name in self.d.runs else ():
                if source.generator is not None and not source.published:
                    group = next(n for n, ids in enumerate(self.groups) if source.generator in ids)
                    parts[group] = parts.get(group, Fraction(0)) + source.share * self.operations(name)
        closed = {g for g in parts if not all(self.d.generators[id].weights_published for id in self.groups[g])}
        qualified = {g for g, part in parts.items() if part > TENTH * total}
        if self.together and sum((parts[g] for g in closed), Fraction(0)) > TENTH * total:
            qualified |= closed
        others = [g for g in qualified & closed if not self.runs_of(g) <= own]
        chosen = [g for g in qualified & closed if self.runs_of(g) <= own]
        sizes = {}
        for g in others + chosen:
            if g in path:
                self.ambiguous = True
                return own, frozenset(qualified)
            runs, generation = self.counted(self.runs_of(g), (*path, g))
            sizes[g] = self.size((runs - own, generation))
        if others:
            most = max(sizes[g] for g in others)
            largest = [g for g in others if sizes[g] == most]
            self.ambiguous |= len(largest) > 1
            chosen.append(largest[0])
        found, generations = set(own), set(qualified)
        for g in chosen:
            more = self.counted(self.runs_of(g), (*path, g))
            found |= more[0]
            generations |= more[1]
        return frozenset(found), frozenset(generations)

    def size(self, counted: tuple[frozenset[str], frozenset[int]]) -> Fraction:
        used = {d.generator for r in self.d.runs.values() for d in r.data if not d.published}
        generation = Fraction(0)
        for g in counted[1]:
            for id in self.groups[g]:
                interval = self.d.generators[id].generation_operations
                assert interval is not None
                generation += interval.low if id in used else 0
        return sum((self.operations(r) for r in counted[0]), Fraction(0)) + generation


def check(declaration: Declaration) -> bool:
    """Whether both readings agree with the naive walk; False where a circle of variants or a tie leaves it open."""
    assert declaration.run is not None
    readings: Mapping[bool, Reading | None] = _readings(technical_note_3([graph_of(declaration)]))
    clear = True
    for together, reading in readings.items():
        naive = Naive(declaration, together)
        counted = naive.counted(frozenset([declaration.run]))
        own = naive.own(frozenset([declaration.run]))
        expected = naive.size((counted[0] - own, counted[1]))
        low, high = (reading.added.low, reading.added.high) if reading else (Fraction(0), Fraction(0))
        assert high is not None
        if naive.ambiguous:  # the naive walk stops at a circle, so it counts no more than there is
            assert expected <= high
            clear = False
        else:
            assert low == expected == high
    return clear


def _readings(found: tuple[Reading, ...]) -> dict[bool, Reading | None]:
    first = found[0] if found else None
    return {False: first, True: found[-1] if found else None}


def test_agrees_with_a_naive_walk_on_random_graphs() -> None:
    random_ = random.Random(4091)
    clear = sum(check(declared(random_, random_.randrange(2, 40), random_.randrange(1, 8))) for _ in range(1000))
    assert clear > 800


@given(st.integers(0, 10**9))
@settings(max_examples=40, deadline=None)
def test_order_of_declaration_is_irrelevant(seed: int) -> None:
    declaration = declared(random.Random(seed), 20, 5)
    names = list(declaration.runs)
    random.Random(seed + 1).shuffle(names)
    makers = list(declaration.generators)[::-1]
    other = Declaration(
        **{
            **declaration.__dict__,
            "runs": {n: declaration.runs[n] for n in names},
            "generators": {g: declaration.generators[g] for g in makers},
        }
    )
    first, second = (technical_note_3([graph_of(d)]) for d in (declaration, other))
    assert [(r.name, r.added) for r in first] == [(r.name, r.added) for r in second]


@given(st.integers(0, 10**9), st.integers(1, 10**6))
@settings(max_examples=40, deadline=None)
def test_no_run_counts_twice_and_units_are_irrelevant(seed: int, factor: int) -> None:
    declaration = declared(random.Random(seed), 20, 5)
    graph = graph_of(declaration)
    everything = graph.total(np.ones(len(graph.nodes), np.bool_)).low + sum((g.low for g in graph.generation), Fraction(0))
    readings = technical_note_3([graph])
    for reading in readings:
        assert graph.total(graph.union([-1])).low + reading.added.low <= everything

    def times(i: Interval | None) -> Interval | None:
        return None if i is None or i.high is None else Interval(i.low * factor, i.low * factor, i.high * factor)

    runs = {
        n: Run(
            **{
                **r.__dict__,
                "operations": times(r.operations),
                "starts_from": tuple(Start(**{**s.__dict__, "operations": times(s.operations)}) for s in r.starts_from),
            }
        )
        for n, r in declaration.runs.items()
    }
    makers = {
        n: Generator(**{**g.__dict__, "generation_operations": times(g.generation_operations)})
        for n, g in declaration.generators.items()
    }
    scaled = technical_note_3([graph_of(Declaration(**{**declaration.__dict__, "runs": runs, "generators": makers}))])
    assert [(r.added.low * factor) for r in readings] == [r.added.low for r in scaled]


@pytest.mark.parametrize("seed", range(20))
def test_wider_operations_never_say_more(seed: int) -> None:
    random_ = random.Random(seed)
    declaration = declared(random_, 25, 6)

    def wider(i: Interval | None) -> Interval | None:
        if i is None or i.high is None or random_.random() < 0.5:
            return i
        return Interval(i.low * Fraction(1, 2), None, i.high * 2)

    runs = {n: Run(**{**r.__dict__, "operations": wider(r.operations)}) for n, r in declaration.runs.items()}
    wide = technical_note_3([graph_of(Declaration(**{**declaration.__dict__, "runs": runs}))])
    for before, after in zip(
        *(_readings(technical_note_3([graph_of(declaration)])).values(), _readings(wide).values()), strict=False
    ):
        assert before is None or after is None or before.added.low <= (after.added.high or before.added.low)
