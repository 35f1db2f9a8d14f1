"""Real servers for tests, each started where it is installed and stopped afterwards; a test skips, and says so, where it isn't."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

KEY, SECRET = "testkey", "testsecret0123456789"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def program(name: str, *more: Path) -> str:
    """Where a program is: beside this Python, on PATH, or in one of the folders of `more`."""
    for path in (Path(sys.executable).parent / name, *(folder / name for folder in more)):
        if path.is_file():
            return str(path)
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextlib.contextmanager
def running(
    argv: list[str], ready: Callable[[], bool], log: Path, seconds: float = 60, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server for as long as it is needed."""
    with log.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env=_plain(environment or {}))
        try:
            end = time.monotonic() + seconds
            while not ready():
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{argv[0]} did not start: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _plain(more: dict[str, str]) -> dict[str, str]:
    """The environment without credentials, which some servers take for their own."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "AZURE_", "GOOGLE_", "MLFLOW_"))} | more


def answers(port: int, path: str = "/", statuses: tuple[int, ...] = (200,), headers: dict[str, str] | None = None) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path, headers=headers or {})
        status = connection.getresponse().status
        connection.close()
        return status in statuses
    except OSError:
        return False


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[int]:
    """An S3 server (SeaweedFS) with one identity; yields its port."""
    weed = program("weed")
    port, ports = free_port(), [free_port() for _ in range(8)]
    identity = {
        "name": "t",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    argv = [weed, "server", f"-dir={folder / 'data'}", "-s3", f"-s3.config={folder / 's3.json'}", f"-s3.port={port}"]
    argv += [
        "-ip=127.0.0.1",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=2000",
        f"-master.port={ports[0]}",
        f"-master.port.grpc={ports[1]}",
    ]
    argv += [
        f"-volume.port={ports[2]}",
        f"-volume.port.grpc={ports[3]}",
        f"-filer.port={ports[4]}",
        f"-filer.port.grpc={ports[5]}",
    ]
    argv += [f"-s3.port.grpc={ports[6]}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    with running(argv, lambda: answers(port, "/", (200, 403)), folder / "weed.log"):
        yield port


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[tuple[int, Path]]:
    """An OCI registry (Distribution); yields its port and the folder that it keeps blobs in."""
    binary = program("docker-registry", Path("/usr/bin"))
    port = free_port()
    data = folder / "registry"
    settings = "version: 0.1\nlog: {level: error}\n"
    settings += f"storage: {{filesystem: {{rootdirectory: {data}}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n"
    (folder / "registry.yml").write_text(settings)
    with running([binary, "serve", str(folder / "registry.yml")], lambda: answers(port, "/v2/"), folder / "registry.log"):
        yield port, data


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[int]:
    """An Azure Blob server (Azurite); yields its port."""
    port = free_port()
    named = os.environ.get("WEIGHTGUARD_AZURITE")
    binary = named or program("azurite-blob")
    argv = [binary, "--skipApiVersionCheck", "--silent", "--location", str(folder), "--blobPort", str(port)]
    with running(argv, lambda: answers(port, "/", (200, 400, 403, 404)), folder / "azurite.log"):
        yield port


class Proxy:
    """Passes TCP on to a server, each answer `delay` seconds late; counts the requests that it sees.

    loses: of so many requests it drops one, with its connection.
    """

    def __init__(self, target: int, delay: float = 0.0, loses: int = 0) -> None:
        self._loses = loses
        self.requests: list[str] = []
        self._target, self._delay = target, delay
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, asks: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if asks and data[:5] in (b"GET /", b"HEAD "):
                    self.requests.append(data.split(b" ", 2)[1].decode())
                    if self._loses and len(self.requests) % self._loses == 0:
                        break
                    time.sleep(self._delay)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self) -> None:
        self._listener.close()
