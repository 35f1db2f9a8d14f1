"""What a service decides, and what it remembers of it: allow-listed places, a bounded queue, the log before every answer.

Whatever can't be decided in time, or written to the log, is an error, which clients treat as a block.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote

from starlette.responses import JSONResponse, Response

from weightguard.errors import ConfigurationError, Unreadable
from weightguard.gates.log import DecisionLog
from weightguard.gates.words import reason, why
from weightguard.limits import LIMITS
from weightguard.pipeline import Request, judged
from weightguard.policy import Policy
from weightguard.reading import read_all
from weightguard.report import Report
from weightguard.stores.found import Found, Listing, Network, shown
from weightguard.stores.targets import collect, scheme_of
from weightguard.version import VERSION

NETWORK = Network(seconds=5.0, retries=1, private=False, redirects=True)
"""How far a service goes for a URI that a caller names: to public addresses, and not for long."""
HEAD = 512  # bytes of a file that the Hub's clients show before they send it
_KEPT = 1_000_000  # decisions, and files


@dataclass(frozen=True)
class Settings:
    """What a service runs by.

    roots: real folders, and stores: beginnings of URIs, below which it decides. tokens: SHA-256 of the bearer tokens, empty: none
    asked. routes: a policy of its own for each name. workers: scans at once; waiting: requests that may wait for one; seconds:
    until a decision is given up. network: how far it may go for a URI. secret: of webhooks, empty: none are taken.
    """

    policy: Policy
    roots: tuple[str, ...]
    log: str
    tokens: frozenset[str] = frozenset()
    workers: int = 2
    waiting: int = 64
    seconds: float = 30.0
    stores: tuple[str, ...] = ()
    routes: Mapping[str, Policy] = field(default_factory=dict)
    network: Network = NETWORK
    secret: bytes = b""


class Json(JSONResponse):
    """JSON in ASCII, so that a name that is no UTF-8 has a form too."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False).encode()


class Refused(Exception):
    """A place that a caller may not name: status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Known(NamedTuple):
    """A decision that was made: its id, "allow" or "block", the mark of what it was made of, and the day whose law it holds for."""

    id: str
    decision: str
    mark: str
    day: datetime.date


_Shown = tuple[str, int, str]
"""A file as a client of the Hub shows it: name, size, digest of the first bytes."""


class _Standing(NamedTuple):
    """What was decided of a local file: why it may not leave or "", its path, `_at` of it then, and the day."""

    refusal: str
    path: str
    at: str
    day: datetime.date


class Made(NamedTuple):
    """A decision that is in the log: what stands there, with the hash of its line, and the report."""

    entry: dict[str, Any]
    report: Report


Work = Callable[[], tuple[Report, str]]
"""Gives a report, and the mark of what it was made of."""


@dataclass
class Decisions:
    """The decisions of one policy. A scan that was given up keeps its thread until it ends."""

    settings: Settings
    policy: Policy
    log: DecisionLog
    pool: ThreadPoolExecutor
    held: int = 0
    known: dict[str, Known] = field(default_factory=dict)  # by the place
    _files: dict[_Shown, dict[str, _Standing]] = field(default_factory=dict)  # by place
    _of_place: dict[str, list[_Shown]] = field(default_factory=dict)
    queued: dict[str, asyncio.Task[Made | Response]] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    spent: float = 0.0

    def place(self, named: object) -> str:
        """The real path or the URI that a caller names. Raises `Refused` for one that is not below what the service was given."""
        if not isinstance(named, str) or not named or "\0" in named or len(named) > 4096 or not _is_unicode(named):
            raise Refused(400, "name a path or a URI")
        if scheme_of(named) is None:
            real = os.path.realpath(named)
            if not any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in self.settings.roots):
                raise Refused(403, "the path is not below a folder that this gate was given (--root)")
            if not os.path.exists(real):
                raise Refused(404, "there is no such file or folder")
            return real
        if ".." in unquote(named).split("/") or "\\" in named or any(c.isspace() for c in named):
            raise Refused(400, "a URI without .. and spaces")
        if not self.covers(named):
            raise Refused(403, "the URI is not below a store that this gate was given (--store)")
        return named

    def covers(self, uri: str) -> bool:
        """Whether a URI is below a store that the service was given."""
        return any(uri == s or uri.startswith(s if s.endswith(("/", ":")) else s + "/") for s in self.settings.stores)

    def queue(self, place: str) -> bool:
        """Decide in the background; False where too many wait."""
        if place in self.queued:
            return True
        if self.held >= self.settings.workers + self.settings.waiting:
            return False
        task = asyncio.get_running_loop().create_task(self.decision_on(place))
        self.queued[place] = task
        task.add_done_callback(lambda _: self.queued.pop(place, None))
        return True

    async def still(self, place: str) -> Known | None:
        """What was decided of a place today, if nothing there has changed since: a waiver or an approval may have ended."""
        known = self.known.get(place)
        if known is None or known.day != datetime.date.today():
            return None
        try:
            async with asyncio.timeout(self.settings.seconds):
                mark = await asyncio.get_running_loop().run_in_executor(self.pool, self._mark, place)
        except (TimeoutError, ConfigurationError, Unreadable):
            return None
        return known if mark == known.mark != "" else None

    async def decision_on(self, place: str) -> Made | Response:
        """`made` of a place."""
        return await self.made(shown(place), lambda: self._scan(place), place)

    def answer(self, found: Made | Response) -> Response:
        """A decision as the answer to a client."""
        return found if isinstance(found, Response) else Json({**found.entry, "report": found.report.to_dict()})

    async def made(self, name: str, work: Work, place: str | None = None) -> Made | Response:
        """Wait for room, scan, write the log; in that order, so that nothing is answered that is not written.

        Returns the decision, or the answer that says why there is none.
        """
        if self.held >= self.settings.workers + self.settings.waiting:
            self.counts["none", "busy"] += 1
            return error(503, "too many requests are waiting: nothing is allowed; try again", {"Retry-After": "1"})
        self.held += 1
        started = time.monotonic()
        today = datetime.date.today()
        try:
            async with asyncio.timeout(self.settings.seconds):
                report, mark = await asyncio.get_running_loop().run_in_executor(self.pool, _without_os_errors, work)
            entry = _entry(name, report, self.policy) | {"mark": mark}
            head = await asyncio.to_thread(self.log.append, entry)
        except TimeoutError:
            self.counts["none", "time"] += 1
            return error(503, "not decided in time: nothing is allowed", {"Retry-After": "5"})
        except Refused as refused:
            return error(refused.status, str(refused), {"Retry-After": "1"})
        except (ConfigurationError, Unreadable) as wrong:
            self.counts["none", "refused"] += 1
            text = wrong.problems[0] if isinstance(wrong, ConfigurationError) else wrong.detail
            return error(422, f"can't be decided: {text}"[:500])
        except OSError as failed:
            self.counts["none", "log"] += 1
            return error(503, f"the decision could not be written: nothing is allowed ({failed.strerror})")
        except Exception as fault:  # a fault of ours allows nothing
            self.counts["none", "fault"] += 1
            return error(500, f"a fault of weightguard: nothing is allowed ({type(fault).__name__})")
        finally:
            if place is not None:
                self._forget(place)
            self.held -= 1
            self.spent += time.monotonic() - started
        if place is not None:
            self.known[place] = Known(str(entry["id"]), str(entry["decision"]), mark, today)
            _keep(self.known)
            await asyncio.to_thread(self._remember, place, report, entry["id"], today)
        self.counts[entry["decision"], "unread" if report.unread else "decided" if report.models else "no model"] += 1
        return Made({**entry, "log": head}, report)

    def _scan(self, place: str) -> tuple[Report, str]:
        """The report on a place, and its mark: `Refused` where it changed between listing and judging."""
        place = self._resolved(place)
        request = Request([place], self.policy, datetime.date.today(), network=self.settings.network)
        listing = collect([place], LIMITS, self.settings.network)
        mark = _mark(listing)
        report, _ = judged(listing, read_all(listing, self.policy.unexplained_bytes, None), request)
        if self._mark(place) != mark:
            raise Refused(503, "changed while it was read: nothing is allowed; try again")
        return report, mark

    def _resolved(self, place: str) -> str:
        """Where MLflow says that a model or run is, which must be below what the service was given too."""
        if scheme_of(place) not in ("models", "runs"):
            return place
        from weightguard.stores.mlflow import resolved

        return self.place(resolved(place))

    def _mark(self, place: str) -> str:
        place = self._resolved(place)
        return _mark(collect([place], LIMITS, self.settings.network))

    def refusal(self, name: str, size: int, begins: bytes) -> str | None:
        """Why a local file may not leave that a client shows so before it sends it: "" where it may, None if none was decided.

        Where files of several places look alike, each must be allowed.
        """
        found = self._files.get((name, size, hashlib.sha256(begins[:HEAD]).hexdigest()), {})
        today = datetime.date.today()
        standing = [s.refusal for s in list(found.values()) if s.refusal or (s.day == today and s.at == _at(s.path))]
        return next(filter(None, standing), "") if standing else None

    def _forget(self, place: str) -> None:
        self.known.pop(place, None)
        for key in self._of_place.pop(place, ()):
            self._files.get(key, {}).pop(place, None)

    def _remember(self, place: str, report: Report, id: str, day: datetime.date) -> None:
        for m in report.models:
            refusal = "" if m.decision == "allow" else f"weightguard blocked {m.path}: {reason(m)} (decision {id})"
            for file in m.files:
                with contextlib.suppress(OSError), open(file.path, "rb") as opened:
                    key = os.path.basename(file.path), file.bytes, hashlib.sha256(opened.read(HEAD)).hexdigest()
                    self._files.setdefault(key, {})[place] = _Standing(refusal, file.path, _at(file.path), day)
                    self._of_place.setdefault(place, []).append(key)
        _keep(self._files)
        _keep(self._of_place)


def _keep(found: dict[Any, Any]) -> None:
    """Forget the oldest: what is forgotten is not decided."""
    while len(found) > _KEPT:
        del found[next(iter(found))]


def error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that allows nothing."""
    return Json({"decision": "block", "error": message}, status, headers)


def _without_os_errors(work: Work) -> tuple[Report, str]:
    """An OSError of a scan is no failure to write the log."""
    try:
        return work()
    except OSError as failed:
        raise Unreadable("unavailable", f"the system refused: {failed.strerror}") from failed


def _is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates but those by which a path has bytes that are no UTF-8 (PEP 383)."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _at(path: str) -> str:
    """What the system says of a file that changes when it is written to, also where its times are put back."""
    try:
        s = os.stat(path)
    except OSError:
        return "gone"
    return f"{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}"


def _beside(file: Found) -> Iterable[Found]:
    """The files of a file's folder, any of which may be of its model."""
    if file.store is not None:
        return file.store.beside(file).values()
    folder = os.path.dirname(file.real)
    return (Found(name, os.path.join(folder, name), False) for name in sorted(os.listdir(folder)))


def _mark(listing: Listing) -> str:
    """A mark that changes where a file is added, removed or written to: of names, sizes, versions and times, not of content.

    "" where a store doesn't say when one of them changes.
    """
    files = [*listing.files, *(other for file in listing.files if not file.whole_folder for other in _beside(file))]
    if any(file.store is not None and not file.version for file in files):
        return ""
    found = hashlib.sha256()
    for file in files:
        version = file.version if file.store is not None else _at(file.real)
        found.update(f"{file.shown}\0{file.size}\0{version}\n".encode("utf-8", "surrogateescape"))
    for unread in listing.unread:
        found.update(f"{unread.path}\0{unread.reason}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def _entry(name: str, report: Report, policy: Policy) -> dict[str, Any]:
    """What the log keeps of a decision. Where there is no model, nothing was decided, so nothing is allowed."""
    decision = report.decision if report.models else "block"
    return {
        "id": uuid.uuid4().hex,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "asked": name,
        "decision": decision,
        "why": why(report) if decision == "block" else "",
        "models": [
            {
                "path": m.path,
                "decision": m.decision,
                "verdicts": [{"regime": v.regime, "status": v.status, "clause": v.clause} for v in m.verdicts],
                "files": [{"path": f.path, "bytes": f.bytes} for f in m.files],
            }
            for m in report.models
        ],
        "unread": len(report.unread),
        "policy": policy.sha256 or policy.source,
        "version": VERSION,
    }
