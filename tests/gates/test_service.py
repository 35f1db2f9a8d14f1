"""`weightguard serve` as a process: both answers, every refusal, load, a kill under load, and the chain of its log."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.layouts import PUBLISHED, ROOT, declaration, write_shards, write_small
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_model
from weightguard.errors import ConfigurationError
from weightguard.gates.log import DecisionLog, broken

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
TOKEN = "a-token-of-some-length"


class Gate:
    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}"} | (headers or {}))
            answer = connection.getresponse()
            text = answer.read()
        with contextlib.suppress(ValueError):
            return answer.status, json.loads(text)
        return answer.status, text.decode()

    def decide(self, path: Path | str) -> tuple[int, Any]:
        return self.ask("POST", "/v1/decide", json.dumps({"path": str(path)}))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    write_small(folder / "small")
    write_model(str(folder / "large"), llama_405b(), 50 * 10**9)
    return folder


def start(root: Path, folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], Gate]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "tokens").write_text(f"# ours\n{TOKEN}\n")
    command = [sys.executable, "-m", "weightguard", "serve", "--root", str(root), "--log", str(folder / "decisions.jsonl")]
    command += ["--tokens", str(folder / "tokens"), "--port", str(port), *options]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE)
    gate = Gate(port)
    for _ in range(200):
        with contextlib.suppress(OSError):
            if gate.ask("GET", "/readyz")[0] == 200:
                return process, gate
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate()[1].decode())


@contextlib.contextmanager
def running(root: Path, folder: Path, *options: str) -> Iterator[Gate]:
    process, gate = start(root, folder, *options)
    try:
        yield gate
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def gate(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with running(root, tmp_path_factory.mktemp("gate")) as found:
        yield found


def test_both_answers(gate: Gate, root: Path) -> None:
    status, small = gate.decide(root / "small")
    assert (status, small["decision"]) == (200, "allow")
    status, large = gate.decide(root / "large")
    assert (status, large["decision"]) == (200, "block")
    assert "weightguard declare" in " ".join(large["report"]["models"][0]["verdicts"][0]["to_settle"])
    status, again = gate.ask("GET", f"/v1/decisions/{large['id']}")
    assert status == 200 and again["decision"] == "block" and again["models"][0]["files"]


def test_a_declaration_beside_the_weights_clears_nothing(gate: Gate, root: Path) -> None:
    write_model(str(root / "said"), llama_405b())
    (root / "said" / "weightguard.toml").write_text(declaration("1.2e26", model=PUBLISHED))
    assert gate.decide(root / "said")[1]["decision"] == "block"


def test_where_there_is_no_model_nothing_is_allowed(gate: Gate, root: Path) -> None:
    (root / "words").mkdir()
    (root / "words" / "README.md").write_text("words")
    status, answer = gate.decide(root / "words")
    assert (status, answer["decision"], answer["models"]) == (200, "block", [])


def test_by_its_header(gate: Gate, root: Path) -> None:
    small = root / "small" / "model.safetensors"
    content = small.read_bytes()
    header = content[: 8 + int.from_bytes(content[:8], "little")]
    config = (root / "small" / "config.json").read_text().replace("\n", " ")
    path = f"/v1/decide-header?name=model.safetensors&bytes={len(content)}"
    status, answer = gate.ask("POST", path, header, {"X-Weightguard-Config": config})
    assert (status, answer["decision"]) == (200, "allow")
    assert gate.ask("POST", path, content)[0] == 400  # weights are never sent
    assert gate.ask("POST", "/v1/decide-header?bytes=9000000000", header)[1]["decision"] == "block"  # another length
    for name in ("..", "config.json", "a%00b"):
        assert gate.ask("POST", f"/v1/decide-header?name={name}&bytes={len(content)}", header)[0] == 400
    assert gate.ask("POST", "/v1/decide-header", header)[0] == 400


def review(uid: str, spec: Any) -> str:
    request = {"uid": uid, "kind": {"kind": "InferenceService"}, "operation": "CREATE", "object": {"spec": spec}}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})


def admitted(gate: Gate, uri: str) -> dict[str, Any]:
    status, answer = gate.ask("POST", "/v1/admission", review("u-1", {"predictor": {"model": {"storageUri": uri}}}))
    assert status == 200 and answer["kind"] == "AdmissionReview" and answer["response"]["uid"] == "u-1"
    found: dict[str, Any] = answer["response"]
    return found


def test_admission_is_denied_until_it_is_decided(root: Path, tmp_path: Path) -> None:
    with running(root, tmp_path) as gate:
        for name, allowed in (("small", True), ("large", False)):
            uri = f"file://{root / name}"
            first = admitted(gate, uri)
            assert not first["allowed"] and "not decided yet, queued" in first["status"]["message"]
            for _ in range(100):
                time.sleep(0.1)
                if "not decided yet" not in admitted(gate, uri).get("status", {}).get("message", ""):
                    break
            assert admitted(gate, uri)["allowed"] == allowed
        assert "/v1/decisions/" in admitted(gate, f"file://{root / 'large'}")["status"]["message"]
        # what changes is not decided any more
        (root / "small" / "notes.txt").write_text("later")
        assert not admitted(gate, f"file://{root / 'small'}")["allowed"]
        (root / "small" / "notes.txt").unlink()


def test_admission_denies_what_it_cannot_decide(gate: Gate, root: Path) -> None:
    for uri in ("s3://bucket/model", "pvc://claim/model", "file:///etc", f"file://{root}/none", f"file://other/{root}/small"):
        assert not admitted(gate, uri)["allowed"]
    status, answer = gate.ask("POST", "/v1/admission", review("u", {"predictor": {"containers": [{"image": "x"}]}}))
    assert status == 200 and not answer["response"]["allowed"]
    spec = {"predictor": {"containers": [{"args": ["--model=s3://b/m"], "env": [{"name": "A", "value": "hf://o/m"}]}]}}
    message = gate.ask("POST", "/v1/admission", review("u", spec))[1]["response"]["status"]["message"]
    assert "s3://b/m" in message and "hf://o/m" in message
    assert gate.ask("POST", "/v1/admission", "{}")[0] == 400
    assert gate.ask("POST", "/v1/admission", review("u", "x" * (10 << 20)))[0] == 413


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/decide", "{}", 400),
        ("POST", "/v1/decide", "[" * 50_000, 400),
        ("POST", "/v1/decide", '{"path": 7}', 400),
        ("POST", "/v1/decide", '{"path": "/etc/passwd"}', 403),
        ("POST", "/v1/decide", '{"path": "ROOT/../../etc"}', 403),
        ("POST", "/v1/decide", '{"path": "ROOT/none"}', 404),
        ("POST", "/v1/decide", "x" * 100_000, 413),
        ("GET", "/v1/decide", None, 405),
        ("GET", "/v1/decisions/none", None, 404),
        ("GET", "/healthz", None, 200),
        ("GET", "/metrics", None, 200),
        ("GET", "/openapi.json", None, 200),
    ],
)
def test_answers(gate: Gate, root: Path, method: str, path: str, body: str | None, status: int) -> None:
    found, answer = gate.ask(method, path, body.replace("ROOT", str(root)) if body else None)
    assert found == status
    if status in (400, 403, 404, 413) and method == "POST":
        assert answer["decision"] == "block"


def test_without_the_token_nothing_is_said(gate: Gate, root: Path) -> None:
    for value in ("", "Bearer", "Bearer wrong-token-of-length", f"Basic {TOKEN}"):
        status, answer = gate.ask("POST", "/v1/decide", json.dumps({"path": str(root / "small")}), {"Authorization": value})
        assert status == 401 and answer["decision"] == "block"


def test_a_thousand_requests_at_once_and_no_wrong_answer(root: Path, tmp_path: Path) -> None:
    with running(root, tmp_path, "--waiting", "100") as gate:
        paths = [root / ("small" if n % 2 else "large") for n in range(1000)]
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(gate.decide, paths))
        for path, (status, answer) in zip(paths, answers, strict=True):
            assert status in (200, 503)
            assert answer["decision"] == ("allow" if status == 200 and path.name == "small" else "block")
        assert sum(status == 200 for status, _ in answers) > 900
    assert broken(str(tmp_path / "decisions.jsonl")) == ""


def test_too_many_waiting_get_503(root: Path, tmp_path: Path) -> None:
    with running(root, tmp_path, "--waiting", "0", "--workers", "1") as gate:
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(gate.decide, [root / "large"] * 40))
        assert {status for status, _ in answers} == {200, 503}
        assert all(answer["decision"] == "block" for _, answer in answers)


def test_what_is_not_decided_in_time_is_denied(root: Path, tmp_path: Path) -> None:
    with running(root, tmp_path, "--seconds", "0.000001") as gate:
        status, answer = gate.decide(root / "small")
        assert (status, answer["decision"]) == (503, "block")


def test_killed_under_load_its_log_holds_and_knows_every_allow(root: Path, tmp_path: Path) -> None:
    allowed: list[str] = []
    for _ in range(3):
        process, gate = start(root, tmp_path)

        def ask(gate: Gate = gate) -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, answer = gate.decide(root / "small")
                if status == 200 and answer["decision"] == "allow":
                    allowed.append(answer["id"])

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in range(100):
                pool.submit(ask)
            time.sleep(0.5)
            process.send_signal(signal.SIGKILL)
        process.communicate()
    assert allowed
    log = DecisionLog(str(tmp_path / "decisions.jsonl"))
    for id in allowed:
        entry = log.read(id)
        assert entry is not None and entry["decision"] == "allow"
    log.close()
    assert broken(str(tmp_path / "decisions.jsonl")) == ""


def test_the_chain_shows_what_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = DecisionLog(str(path))
    for n in range(5):
        log.append({"id": str(n), "decision": "block"})
    log.close()
    assert broken(str(path)) == ""
    text = path.read_bytes()
    for bad in (text.replace(b"block", b"allow", 1), text.split(b"\n", 1)[1], text.replace(b'"2"', b'"7"')):
        path.write_bytes(bad)
        assert "broken at byte" in broken(str(path))
        with pytest.raises(ConfigurationError, match="broken"):
            DecisionLog(str(path))
    path.write_bytes(text[:-20])  # the machine stopped while it wrote
    again = DecisionLog(str(path))
    assert set(again.entries) == {"0", "1", "2", "3"} and (tmp_path / "log.torn").exists()
    again.append({"id": "5"})
    again.close()
    assert broken(str(path)) == ""


def test_names_that_are_no_text(root: Path, tmp_path: Path) -> None:
    write_small(root / "odd")
    (root / "odd" / os.fsdecode(b"\xff.txt")).write_text("x")
    with running(root, tmp_path) as gate:
        assert gate.ask("POST", "/v1/decide", json.dumps({"uri": str(root / "odd")}))[0] == 200
        assert gate.ask("POST", "/v1/decide", '{"uri": "s3://b/\\ud800"}')[0] in (400, 403)
        status, answer = gate.ask("POST", "/v1/admission", review("u", {"storageUri": "s3://b/\ud800"}))
        assert status == 200 and not answer["response"]["allowed"]
        secret = review("u", {"storageUri": "https://user:hidden@host/m?sig=hidden"})
        assert "hidden" not in json.dumps(gate.ask("POST", "/v1/admission", secret)[1])


def test_one_file_stands_for_its_folder(root: Path, tmp_path: Path) -> None:
    """What was decided by naming one shard does not hold when another one changes."""
    write_shards(root / "shards")
    first, second = sorted((root / "shards").glob("*.safetensors"))[:2]
    with running(root, tmp_path) as gate:
        assert gate.ask("POST", "/v1/decide", json.dumps({"uri": str(first)}))[1]["decision"] == "allow"
        assert admitted(gate, f"file://{first}")["allowed"]
        second.write_bytes(second.read_bytes()[:-1] + b"x")
        assert not admitted(gate, f"file://{first}")["allowed"]


def test_a_full_disk_breaks_no_chain(tmp_path: Path) -> None:
    """The line that failed is gone, and the next continues the one before it."""
    path = tmp_path / "log"
    code = """
import resource, sys
from weightguard.gates.log import DecisionLog
log = DecisionLog(sys.argv[1])
log.append({"id": "a"})
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (150, hard))
try:
    log.append({"id": "b", "more": "x" * 1000})
except OSError:
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    log.append({"id": "c"})
    log.close()
"""
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert broken(str(path)) == "" and [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a", "c"]


def test_a_line_longer_than_any_is_not_written(tmp_path: Path) -> None:
    log = DecisionLog(str(tmp_path / "log"))
    with pytest.raises(OSError, match="large"):
        log.append({"id": "a", "more": "x" * (17 << 20)})
    log.append({"id": "b"})
    log.close()
    DecisionLog(str(tmp_path / "log")).close()


def test_one_log_has_one_writer(tmp_path: Path) -> None:
    log = DecisionLog(str(tmp_path / "log"))
    with pytest.raises(ConfigurationError, match="can't open"):
        DecisionLog(str(tmp_path / "log"))
    log.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "would answer anybody"),
        (["--root", "none"], "is not a folder"),
        (["--tokens", "short"], "at least 16 characters"),
        (["--policy", "none.toml"], "none.toml"),
    ],
)
def test_wrong_usage_starts_nothing(tmp_path: Path, options: list[str], words: str) -> None:
    (tmp_path / "short").write_text("abc\n")
    command = [sys.executable, "-m", "weightguard", "serve", "--root", ".", "--log", "log", *options]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
