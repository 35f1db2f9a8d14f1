"""A sweep of a real S3 server: through a connection that loses requests, and of objects that change meanwhile."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from tests.conftest import Bucket
from tests.layouts import write_small
from tests.servers import Proxy
from tests.sweep.test_sweep import rows, tree
from weightguard.cli import main
from weightguard.policy import built_in
from weightguard.stores.found import ANYWHERE
from weightguard.sweep.rows import Object, Row, Terms, scan_shard

pytest.importorskip("duckdb")


def test_requests_that_are_lost_are_made_again(
    bucket: Bucket, s3_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = bucket.put(tree(tmp_path / "t", 60), "all")
    assert main(["sweep", uri, "-o", str(tmp_path / "whole"), "-q"]) == 0
    proxy = Proxy(s3_port, loses=20)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    assert main(["sweep", uri, "-o", str(tmp_path / "out"), "-q"]) == 0
    proxy.close()
    assert len(proxy.requests) > 300 and rows(tmp_path / "out") == rows(tmp_path / "whole")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_port}")
    assert main(["sweep", uri, "-o", str(tmp_path / "out"), "-q"]) == 0


def test_an_object_replaced_after_the_listing_is_a_row_that_says_so(bucket: Bucket, tmp_path: Path) -> None:
    write_small(tmp_path)
    uri = bucket.put(tmp_path, "m")
    size = (tmp_path / "model.safetensors").stat().st_size
    listed = [Object(f"{uri}/model.safetensors", size, '"another"'), Object(f"{uri}/gone.bin", 5, '"x"')]
    terms = Terms(uri, built_in(), dt.date(2026, 11, 25), ANYWHERE)
    found = {row.uri.rpartition("/")[2]: (row.kind, row.decision, row.reason) for row in scan_shard({uri: listed}, terms)}
    assert found == {"model.safetensors": ("unread", "block", "changed"), "gone.bin": ("unread", "block", "missing")}


def test_what_a_store_refused_is_asked_for_again(
    bucket: Bucket, s3_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from weightguard.sweep.state import State

    write_small(tmp_path / "m")
    uri = bucket.put(tmp_path / "m", "m")
    argv = ["sweep", uri, "-o", str(tmp_path / "out"), "-q"]
    assert main(argv) == 0
    whole = rows(tmp_path / "out")
    state = State(str(tmp_path / "out"))
    (before,) = [Row(*row) for row in whole if row[0].endswith(".safetensors")]  # as a refusal would have left it
    state.decided([], [before._replace(kind="unread", decision="block", reason="permission")])
    state.close()
    capsys.readouterr()
    assert main(argv) == 0 and "2 objects, 2 read" in capsys.readouterr().out
    assert rows(tmp_path / "out") == whole


def test_credentials_that_expire_in_the_middle(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small(tmp_path)
    uri = bucket.put(tmp_path, "m")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "expired-since-the-listing")
    listed = [Object(f"{uri}/model.safetensors", 100, '"x"')]
    terms = Terms(f"{uri}/", built_in(), dt.date(2026, 11, 25), ANYWHERE)
    (row,) = scan_shard({uri: listed}, terms)
    assert (row.kind, row.reason) == ("unread", "permission") and "expired-since" not in str(row)
