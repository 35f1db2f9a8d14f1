"""A stand-in for the Hub's upload endpoints, on this machine: it takes what it is sent, and remembers the requests."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(ThreadingHTTPServer):
    """`seen`: method and path of each request that would change something; `files`: paths of all commits."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str] = []
        self.files: list[str] = []
        self.bytes = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(
            {"id": "o/m", "sha": "0" * 40, "siblings": [], "private": True, "modelId": "o/m", "tags": [], "downloads": 0}
        )

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(f"POST {self.path}")
        self.server.bytes += len(body)
        if "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]]
            self._answer({"files": files})
        elif "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines() if line]
            self.server.files += [line["value"]["path"] for line in lines if line["key"] in ("file", "lfsFile")]
            self._answer({"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.server.url}/o/m/commit/{'1' * 40}"})
        elif self.path.endswith("/repos/create"):
            self._answer({"url": f"{self.server.url}/o/m", "name": "o/m", "id": "o/m"})
        else:
            self._answer({})

    def _answer(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
