"""Objects by URL: read by ranges from a real server, and what a server may do wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import weightguard
from tests.layouts import declaration, write_shards, write_small
from tests.stores.web_server import Server, serving
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_model
from weightguard.errors import ConfigurationError, Unreadable
from weightguard.report import Report
from weightguard.stores.found import Network, shown
from weightguard.stores.targets import open_store

pytest.importorskip("urllib3")
SHORT = Network(seconds=1, retries=0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as found:
        yield found


def scan(*targets: str, network: Network = SHORT) -> Report:
    import datetime as dt

    from weightguard.pipeline import Request
    from weightguard.pipeline import scan as run
    from weightguard.policy import built_in

    return run(Request(targets, built_in(), dt.date(2026, 11, 25), network=network))


def test_a_small_model_passes_with_what_lies_beside_it(server: Server) -> None:
    write_small(server.root / "m")
    report = scan(f"{server.url}/m/model.safetensors")
    (model,) = report.models
    assert report.decision == "allow" and model.architecture is not None and model.architecture.source == "config"
    assert {path for path, _ in server.seen} >= {"/m/model.safetensors", "/m/config.json"}


def test_a_405b_layout_is_stopped(server: Server) -> None:
    write_model(str(server.root / "m"), llama_405b())
    report = scan(f"{server.url}/m/model.safetensors")
    assert report.decision == "block" and report.models[0].parameters.total == 405_853_388_800
    sent = sum(1 for path, _ in server.seen if path.endswith("model.safetensors"))
    assert sent <= 4  # size, head, the rest of the header, the end


def test_shards_by_their_index(server: Server) -> None:
    write_shards(server.root / "m")
    (model,) = scan(f"{server.url}/m/model.safetensors.index.json").models
    assert model.complete and len(model.files) == 3
    (model,) = scan(f"{server.url}/m/model-00002-of-00003.safetensors").models
    assert model.complete and len(model.files) == 3


def test_a_declaration_beside_it_counts(server: Server) -> None:
    write_small(server.root / "m")
    (server.root / "m" / "weightguard.toml").write_text(declaration("1.2e26"))
    assert scan(f"{server.url}/m/model.safetensors").decision == "block"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("HTTPS://user:hidden@h/x?sig=hidden", "HTTPS://h/x"),
        ("https://hidden@h/x#hidden", "https://h/x"),
        ("oci://user:hidden@h/x", "oci://h/x"),
        ("mlflow-artifacts://user:hidden@h/x", "mlflow-artifacts://h/x"),
        ("abfss://container@account.dfs.core.windows.net/x", "abfss://container@account.dfs.core.windows.net/x"),
        ("oci://h/x@sha256:00", "oci://h/x@sha256:00"),
        ("s3://b/a@b:c", "s3://b/a@b:c"),
    ],
)
def test_what_is_shown_of_an_address(uri: str, said: str) -> None:
    assert shown(uri) == said


@pytest.mark.parametrize(
    ("wrong", "reason", "words"),
    [
        ("too-little", "unavailable", "where"),
        ("other-range", "unavailable", "another range"),
        ("other-size", "changed", "bytes now"),
        ("other-version", "changed", "changed after it was listed"),
        ("no-ranges", "unavailable", "takes no ranges"),
        ("silent", "unavailable", "does not answer"),
        ("trickle", "unavailable", "took longer"),
        ("403", "permission", "credentials"),
        ("401", "permission", "credentials"),
        ("404", "missing", "not there"),
        ("500", "unavailable", "status 500"),
        ("416", "changed", "shorter"),
    ],
)
def test_a_server_that_misbehaves(server: Server, wrong: str, reason: str, words: str) -> None:
    write_small(server.root / "m")
    store = open_store(f"{server.url}/m/model.safetensors", SHORT)
    (file,) = store.below()
    server.wrong = wrong
    with pytest.raises(Unreadable) as caught:
        store.read(file, 5, 1000)
    assert caught.value.reason == reason and words in caught.value.detail and "secret" not in caught.value.detail


def test_a_change_is_seen_by_its_date_where_there_is_no_tag(server: Server) -> None:
    write_small(server.root / "m")
    server.wrong = "dated"
    store = open_store(f"{server.url}/m/model.safetensors", SHORT)
    (file,) = store.below()
    assert len(store.read(file, 5, 1000)) == 1000
    os.utime(server.root / "m" / "model.safetensors", (1, 1))
    with pytest.raises(Unreadable, match="changed after it was listed"):
        store.read(file, 5, 1000)


def test_two_objects_of_one_shown_address_are_refused(server: Server) -> None:
    write_small(server.root / "m")
    with pytest.raises(ConfigurationError, match="one by one"):
        weightguard.scan(f"{server.url}/m/model.safetensors?a", f"{server.url}/m/model.safetensors?b")


def test_more_than_was_asked_for_is_not_taken(server: Server) -> None:
    write_small(server.root / "m")
    store = open_store(f"{server.url}/m/model.safetensors", SHORT)
    (file,) = store.below()
    server.wrong = "too-much"
    assert len(store.read(file, 5, 1000)) == 1000


def test_what_fails_between_listing_and_reading_is_unread(server: Server) -> None:
    write_small(server.root / "m")
    store = open_store(f"{server.url}/m/model.safetensors", SHORT)
    from weightguard.pipeline import Request, judged
    from weightguard.policy import built_in
    from weightguard.reading import read_all
    from weightguard.stores.found import Listing

    listing = Listing(tuple(store.below()))
    server.wrong = "500"
    import datetime as dt

    report, _ = judged(listing, read_all(listing, 65536, None), Request([], built_in(), dt.date(2026, 11, 25), network=SHORT))
    assert report.decision == "block"
    assert {u.reason for u in report.unread} == {"unavailable"}


def test_another_try_may_succeed(server: Server) -> None:
    write_small(server.root / "m")
    server.wrong = "once"
    assert scan(f"{server.url}/m/model.safetensors", network=Network(seconds=2, retries=2)).decision == "allow"


def test_credentials_stay_with_their_host(server: Server, tmp_path: Path) -> None:
    write_small(tmp_path / "other" / "m")
    with serving(tmp_path / "other") as other:
        server.wrong, server.elsewhere = "redirect", other.url
        uri = f"http://user:secret-word@127.0.0.1:{server.server_port}/m/model.safetensors?signature=secret-query"
        report = scan(uri)
        assert report.decision == "allow"
        assert all(authorization.startswith("Basic ") for _, authorization in server.seen)
        assert not any(authorization for _, authorization in other.seen)
        assert "secret" not in str(report.to_dict())


def test_a_redirect_to_another_host_is_refused_where_asked(server: Server) -> None:
    server.wrong, server.elsewhere = "redirect", "http://127.0.0.2:1"
    with pytest.raises(ConfigurationError, match="another host"):
        scan(f"{server.url}/m/model.safetensors", network=Network(seconds=1, retries=0, redirects=False))


def test_an_inner_address_is_refused_where_asked(server: Server) -> None:
    write_small(server.root / "m")
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"):
        uri = f"http://{host}:{server.server_port}/m/model.safetensors"
        with pytest.raises(ConfigurationError, match="not a public one"):
            scan(uri, network=Network(seconds=1, retries=0, private=False))
    assert server.seen == []


@pytest.mark.parametrize("uri", ["http:///x", "https://", "http://host/x#y", "ftp://host/x", "hf://", "oci://host", "s3://B/x"])
def test_what_is_no_address_is_wrong_usage(uri: str) -> None:
    with pytest.raises(ConfigurationError):
        weightguard.scan(uri)
