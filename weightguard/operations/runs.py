"""Declared runs as intervals of operations, and the lineage that they add up to, each run once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from weightguard.operations.bound import BACKWARD
from weightguard.operations.forward import Forward, per_token
from weightguard.values import UNBOUNDED, ZERO, Interval, Term, highest

if TYPE_CHECKING:  # most scans read no declaration
    from weightguard.evidence.declaration import Declaration, Run

LOW, HIGH = Fraction("0.95"), Fraction("1.3")  # unknown context mix and packing: published totals lie within it


@dataclass(frozen=True)
class Lineage:
    """Operations of a declared lineage: in all, of the largest published model it starts from, and all that is not published.

    `runs`: each run's own operations, by its id.
    """

    total: Interval
    base: Interval | None
    additional: Interval
    terms: tuple[Term, ...]
    runs: Mapping[str, Interval] = field(default_factory=dict)


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
    """Tokens x architecture: `best` by the causal formula, 0.95 of it below; above, every key attended to, times 1.3."""
    mean = per_token(forward.layer_matmul, forward.layer_attention, forward.window, context, causal=forward.causal)
    most = per_token(forward.bound_matmul, forward.bound_attention, forward.window, context, causal=False)
    if mean is None or most is None:
        return UNBOUNDED
    least = Fraction(0) if forward.matmul_range[0] == 0 else mean
    best = BACKWARD * mean * tokens
    return Interval(LOW * BACKWARD * least * tokens, best, max(HIGH * BACKWARD * most * tokens, best))


def of_lineage(declaration: Declaration, forward: Forward, default_context: int) -> Lineage | None:
    """The operations of the declared lineage; None if the declaration declares no run."""
    if declaration.run is None:
        return None
    additional, published = ZERO, ZERO
    base: Interval | None = None
    runs: dict[str, Interval] = {}
    terms: list[Term] = []
    for run in declaration.lineage():
        operations, formula = of_run(run, forward, default_context)
        additional += operations
        runs[run.id] = operations
        terms.append(_term(f"run {run.id}", operations, f"{run.kind}: {formula}", f"{declaration.path}:{run.line}"))
        for start in run.starts_from:
            if start.run is not None:
                continue
            operations = start.operations or UNBOUNDED
            terms.append(_term(f"start {start.model}", operations, "as declared", f"{declaration.path}:{run.line}"))
            if start.published:
                published += operations
                # Note 1 says "a model": of several published ones the larger, not their sum
                base = operations if base is None else highest(base, operations)
            else:
                additional += operations
    return Lineage(additional + published, base, additional, tuple(terms), runs)


def _term(label: str, operations: Interval, formula: str, source: str) -> Term:
    value = operations.best if operations.best is not None else operations.high
    return Term(label, value if value is not None else Fraction(0), "operations", formula, source)
