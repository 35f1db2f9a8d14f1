"""Declared runs as intervals of operations, and the lineage that they add up to, each run once."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from weightguard.operations.bound import BACKWARD
from weightguard.operations.forward import Forward, per_token
from weightguard.values import UNBOUNDED, ZERO, Interval, Term, highest

if TYPE_CHECKING:  # most scans read no declaration
    from weightguard.evidence.declaration import Declaration, Run
    from weightguard.operations.graph import RunGraph

LOW, HIGH = Fraction("0.95"), Fraction("1.3")  # unknown context mix and packing: published totals lie within it


@dataclass(frozen=True)
class Lineage:
    """Operations of a declared lineage: in all, of the largest published model it starts from, and all that is not published.

    `graph`: where they come from (None: of several declarations).
    """

    total: Interval
    base: Interval | None
    additional: Interval
    terms: tuple[Term, ...]
    graph: RunGraph | None = None


def of_run(run: Run, forward: Forward, default_context: int) -> tuple[Interval, str]:
    """One run's own operations, and the formula that gave them."""
    if run.operations is not None:
        return run.operations, "as declared"
    if run.hardware is not None:
        from weightguard.evidence.devices import hardware_operations

        return hardware_operations(run.hardware)
    total = ZERO
    for phase in run.phases:
        total += of_tokens(forward, phase.tokens, phase.context or default_context)
    return total, "3 x forward operations x tokens"


def of_tokens(forward: Forward, tokens: Fraction, context: int) -> Interval:
    """4E091 Technical Note 2 s.2, 4E091 Technical Note 2 s.6, 4E091 Technical Note 2 s.7, 4E091 Technical Note 2 s.8: tokens x
    architecture, forward and backward, for all layers: 6ND where each parameter multiplies once.

    `best` by the causal formula, 0.95 of it below; above, every key attended to, times 1.3."""
    mean = per_token(forward.layer_matmul, forward.layer_attention, forward.window, context, causal=forward.causal)
    most = per_token(forward.bound_matmul, forward.bound_attention, forward.window, context, causal=False)
    if mean is None or most is None:
        return UNBOUNDED
    least = Fraction(0) if forward.matmul_range[0] == 0 else mean
    best = BACKWARD * mean * tokens
    return Interval(LOW * BACKWARD * least * tokens, best, max(HIGH * BACKWARD * most * tokens, best))


def of_lineage(declaration: Declaration, forward: Forward, default_context: int) -> Lineage | None:
    """4E091 Technical Note 2 s.1: the operations of "pre-training and any subsequent training", not of collecting data.

    None if the declaration declares no run.
    """
    if declaration.run is None:
        return None
    from weightguard.operations.graph import TARGET, of_declaration

    formulas: dict[str, str] = {}

    def operations(run: Run, own: bool) -> Interval:
        found, formulas[run.id] = of_run(run, forward, default_context) if own or not run.phases else (UNBOUNDED, "")
        return found

    graph = of_declaration(declaration, operations)
    runs = list(declaration.runs.values())
    additional, published = ZERO, ZERO
    base: Interval | None = None
    terms: list[Term] = []
    first = graph.target
    for node in (first, *(n for n in graph.union([TARGET]).nonzero()[0].tolist() if n != first)):
        interval, name = graph.intervals[node], graph.nodes[node]
        if node < len(runs):
            run = runs[node]
            terms.append(_term(f"run {name}", interval, f"{run.kind}: {formulas[name]}", f"{declaration.path}:{run.line}"))
            additional += interval
            continue
        terms.append(_term(f"start {name}", interval, "as declared", declaration.path))
        if graph.published[node]:
            published += interval
            # Note 1 says "a model": of several published ones the larger, not their sum
            base = interval if base is None else highest(base, interval)
        else:
            additional += interval
    return Lineage(additional + published, base, additional, tuple(terms), graph)


def _term(label: str, operations: Interval, formula: str, source: str) -> Term:
    value = operations.best if operations.best is not None else operations.high
    return Term(label, value if value is not None else Fraction(0), "operations", formula, source)
