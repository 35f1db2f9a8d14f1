"""What runs `scan_shard`: processes of this machine, or the workers of a Ray or Dask cluster. Engines only move shards.

Each takes shards as it has room, a few at a time, and gives back (units, rows) in any order. A shard that takes its worker down is
halved until what does it stands alone, and becomes an unread row.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from typing import Any

from weightguard.errors import ConfigurationError
from weightguard.sweep.rows import Object, Row, Terms, scan_shard, unread

Shard = Mapping[str, Sequence[Object]]
Done = tuple[Shard, list[Row]]
Engine = Callable[[Iterable[dict[str, list[Object]]], Terms], Iterator[Done]]

_MOST_PROCESSES = 4
_PER_WORKER = 4  # shards in flight for each worker of a cluster
_KILLED = "its worker died while it was read"


def embedded(shards: Iterable[dict[str, list[Object]]], terms: Terms) -> Iterator[Done]:
    """On this machine: a process a core, up to four; each reads a shard, many objects at once, then judges it."""
    workers = min(_MOST_PROCESSES, os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")  # a fork would take this process's threads for its own
    pools = [ProcessPoolExecutor(workers, context)]

    def start(shard: Shard, spoiled: Mapping[str, str]) -> Future[list[Row]]:
        try:
            return pools[-1].submit(scan_shard, dict(shard), terms, dict(spoiled))
        except BrokenExecutor:  # a worker died, and took the others with it
            pools.append(ProcessPoolExecutor(workers, context))
            return pools[-1].submit(scan_shard, dict(shard), terms, dict(spoiled))

    def first(held: Mapping[Future[list[Row]], object]) -> Future[list[Row]]:
        return next(iter(wait(held, return_when=FIRST_COMPLETED).done))

    def result(future: Future[list[Row]]) -> list[Row] | None:
        try:
            return future.result()
        except BrokenExecutor:
            return None

    try:
        yield from _on_cluster(shards, 2 * workers, start, first, result)
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def ray(shards: Iterable[dict[str, list[Object]]], terms: Terms) -> Iterator[Done]:
    """On a Ray cluster: that of $RAY_ADDRESS, or one of this machine."""
    try:
        import ray as core
        from ray.exceptions import RayError
    except ImportError:
        raise ConfigurationError("--engine ray needs its extra: python -m pip install 'weightguard-gate[ray]'") from None
    if not core.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        core.init(address=address, log_to_driver=False, configure_logging=False, include_dashboard=False)
    task: Any = core.remote(max_retries=2, num_cpus=1)(scan_shard)
    room = _PER_WORKER * max(1, int(core.cluster_resources().get("CPU", 1)))

    def start(shard: Shard, spoiled: Mapping[str, str]) -> Any:
        return task.remote(dict(shard), terms, dict(spoiled))

    def first(held: Mapping[Any, object]) -> Any:
        return core.wait(list(held), num_returns=1)[0][0]

    def result(future: Any) -> list[Row] | None:
        try:
            found: list[Row] = core.get(future)
            return found
        except RayError:
            return None

    yield from _on_cluster(shards, room, start, first, result)


def dask(shards: Iterable[dict[str, list[Object]]], terms: Terms) -> Iterator[Done]:
    """On a Dask cluster: that of $DASK_SCHEDULER_ADDRESS, or one of this machine."""
    try:
        from distributed import Client
        from distributed import wait as first_of
    except ImportError:
        raise ConfigurationError("--engine dask needs its extra: python -m pip install 'weightguard-gate[dask]'") from None
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    with Client(address) if address else Client(dashboard_address=None, n_workers=2, threads_per_worker=1) as client:
        room = _PER_WORKER * max(1, sum(client.nthreads().values()))

        def start(shard: Shard, spoiled: Mapping[str, str]) -> Any:
            return client.submit(scan_shard, dict(shard), terms, dict(spoiled), pure=False, retries=0)

        def first(held: Mapping[Any, object]) -> Any:
            return next(iter(first_of(list(held), return_when="FIRST_COMPLETED").done))

        def result(future: Any) -> list[Row] | None:
            try:
                found: list[Row] = future.result()
                return found
            except Exception:  # KilledWorker, or the loss of the worker that held the result
                return None

        yield from _on_cluster(shards, room, start, first, result)


def _on_cluster(
    shards: Iterable[dict[str, list[Object]]],
    room: int,
    start: Callable[[Shard, Mapping[str, str]], Any],
    first: Callable[[Mapping[Any, Shard]], Any],
    result: Callable[[Any], list[Row] | None],
) -> Iterator[Done]:
    held: dict[Any, Shard] = {}

    def finished() -> Iterator[Done]:
        future = first(held)
        shard = held.pop(future)
        rows = result(future)
        if rows is not None:
            yield shard, rows
        elif len(shard) > 1:
            for half in _halves(shard):
                held[start(half, {})] = half
        else:
            yield shard, _around_poison(shard, lambda part, spoiled: result(start(part, spoiled)))

    for shard in shards:
        held[start(shard, {})] = shard
        while len(held) >= room:
            yield from finished()
    while held:
        yield from finished()


def _halves(shard: Shard) -> tuple[Shard, Shard]:
    names = list(shard)
    middle = len(names) // 2
    return {n: shard[n] for n in names[:middle]}, {n: shard[n] for n in names[middle:]}


def _around_poison(shard: Shard, run: Callable[[Shard, Mapping[str, str]], list[Row] | None]) -> list[Row]:
    """One unit that takes its worker down: which of its objects do it is found by halving, and the rest is read without them."""
    ((unit, objects),) = shard.items()
    pending = [list(objects)]
    spoiled: dict[str, str] = {}
    while pending:
        part = pending.pop()
        if run({unit: part}, spoiled) is not None:
            continue
        if len(part) == 1:
            spoiled[part[0].uri] = _KILLED
        else:
            pending += [part[: len(part) // 2], part[len(part) // 2 :]]
    rows = run(shard, spoiled)
    return rows if rows is not None else [unread(unit, o, "internal", _KILLED) for o in objects]


ENGINES: Mapping[str, Engine] = {"embedded": embedded, "ray": ray, "dask": dask}
