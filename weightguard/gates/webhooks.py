"""Webhooks: an event names a place, which is decided in the background. They tell; they never allow.

Each is signed with a secret that both sides hold, is young, and comes once. MLflow's: X-MLflow-Signature, v1 and base64 of
HMAC-SHA256(secret, "<delivery id>.<timestamp>.<body>"), as its webhook documentation has it. The others the same, in headers
X-Weightguard-Signature, -Delivery-Id and -Timestamp.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from weightguard.gates.decisions import Decisions, Json, Refused, error
from weightguard.gates.requests import read_body

_MOST = 256 << 10  # bytes of an event
_SECONDS = 300  # between a delivery's time and ours
_REMEMBERED = 100_000  # deliveries


class Webhooks:
    """Takes events for one policy's decisions."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()

    async def event(self, request: HttpRequest) -> Response:
        """POST /v1/hooks/event {"uri": ...}: decide in the background."""
        content = await self._content(request, "x-weightguard")
        return content if isinstance(content, Response) else self._queued(content.get("uri"), request, "x-weightguard")

    async def mlflow(self, request: HttpRequest) -> Response:
        """POST /v1/hooks/mlflow: decide on the source of a model version, and show the answer as its tags."""
        content = await self._content(request, "x-mlflow")
        if isinstance(content, Response):
            return content
        data = content.get("data")
        if content.get("entity") != "model_version" or content.get("action") != "created" or not isinstance(data, Mapping):
            return Json({"queued": False, "reason": "not the creation of a model version"}, 202)
        answer = self._queued(data.get("source"), request, "x-mlflow")
        if answer.status_code == 202:
            named = (str(data.get("name")), str(data.get("version")), str(data["source"]))
            task = asyncio.get_running_loop().create_task(self._tag(*named))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return answer

    async def _tag(self, name: str, version: str, source: str) -> None:
        """Tags for display: a tag can be set by any writer, so nothing here believes one."""
        place = self._decisions.place(source)
        if (task := self._decisions.queued.get(place)) is not None:
            await asyncio.wait([task])
        known = self._decisions.known.get(place)
        values = {
            "weightguard.decision": known.decision if known else "block",
            "weightguard.report": known.id if known else "none",
        }
        await asyncio.to_thread(_set_tags, name, version, values)

    def _queued(self, uri: object, request: HttpRequest, prefix: str) -> Response:
        try:
            place = self._decisions.place(uri)
        except Refused as refused:
            return error(refused.status, str(refused))
        if not self._decisions.queue(place):
            self._seen.pop(request.headers[f"{prefix}-delivery-id"], None)
            return error(503, "too many requests are waiting: send it again", {"Retry-After": "5"})
        return Json({"queued": True}, 202)

    async def _content(self, request: HttpRequest, prefix: str) -> dict[str, Any] | Response:
        """The body of a delivery that is signed, young and new; else the answer that refuses it."""
        secret = self._decisions.settings.secret
        if not secret:
            return error(404, "this gate takes no webhooks: start it with --webhook-secret FILE")
        body = await read_body(request, _MOST)
        if body is None:
            return error(413, "longer than any event")
        delivery, moment, signature = (
            request.headers.get(f"{prefix}-{name}", "") for name in ("delivery-id", "timestamp", "signature")
        )
        signed = hmac.new(secret, f"{delivery}.{moment}.".encode() + body, hashlib.sha256).digest()
        wanted = "v1," + base64.b64encode(signed).decode()
        if not delivery or not hmac.compare_digest(signature.encode(), wanted.encode()):
            return error(401, "the signature is not one of this event by this gate's secret")
        if not moment.isdigit() or abs(time.time() - int(moment)) > _SECONDS:
            return error(401, "the event is too old, or from the future")
        if delivery in self._seen:
            return error(409, "the event was delivered before")
        self._seen[delivery] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            content = None
        return content if isinstance(content, dict) else error(400, "an event is a JSON object")


def _set_tags(name: str, version: str, values: Mapping[str, str]) -> None:
    try:
        from mlflow.tracking import MlflowClient, is_tracking_uri_set
    except ImportError:
        return
    if not is_tracking_uri_set():  # nowhere to show them
        return
    client = MlflowClient()
    for key, value in values.items():
        client.set_model_version_tag(name, version, key, value)
