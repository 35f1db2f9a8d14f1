"""References among the runs and generators of a declaration: unknown ids and circles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weightguard.toml_lines import Checker, Key, nearest, shown

if TYPE_CHECKING:
    from weightguard.evidence.declaration import Generator, Run

Node = tuple[str, str]  # ("run" or "generator", id)


def unknown_id(what: str, name: str, known: Mapping[str, Any]) -> str:
    """The complaint about an id that nothing declared has: `what` is the table that should have it."""
    guess = nearest(name, list(known))
    hint = f"did you mean {shown(guess)}?" if guess else "write the id of one that is declared in this file"
    return f"no [[{what}]] has the id {shown(name)}; {hint}"


def check_references(check: Checker, runs: Mapping[str, Run], generators: Mapping[str, Generator]) -> None:
    """Unknown ids, then cycles: a run can't come before itself, by what it starts from or by the models that made its data."""

    def known(key: Key, what: str, name: object, ids: Mapping[str, Any]) -> None:
        if isinstance(name, str) and name.strip() and name not in ids and not check.full:
            check.problem(key, unknown_id(what, name, ids))

    for position, table in enumerate(_tables(check, "run")):
        for at, start in enumerate(_list(table.get("starts_from"))):
            known(("run", position, "starts_from", at), "run", start, runs)
        for at, source in enumerate(_list(table.get("data"))):
            name = source.get("generator") if isinstance(source, dict) else None
            known(("run", position, "data", at, "generator"), "generator", name, generators)
    for position, table in enumerate(_tables(check, "generator")):
        for at, name in enumerate(_list(table.get("training_runs"))):
            known(("generator", position, "training_runs", at), "run", name, runs)

    before: dict[Node, list[Node]] = {}
    for run in runs.values():
        before["run", run.id] = [("run", start.run) for start in run.starts_from if start.run is not None]
    if cycle := _cycle(before):
        _cycle_problem(check, cycle, "starts_from goes in a circle", "a run starts from earlier ones")
        return
    for run in runs.values():
        before["run", run.id] += [("generator", source.generator) for source in run.data if source.generator is not None]
    for generator in generators.values():
        before["generator", generator.id] = [("run", id) for id in generator.training_runs]
    if cycle := _cycle(before):
        hint = "name in training_runs only the runs before the data was generated"
        _cycle_problem(check, cycle, "the training of a data generator goes in a circle", hint)


def _tables(check: Checker, name: str) -> list[Mapping[str, Any]]:
    value = check.document.data.get(name)
    return value if isinstance(value, list) and all(isinstance(item, dict) for item in value) else []


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _cycle_problem(check: Checker, cycle: Sequence[Node], what: str, hint: str) -> None:
    """One problem for a cycle, at the run of it that stands first in the file."""
    runs = {id for kind, id in cycle if kind == "run"}
    position, first = next((i, table["id"]) for i, table in enumerate(_tables(check, "run")) if table.get("id") in runs)
    at = cycle.index(("run", first))
    names = [shown(id) for _, id in (*cycle[at:], *cycle[:at])]
    path = " -> ".join((*names[:6], "...", names[0]) if len(names) > 6 else (*names, names[0]))
    check.problem(("run", position), f"{what} ({path}): {hint}")


def _cycle(edges: Mapping[Node, Sequence[Node]]) -> list[Node]:
    """The nodes of one cycle, or none. Depth-first without recursion: a file may hold a long chain."""
    done: set[Node] = set()
    for root in edges:
        path: list[Node] = []
        on_path: set[Node] = set()
        stack: list[tuple[Node, bool]] = [(root, False)]
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
                stack.extend((other, False) for other in edges.get(node, ()))
    return []
