"""Where a service goes for a URI, and where not; a policy a route; mutual TLS; the page."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gates.serving import serving
from tests.layouts import declaration, write_small
from tests.servers import KEY, SECRET, answers, free_port, program, running, seaweedfs
from tests.stores.web_server import serving as web_serving
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_model

pytest.importorskip("uvicorn")


def test_an_object_store(tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    from tests.conftest import Bucket

    (tmp_path / "weed").mkdir()
    with seaweedfs(tmp_path / "weed") as port:
        bucket = Bucket(port, "weights")
        write_small(tmp_path / "m")
        for attempt in range(50):
            try:
                uri = bucket.put(tmp_path / "m", "small")
                break
            except Exception:
                assert attempt < 49
                time.sleep(0.2)
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        with serving(tmp_path, "--store", "s3://weights", AWS_REGION="us-east-1", **environment) as gate:
            status, answer = gate.decide(uri)
            assert status == 200 and answer["decision"] == "allow" and SECRET not in json.dumps(answer)
            review = {
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "request": {"uid": "u", "object": {"spec": {"predictor": {"model": {"storageUri": uri}}}}},
            }
            assert gate.ask("POST", "/v1/admission", json.dumps(review))[1]["response"]["allowed"] is True
            (tmp_path / "m" / "weightguard.toml").write_text(declaration("1.2e26"))
            bucket.put(tmp_path / "m", "small")
            said = gate.ask("POST", "/v1/admission", json.dumps(review))[1]["response"]
            assert said["allowed"] is False and "not decided yet" in said["status"]["message"]
            assert gate.decide(uri)[1]["decision"] == "block"
            for other in (
                "s3://other/x",
                "s3://weights-of-others/x",
                "s3://weights/../other",
                "gs://weights/x",
                "oci://weights/x",
            ):
                assert gate.decide(other)[0] in (400, 403), other
            assert gate.decide("s3://weights/none")[0] == 422
    assert SECRET not in (tmp_path / "serve.log").read_text()


def test_an_inner_address_and_a_redirect_to_one(tmp_path: Path) -> None:
    write_small(tmp_path / "files" / "m")
    with web_serving(tmp_path / "files") as inner:
        store = inner.url
        with serving(tmp_path, "--store", store) as gate:
            status, answer = gate.decide(f"{store}/m/model.safetensors")
            assert status == 422 and "not a public one" in answer["error"]
            assert gate.decide(f"{store}.example.org/m")[0] == 403
            assert gate.decide(f"{store}@127.0.0.1/m")[0] == 403
        assert inner.seen == []
        (tmp_path / "decisions.jsonl").unlink()
        with serving(tmp_path, "--store", store, "--private") as gate:
            assert gate.decide(f"{store}/m/model.safetensors")[1]["decision"] == "allow"


@pytest.mark.parametrize(("says", "allowed"), [("dated", True), ("undated", False)])
def test_what_does_not_say_when_it_changes_is_decided_each_time(tmp_path: Path, says: str, allowed: bool) -> None:
    write_small(tmp_path / "files" / "m")
    with web_serving(tmp_path / "files") as web:
        web.wrong = says
        uri = f"{web.url}/m/model.safetensors"
        with serving(tmp_path, "--store", web.url, "--private") as gate:
            assert gate.decide(uri)[1]["decision"] == "allow"
            request = {"uid": "u", "object": {"spec": {"model": {"storageUri": uri}}}}
            review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
            assert gate.ask("POST", "/v1/admission", json.dumps(review))[1]["response"]["allowed"] is allowed


def test_a_policy_of_its_own_for_a_route(tmp_path: Path) -> None:
    write_small(tmp_path / "m")
    (tmp_path / "strict.toml").write_text(
        'schema = "weightguard/policy/1"\n[[rule]]\ndecision = "block"\nreason = "nothing leaves here"\n'
    )
    with serving(tmp_path, "--root", str(tmp_path), "--route", f"lab={tmp_path / 'strict.toml'}") as gate:
        assert gate.decide(str(tmp_path / "m"))[1]["decision"] == "allow"
        assert gate.decide(str(tmp_path / "m"), "/lab")[1]["decision"] == "block"
        assert gate.decide(str(tmp_path / "m"), "/none")[0] == 404


def test_the_page(tmp_path: Path) -> None:
    write_model(str(tmp_path / "big"), llama_405b())
    with serving(tmp_path, "--root", str(tmp_path)) as gate:
        status, page = gate.ask("GET", f"/v1/page?uri={tmp_path / 'big'}")
        assert status == 200 and page.startswith("<!doctype html>") and "405,853,388,800 parameters" in page
        assert gate.ask("GET", "/v1/page?uri=/etc")[0] == 403
        assert '"decision": "block"' in gate.log.read_text()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    openssl = program("openssl")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj")
    run(*new, "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("server", "client"):
        run("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext")
        run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    run(*new, "/CN=stranger", "-keyout", "stranger.key", "-out", "stranger.pem")
    return folder


@pytest.fixture(scope="module")
def closed(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    import sys

    folder = tmp_path_factory.mktemp("closed")
    port = free_port()
    argv = [
        sys.executable,
        "-m",
        "weightguard",
        "serve",
        "--root",
        str(folder),
        "--log",
        str(folder / "log"),
        "--port",
        str(port),
    ]
    for option, name in (("--tls-cert", "server.pem"), ("--tls-key", "server.key"), ("--client-ca", "ca.pem")):
        argv += [option, str(certificates / name)]

    def listens() -> bool:
        import socket

        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False

    with running(argv, listens, folder / "serve.log"):
        yield port


@pytest.mark.parametrize(("name", "taken"), [("client", True), ("stranger", False), ("", False)])
def test_mutual_tls(closed: int, certificates: Path, name: str, taken: bool) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    if name:
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    url = f"https://127.0.0.1:{closed}/healthz"
    if taken:
        assert urllib.request.urlopen(url, context=context).read() == b"alive\n"
    else:
        with pytest.raises((urllib.error.URLError, ssl.SSLError, OSError)):
            urllib.request.urlopen(url, context=context).read()
    assert not answers(closed, "/healthz")  # nothing in the clear


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "0.0.0.0", "--root", "."), "answer anybody"),
        ((), "nothing to decide on"),
        (("--root", ".", "--client-ca", "x"), "belong together"),
        (("--store", "ftp://x"), "no such kind of store"),
        (("--root", ".", "--route", "v1=x"), "NAME=FILE"),
        (("--hub", "x"), "write http"),
    ],
)
def test_settings_that_would_be_unsafe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    from weightguard.cli import main

    assert main(["serve", "--log", str(tmp_path / "log"), *options]) == 2
    assert words in capsys.readouterr().err
