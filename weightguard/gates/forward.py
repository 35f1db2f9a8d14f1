"""Requests passed on to the service behind a gate, bodies as streams: the gate keeps none of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urljoin, urlsplit

import httpx
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse

from weightguard.gates.decisions import error
from weightguard.gates.requests import is_token

# RFC 9110, section 7.6.1: of one connection only; and what the next client sets by itself
_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade host".split()
    # and by which some servers take a request for another one
    + "x-original-url x-rewrite-url x-http-method-override x-http-method x-method-override".split()
)


def is_plain(path: str) -> bool:
    """Whether a decoded path leads every server to the same place: nothing in it to decode again, to go up by, or to leave out."""
    *inner, last = path.split("/")[1:]
    return path.isprintable() and not any(c in path for c in "%\\;?#") and not {"", ".", ".."} & {*inner, last or "last"}


class Upstream:
    """A service behind the gate. base: its address, without a path. tokens: SHA-256 of the gate's own, which stay here."""

    def __init__(self, base: str, tokens: frozenset[str] = frozenset()) -> None:
        self.base = base.rstrip("/")
        self._tokens = tokens
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=20)
        timeout = httpx.Timeout(30, read=300, write=300)
        self._client = httpx.AsyncClient(timeout=timeout, limits=limits, follow_redirects=False)

    async def send(self, request: HttpRequest, body: bytes | None = None) -> Response:
        """The answer to a request; `body` in place of its own, which was read already."""
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in _HOP]
        if request.method in ("GET", "HEAD"):
            headers = [(k, v) for k, v in headers if k.lower() != "content-length"]  # no body of theirs is passed on
        if is_token(request, self._tokens):
            headers = [(k, v) for k, v in headers if k.lower() != "authorization"]
        path = request.scope["raw_path"].decode("ascii") + (f"?{request.url.query}" if request.url.query else "")
        content: bytes | AsyncIterator[bytes] | None = body
        if body is None and request.method not in ("GET", "HEAD"):
            content = request.stream()
        try:
            sent = self._client.build_request(request.method, self.base + path, headers=headers, content=content)
            answer = await self._client.send(sent, stream=True)
        except ClientDisconnect:
            return error(400, "the client is gone")
        except (httpx.HTTPError, httpx.InvalidURL) as failed:
            return error(502, f"the service behind this gate does not answer: {type(failed).__name__}")
        kept = [(k, self._here(k, v, request)) for k, v in answer.headers.multi_items() if k.lower() not in _HOP]
        found = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose))
        found.raw_headers = [(k.encode(), v.encode()) for k, v in kept]
        return found

    async def ask(self, method: str, address: str, content: bytes, headers: dict[str, str]) -> httpx.Response | None:
        """A request of the gate's own, by an address or a path of the service behind; None where it does not answer."""
        url = urljoin(f"{self.base}/", address)
        if urlsplit(url).netloc != urlsplit(self.base).netloc:  # credentials are for the service behind
            headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        try:
            return await self._client.request(method, url, content=content, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None

    def _here(self, name: str, value: str, request: HttpRequest) -> str:
        """Addresses of the service behind, as addresses of the gate: a client must not go around it."""
        if name.lower() in ("location", "link") and self.base in value:
            return value.replace(self.base, f"{request.url.scheme}://{request.url.netloc}")
        if name.lower() == "location" and urlsplit(value).netloc == urlsplit(self.base).netloc:
            return urlsplit(value)._replace(scheme=request.url.scheme, netloc=request.url.netloc).geturl()
        return value
