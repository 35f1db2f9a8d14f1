"""What a request brings: its body, within bounds, and its token."""

from __future__ import annotations

import asyncio
import hashlib
import hmac

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

_SECONDS = 60


async def read_body(request: HttpRequest, most: int) -> bytes | None:
    """The body; None where it is longer than `most`, without reading on, or where it does not come in a minute."""
    found = bytearray()
    try:
        async with asyncio.timeout(_SECONDS):
            async for chunk in request.stream():
                found += chunk
                if len(found) > most:
                    return None
    except (ClientDisconnect, TimeoutError):
        return None
    return bytes(found)


def is_token(request: HttpRequest, tokens: frozenset[str]) -> bool:
    """Whether a request has one of these bearer tokens, which are given by their SHA-256."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    digest = hashlib.sha256(token.strip().encode()).hexdigest()
    return scheme.lower() == "bearer" and any(hmac.compare_digest(digest, known) for known in tokens)
