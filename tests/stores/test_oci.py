"""Artifacts of a real OCI registry (Distribution): layers by range, a 405B layout among them, and what a registry may do wrong."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests.layouts import write_shards, write_small
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_model
from weightguard.errors import ConfigurationError, Unreadable
from weightguard.stores.found import ANYWHERE
from weightguard.stores.oci import Artifact

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
RAW = "application/vnd.cncf.model.weight.v1.raw"


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Pusher:
    """Pushes as the distribution specification says: blobs in one piece, then the manifest."""

    def __init__(self, port: int, data: Path) -> None:
        self.host = f"127.0.0.1:{port}"
        self._base = f"http://{self.host}/v2"
        self._data = data

    def call(self, method: str, url: str, content: bytes = b"", kind: str = "application/octet-stream") -> Any:
        request = urllib.request.Request(url, content, {"Content-Type": kind}, method=method)
        return urllib.request.urlopen(request)

    def blob(self, name: str, content: bytes) -> dict[str, Any]:
        at = self.call("POST", f"{self._base}/{name}/blobs/uploads/").headers["Location"]
        self.call("PUT", f"{at}{'&' if '?' in at else '?'}digest={digest_of(content)}", content)
        return {"mediaType": RAW, "digest": digest_of(content), "size": len(content)}

    def large(self, name: str, path: Path) -> dict[str, Any]:
        """A sparse file, put where the registry keeps the blob that its first bytes stand for: nobody moves 800 GB."""
        with path.open("rb") as file:
            layer = self.blob(name, file.read(1 << 16))
        hexadecimal = layer["digest"].removeprefix("sha256:")
        kept = self._data / f"docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"
        kept.unlink()
        kept.hardlink_to(path)
        return {**layer, "size": path.stat().st_size}

    def push(self, name: str, layers: dict[str, dict[str, Any]], tag: str = "v1") -> str:
        named = [{**layer, "annotations": {"org.cncf.model.filepath": path}} for path, layer in layers.items()]
        config = self.blob(name, b"{}") | {"mediaType": "application/vnd.cncf.model.config.v1+json"}
        content = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/vnd.cncf.model.manifest.v1+json",
            "config": config,
            "layers": named,
        }
        self.call("PUT", f"{self._base}/{name}/manifests/{tag}", json.dumps(content).encode(), MANIFEST)
        return f"oci://{self.host}/{name}:{tag}"

    def folder(self, name: str, folder: Path) -> str:
        return self.push(name, {p.name: self.blob(name, p.read_bytes()) for p in sorted(folder.iterdir())})


@pytest.fixture
def pusher(oci: tuple[int, Path]) -> Pusher:
    return Pusher(*oci)


def test_a_small_model_passes(pusher: Pusher, tmp_path: Path) -> None:
    write_shards(tmp_path)
    uri = pusher.folder("small", tmp_path)
    report = weightguard.scan(uri)
    (model,) = report.models
    assert report.decision == "allow" and model.complete and len(model.files) == 3
    assert model.path == f"{uri}/model.safetensors.index.json"


def test_a_405b_layout_is_stopped(pusher: Pusher, tmp_path: Path) -> None:
    write_model(str(tmp_path), llama_405b())
    layers = {
        "config.json": pusher.blob("big", (tmp_path / "config.json").read_bytes()),
        "model.safetensors": pusher.large("big", tmp_path / "model.safetensors"),
    }
    report = weightguard.scan(pusher.push("big", layers))
    assert report.decision == "block" and report.models[0].parameters.total == 405_853_388_800


def test_a_tar_layer_is_walked(pusher: Pusher, tmp_path: Path) -> None:
    write_small(tmp_path)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(tmp_path, "model")
    (model,) = weightguard.scan(pusher.push("packed", {"model.tar": pusher.blob("packed", packed.getvalue())})).models
    assert model.path.endswith("model.tar/model/model.safetensors") and model.decision == "allow"


def test_by_digest_and_a_waiver_by_the_registry_s_digest(pusher: Pusher, tmp_path: Path) -> None:
    from tests.layouts import declaration

    write_small(tmp_path)
    (tmp_path / "weightguard.toml").write_text(declaration("1.2e26"))
    uri = pusher.folder("waived", tmp_path)
    assert weightguard.scan(uri).decision == "block"
    content = (tmp_path / "model.safetensors").read_bytes()
    rules = tmp_path / "p.toml"
    rules.write_text(
        'schema = "weightguard/policy/1"\n[[waiver]]\n'
        f'files = [{{bytes = {len(content)}, sha256 = "{digest_of(content)[7:]}"}}]\n'
        'regimes = ["us-ear-4e091"]\nreason = "r"\napproved_by = "a"\nexpires = 2099-01-01\n'
    )
    assert weightguard.scan(uri, policy=str(rules)).decision == "allow"


def test_layers_beside_manifests_are_no_index() -> None:
    class Held(Artifact):
        def __init__(self) -> None:
            super().__init__("127.0.0.1:1", "n", "v", ANYWHERE)
            self._registry.manifest = lambda *_: {"manifests": [], "layers": []}  # type: ignore[method-assign]

    with pytest.raises(Unreadable, match="an index too"):
        list(Held().below())


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", "x\\..\\..\\y"])
def test_a_layer_s_name_leads_nowhere(pusher: Pusher, tmp_path: Path, path: str) -> None:
    write_small(tmp_path)
    layer = pusher.blob("names", (tmp_path / "model.safetensors").read_bytes())
    uri = pusher.push("names", {path: layer})
    (model,) = weightguard.scan(uri).models
    assert model.path.startswith(f"{uri}/") and ".." not in model.path.removeprefix(uri)


def test_what_is_not_there_is_wrong_usage(pusher: Pusher) -> None:
    with pytest.raises(ConfigurationError, match="not there"):
        weightguard.scan(f"oci://{pusher.host}/none:v1")
    with pytest.raises(ConfigurationError, match="does not answer"):
        weightguard.scan("oci://127.0.0.1:9/none:v1")


def test_a_registry_that_sends_another_manifest(pusher: Pusher, tmp_path: Path, oci: tuple[int, Path]) -> None:
    write_small(tmp_path)
    pusher.folder("other", tmp_path)
    manifests = oci[1] / "docker/registry/v2/repositories/other/_manifests/revisions/sha256"
    (digest,) = [p.name for p in manifests.iterdir()]
    kept = oci[1] / f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
    kept.write_bytes(kept.read_bytes() + b"\n")
    with pytest.raises(ConfigurationError, match="another digest"):
        weightguard.scan(f"oci://{pusher.host}/other@sha256:{digest}")
