"""A push through the gate into a real OCI registry: a manifest of a 405B layout is refused, that of a small model passes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import weightguard
from tests.gates.serving import Serving, serving
from tests.layouts import write_shards, write_small
from tests.servers import registry
from tests.stores.test_oci import MANIFEST, Pusher, digest_of
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_model
from weightguard.gates.log import broken

INDEX = "application/vnd.oci.image.index.v1+json"

pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def oci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    with registry(tmp_path_factory.mktemp("oci")) as found:
        yield found


@pytest.fixture(scope="module")
def gate(oci: tuple[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("gate"), "--registry", f"http://127.0.0.1:{oci[0]}") as found:
        yield found


@pytest.fixture
def pusher(gate: Serving, oci: tuple[int, Path]) -> Pusher:
    """Pushes to the gate; what it makes sparse lies in the registry behind."""
    return Pusher(gate.port, oci[1])


def refused(push: object) -> str:
    with pytest.raises(urllib.error.HTTPError) as caught:
        push()  # type: ignore[operator]
    assert caught.value.code == 403
    return str(json.loads(caught.value.read())["errors"][0]["message"])


def test_a_small_model_passes_with_its_report(pusher: Pusher, oci: tuple[int, Path], tmp_path: Path) -> None:
    write_shards(tmp_path)
    pusher.folder("small", tmp_path)
    behind = f"http://127.0.0.1:{oci[0]}/v2/small/manifests"
    request = urllib.request.Request(f"{behind}/v1", headers={"Accept": MANIFEST})
    manifest = urllib.request.urlopen(request).read()
    assert weightguard.scan(f"oci://127.0.0.1:{oci[0]}/small:v1").decision == "allow"
    tag = digest_of(manifest).replace(":", "-")
    index = json.loads(
        urllib.request.urlopen(
            urllib.request.Request(f"{behind}/{tag}", headers={"Accept": "application/vnd.oci.image.index.v1+json"})
        ).read()
    )
    (entry,) = index["manifests"]
    accept = {"Accept": MANIFEST}
    attached = json.loads(urllib.request.urlopen(urllib.request.Request(f"{behind}/{entry['digest']}", headers=accept)).read())
    assert attached["subject"]["digest"] == digest_of(manifest)
    blob = f"http://127.0.0.1:{oci[0]}/v2/small/blobs/{attached['layers'][0]['digest']}"
    report = json.loads(urllib.request.urlopen(blob).read())
    assert report["schema"] == "weightguard/report/1" and report["models"][0]["decision"] == "allow"


def test_a_405b_layout_is_refused(pusher: Pusher, gate: Serving, oci: tuple[int, Path], tmp_path: Path) -> None:
    write_model(str(tmp_path), llama_405b())
    layers = {
        "config.json": pusher.blob("big", (tmp_path / "config.json").read_bytes()),
        "model.safetensors": pusher.large("big", tmp_path / "model.safetensors"),
    }
    said = refused(lambda: pusher.push("big", layers))
    assert said.startswith("weightguard blocked") and "undetermined under 4E091" in said
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{oci[0]}/v2/big/manifests/v1")
    assert broken(str(gate.log)) == ""
    id = said.rpartition("(decision ")[2].rstrip(")")
    assert gate.ask("GET", f"/v1/decisions/{id}")[1]["decision"] == "block"


def test_what_holds_no_model_passes(pusher: Pusher, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("an image of a program\n")
    pusher.folder("plain", tmp_path)


def test_what_cannot_be_read_is_refused(pusher: Pusher, tmp_path: Path) -> None:
    write_small(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    layer = pusher.blob("cut", content[: len(content) // 2])
    assert "could not read" in refused(lambda: pusher.push("cut", {"model.safetensors": layer}))
    missing = {"mediaType": "x", "digest": digest_of(b"nowhere"), "size": 100}
    assert "could not read" in refused(lambda: pusher.push("cut", {"model.safetensors": missing}))


def test_a_report_of_somebody_else_is_refused(pusher: Pusher) -> None:
    layer = pusher.blob("forged", b"{}")
    body = json.dumps(
        {"schemaVersion": 2, "artifactType": "application/vnd.weightguard.report.v1+json", "layers": [layer]}
    ).encode()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        pusher.call("PUT", f"http://{pusher.host}/v2/forged/manifests/x", body, MANIFEST)


def test_layers_beside_manifests_are_refused(pusher: Pusher) -> None:
    body = json.dumps({"schemaVersion": 2, "manifests": [], "layers": [pusher.blob("both", b"x")]}).encode()
    with pytest.raises(urllib.error.HTTPError, match="400"):
        pusher.call("PUT", f"http://{pusher.host}/v2/both/manifests/x", body, MANIFEST)


@pytest.mark.parametrize(
    "address",
    ["x/manifests%252Fv1", "x%252fmanifests/v1", "x/%256danifests/v1", "x/blobs/../manifests%2F..%2Fv1", "x//manifests;a/v1"],
)
def test_an_address_that_only_the_registry_would_understand(pusher: Pusher, tmp_path: Path, address: str) -> None:
    write_model(str(tmp_path), llama_405b())
    layer = pusher.large("x", tmp_path / "model.safetensors")
    config = pusher.blob("x", b"{}")
    body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}).encode()
    with pytest.raises(urllib.error.HTTPError) as caught:
        pusher.call("PUT", f"http://{pusher.host}/v2/{address}", body, MANIFEST)
    assert caught.value.code in (400, 403) and b"weightguard" in caught.value.read()


@pytest.mark.parametrize("kind", [MANIFEST, INDEX])
def test_weights_as_the_config_of_what_looks_like_an_index(pusher: Pusher, tmp_path: Path, kind: str) -> None:
    write_model(str(tmp_path), llama_405b())
    content = {"schemaVersion": 2, "manifests": [], "config": pusher.large("looks", tmp_path / "model.safetensors")}
    with pytest.raises(urllib.error.HTTPError) as caught:
        pusher.call("PUT", f"http://{pusher.host}/v2/looks/manifests/x", json.dumps(content).encode(), kind)
    assert caught.value.code == 400 and b"weightguard" in caught.value.read()


def test_weights_said_to_be_of_no_size(pusher: Pusher, tmp_path: Path) -> None:
    write_model(str(tmp_path), llama_405b())
    layer = {**pusher.large("none", tmp_path / "model.safetensors"), "size": 0}
    text = pusher.blob("none", b"text\n")
    for config, layers in ((text, [layer]), (layer, [text])):
        body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}).encode()
        with pytest.raises(urllib.error.HTTPError) as caught:
            pusher.call("PUT", f"http://{pusher.host}/v2/none/manifests/x", body, MANIFEST)
        assert caught.value.code in (403, 422) and b"weightguard" in caught.value.read()


def test_an_index_of_what_is_no_manifest(pusher: Pusher, tmp_path: Path) -> None:
    write_model(str(tmp_path), llama_405b())
    layer = pusher.large("entry", tmp_path / "model.safetensors")
    for kind in ("application/vnd.oci.image.layer.v1.tar", MANIFEST):
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**layer, "mediaType": kind}]}).encode()
        with pytest.raises(urllib.error.HTTPError, match="400"):
            pusher.call("PUT", f"http://{pusher.host}/v2/entry/manifests/x", body, INDEX)


def test_a_layer_many_times_costs_no_time(pusher: Pusher) -> None:
    layer = pusher.blob("many", b"text\n")
    body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": [layer] * 15_000}).encode()
    pusher.call("PUT", f"http://{pusher.host}/v2/many/manifests/x", body, MANIFEST)


def test_a_repository_called_manifests_takes_blobs(pusher: Pusher) -> None:
    assert pusher.blob("team/manifests-prod", b"x")["size"] == 1


def test_other_attachments_stay(pusher: Pusher, oci: tuple[int, Path], tmp_path: Path) -> None:
    """A second push of the same manifest adds its report to what others attached, by the tag that stands for referrers."""
    write_small(tmp_path)
    layers = {"model.safetensors": pusher.blob("kept", (tmp_path / "model.safetensors").read_bytes())}
    pusher.push("kept", layers)
    ask = urllib.request.Request(f"http://{pusher.host}/v2/kept/manifests/v1", headers={"Accept": MANIFEST})
    manifest = urllib.request.urlopen(ask).read()
    tag = f"http://127.0.0.1:{oci[0]}/v2/kept/manifests/{digest_of(manifest).replace(':', '-')}"
    other = {"mediaType": MANIFEST, "digest": digest_of(manifest), "size": len(manifest), "artifactType": "of/another"}
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other]}).encode()
    urllib.request.urlopen(urllib.request.Request(tag, body, {"Content-Type": INDEX}, method="PUT"))
    pusher.push("kept", layers)
    kept = json.loads(urllib.request.urlopen(urllib.request.Request(tag, headers={"Accept": INDEX})).read())["manifests"]
    assert other in kept and len(kept) == 2


def test_an_index_of_what_was_pushed_passes(pusher: Pusher, tmp_path: Path) -> None:
    write_small(tmp_path)
    pusher.push("several", {"model.safetensors": pusher.blob("several", (tmp_path / "model.safetensors").read_bytes())})
    request = urllib.request.Request(f"http://{pusher.host}/v2/several/manifests/v1", headers={"Accept": MANIFEST})
    manifest = urllib.request.urlopen(request).read()
    entry = {"mediaType": MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    pusher.call("PUT", f"http://{pusher.host}/v2/several/manifests/all", body, INDEX)


@pytest.mark.parametrize(
    "keys",
    ['"layers": [], "Layers"', '"layers": [], "layers"', '"LAYERS"', '"layers": [], "blobs"', '"layers": [], "fsLayers"'],
)
def test_keys_that_clients_would_read_otherwise(pusher: Pusher, keys: str) -> None:
    body = f'{{"schemaVersion": 2, {keys}: []}}'.encode()
    with pytest.raises(urllib.error.HTTPError) as caught:
        pusher.call("PUT", f"http://{pusher.host}/v2/keys/manifests/x", body, MANIFEST)
    assert caught.value.code in (400, 422) and b"weightguard" in caught.value.read()


def test_weights_as_the_config_of_a_manifest(pusher: Pusher, tmp_path: Path) -> None:
    write_model(str(tmp_path), llama_405b())
    layer = pusher.large("hidden", tmp_path / "model.safetensors")
    content = {"schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": [pusher.blob("hidden", b"nothing\n")]}
    with pytest.raises(urllib.error.HTTPError, match="403"):
        pusher.call("PUT", f"http://{pusher.host}/v2/hidden/manifests/x", json.dumps(content).encode(), MANIFEST)
