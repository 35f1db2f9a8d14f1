"""References among the runs and generators of a declaration: unknown ids and circles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weightguard.toml_lines import Checker, nearest, shown

if TYPE_CHECKING:
    from weightguard.evidence.declaration import Generator, Run


def did_you_mean(name: str, known: Mapping[str, Any]) -> str:
    guess = nearest(name, list(known))
    return f"; did you mean {shown(guess)}?" if guess else "; write the id of one that is declared in this file"


def check_references(check: Checker, runs: Mapping[str, Run], generators: Mapping[str, Generator]) -> None:
    """Unknown ids, then cycles: a run can't come before itself, by what it starts from or by the models that made its data."""
    for position, table in enumerate(_tables(check, "run")):
        for at, start in enumerate(_list(table.get("starts_from"))):
            if isinstance(start, str) and start.strip() and start not in runs:
                check.problem(
                    ("run", position, "starts_from", at),
                    f"no [[run]] has the id {shown(start)}{did_you_mean(start, runs)}",
                )
        for at, source in enumerate(_list(table.get("data"))):
            name = source.get("generator") if isinstance(source, dict) else None
            if isinstance(name, str) and name.strip() and name not in generators:
                hint = did_you_mean(name, generators)
                check.problem(("run", position, "data", at, "generator"), f"no [[generator]] has the id {shown(name)}{hint}")
    for position, table in enumerate(_tables(check, "generator")):
        for at, name in enumerate(_list(table.get("training_runs"))):
            if isinstance(name, str) and name not in runs:
                hint = did_you_mean(name, runs)
                check.problem(("generator", position, "training_runs", at), f"no [[run]] has the id {shown(name)}{hint}")
    starts = {id: [start.run for start in run.starts_from if start.run in runs] for id, run in runs.items()}
    if cycle := _cycle(starts):
        _cycle_problem(check, runs, cycle, "starts_from goes in a circle", "a run starts from earlier ones")
        return
    before = {id: starts[id] + _teachers(run, runs, generators) for id, run in runs.items()}
    if cycle := _cycle(before):
        hint = "name in training_runs only the runs before the data was generated"
        _cycle_problem(check, runs, cycle, "the training of a data generator goes in a circle", hint)


def _teachers(run: Run, runs: Mapping[str, Run], generators: Mapping[str, Generator]) -> list[str | None]:
    """The runs that trained the models that generated data for `run`."""
    used = [generators[source.generator or ""] for source in run.data if source.generator in generators]
    return [id for generator in used for id in generator.training_runs if id in runs]


def _tables(check: Checker, name: str) -> list[Mapping[str, Any]]:
    value = check.document.data.get(name)
    return value if isinstance(value, list) and all(isinstance(item, dict) for item in value) else []


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _cycle_problem(check: Checker, runs: Mapping[str, Run], cycle: list[str], what: str, hint: str) -> None:
    path = " -> ".join(shown(id) for id in (*cycle[:6], *(("...",) if len(cycle) > 6 else ()), cycle[0]))
    position = next(i for i, table in enumerate(_tables(check, "run")) if table.get("id") == cycle[0])
    check.problem(("run", position), f"{what} ({path}): {hint}")


def _cycle(edges: Mapping[str, list[Any]]) -> list[str]:
    """The nodes of one cycle, or none. Depth-first without recursion: a file may hold a long chain."""
    done: set[str] = set()
    for root in edges:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                on_path.discard(path.pop())
                done.add(node)
            elif node in on_path:
                return path[path.index(node) :]
            elif node not in done:
                path.append(node)
                on_path.add(node)
                stack.append((node, True))
                stack.extend((other, False) for other in edges[node])
    return []
