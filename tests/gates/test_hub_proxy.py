"""`hf upload FOLDER`, the real command, through the gate as HF_ENDPOINT: a 405B layout is stopped, a small one passes."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gates.hub_server import Hub
from tests.gates.serving import Serving, serving
from tests.layouts import write_small
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_model

pytest.importorskip("httpx")
pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def gate(hub: Hub, tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path, "--hub", hub.url, "--root", str(tmp_path)) as found:
        yield found


def upload(gate: Serving, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    hf = str(Path(sys.executable).parent / "hf")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"HF_ENDPOINT": gate.url, "HF_TOKEN": "hf_x", "HF_HOME": str(home), "NO_COLOR": "1"}
    argv = [hf, "upload", "o/m", str(folder), "--repo-type", "model"]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)


def test_not_decided_is_stopped_with_words(gate: Serving, hub: Hub, tmp_path: Path) -> None:
    write_model(str(tmp_path / "big"), llama_405b())
    done = upload(gate, tmp_path / "big", tmp_path / "home")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "weightguard: model.safetensors" in said and "was not decided here" in said
    assert hub.files == [] and hub.bytes < 10_000


def test_decided_and_blocked_is_stopped(gate: Serving, hub: Hub, tmp_path: Path) -> None:
    write_model(str(tmp_path / "big"), llama_405b())
    status, answer = gate.decide(str(tmp_path / "big"))
    assert status == 200 and answer["decision"] == "block"
    done = upload(gate, tmp_path / "big", tmp_path / "home")
    assert done.returncode == 1 and hub.files == []
    assert f"undetermined under 4E091 (decision {answer['id']})" in done.stdout + done.stderr


def test_decided_and_allowed_passes(gate: Serving, hub: Hub, tmp_path: Path) -> None:
    write_small(tmp_path / "small")
    (tmp_path / "small" / "README.md").write_text("# small\n")
    assert upload(gate, tmp_path / "small", tmp_path / "home").returncode == 1
    assert gate.decide(str(tmp_path / "small"))[1]["decision"] == "allow"
    done = upload(gate, tmp_path / "small", tmp_path / "home")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(hub.files) == {"README.md", "config.json", "model.safetensors"}


def test_another_file_of_that_name_and_size_is_stopped(gate: Serving, hub: Hub, tmp_path: Path) -> None:
    write_small(tmp_path / "small")
    gate.decide(str(tmp_path / "small"))
    write_small(tmp_path / "other")
    path = tmp_path / "other" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert upload(gate, tmp_path / "other", tmp_path / "home").returncode == 1
    assert hub.files == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/models/o/m/commit/main", b'{"key":"lfsFile","value":{"path":"a.bin","oid":"x","size":5}}'),
        (
            "POST",
            "/api/models/o/m/commit/main",
            b'{"key":"file","value":{"path":"a.bin","content":"AAAA","encoding":"base64"}}',
        ),
        ("POST", "/api/models/o/m/commit/main", b"not json"),
        ("POST", "/api/models/o/m/preupload/main", b'{"files":[{"path":"notes","size":60000000}]}'),
        ("POST", "/api/models/o/m/preupload/main", b'{"files":[{"path":"notes","size":60000000,"sample":"AAAA"}]}'),
        ("POST", "/api/models/o/m/preupload/main", b'{"files":[{"path":"a.bin","size":3,"sample":"YWJj"}]}'),
        ("POST", "/api/models/o/m/preupload/main", b"[]"),
        ("POST", "/o/m.git/info/lfs/objects/batch", b'{"operation":"upload","objects":[{"oid":"x","size":5}]}'),
        ("GET", "/api/models/o/m/xet-write-token/main", None),
        ("POST", "/o/m.git/git-receive-pack", b"x"),
        ("POST", "/api/buckets/o/b/batch", b"x"),
        ("POST", "//api/models/o/m/commit/main", b"{}"),
        ("POST", "/api//models/o/m/commit/main", b"{}"),
        ("POST", "/api/models/o/m/commit/main/", b'{"key":"other","value":{}}'),
        ("PUT", "/anything", b"x"),
        ("PATCH", "/api/models/o/m/settings", b"{}"),
        ("GET", "//api/models/o/m/xet-write-token/main", None),
        ("POST", "/api/models/o/m/commit/main", b'{"key":"copyFile","value":{"path":"a"}}'),
        ("POST", "/api/models/o/m/commit/main", b'{"key":"header","value":{},"files":[{"path":"a","content":"x"}]}'),
        ("POST", "/api/models/gpt2/commit/preupload%2Fx", b'{"key":"lfsFile","value":{"path":"m.bin","size":9},"files":[]}'),
        ("POST", "/api/repos/create", b'{"type":"model","name":"m","files":[{"path":"m.safetensors","content":"AAAA"}]}'),
        ("POST", "/api/models/o/m/preupload/main", b'{"files":[{"path":"big.txt","size":-1,"sample":""}]}'),
        ("POST", "/api/models/o/m/preupload/main", b'{"files":[{"path":"big.txt","size":1e400,"sample":""}]}'),
        ("POST", "/api/models/o/m/commit/main", b'{"key":"lfsFile","value":{"path":"big.txt"}}'),
        ("POST", "/o/m.git/info/lfs/objects/batch", b'{"operation":"upload","objects":[{"oid":"x","size":-1}]}'),
        ("POST", "/api/models/o/m/%2563ommit/main", b'{"key":"header","value":{}}'),
        ("POST", "/api/models/o/m/like/..%2Fcommit/main", b'{"key":"header","value":{}}'),
        ("POST", "/api/models/o/m/tag/x%3F/../../commit/main", b'{"key":"header","value":{}}'),
        ("POST", "/api/models/o/m/preupload/main", b'{"files":[{"path":"notes","size":3,"sample":"YW-_"}]}'),
    ],
)
def test_every_other_way_in_is_closed(gate: Serving, hub: Hub, method: str, path: str, body: bytes | None) -> None:
    status, answer = gate.ask(method, path, body)
    assert status == 403 and "weightguard" in answer["error"]
    assert hub.seen == []


def test_a_text_that_becomes_another_file_in_its_commit_is_stopped(gate: Serving, hub: Hub) -> None:
    sample = base64.b64encode(b"x" * 512).decode()
    asked = json.dumps({"files": [{"path": "a.txt", "size": 3000, "sample": sample}]})
    assert gate.ask("POST", "/api/models/o/t/preupload/main", asked)[0] == 200
    content = base64.b64encode(os.urandom(3000)).decode()
    line = json.dumps({"key": "file", "value": {"path": "a.txt", "content": content, "encoding": "base64"}})
    assert gate.ask("POST", "/api/models/o/t/commit/main", line)[0] == 403


def test_what_changed_after_its_decision_is_stopped(gate: Serving, hub: Hub, tmp_path: Path) -> None:
    """Behind the bytes that a client shows: by what the system says of the file, also where its times are put back."""
    folder = Path(write_small(tmp_path / "changes"))
    file = folder / "model.safetensors"
    content = file.read_bytes()
    shown = {"path": file.name, "size": len(content), "sample": base64.b64encode(content[:512]).decode()}
    body = json.dumps({"files": [shown]})
    assert gate.decide(str(folder))[1]["decision"] == "allow"
    assert gate.ask("POST", "/api/models/o/c/preupload/main", body)[0] == 200
    times = file.stat()
    with file.open("r+b") as opened:
        opened.seek(512)
        opened.write(os.urandom(len(content) - 512))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert gate.ask("POST", "/api/models/o/c/preupload/main", body)[0] == 403
    assert gate.decide(str(folder))[1]["decision"] == "block"
    assert gate.ask("POST", "/api/models/o/c/preupload/main", body)[0] == 403
