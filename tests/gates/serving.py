"""`weightguard serve` as a process, for tests."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.layouts import ROOT
from tests.servers import answers, free_port, running


class Serving:
    def __init__(self, port: int, log: Path) -> None:
        self.port, self.log = port, log
        self.url = f"http://127.0.0.1:{port}"

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            text = answer.read()
        with contextlib.suppress(ValueError):
            return answer.status, json.loads(text)
        return answer.status, text.decode(errors="replace")

    def decide(self, uri: str, below: str = "") -> tuple[int, Any]:
        return self.ask("POST", f"{below}/v1/decide", json.dumps({"uri": uri}))


@contextlib.contextmanager
def serving(folder: Path, *options: str, **environment: str) -> Iterator[Serving]:
    port = free_port()
    log = folder / "decisions.jsonl"
    argv = [sys.executable, "-m", "weightguard", "serve", "--log", str(log), "--port", str(port), *options]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    with running(
        argv, lambda: answers(port, "/healthz"), folder / "serve.log", environment={"PYTHONPATH": path, **environment}
    ):
        yield Serving(port, log)
