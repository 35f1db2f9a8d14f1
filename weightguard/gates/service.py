"""The HTTP gate: decides by a path or URI below what it was given, or by the header bytes that a client sends.

No route takes weights. Only an answer 200 whose `decision` is "allow" allows. Starlette on uvicorn (extra `serve`).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from weightguard.gates import admission
from weightguard.gates.decisions import Decisions, Json, Refused, Settings, error
from weightguard.gates.log import DecisionLog
from weightguard.gates.openapi import openapi
from weightguard.gates.requests import is_token, read_body
from weightguard.gates.webhooks import Webhooks
from weightguard.limits import LIMITS
from weightguard.pipeline import Request, scan
from weightguard.policy import Policy, only_given
from weightguard.report import Report
from weightguard.reports import html
from weightguard.stores.found import shown

MOST_JSON = 64 << 10  # bytes of a request that names a path
Endpoint = Callable[[HttpRequest], Awaitable[Response]]


class Service:
    """The routes of one policy."""

    def __init__(self, decisions: Decisions) -> None:
        self.decisions = decisions

    async def decide(self, request: HttpRequest) -> Response:
        """POST /v1/decide {"uri": ...} or {"path": ...}: the decision on a file, folder or store below what the gate was given."""
        body = await read_body(request, MOST_JSON)
        if body is None:
            return error(413, f"a request is at most {MOST_JSON} bytes; weights are never sent")
        try:
            asked = json.loads(body)
            named = asked.get("uri", asked.get("path"))
        except (ValueError, AttributeError, RecursionError):
            return error(400, 'send JSON: {"uri": "..."}')
        try:
            place = self.decisions.place(named)
        except Refused as refused:
            return error(refused.status, str(refused))
        return self.decisions.answer(await self.decisions.decision_on(place))

    async def decide_header(self, request: HttpRequest) -> Response:
        """POST /v1/decide-header?name=...&bytes=...: the decision on a file by its first bytes, as many as its header has.

        The rest of the file is taken to be a hole of that length. config.json may be sent as the header X-Weightguard-Config.
        """
        name = os.path.basename(request.query_params.get("name", "")) or "model.safetensors"
        if name in (".", "..", "config.json") or "\0" in name or len(os.fsencode(name)) > 255:
            return error(400, "?name= must be the name of the file")
        try:
            size = int(request.query_params.get("bytes", ""))
        except ValueError:
            return error(400, "?bytes= must say how long the whole file is")
        body = await read_body(request, LIMITS.header_bytes + 8)
        if body is None:
            return error(413, "longer than any header: weights are never sent")
        if len(body) < 8 or len(body) > 8 + int.from_bytes(body[:8], "little") or not len(body) <= size < 1 << 62:
            return error(400, "send the 8 bytes of length and the JSON header of a safetensors file, and nothing after it")
        config = request.headers.get("x-weightguard-config")
        made = await self.decisions.made(name, lambda: (self._scan_header(name, body, size, config), ""))
        return self.decisions.answer(made)

    async def admission(self, request: HttpRequest) -> Response:
        """POST /v1/admission: a Kubernetes AdmissionReview, answered from what is decided; what is not is denied and queued."""
        body = await read_body(request, admission.MOST)
        if body is None:
            return error(413, "longer than any review")
        try:
            review = admission.asked(json.loads(body))
        except (ValueError, RecursionError) as wrong:
            return error(400, f"no review that can be read: {wrong}"[:300])
        if review.gone:
            return Json(admission.answer(review.uid, []))
        uris = [*review.models, *filter(self.decisions.covers, review.images)]
        if not uris:
            return Json(
                admission.answer(review.uid, ["weightguard: names no model, so there is nothing that it can decide on"])
            )
        return Json(admission.answer(review.uid, [text for uri in uris if (text := await self._denied(uri))]))

    async def _denied(self, uri: str) -> str:
        """Why a model may not be served, or ""."""
        named = shown(uri)[:200]
        try:
            place = self.decisions.place(admission.path_of(uri) or uri)
        except Refused as refused:
            return f"weightguard: {named}: {refused}"
        known = await self.decisions.still(place)
        if known is None:
            queued = self.decisions.queue(place)
            return f"weightguard: {named} is not decided yet, {'queued: ask again' if queued else 'and too many are waiting'}"
        return "" if known.decision == "allow" else f"weightguard blocked {named}: GET /v1/decisions/{known.id} says why"

    async def decision(self, request: HttpRequest) -> Response:
        """GET /v1/decisions/ID: what was decided."""
        entry = self.decisions.log.read(request.path_params["id"])
        return error(404, "no decision has this id") if entry is None else Json(entry)

    async def page(self, request: HttpRequest) -> Response:
        """GET /v1/page?uri=...: the decision as a page for people."""
        try:
            place = self.decisions.place(request.query_params.get("uri"))
        except Refused as refused:
            return error(refused.status, str(refused))
        found = await self.decisions.decision_on(place)
        if isinstance(found, Response):
            return found
        page = await asyncio.to_thread(html.render, found.report)
        return HTMLResponse(page, headers={"Content-Security-Policy": _CSP})

    async def ready(self, request: HttpRequest) -> Response:
        """GET /readyz: whether it can decide and write."""
        settings = self.decisions.settings
        writable = os.access(settings.log, os.W_OK) and all(os.path.isdir(root) for root in settings.roots)
        return PlainTextResponse("ready\n" if writable else "the log or a root is not there\n", 200 if writable else 503)

    async def metrics(self, request: HttpRequest) -> Response:
        """GET /metrics: Prometheus text format, version 0.0.4."""
        d = self.decisions
        lines = ["# TYPE weightguard_decisions_total counter"]
        lines += [
            f'weightguard_decisions_total{{decision="{decision}",reason="{reason}"}} {n}'
            for (decision, reason), n in sorted(d.counts.items())
        ]
        lines += ["# TYPE weightguard_decision_seconds_total counter", f"weightguard_decision_seconds_total {d.spent:.6f}"]
        lines += ["# TYPE weightguard_held gauge", f"weightguard_held {d.held}"]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    def _scan_header(self, name: str, header: bytes, size: int, config: str | None) -> Report:
        with tempfile.TemporaryDirectory(prefix="weightguard-") as folder:
            with open(os.path.join(folder, name), "xb") as file:
                file.write(header)
                file.truncate(size)
            if config is not None:
                with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as text:
                    text.write(config)
            return scan(Request([folder], self.decisions.policy, datetime.date.today()))


_CSP = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def app(settings: Settings, more: Callable[[Decisions], list[BaseRoute]] | None = None) -> Starlette:
    """The application. more: routes of gates in front of other services.

    Raises `ConfigurationError` where its log can't be opened or its chain is broken.
    """
    log, pool = DecisionLog(settings.log), ThreadPoolExecutor(settings.workers)

    def decisions(policy: Policy) -> Decisions:
        return Decisions(settings, only_given(policy), log, pool)

    main = Service(decisions(settings.policy))
    routes: list[BaseRoute] = [
        Route("/healthz", _alive),
        Route("/readyz", main.ready),
        Route("/openapi.json", _openapi),
        Route("/metrics", _guarded(main.metrics, settings.tokens)),
        *_routes(main, settings),
    ]
    routes += [
        Mount(f"/{name}", routes=_routes(Service(decisions(policy)), settings)) for name, policy in settings.routes.items()
    ]
    routes += more(main.decisions) if more is not None else []

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        pool.shutdown(wait=False, cancel_futures=True)
        log.close()

    return Starlette(routes=routes, lifespan=lifespan)


def _routes(service: Service, settings: Settings) -> list[BaseRoute]:
    hooks = Webhooks(service.decisions)
    guarded = (
        ("/v1/decide", service.decide, "POST"),
        ("/v1/decide-header", service.decide_header, "POST"),
        ("/v1/admission", service.admission, "POST"),
        ("/v1/decisions/{id}", service.decision, "GET"),
        ("/v1/page", service.page, "GET"),
    )
    signed = (("/v1/hooks/event", hooks.event), ("/v1/hooks/mlflow", hooks.mlflow))
    return [
        *(Route(path, _guarded(route, settings.tokens), methods=[method]) for path, route, method in guarded),
        *(Route(path, route, methods=["POST"]) for path, route in signed),
    ]


def _guarded(route: Endpoint, tokens: frozenset[str]) -> Endpoint:
    """A route that asks for a bearer token, where any are given."""

    async def endpoint(request: HttpRequest) -> Response:
        if tokens and not is_token(request, tokens):
            return error(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        return await route(request)

    return endpoint


async def _alive(request: HttpRequest) -> Response:
    return PlainTextResponse("alive\n")


async def _openapi(request: HttpRequest) -> Response:
    return Json(openapi())
