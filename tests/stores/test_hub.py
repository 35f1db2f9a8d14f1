"""Repositories of the Hub, read from a stand-in endpoint that answers as the Hub does: tree, commit, redirect to signed addresses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests.layouts import write_shards, write_small
from tests.stores.web_server import Server, serving
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_model
from weightguard.errors import ConfigurationError

pytest.importorskip("urllib3")
COMMIT = "ab" * 20


class Hub(ThreadingHTTPServer):
    """One repository, o/m, over a folder; large files are at another host, as the Hub has them."""

    daemon_threads = True

    def __init__(self, root: Path, files: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.files = root, files
        self.tokens: list[str] = []
        self.page = 2


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.tokens.append(self.headers.get("Authorization", ""))
        path, _, query = self.path.partition("?")
        if self.headers.get("Authorization") == "Bearer wrong":
            return self._json(401, {})
        if path == "/api/models/o/m/revision/main":
            return self._json(200, {"sha": COMMIT})
        if path == f"/api/models/o/m/tree/{COMMIT}":
            paths = sorted(p for p in self.server.root.rglob("*") if p.is_file())
            start = int(query.partition("cursor=")[2] or 0)
            page = paths[start : start + self.server.page]
            items = [
                {"type": "file", "path": p.relative_to(self.server.root).as_posix(), "size": p.stat().st_size} for p in page
            ]
            more = start + self.server.page < len(paths)
            following = f'<http://{self.headers["Host"]}{path}?recursive=true&cursor={start + self.server.page}>; rel="next"'
            return self._json(200, items, **({"Link": following} if more else {}))
        if path.startswith(f"/o/m/resolve/{COMMIT}/"):
            name = path.removeprefix(f"/o/m/resolve/{COMMIT}/")
            self.send_response(302)
            self.send_header("Location", f"{self.server.files}/{name}?Signature=secret-words")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        return self._json(404, {})

    def _json(self, status: int, content: object, **headers: str) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Hub, Server]]:
    (tmp_path / "repo").mkdir()
    with serving(tmp_path / "repo") as files:
        found = Hub(tmp_path / "repo", files.url)
        threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{found.server_port}")
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield found, files
        found.shutdown()
        found.server_close()


def test_a_repository_passes_and_the_token_stays(hub: tuple[Hub, Server]) -> None:
    write_shards(hub[0].root)
    report = weightguard.scan("hf://o/m")
    assert report.decision == "allow" and report.models[0].complete
    assert report.models[0].path == "hf://o/m@main/model.safetensors.index.json"
    assert set(hub[0].tokens) == {"Bearer hf_test"} and {token for _, token in hub[1].seen} == {""}
    assert "secret-words" not in json.dumps(report.to_dict())


def test_a_405b_layout_is_stopped(hub: tuple[Hub, Server]) -> None:
    write_model(str(hub[0].root), llama_405b())
    report = weightguard.scan("hf://o/m")
    assert report.decision == "block" and report.models[0].parameters.total == 405_853_388_800


def test_one_file_and_one_folder(hub: tuple[Hub, Server]) -> None:
    write_shards(hub[0].root / "a")
    write_small(hub[0].root / "b")
    (model,) = weightguard.scan("hf://o/m/a/model-00002-of-00003.safetensors").models
    assert model.complete and len(model.files) == 3
    (model,) = weightguard.scan("hf://o/m/b").models
    assert model.path == "hf://o/m@main/b/model.safetensors"


def test_a_wrong_token_and_no_repository(hub: tuple[Hub, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="not there, or not for these credentials"):
        weightguard.scan("hf://o/none")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(ConfigurationError, match="wants credentials"):
        weightguard.scan("hf://o/m")


def test_a_sweep_reads_the_commit_that_was_listed(hub: tuple[Hub, Server], tmp_path: Path) -> None:
    """In processes of its own, each of which opens the repository anew."""
    pytest.importorskip("duckdb")
    from weightguard.cli import main

    write_shards(hub[0].root)
    assert main(["sweep", "hf://o/m", "-o", str(tmp_path / "out"), "-q"]) == 0
