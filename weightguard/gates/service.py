"""The HTTP gate: decides by path below allow-listed folders, or by the header bytes that a client sends. No route takes weights.

Only an answer 200 whose `decision` is "allow" allows; whatever can't be decided in time, or written to the log, is an error, which
clients treat as a block. Starlette on uvicorn (extra `serve`).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import hmac
import json
import os
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from weightguard.gates import admission
from weightguard.gates.log import DecisionLog
from weightguard.limits import LIMITS
from weightguard.pipeline import Request, scan
from weightguard.policy import Policy
from weightguard.report import Report
from weightguard.version import VERSION

MOST_JSON = 64 << 10  # bytes of a request that names a path


@dataclass(frozen=True)
class Settings:
    """What a service runs by. `roots`: real folders below which it decides; `tokens`: SHA-256 of the bearer tokens, empty: none asked.

    workers: scans at once; waiting: requests that may wait for one; seconds: until a decision is given up.
    """

    policy: Policy
    roots: tuple[str, ...]
    log: str
    tokens: frozenset[str] = frozenset()
    workers: int = 2
    waiting: int = 64
    seconds: float = 30.0


@dataclass
class Service:
    """A running service: its log, its threads, and what it counted. A scan that was given up keeps its thread until it ends."""

    settings: Settings
    log: DecisionLog
    pool: ThreadPoolExecutor
    held: int = 0
    known: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)  # real path, mark -> id, decision
    queued: dict[str, asyncio.Task[Response]] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    spent: float = 0.0

    # ---- routes

    async def decide(self, request: HttpRequest) -> Response:
        """POST /v1/decide {"path": ...}: the decision on a file or folder below one of the roots."""
        body = await _body(request, MOST_JSON)
        if body is None:
            return _error(413, f"a request is at most {MOST_JSON} bytes; weights are never sent")
        try:
            asked = json.loads(body)
            path = asked["path"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return _error(400, 'send JSON: {"path": "..."}')
        if not isinstance(path, str) or "\0" in path:
            return _error(400, "path must be a string")
        real = os.path.realpath(path)
        if not any(real == root or real.startswith(root + os.sep) for root in self.settings.roots):
            return _error(403, "the path is not below a folder that this gate was given (--root)")
        if not os.path.exists(real):
            return _error(404, "there is no such file or folder")
        return await self._decided(real, lambda: self._scan(real), path)

    async def decide_header(self, request: HttpRequest) -> Response:
        """POST /v1/decide-header?name=...&bytes=...: the decision on a file by its first bytes, as many as its header has.

        The rest of the file is taken to be a hole of that length. config.json may be sent as the header X-Weightguard-Config.
        """
        name = os.path.basename(request.query_params.get("name", "")) or "model.safetensors"
        if name in (".", "..", "config.json") or "\0" in name or len(os.fsencode(name)) > 255:
            return _error(400, "?name= must be the name of the file")
        try:
            size = int(request.query_params.get("bytes", ""))
        except ValueError:
            return _error(400, "?bytes= must say how long the whole file is")
        body = await _body(request, LIMITS.header_bytes + 8)
        if body is None:
            return _error(413, "longer than any header: weights are never sent")
        if len(body) < 8 or len(body) > 8 + int.from_bytes(body[:8], "little") or not len(body) <= size < 1 << 62:
            return _error(400, "send the 8 bytes of length and the JSON header of a safetensors file, and nothing after it")
        return await self._decided(
            name, lambda: self._scan_header(name, body, size, request.headers.get("x-weightguard-config"))
        )

    async def admission(self, request: HttpRequest) -> Response:
        """POST /v1/admission: a Kubernetes AdmissionReview, answered from what is decided; what is not is denied and queued."""
        body = await _body(request, admission.MOST)
        if body is None:
            return _error(413, "longer than any review")
        try:
            uid, uris = admission.asked(json.loads(body))
        except (ValueError, RecursionError) as error:
            return _error(400, f"no review that can be read: {error}"[:300])
        if not uris:
            return JSONResponse(
                admission.answer(uid, ["weightguard: names no storageUri, so there is nothing that it can decide on"])
            )
        return JSONResponse(admission.answer(uid, [text for uri in uris if (text := self._denied(uri))]))

    def _denied(self, uri: str) -> str:
        """Why a model may not be served, or ""."""
        path = admission.path_of(uri)
        real = os.path.realpath(path) if path is not None else ""
        if not any(real == root or real.startswith(root + os.sep) for root in self.settings.roots):
            return f"weightguard: {uri[:200]} is not below a folder that this gate was given"
        if not os.path.exists(real):
            return f"weightguard: {uri[:200]} is not there"
        known = self.known.get((real, _mark(real)))
        if known is None:
            queued = self._queue(real)
            return (
                f"weightguard: {uri[:200]} is not decided yet, {'queued: ask again' if queued else 'and too many are waiting'}"
            )
        id, decision = known
        return "" if decision == "allow" else f"weightguard blocked {uri[:200]}: GET /v1/decisions/{id} says why"

    def _queue(self, real: str) -> bool:
        """Decide in the background; False where too many wait."""
        if real in self.queued:
            return True
        if self.held >= self.settings.workers + self.settings.waiting:
            return False
        task = asyncio.get_running_loop().create_task(self._decided(real, lambda: self._scan(real)))
        self.queued[real] = task
        task.add_done_callback(lambda _: self.queued.pop(real, None))
        return True

    async def decision(self, request: HttpRequest) -> Response:
        """GET /v1/decisions/ID: what was decided."""
        entry = self.log.read(request.path_params["id"])
        return _error(404, "no decision has this id") if entry is None else JSONResponse(entry)

    async def ready(self, request: HttpRequest) -> Response:
        """GET /readyz: whether it can decide and write."""
        writable = os.access(self.settings.log, os.W_OK) and all(os.path.isdir(root) for root in self.settings.roots)
        return PlainTextResponse("ready\n" if writable else "the log or a root is not there\n", 200 if writable else 503)

    async def metrics(self, request: HttpRequest) -> Response:
        """GET /metrics: Prometheus text format, version 0.0.4."""
        lines = ["# TYPE weightguard_decisions_total counter"]
        lines += [
            f'weightguard_decisions_total{{decision="{d}",reason="{r}"}} {n}' for (d, r), n in sorted(self.counts.items())
        ]
        lines += ["# TYPE weightguard_decision_seconds_total counter", f"weightguard_decision_seconds_total {self.spent:.6f}"]
        lines += ["# TYPE weightguard_held gauge", f"weightguard_held {self.held}"]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    # ---- one decision

    async def _decided(self, name: str, work: Callable[[], Report], asked: str | None = None) -> Response:
        """Wait for a place, scan, write the log, answer; in that order, so that nothing is answered that is not written."""
        if self.held >= self.settings.workers + self.settings.waiting:
            self.counts["none", "busy"] += 1
            return _error(503, "too many requests are waiting: nothing is allowed; try again", {"Retry-After": "1"})
        self.held += 1
        started = time.monotonic()
        mark = _mark(name) if os.path.isabs(name) else ""
        try:
            async with asyncio.timeout(self.settings.seconds):
                report = await asyncio.get_running_loop().run_in_executor(self.pool, work)
            entry = _entry(asked or name, report) | {"mark": mark}
            if mark != (_mark(name) if mark else ""):
                return _error(503, "changed while it was read: nothing is allowed; try again", {"Retry-After": "1"})
            head = await asyncio.to_thread(self.log.append, entry)
        except TimeoutError:
            self.counts["none", "time"] += 1
            return _error(503, "not decided in time: nothing is allowed", {"Retry-After": "5"})
        except OSError as error:
            self.counts["none", "log"] += 1
            return _error(503, f"the decision could not be written: nothing is allowed ({error.strerror})")
        except Exception as error:  # a fault of ours allows nothing
            self.counts["none", "fault"] += 1
            return _error(500, f"a fault of weightguard: nothing is allowed ({type(error).__name__})")
        finally:
            self.held -= 1
            self.spent += time.monotonic() - started
        if mark:
            self.known[name, mark] = str(entry["id"]), str(entry["decision"])
        self.counts[entry["decision"], "unread" if report.unread else "decided" if report.models else "no model"] += 1
        return JSONResponse({**entry, "log": head, "report": report.to_dict()})

    def _scan(self, path: str) -> Report:
        return scan(Request([path], self.settings.policy, datetime.date.today()))

    def _scan_header(self, name: str, header: bytes, size: int, config: str | None) -> Report:
        with tempfile.TemporaryDirectory(prefix="weightguard-") as folder:
            with open(os.path.join(folder, name), "xb") as file:
                file.write(header)
                file.truncate(size)
            if config is not None:
                with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as text:
                    text.write(config)
            return scan(Request([folder], self.settings.policy, datetime.date.today()))


def app(settings: Settings) -> Starlette:
    """The application. Raises `ConfigurationError` where its log can't be opened or its chain is broken."""
    if settings.policy.declarations == "any":  # what lies beside the weights was written by whoever brought them
        settings = replace(settings, policy=replace(settings.policy, declarations="given"))
    service = Service(settings, DecisionLog(settings.log), ThreadPoolExecutor(settings.workers))
    open_routes = [
        Route("/healthz", _alive),
        Route("/readyz", service.ready),
        Route("/openapi.json", _openapi),
    ]
    guarded = [
        Route("/v1/decide", _guarded(service.decide, settings.tokens), methods=["POST"]),
        Route("/v1/decide-header", _guarded(service.decide_header, settings.tokens), methods=["POST"]),
        Route("/v1/admission", _guarded(service.admission, settings.tokens), methods=["POST"]),
        Route("/v1/decisions/{id}", _guarded(service.decision, settings.tokens)),
        Route("/metrics", _guarded(service.metrics, settings.tokens)),
    ]
    return Starlette(routes=[*open_routes, *guarded])


Endpoint = Callable[[HttpRequest], Awaitable[Response]]


def _guarded(route: Endpoint, tokens: frozenset[str]) -> Endpoint:
    """A route that asks for a bearer token, where any are given."""

    async def endpoint(request: HttpRequest) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        if tokens and not (scheme.lower() == "bearer" and any(hmac.compare_digest(digest, known) for known in tokens)):
            return _error(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        return await route(request)

    return endpoint


def _mark(path: str) -> str:
    """A mark that changes where a file is added, removed or written to below a path: of names, sizes and times, not of content."""
    found = hashlib.sha256()
    for at, folders, names in os.walk(path) if os.path.isdir(path) else [("", [], [path])]:
        folders.sort()
        for name in sorted(names):
            with contextlib.suppress(OSError):
                s = os.stat(os.path.join(at, name))
                found.update(f"{os.path.join(at, name)}\0{s.st_size}\0{s.st_mtime_ns}\0{s.st_ino}\n".encode("utf-8", "replace"))
    return found.hexdigest()


async def _body(request: HttpRequest, most: int) -> bytes | None:
    """The body; None where it is longer than `most`, without reading on."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            return None
    return bytes(found)


def _entry(name: str, report: Report) -> dict[str, Any]:
    """What the log keeps of a decision. Where there is no model, nothing was decided, so nothing is allowed."""
    return {
        "id": uuid.uuid4().hex,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "asked": name,
        "decision": report.decision if report.models else "block",
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
        "policy": report.policy["sha256"] or report.policy["source"],
        "version": VERSION,
    }


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"decision": "block", "error": message}, status, headers)


async def _alive(request: HttpRequest) -> Response:
    return PlainTextResponse("alive\n")


def openapi() -> dict[str, Any]:
    """The interface as OpenAPI 3.1."""
    answer = {"description": "decided: only decision = allow allows", "content": {"application/json": {}}}
    denied = {"description": "not decided: a block"}
    errors = dict.fromkeys(("400", "401", "403", "404", "413", "500", "503"), denied)
    schema = {"type": "object", "required": ["path"], "properties": {"path": {"type": "string"}}}
    path = {"content": {"application/json": {"schema": schema}}}
    parameters = [
        {"name": "name", "in": "query", "schema": {"type": "string"}},
        {"name": "bytes", "in": "query", "required": True, "schema": {"type": "integer"}},
    ]
    return {
        "openapi": "3.1.0",
        "info": {"title": "weightguard", "version": VERSION},
        "paths": {
            "/v1/decide": {"post": {"requestBody": path, "responses": {"200": answer, **errors}}},
            "/v1/decide-header": {
                "post": {
                    "parameters": parameters,
                    "requestBody": {"content": {"application/octet-stream": {}}},
                    "responses": {"200": answer, **errors},
                }
            },
            "/v1/admission": {
                "post": {"requestBody": {"content": {"application/json": {}}}, "responses": {"200": answer, **errors}}
            },
            "/v1/decisions/{id}": {
                "get": {
                    "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
                    "responses": {"200": answer, "404": denied},
                }
            },
            **{path: {"get": {"responses": {"200": {"description": "text"}}}} for path in ("/healthz", "/readyz", "/metrics")},
        },
    }


async def _openapi(request: HttpRequest) -> Response:
    return JSONResponse(openapi())
