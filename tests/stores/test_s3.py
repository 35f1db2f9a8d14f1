"""Objects of a real S3 server: what a scan asks of it, and what may go wrong there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import obstore
import pytest

import weightguard
from tests.conftest import Bucket
from tests.layouts import Small, declaration, write_shards, write_small
from tests.servers import Proxy
from weightguard.cli import main
from weightguard.errors import ConfigurationError
from weightguard.limits import LIMITS

pytestmark = pytest.mark.usefixtures("bucket")


def test_the_same_as_on_disk(bucket: Bucket, tmp_path: Path) -> None:
    write_shards(tmp_path / "m")
    write_small(tmp_path / "n")
    (tmp_path / "n" / "README.md").write_text("# n\n")
    uri = bucket.put(tmp_path, "all")
    here, there = weightguard.scan(str(tmp_path)), weightguard.scan(uri)
    assert there.decision == here.decision == "allow"
    for a, b in zip(here.models, there.models, strict=True):
        assert a.parameters == b.parameters and a.training_operations.interval == b.training_operations.interval
        assert b.path.startswith(uri) and a.path.endswith(b.path.removeprefix(uri))
    assert (here.files, here.bytes, here.other) == (there.files, there.bytes, there.other)


def test_one_shard_stands_for_its_set(bucket: Bucket, tmp_path: Path) -> None:
    write_shards(tmp_path)
    uri = bucket.put(tmp_path, "m")
    (model,) = weightguard.scan(f"{uri}/model-00002-of-00003.safetensors").models
    assert model.complete and len(model.files) == 3 and model.architecture is not None
    obstore.delete(bucket.store, "m/model-00003-of-00003.safetensors")
    assert weightguard.scan(f"{uri}/model-00002-of-00003.safetensors").decision == "block"


def test_what_is_declared_controlled_is_stopped(bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small(tmp_path)
    uri = bucket.put(tmp_path, "m")
    assert main(["scan", uri]) == 0
    (tmp_path / "weightguard.toml").write_text(declaration("1.2e26"))
    bucket.put(tmp_path, "m")
    assert main(["scan", uri]) == 1
    assert f"{uri}/model.safetensors" in capsys.readouterr().out


SHARDS = 100


def test_requests_of_100_shards_and_their_wall_time(
    slow_s3: Proxy, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most two requests a shard plus the listing; the wall times are printed."""
    write_shards(tmp_path, Small(layers=33, hidden=256, heads=8, kv_heads=8, ffn=256, vocab=256), SHARDS)
    uri = bucket.put(tmp_path, "m")
    assert min(p.stat().st_size for p in tmp_path.glob("*.safetensors")) > 1 << 17  # larger than what two requests fetch
    weightguard.scan(uri)  # everything is loaded
    seen = len(slow_s3.requests)
    started = time.perf_counter()
    report = weightguard.scan(uri)
    together = time.perf_counter() - started
    asked = slow_s3.requests[seen:]
    assert report.models[0].complete and len(report.models[0].files) == SHARDS
    shards = [path for path in asked if ".safetensors" in path and "index" not in path]
    assert len(shards) <= 2 * SHARDS
    assert len(asked) <= 2 * SHARDS + 8
    monkeypatch.setattr("weightguard.reading.LIMITS", replace(LIMITS, reads_at_once=1))
    started = time.perf_counter()
    weightguard.scan(uri)
    alone = time.perf_counter() - started
    print(f"{len(asked)} requests; {together:.2f} s together, {alone:.2f} s one by one: {alone / together:.1f} times")


@pytest.mark.parametrize(
    ("uri", "words"),
    [("s3://{bucket}/none", "nothing is there"), ("s3://{bucket}none/x", "404"), ("s3://{bucket}/m?versionId=1", "no query")],
)
def test_what_is_not_there(bucket: Bucket, uri: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        weightguard.scan(uri.replace("{bucket}", bucket.name))


def test_a_wrong_key_is_refused_and_not_shown(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret-word")
    assert main(["scan", f"s3://{bucket.name}/m"]) == 2
    said = capsys.readouterr().err
    assert "credentials" in said and "not-the-secret-word" not in said


def change(bucket: Bucket, key: str) -> None:
    obstore.put(bucket.store, key, b"\x00" * 70_000)


def remove(bucket: Bucket, key: str) -> None:
    obstore.delete(bucket.store, key)


@pytest.mark.parametrize(("how", "reason"), [(change, "changed"), (remove, "missing")])
def test_an_object_that_changes_between_listing_and_reading(
    bucket: Bucket, tmp_path: Path, how: Callable[[Bucket, str], None], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weightguard import pipeline
    from weightguard.stores.targets import collect

    write_small(tmp_path)
    uri = bucket.put(tmp_path, "m")
    listed = collect

    def and_then(*args: object) -> object:
        found = listed(*args)  # type: ignore[arg-type]
        how(bucket, "m/model.safetensors")
        return found

    monkeypatch.setattr(pipeline, "collect", and_then)
    report = weightguard.scan(uri)
    assert [u.reason for u in report.unread] == [reason] and report.decision == "block"


def test_folders_listed_at_once_come_in_order(bucket: Bucket) -> None:
    """More than a page, in folders and beside them, among them names that sort around the separator."""
    from weightguard.stores.found import ANYWHERE
    from weightguard.stores.targets import open_store

    keys = {f"p/{folder}/{i:04}.txt" for folder in ("a", "a.b", "a-b", "b/c", "zz") for i in range(250)}
    keys |= {"p/a.txt", "p/0.txt", "p/zzz.txt", "p/a0"}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: obstore.put(bucket.store, key, b"x"), keys))
    found = [f.shown.removeprefix(f"s3://{bucket.name}/") for f in open_store(f"s3://{bucket.name}/p", ANYWHERE).below()]
    assert found == sorted(keys)


@pytest.mark.parametrize(("decision", "found"), [("block", "block"), ("allow", "block"), ("approve", "block")])
def test_a_rule_by_digest_where_no_digest_is_known(bucket: Bucket, tmp_path: Path, decision: str, found: str) -> None:
    """A rule that blocks applies to every file of that size, one that allows to none."""
    write_small(tmp_path)
    if decision == "allow":
        (tmp_path / "weightguard.toml").write_text(declaration("1.2e26"))
    uri = bucket.put(tmp_path, "m")
    size = (tmp_path / "model.safetensors").stat().st_size
    rules = tmp_path / "p.toml"
    listed = f'files = [{{bytes = {size}, sha256 = "{"a" * 64}"}}]'
    rules.write_text(f'schema = "weightguard/policy/1"\n[[rule]]\ndecision = "{decision}"\nreason = "r"\n{listed}\n')
    assert weightguard.scan(uri, policy=str(rules)).decision == found
