"""In front of an OCI registry: everything passes, but a manifest only once what its layers hold is allowed.

Blobs are pushed before the manifest that names them (distribution specification 1.1, "Pushing manifests"). One that no manifest names
has no tag, but whoever knows its digest can fetch it: let nobody but the gate reach the registry. An allowed manifest gets the report
attached: an artifact whose `subject` it is, found by the referrers API or its tag schema.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from weightguard.errors import Unreadable
from weightguard.gates.decisions import Decisions, Json
from weightguard.gates.forward import Upstream, is_plain
from weightguard.gates.requests import read_body
from weightguard.pipeline import Request, judged
from weightguard.reading import read_all
from weightguard.report import Report
from weightguard.stores.found import ANYWHERE, Listing
from weightguard.stores.oci import (
    ACCEPT,
    DIGEST,
    INDEX,
    INDEXES,
    KINDS,
    MANIFEST,
    MANIFEST_BYTES,
    MANIFESTS_OF_INDEX,
    OF_MANIFESTS,
    Artifact,
    manifest_of,
)

REPORT = "application/vnd.weightguard.report.v1+json"
_NOTHING = "application/vnd.oci.empty.v1+json"
_PATH = re.compile(r"/v2/(?P<name>[a-z0-9][a-z0-9._/-]*)/manifests/(?P<reference>[\w:.-]+)")


class PushGate:
    """The registry's address space, /v2/."""

    def __init__(self, decisions: Decisions, registry: str) -> None:
        self._decisions = decisions
        self._upstream = Upstream(registry, decisions.settings.tokens)
        self._host = urlsplit(registry).netloc

    def routes(self) -> list[BaseRoute]:
        methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
        return [Route("/v2/{path:path}", self.request, methods=methods)]

    async def request(self, request: HttpRequest) -> Response:
        """Any request of the distribution specification."""
        path = request.scope["path"]
        if request.method in ("GET", "HEAD"):
            return await self._upstream.send(request)
        if not is_plain(path):
            return _denied(400, "weightguard: an address that servers may read in several ways")
        found = _PATH.fullmatch(path)
        if request.method == "PUT" and found is not None:
            return await self._push(request, found["name"], found["reference"])
        if request.method != "DELETE" and "/manifests/" in f"{path}/":
            return _denied(400, "weightguard: not the address of a manifest")
        return await self._upstream.send(request)

    async def _push(self, request: HttpRequest, name: str, reference: str) -> Response:
        body = await read_body(request, MANIFEST_BYTES)
        if body is None:
            return _denied(413, "weightguard: a manifest of more than 8 MiB")
        try:
            manifest = manifest_of(body)
        except Unreadable as error:
            return _denied(400, f"weightguard: {error.detail}")
        config = manifest.get("config")
        if REPORT in (manifest.get("artifactType"), config.get("mediaType") if isinstance(config, dict) else None):
            return _denied(403, "weightguard: reports are attached by the gate itself")
        kinds = {request.headers.get("content-type", "").partition(";")[0].strip(), manifest.get("mediaType")} - {None, ""}
        if len(kinds) > 1:
            return _denied(400, "weightguard: a manifest of another media type than it is sent as")
        if "manifests" in manifest or not kinds.isdisjoint(INDEXES):
            if not kinds <= INDEXES or not manifest.keys().isdisjoint(OF_MANIFESTS):
                return _denied(400, "weightguard: a manifest that is an index too")
            if wrong := await self._wrong_entry(name, manifest.get("manifests"), request):
                return _denied(400, f"weightguard: {wrong}")
            return await self._upstream.send(request, body)  # it only names manifests, each of which was pushed through here
        made = await self._decisions.made(
            f"oci://{self._host}/{name}:{reference}", lambda: self._judge(name, reference, manifest)
        )
        if isinstance(made, Response):
            return _denied(made.status_code, f"weightguard: {json.loads(bytes(made.body))['error']}")
        entry, report = made
        holds_weights = bool(report.models or report.unread)
        if (entry["decision"] if holds_weights else report.decision) == "block":
            return _denied(403, f"{entry['why']} (decision {entry['id']})")
        sent = await self._upstream.send(request, body)
        if sent.status_code == 201 and holds_weights:
            subject = {"mediaType": manifest.get("mediaType", MANIFEST), "digest": _digest(body), "size": len(body)}
            await self._attach(name, subject, json.dumps(report.to_dict()).encode(), request)
        return sent

    async def _wrong_entry(self, name: str, entries: object, request: HttpRequest) -> str:
        """Why an index names something else than manifests that are in the registry, or ""."""
        if not isinstance(entries, list) or len(entries) > MANIFESTS_OF_INDEX:
            return f"an index of no manifests, or of more than {MANIFESTS_OF_INDEX}"
        for entry in entries:
            digest, kind = (entry.get("digest"), entry.get("mediaType")) if isinstance(entry, dict) else (None, None)
            if kind not in KINDS or not isinstance(digest, str) or not DIGEST.fullmatch(digest):
                return "an index with an entry that is no manifest"
            if entry.get("artifactType") == REPORT:
                return "reports are attached by the gate itself"
            headers = {**_authorization(request), **ACCEPT}
            found = await self._upstream.ask("HEAD", f"/v2/{name}/manifests/{digest}", b"", headers)
            if found is None or found.status_code != 200:
                return f"an index whose entry {digest} was not pushed before it"
        return ""

    def _judge(self, name: str, reference: str, manifest: dict[str, Any]) -> tuple[Report, str]:
        artifact = Artifact(self._host, name, reference, ANYWHERE, plain=self._upstream.base.startswith("http://"))
        files = sorted(artifact.of_manifest(manifest), key=lambda f: f.shown)
        listing = Listing(tuple(files))
        policy = self._decisions.policy
        request = Request([], policy, datetime.date.today(), network=ANYWHERE)
        return judged(listing, read_all(listing, policy.unexplained_bytes, None), request)[0], ""

    async def _attach(self, name: str, subject: dict[str, Any], report: bytes, request: HttpRequest) -> None:
        """The report as an artifact that refers to the manifest; on a registry without referrers, in the index under its tag.

        The manifest was taken already, so nothing that fails here is said to the client.
        """
        ask, headers = self._upstream.ask, _authorization(request)
        for content in (report, b"{}"):
            started = await ask("POST", f"/v2/{name}/blobs/uploads/", b"", headers)
            at = started.headers.get("location", "") if started is not None and started.status_code == 202 else ""
            if not at:
                return
            at += ("&" if "?" in at else "?") + f"digest={_digest(content)}"
            await ask("PUT", at, content, {**headers, "Content-Type": "application/octet-stream"})
        artifact = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": REPORT,
            "config": {"mediaType": _NOTHING, "digest": _digest(b"{}"), "size": 2},
            "layers": [{"mediaType": REPORT, "digest": _digest(report), "size": len(report)}],
            "subject": subject,
        }
        body = json.dumps(artifact).encode()
        address = f"/v2/{name}/manifests"
        put = await ask("PUT", f"{address}/{_digest(body)}", body, {**headers, "Content-Type": MANIFEST})
        if put is None or put.status_code != 201 or "oci-subject" in put.headers:
            return
        tag = subject["digest"].replace(":", "-")
        known = await ask("GET", f"{address}/{tag}", b"", {**headers, "Accept": INDEX})
        entry = {"mediaType": MANIFEST, "digest": _digest(body), "size": len(body), "artifactType": REPORT}
        entries = [e for e in _entries(known.content if known is not None and known.status_code == 200 else b"") if e != entry]
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries, entry]}).encode()
        await ask("PUT", f"{address}/{tag}", index, {**headers, "Content-Type": INDEX})


def _entries(index: bytes) -> list[Any]:
    """What an index holds: others' attachments."""
    try:
        found = json.loads(index)["manifests"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _authorization(request: HttpRequest) -> dict[str, str]:
    return {"Authorization": request.headers["authorization"]} if "authorization" in request.headers else {}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _denied(status: int, message: str) -> Response:
    """An error as registries answer them (distribution specification, "Error codes")."""
    return Json({"errors": [{"code": "DENIED", "message": message, "detail": None}]}, status)
