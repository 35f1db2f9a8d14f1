"""One row an object: the pure function that a sweep is made of. Whatever goes wrong is a row, never an exception."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache
from typing import NamedTuple

from weightguard.decision import decide
from weightguard.errors import WeightguardError
from weightguard.kernels import _jit
from weightguard.models import is_sidecar
from weightguard.pipeline import Request, judged
from weightguard.policy import Policy
from weightguard.reading import read_at_once
from weightguard.report import ModelReport, Report
from weightguard.stores.found import Found, Listing, Network, Store
from weightguard.stores.targets import open_store, scheme_of
from weightguard.values import Unread

_AT_ONCE = 32  # objects; more are not faster, and take more memory
REFUSED = "refused: "  # begins the version of what a listing found and would not follow


class Object(NamedTuple):
    """An object as it was listed: its URI or path, size in bytes, and what changes when it does."""

    uri: str
    size: int
    version: str
    sha256: str = ""


class Row(NamedTuple):
    """What a sweep says of one object. The model's columns stand on each of its files.

    kind: "weights", "sidecar", "other", "unknown" (small, and let be) or "unread". decision: "block", "allow", or "" for what is no
    part of a model.
    """

    uri: str
    size: int
    version: str
    unit: str
    kind: str
    format: str = ""
    model: str = ""
    decision: str = ""
    status: str = ""
    clause: str = ""
    parameters: int | None = None
    operations_low: float | None = None
    operations_high: float | None = None
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Terms:
    """By what a sweep decides. `root`: the address that was swept."""

    root: str
    policy: Policy
    as_of: date
    network: Network


def scan_shard(units: Mapping[str, Sequence[Object]], terms: Terms, spoiled: Mapping[str, str] | None = None) -> list[Row]:
    """The rows of all objects of whole units, in their order. spoiled: objects that must not be read, and why."""
    _jit.small_process = True
    there = {unit: objects for unit, objects in units.items() if objects}
    request = Request([], terms.policy, terms.as_of, network=terms.network)
    rows: list[Row] = []
    try:
        listings = [_listing(objects, terms, spoiled or {}) for objects in there.values()]
        reads = read_at_once(listings, terms.policy.unexplained_bytes, _pool())
    except Exception as error:
        return [row for unit, objects in there.items() for row in _failed(unit, objects, error)]
    for listing, read, (unit, objects) in zip(listings, reads, there.items(), strict=True):
        try:
            reading = read()
            rows += _rows(unit, objects, terms.policy, reading.unknown, *judged(listing, reading, request))
        except Exception as error:
            rows += _failed(unit, objects, error)
    return rows


def _failed(unit: str, objects: Sequence[Object], error: Exception) -> list[Row]:
    fault = f"a fault of weightguard: {type(error).__name__}: {error}"
    text = str(error) if isinstance(error, WeightguardError) else fault
    return [unread(unit, o, "internal", text[:300]) for o in objects]


def unread(unit: str, item: Object, reason: str, detail: str) -> Row:
    """The row of an object that could not be read."""
    return Row(item.uri, item.size, item.version, unit, "unread", decision="block", reason=reason, detail=detail)


def _listing(objects: Sequence[Object], terms: Terms, spoiled: Mapping[str, str]) -> Listing:
    store = _store(terms.root, terms.network)
    lost = {o.uri: Unread(o.uri, "internal", spoiled[o.uri]) for o in objects if o.uri in spoiled}
    lost |= {o.uri: Unread(o.uri, "link", o.version) for o in objects if o.version.startswith(REFUSED)}
    files = sorted((_found(o, store) for o in objects if o.uri not in lost), key=lambda f: f.shown)
    return Listing(tuple(files), tuple(lost.values()))


@cache
def _pool() -> Executor:
    return ThreadPoolExecutor(_AT_ONCE, "weightguard-read")


@lru_cache(maxsize=8)
def _store(root: str, network: Network) -> Store | None:
    return None if scheme_of(root) is None else open_store(root, network)


def _found(item: Object, store: Store | None) -> Found:
    real = item.uri if store is not None else os.path.realpath(item.uri)
    return Found(item.uri, real, True, store, item.size, item.version, item.sha256)


def _rows(
    unit: str, objects: Sequence[Object], policy: Policy, unknown: Set[str], report: Report, real: Mapping[str, str]
) -> list[Row]:
    uris = {o.uri for o in objects}
    of_real = {real[o.uri]: o.uri for o in objects if o.uri in real}

    def object_of(path: str) -> str:
        """The object that a path of the report is, or lies in; the first of the unit for what is no object."""
        return path if path in uris else of_real.get(real.get(path, ""), objects[0].uri)

    of_model: dict[str, tuple[ModelReport, str]] = {}
    for model in sorted(report.models, key=lambda m: (m.decision == "block", m.parameters.total)):
        for file in model.files:
            of_model[object_of(file.path)] = (model, file.format)
    failed: dict[str, Unread] = {}
    for u in report.unread:
        failed.setdefault(object_of(u.path), u)
    dangers = {object_of(f.path): f for f in report.findings if f.path and decide((), [f], policy) == "block"}
    found = []
    for o in objects:
        kind = "unknown" if o.uri in unknown else "sidecar" if is_sidecar(o.uri.rpartition("/")[2]) else "other"
        row = Row(o.uri, o.size, o.version, unit, kind)
        if o.uri in of_model:
            row = _of_model(row, *of_model[o.uri])
        if o.uri in dangers:
            row = row._replace(decision="block", reason=dangers[o.uri].id, detail=dangers[o.uri].message)
        if o.uri in failed:
            row = row._replace(kind="unread", decision="block", reason=failed[o.uri].reason, detail=failed[o.uri].detail)
        found.append(row)
    return found


def _of_model(row: Row, model: ModelReport, form: str) -> Row:
    verdict = model.deciding
    interval = model.training_operations.interval
    return row._replace(
        kind="weights",
        format=form,
        model=model.path,
        decision=model.decision,
        status=verdict.status if verdict else "",
        clause=verdict.clause if verdict else "",
        parameters=model.parameters.total,
        operations_low=float(interval.low),
        operations_high=None if interval.high is None else float(interval.high),
        detail="; ".join(model.missing)[:300] if model.missing else (verdict.reason if verdict else "")[:300],
    )
