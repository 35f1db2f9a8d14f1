"""A request's body, within bounds."""

from __future__ import annotations

from starlette.requests import Request as HttpRequest


async def read_body(request: HttpRequest, most: int) -> bytes | None:
    """The body; None where it is longer than `most`, without reading on."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            return None
    return bytes(found)
