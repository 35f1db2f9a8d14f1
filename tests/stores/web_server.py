"""A web server over a folder, sparse files too, that takes ranges; and that can be told to misbehave."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Server(ThreadingHTTPServer):
    """`wrong`: what it does wrong from now on; `seen`: method, path and Authorization of each request."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.wrong = ""
        self.elsewhere = ""
        self.seen: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        wrong = self.server.wrong
        self.server.seen.append((self.path, self.headers.get("Authorization", "")))
        if wrong == "redirect":
            return self._send(302, b"", Location=self.server.elsewhere + self.path)
        if wrong.isdigit():
            return self._send(int(wrong), b"secret words of a server")
        if wrong == "once" and len(self.server.seen) % 2:
            return self._send(503, b"")
        if wrong == "silent":
            time.sleep(5)
        path = self.server.root / self.path.split("?")[0].lstrip("/")
        if not path.is_file():
            return self._send(404, b"")
        size = path.stat().st_size
        tag = f'"{path.stat().st_mtime_ns}"' if wrong != "other-version" or self.headers["Range"] == "bytes=0-0" else '"other"'
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match is None or wrong == "no-ranges":
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            with path.open("rb") as file, contextlib.suppress(OSError):
                self.wfile.write(file.read(1 << 20))
            self.close_connection = True
            return None
        first, last = int(match[1]), min(int(match[2]), size - 1)
        if first >= size:
            return self._send(416, b"", **{"Content-Range": f"bytes */{size}"})
        with path.open("rb") as file:
            file.seek(first)
            data = file.read(last - first + 1)
        if wrong == "too-little" and len(data) > 1:
            data = data[:-1]
        if wrong == "too-much":
            data += b"x"
        if wrong == "other-range" and len(data) > 1:
            first, last = first + 1, last + 1
        if wrong == "other-size" and len(data) > 1:
            size += 1
        if wrong == "trickle" and len(data) > 1:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(OSError):
                for at in range(len(data)):
                    self.wfile.write(data[at : at + 1])
                    time.sleep(0.05)
            self.close_connection = True
            return None
        dated = {"Last-Modified": formatdate(path.stat().st_mtime, usegmt=True)}
        version = {"dated": dated, "undated": {}}.get(wrong, {"ETag": tag})
        return self._send(206, data, **{"Content-Range": f"bytes {first}-{last}/{size}", **version})

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Server]:
    server = Server(root)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
