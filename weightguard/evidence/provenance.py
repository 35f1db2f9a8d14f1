"""What a declaration says a model came from, as a small graph for people: runs, models, data-generation models."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from weightguard.values import Ancestor, Interval

if TYPE_CHECKING:
    from weightguard.evidence.declaration import Declaration, Run

MOST = 200  # nodes


def ancestors(declaration: Declaration) -> tuple[Ancestor, ...]:
    """The nodes that the last run leads to, itself first; at most `MOST`, the nearest."""
    found: dict[str, Ancestor] = {}
    if declaration.run is None:
        return ()
    pending = [f"run {declaration.run}"]
    for at in pending:
        if at in found or len(found) >= MOST:
            continue
        kind, _, id = at.partition(" ")
        if kind == "run":
            found[at] = _run(declaration.runs[id])
            for start in declaration.runs[id].starts_from:
                if start.run is None:
                    other = f"model {start.model}"
                    found.setdefault(other, Ancestor(other, "model", str(start.model), start.operations, start.published, ()))
        else:
            maker = declaration.generators[id]
            trained = tuple((f"run {run}", "trained by") for run in maker.training_runs)
            found[at] = Ancestor(at, "generator", id, maker.generation_operations, maker.weights_published, trained)
        pending += [source for source, _ in found[at].sources if source.split(" ", 1)[0] != "model"]
    return tuple(found.values())


def _run(run: Run) -> Ancestor:
    sources = [(f"run {s.run}" if s.run is not None else f"model {s.model}", "starts from") for s in run.starts_from]
    for data in run.data:
        if data.generator is not None:
            sources.append((f"generator {data.generator}", f"{float(data.share * 100):g} % of its operations on data of"))
    operations = run.operations
    text = f"{run.id} ({run.kind})"
    if operations is None and run.hardware is not None:
        text += f": {float(run.hardware.count):g} x {run.hardware.device}, {float(run.hardware.hours):g} h"
    elif operations is None and run.phases:
        text += f": {float(sum((phase.tokens for phase in run.phases), Fraction(0))):.3g} tokens"
    return Ancestor(f"run {run.id}", "run", text, operations, None, tuple(sources))


def amount(operations: Interval | None) -> str:
    """Operations in a few characters."""
    if operations is None or operations.high is None:
        return "operations not stated"
    low, high = f"{float(operations.low):.3g}", f"{float(operations.high):.3g}"
    return f"{low} operations" if low == high else f"{low} to {high} operations"
