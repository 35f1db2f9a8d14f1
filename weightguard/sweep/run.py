"""A sweep from its listing to its table."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from weightguard.errors import ConfigurationError, Unreadable
from weightguard.limits import LIMITS
from weightguard.policy import as_json
from weightguard.rules.provenance import standing
from weightguard.stores.found import Found, shown
from weightguard.stores.targets import IN_ORDER, open_store, scheme_of
from weightguard.sweep.engines import ENGINES
from weightguard.sweep.rows import REFUSED, Object, Terms
from weightguard.sweep.state import State
from weightguard.version import VERSION

SHARD = 250  # objects, whose ends are held at once
Progress = Callable[[int, int, float], None]
"""Called with objects decided, objects to decide, and seconds since the first."""


@dataclass(frozen=True)
class Summary:
    """How a sweep ended. objects: listed; read: decided in this sweep; the others are of the whole table.

    dangerous: files of no model that block by themselves.
    """

    objects: int
    read: int
    models: int
    blocked: int
    dangerous: int
    unread: int
    seconds: float


def sweep(
    terms: Terms, folder: str, engine: str = "embedded", *, resume: bool = False, progress: Progress | None = None
) -> Summary:
    """List a store, decide what is new or changed in it, and write `results.parquet` below a folder.

    Raises `ConfigurationError`: the store can't be listed, the state can't be written, an unfinished sweep is there and not `resume`.
    """
    started = time.monotonic()
    gc.set_threshold(50_000, 20, 100)  # rows make many small objects and few cycles
    state = State(folder)
    try:
        before = _agree(state, terms, resume=resume)
        objects = state.listed(_listing(terms), declared_again=before.get("as_of") != terms.as_of.isoformat())
        state.set_terms(as_of=terms.as_of.isoformat())
        if objects == 0:
            raise ConfigurationError(f"{shown(terms.root)}: nothing is there")
        _, total = state.left()
        done, changed = 0, False
        begun = time.monotonic()
        for shard, rows in ENGINES[engine](state.shards(SHARD), terms):
            state.decided(shard, rows)
            changed = True
            done += sum(map(len, shard.values()))
            if progress is not None:
                progress(done, total, time.monotonic() - begun)
        table = os.path.join(folder, "results.parquet")
        if lost := state.lost():
            raise ConfigurationError(
                f"{state.path}: has no row of {lost}: it was changed by another program; give another folder"
            )
        if changed or before.get("finished") != "yes" or not os.path.exists(table):
            from weightguard.sweep.table import write

            write(state, table)
        state.set_terms(finished="yes")
        return _summary(state, objects, done, time.monotonic() - started)
    finally:
        state.close()


def _agree(state: State, terms: Terms, *, resume: bool) -> dict[str, str]:
    """What was decided by other terms doesn't count; another store's state is refused. Returns the terms of the sweep before."""
    said = state.terms()
    policy = hashlib.sha256(json.dumps(as_json(terms.policy), sort_keys=True, default=str).encode()).hexdigest()
    now = {"root": shown(terms.root), "policy": policy, "version": VERSION, "dates": _dates(terms)}
    if said.get("root", now["root"]) != now["root"]:
        raise ConfigurationError(f"{state.path}: is of a sweep of {said['root']}: give another folder")
    if said.get("finished") == "no" and not resume:
        raise ConfigurationError(f"{state.path}: a sweep was not finished there: --resume goes on with it")
    if any(said.get(name) != value for name, value in now.items()):
        state.forget(**now, finished="no")
        return {}
    state.set_terms(finished="no")
    return said


def _dates(terms: Terms) -> str:
    """The days, up to the one that is decided for, on which a decision may change by itself: of the law, and of waivers."""
    days = {waiver.expires for waiver in terms.policy.waivers}
    for id in terms.policy.regimes:
        folder = terms.policy.regime(id).FOLDER
        if folder:
            known = standing(folder)
            days |= {event.date for event in (*known.legal, *known.enforcement)}
    return " ".join(sorted(day.isoformat() for day in days if day <= terms.as_of))


def _listing(terms: Terms) -> Iterator[Object]:
    if scheme_of(terms.root) is None:
        yield from _local(terms.root)
        return
    try:
        unsaid = f"listed at {time.time_ns()}"  # where nothing says that an object changed, it may have
        found = (_remote(f, unsaid) for f in open_store(terms.root, terms.network).below())
        yield from found if scheme_of(terms.root) in IN_ORDER else sorted(found)
    except Unreadable as error:
        raise ConfigurationError(f"{shown(terms.root)}: {error.reason}: {error.detail}") from error


def _remote(found: Found, unsaid: str) -> Object:
    if not found.whole_folder:
        raise ConfigurationError(f"{found.shown}: is one object, and what lies beside it says more about it: scan it instead")
    if found.size >= 1 << 63:
        return Object(found.shown, 0, f"{REFUSED}of an impossible size")
    return _named(Object(found.shown, found.size, found.version or unsaid, found.sha256))


def _named(item: Object) -> Object:
    """An object, refused by an escaped name where its own is no UTF-8."""
    try:
        item.uri.encode()
    except UnicodeEncodeError:
        return Object(item.uri.encode(errors="backslashreplace").decode(), 0, f"{REFUSED}its name is not UTF-8")
    return item


def _local(root: str) -> Iterator[Object]:
    from weightguard.stores.folder import collect

    listing = collect([root], LIMITS)
    refused = [_named(Object(u.path, 0, f"{REFUSED}{u.detail}")) for u in listing.unread]
    yield from sorted([*map(_object, listing.files), *refused])


def _object(found: Found) -> Object:
    try:
        at = os.stat(found.real, follow_symlinks=False)
    except OSError:
        return _named(Object(found.shown, 0, "gone"))
    return _named(Object(found.shown, at.st_size, f"{at.st_mtime_ns}-{at.st_ctime_ns}-{at.st_ino}"))


def _summary(state: State, objects: int, read: int, seconds: float) -> Summary:
    def count(what: str) -> int:
        return int(str(state.query(f"select count({what}")[0][0]))

    return Summary(
        objects,
        read,
        count("distinct model) from rows where model != ''"),
        count("distinct model) from rows where model != '' and decision = 'block'"),
        count("*) from rows where model = '' and decision = 'block' and kind != 'unread'"),
        count("*) from rows where kind = 'unread'"),
        seconds,
    )
