"""MLflow's real server with the registry plugin, and its real webhook: what the gate doesn't allow gets no version and no alias."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests.gates.serving import Serving, serving
from tests.layouts import ROOT, write_small
from tests.servers import answers, free_port, running
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_model

pytest.importorskip("mlflow.server")
FERNET = base64.urlsafe_b64encode(bytes(32)).decode()
SECRET = "a-secret-of-some-length"
if not any(e.name == "weightguard+sqlite" for e in entry_points(group="mlflow.model_registry_store")):
    pytest.skip("weightguard is not installed, so MLflow knows no plugin of it", allow_module_level=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("mlflow")
    (found / "secret").write_text(SECRET)
    write_small(found / "small")
    write_model(str(found / "large"), llama_405b())
    return found


@pytest.fixture(scope="module")
def tracking(folder: Path) -> Iterator[tuple[str, Serving]]:
    """The address of a tracking server whose registry asks a gate, and the gate."""
    port = free_port()
    options = (
        "--root",
        str(folder),
        "--webhook-secret",
        str(folder / "secret"),
        "--store",
        "models:/",
        "--store",
        "mlflow-artifacts:/",
        "--private",
    )
    with serving(folder, *options, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}") as gate:
        argv = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        argv += ["--backend-store-uri", f"sqlite:///{folder}/tracking.db", "--artifacts-destination", str(folder / "artifacts")]
        argv += ["--registry-store-uri", f"weightguard+sqlite:///{folder}/registry.db"]
        webhooks = {"ALLOWED_SCHEMES": "http,https", "ALLOW_PRIVATE_IPS": "true", "SECRET_ENCRYPTION_KEY": FERNET}
        more = {f"MLFLOW_WEBHOOK_{name}": value for name, value in webhooks.items()}
        more |= {"WEIGHTGUARD_GATE": gate.url, "PYTHONPATH": str(ROOT), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with running(argv, lambda: answers(port, "/health"), folder / "mlflow.log", 120, more):
            yield f"http://127.0.0.1:{port}", gate


@pytest.fixture
def client(tracking: tuple[str, Serving]) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking[0], tracking[0])


def logged(client: Any, folder: Path, model: str) -> tuple[str, str]:
    """A run with a model's files among its artifacts, put where the server keeps them: nobody moves 800 GB."""
    run = client.create_run("0")
    kept = folder / "artifacts" / run.info.artifact_uri.removeprefix("mlflow-artifacts:/") / "model"
    kept.mkdir(parents=True)
    for path in (folder / model).iterdir():
        (kept / path.name).hardlink_to(path)
    return f"{run.info.artifact_uri}/model", run.info.run_id


def test_a_small_model_gets_its_version_and_alias(client: Any, folder: Path, tracking: tuple[str, Serving]) -> None:
    client.create_registered_model("small")
    version = client.create_model_version("small", *logged(client, folder, "small"))
    client.set_registered_model_alias("small", "champion", version.version)
    assert client.get_model_version_by_alias("small", "champion").version == version.version
    assert '"decision": "allow"' in tracking[1].log.read_text()


def test_a_405b_layout_gets_none(client: Any, folder: Path) -> None:
    from mlflow.exceptions import MlflowException

    client.create_registered_model("large")
    words = "weightguard did not allow large: weightguard blocked .*undetermined under 4E091"
    with pytest.raises(MlflowException, match=words) as caught:
        client.create_model_version("large", *logged(client, folder, "large"))
    assert caught.value.error_code == "PERMISSION_DENIED"
    assert client.search_model_versions("name='large'") == []


def test_a_path_with_escapes_is_the_one_that_clients_read(tmp_path: Path) -> None:
    from weightguard.gates.mlflow_store import _place

    assert _place(None, f"file://{tmp_path}/a%20b") == f"{tmp_path}/a b"
    assert _place(None, f"file:{tmp_path}/a%20b") == f"{tmp_path}/a b"
    assert _place(None, "file://host/a") == "file://host/a"


def test_the_token_stays_with_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from weightguard.stores.found import ANYWHERE
    from weightguard.stores.mlflow import Artifacts

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hidden")
    tracking = "http://tracking:5000"
    assert Artifacts("mlflow-artifacts:/1/a", tracking, ANYWHERE)._authorization("tracking:5000", "") == "Bearer hidden"
    assert Artifacts("mlflow-artifacts://evil:443/1", tracking, ANYWHERE)._authorization("evil:443", "") is None


def test_a_prompt_is_no_model(client: Any) -> None:
    client.register_prompt("greeting", "Say {{word}}.")
    client.set_prompt_alias("greeting", "champion", 1)
    assert client.get_prompt_version_by_alias("greeting", "champion").template == "Say {{word}}."


def test_what_changes_after_its_version_gets_no_alias(client: Any, folder: Path) -> None:
    from mlflow.exceptions import MlflowException

    client.create_registered_model("changes")
    source, run = logged(client, folder, "small")
    version = client.create_model_version("changes", source, run)
    kept = folder / "artifacts" / source.removeprefix("mlflow-artifacts:/")
    for path in (folder / "large").iterdir():
        (kept / path.name).unlink(missing_ok=True)
        (kept / path.name).hardlink_to(path)
    with pytest.raises(MlflowException, match="weightguard did not allow changes"):
        client.set_registered_model_alias("changes", "champion", version.version)


def test_elsewhere_and_nowhere_get_none(client: Any) -> None:
    from mlflow.exceptions import MlflowException

    client.create_registered_model("elsewhere")
    for source in ("s3://other/x", "mlflow-artifacts:/none", "mlflow-artifacts:/../../etc"):
        with pytest.raises(MlflowException):
            client.create_model_version("elsewhere", source)
    assert client.search_model_versions("name='elsewhere'") == []


def test_scan_by_its_names(client: Any, folder: Path, tracking: tuple[str, Serving], monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    client.create_registered_model("named")
    client.create_model_version("named", *logged(client, folder, "small"))
    client.set_registered_model_alias("named", "best", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking[0])
    mlflow.set_tracking_uri(tracking[0])
    for uri in ("models:/named/1", "models:/named@best"):
        report = weightguard.scan(uri)
        assert report.decision == "allow" and report.models[0].path.endswith("/model/model.safetensors")


def test_artifacts_of_a_run_through_the_server(
    folder: Path, tracking: tuple[str, Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking[0])
    mlflow.set_tracking_uri(tracking[0])
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(folder / "small"), "model")
    report = weightguard.scan(f"runs:/{run.info.run_id}/model")
    assert [u.reason for u in report.unread] == [] and report.decision == "allow"


def test_a_link_out_of_a_run_s_folder_is_not_passed_over(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    from mlflow.tracking import MlflowClient

    from weightguard.errors import ConfigurationError

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/t.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/t.db")
    client = MlflowClient()
    run = client.create_run(client.create_experiment("e", artifact_location=str(tmp_path / "artifacts")))
    kept = tmp_path / "artifacts" / run.info.run_id / "artifacts"
    shutil.copytree(folder / "small", kept)
    assert weightguard.scan(f"runs:/{run.info.run_id}").decision == "allow"
    (kept / "more.safetensors").symlink_to(folder / "large" / "model.safetensors")
    with pytest.raises(ConfigurationError, match=r"more\.safetensors: link"):
        weightguard.scan(f"runs:/{run.info.run_id}")


def event(source: str, delivery: str, moment: int, secret: str = SECRET) -> tuple[str, dict[str, str]]:
    data: dict[str, Any] = {"name": "hooked", "version": "1", "source": source, "run_id": None, "tags": {}, "description": None}
    body = json.dumps({"entity": "model_version", "action": "created", "timestamp": "2026-11-25T00:00:00Z", "data": data})
    signed = hmac.new(secret.encode(), f"{delivery}.{moment}.{body}".encode(), hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(signed).decode()
    return body, {"X-MLflow-Signature": signature, "X-MLflow-Delivery-Id": delivery, "X-MLflow-Timestamp": str(moment)}


def test_a_webhook_s_signature_age_and_repetition(tracking: tuple[str, Serving], folder: Path) -> None:
    gate, now = tracking[1], int(time.time())
    source = str(folder / "small")
    assert gate.ask("POST", "/v1/hooks/mlflow", *event(source, "a", now))[0] == 202
    assert gate.ask("POST", "/v1/hooks/mlflow", *event(source, "a", now))[0] == 409
    assert gate.ask("POST", "/v1/hooks/mlflow", *event(source, "b", now - 3600))[0] == 401
    assert gate.ask("POST", "/v1/hooks/mlflow", *event(source, "c", now, "another-secret-of-length"))[0] == 401
    body, headers = event(source, "d", now)
    assert gate.ask("POST", "/v1/hooks/mlflow", body.replace("small", "large"), headers)[0] == 401
    assert gate.ask("POST", "/v1/hooks/mlflow", body)[0] == 401
    assert gate.ask("POST", "/v1/hooks/mlflow", *event("/etc", "e", now))[0] == 403
    assert gate.ask("POST", "/v1/hooks/mlflow", "x" * 300_000, headers)[0] == 413


def test_mlflow_s_own_webhook_leads_to_tags(client: Any, folder: Path, tracking: tuple[str, Serving]) -> None:
    """MLflow itself signs and sends the event; the tags are for display."""
    hook = client.create_webhook("gate", f"{tracking[1].url}/v1/hooks/mlflow", ["model_version.created"], secret=SECRET)
    client.create_registered_model("hooked")
    client.create_model_version("hooked", *logged(client, folder, "small"))
    tags: dict[str, str] = {}
    for _ in range(150):
        tags = client.get_model_version("hooked", "1").tags
        if len(tags) == 2:
            break
        time.sleep(0.1)
    client.delete_webhook(hook.webhook_id)
    assert tags["weightguard.decision"] == "allow" and len(tags["weightguard.report"]) == 32


def test_no_server_named_is_said_and_makes_nothing(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")} | {"PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "weightguard", "scan", "models:/x/1"]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "set MLFLOW_TRACKING_URI" in done.stderr and list(tmp_path.iterdir()) == []
