"""Azure Blob Storage, by a real Azurite where one is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

import weightguard
from tests.layouts import declaration, write_shards
from tests.servers import azurite

pytest.importorskip("obstore")
# Azurite's published account of every installation
ACCOUNT, KEY = "devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def test_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore
    from obstore.store import AzureStore

    with azurite(tmp_path) as port:
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        given = {"account_name": ACCOUNT, "account_key": KEY, "endpoint": endpoint}
        store = AzureStore("weights", **given, client_options={"allow_http": True})  # type: ignore[arg-type]
        _make_container(port)
        write_shards(tmp_path / "m")
        for path in (tmp_path / "m").iterdir():
            obstore.put(store, f"m/{path.name}", path.read_bytes())
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
        report = weightguard.scan("az://weights/m")
        assert report.decision == "allow" and report.models[0].complete
        obstore.put(store, "m/weightguard.toml", declaration("1.2e26").encode())
        assert weightguard.scan("az://weights/m").decision == "block"


def _make_container(port: int) -> None:
    """PUT container, signed by Shared Key (Authorize with Shared Key, Azure Storage REST)."""
    import base64
    import datetime as dt
    import hashlib
    import hmac
    import http.client

    date = dt.datetime.now(dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    resource = f"/{ACCOUNT}/{ACCOUNT}/weights\nrestype:container"
    text = f"PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2021-08-06\n{resource}"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    headers = {
        "x-ms-date": date,
        "x-ms-version": "2021-08-06",
        "Authorization": f"SharedKey {ACCOUNT}:{signature}",
        "Content-Length": "0",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("PUT", f"/{ACCOUNT}/weights?restype=container", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
