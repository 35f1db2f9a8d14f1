"""Servers that the tests of stores share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import KEY, SECRET, Proxy, registry, seaweedfs


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An S3 server; skips where none is installed."""
    pytest.importorskip("obstore")
    import obstore

    with seaweedfs(tmp_path_factory.mktemp("weed")) as port:
        for attempt in range(50):  # it listens before it knows its keys
            try:
                obstore.put(Bucket(port, "ready").store, "x", b"x")
                break
            except Exception:
                if attempt == 49:
                    raise
                time.sleep(0.2)
        yield port


class Bucket:
    """A bucket of the server: `put` writes a folder into it."""

    def __init__(self, port: int, name: str) -> None:
        from obstore.store import S3Store

        self.name = name
        self.store: Any = S3Store(
            name, endpoint=f"http://127.0.0.1:{port}", access_key_id=KEY, secret_access_key=SECRET, region="us-east-1",
            virtual_hosted_style_request=False, client_options={"allow_http": True},
        )  # fmt: skip

    def put(self, folder: Path, prefix: str) -> str:
        """Every file below a folder, below a prefix; the URI of that."""
        import obstore

        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            obstore.put(self.store, f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"s3://{self.name}/{prefix}"


@pytest.fixture
def bucket(s3_port: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Bucket:
    """A bucket of the test's own, and the environment that a user would have for it."""
    name = f"b{abs(hash(request.node.nodeid)) % 10**12}-{os.getpid()}"
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    import obstore

    found = Bucket(s3_port, name)
    obstore.put(found.store, "made", b"")  # which makes the bucket
    return found


@pytest.fixture(scope="session")
def oci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """An OCI registry: its port and where it keeps blobs; skips where none is installed."""
    pytest.importorskip("urllib3")
    with registry(tmp_path_factory.mktemp("oci")) as found:
        yield found


@pytest.fixture
def slow_s3(s3_port: int, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The same server behind a proxy that answers 20 ms later."""
    proxy = Proxy(s3_port, 0.02)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()
