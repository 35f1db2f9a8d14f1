"""In front of the Hugging Face Hub, as $HF_ENDPOINT: an upload is refused at its first request unless its weights were allowed.

Every upload of huggingface_hub, the streamed one too, begins with `preupload`, which names each file with its size and its first 512
bytes. A file passes if a decision of this gate allowed one of that name, size and beginning, or if it is a small text that is named
like no weights. `commit` then takes only paths that passed. Whoever reaches the Hub without the gate is not stopped by it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from weightguard.gates.decisions import HEAD, Decisions, Json
from weightguard.gates.forward import Upstream, is_plain
from weightguard.gates.requests import read_body
from weightguard.limits import LIMITS
from weightguard.models import WEIGHT_NAMES

_MOST = 64 << 20  # bytes of a commit: small files are in it as base64
_UPLOAD = re.compile(r"/api/(?P<repo>(?:models|datasets|spaces)/[^/]+(?:/[^/]+)?)/(?P<step>preupload|commit)/(?P<revision>.+)")
_LFS = re.compile(r"/(?P<repo>.+?)(?:\.git)?/info/lfs/(?:objects/batch|locks.*)")
_TOKEN = re.compile(r"/api/(?P<repo>(?:models|datasets|spaces)/[^/]+(?:/[^/]+)?)/xet-write-token/(?P<revision>.+)")
_REPO = r"/api/(?:models|datasets|spaces)/[^/]+(?:/[^/]+)?"
# what changes something and sends no files: the rest of the Hub's writes are closed
_PLAIN = re.compile(
    rf"/api/(?:repos/(?:create|delete|move)|validate-yaml|telemetry/.*)|{_REPO}/(?:paths-info/.+|branch/.+|tag/.+|settings"
    rf"|discussions(?:/\d+/(?:comment|status|title))?|super-squash/.+|like)"
)
_LINES = frozenset({"header", "deletedFile", "deletedFolder", "deletedEntry"})  # of a commit, that send no files
_STEPS = frozenset({"preupload", "commit", "xet-write-token"})
_MOST_PLAIN = 8 << 20  # bytes of a request that sends no files
_KEPT = 1_000_000  # paths that passed


class HubGate:
    """The Hub's whole address space."""

    def __init__(self, decisions: Decisions, hub: str) -> None:
        self._decisions = decisions
        self._upstream = Upstream(hub, decisions.settings.tokens)
        self._passed: dict[tuple[str, str], int] = {}  # repository and path -> size

    def routes(self) -> list[BaseRoute]:
        methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
        return [Route("/{path:path}", self.request, methods=methods)]

    async def request(self, request: HttpRequest) -> Response:
        """Any request of a client of the Hub."""
        path = request.scope["path"]
        if sum(part in _STEPS for part in path.split("/")) > 1:
            return _refused("an address that may mean several things")
        if request.method in ("GET", "HEAD"):
            token = _TOKEN.fullmatch(path)
            if "write-token" in path.lower() and not (token and any(repo == token["repo"] for repo, _ in self._passed)):
                return _refused("no file of this repository has passed the gate")
            return await self._upstream.send(request)
        if not is_plain(path):
            return _refused("an address that servers may read in several ways")
        if request.method == "POST" and (found := _UPLOAD.fullmatch(path)) is not None:
            return await self._upload(request, found["repo"], found["step"])
        if (lfs := _LFS.fullmatch(path)) is not None:
            return await self._lfs(request, lfs["repo"])
        if request.method in ("POST", "PUT", "DELETE") and _PLAIN.fullmatch(path) is not None:
            body = await read_body(request, _MOST_PLAIN)
            return await self._upstream.send(request, body) if _sends_no_files(body) else _refused("a request with files in it")
        return _refused("this way to change the Hub is not gated, so it is closed: use hf upload")

    async def _upload(self, request: HttpRequest, repo: str, step: str) -> Response:
        body = await read_body(request, _MOST)
        if body is None:
            return _refused("a request longer than any")
        asked = self._preupload if step == "preupload" else self._commit
        try:
            refused = await asyncio.to_thread(lambda: list(asked(repo, body)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return _refused("a request that can't be read")
        return _refused(refused[0]) if refused else await self._upstream.send(request, body)

    def _preupload(self, repo: str, body: bytes) -> Iterator[str]:
        for file in json.loads(body)["files"]:
            path, size, sample = str(file["path"]), _size(file), base64.b64decode(file.get("sample") or "", validate=True)
            refusal = self._refusal(path, size, sample)
            if refusal:
                yield refusal
                continue
            if len(self._passed) >= _KEPT:
                self._passed.clear()  # they pass again
            self._passed[repo, path] = size

    def _commit(self, repo: str, body: bytes) -> Iterator[str]:
        for line in body.split(b"\n"):
            if not line.strip():
                continue
            entry = json.loads(line)
            value = entry["value"]
            if entry.keys() != {"key", "value"}:
                raise ValueError("more than a line of a commit has")
            if entry["key"] in _LINES:
                continue
            if entry["key"] not in ("file", "lfsFile"):
                yield f"a commit with {entry['key']}, which this gate does not know"
                continue
            path = str(value["path"])
            if entry["key"] == "file":
                written = str(value["content"])
                sent = base64.b64decode(written, validate=True) if value.get("encoding") == "base64" else written.encode()
                if refusal := self._refusal(path, len(sent), sent):
                    yield refusal
            elif self._passed.get((repo, path)) != _size(value):
                yield f"{path} did not pass this gate"

    async def _lfs(self, request: HttpRequest, repo: str) -> Response:
        """The LFS batch: sizes must be those of files that passed."""
        body = await read_body(request, _MOST)
        kind = repo if repo.startswith(("datasets/", "spaces/")) else f"models/{repo}"
        sizes = {size for (known, _), size in self._passed.items() if known == kind}
        try:
            content = json.loads(body or b"")
            ours = all(_size(o) in sizes for o in content.get("objects", [])) or content.get("operation") == "download"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            ours = False
        if not ours or body is None:
            return _refused("objects that did not pass this gate")
        return await self._upstream.send(request, body)

    def _refusal(self, path: str, size: int, sample: bytes) -> str:
        """Why a file may not leave; "" for a small text, and where a decision allows it. sample: its beginning, or all of it."""
        if _is_text(path, size, sample):
            return ""
        known = self._decisions.refusal(path.rpartition("/")[2], size, sample) if len(sample) >= min(size, HEAD) else None
        if known is not None:
            return known
        return (
            f"weightguard: {path} ({size} bytes) was not decided here: weightguard scan it, or POST its path to /v1/decide of this"
            " gate, then upload again"
        )


def _size(value: Mapping[str, Any]) -> int:
    """A file's size. ValueError for what is none."""
    size = value["size"]
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError("no size")
    return size


def _is_text(path: str, size: int, begins: bytes) -> bool:
    """A small file that begins as text, or is all text where all of it is there, and is named like no weights."""
    if len(begins) < min(size, HEAD):
        return False
    try:
        text = (begins if len(begins) == size else begins[:-4]).decode("utf-8")
    except UnicodeDecodeError:
        return False
    plain = all(c.isprintable() or c in "\t\r\n\f" for c in text)
    return plain and size <= LIMITS.text_bytes and not path.lower().endswith(WEIGHT_NAMES)


def _sends_no_files(body: bytes | None) -> bool:
    """Whether a request has no files in it, as the creation of a repository may."""
    try:
        content = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        return False
    return body is not None and isinstance(content, dict) and content.keys().isdisjoint(("files", "lfsFiles", "operations"))


def _refused(message: str) -> Response:
    """What `hf upload` prints: the header X-Error-Message."""
    text = (
        (message if message.startswith("weightguard") else f"weightguard: {message}")[:400].encode("ascii", "replace").decode()
    )
    return Json({"error": text}, 403, {"X-Error-Message": text})
