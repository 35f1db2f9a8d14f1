"""MLflow's model registry behind the gate: no version, alias or stage that the gate doesn't allow, whatever client asks.

A plugin of the tracking server (entry point `mlflow.model_registry_store`): start it with

    mlflow server --registry-store-uri weightguard+sqlite:///registry.db ...

$WEIGHTGUARD_GATE is the address of a `weightguard serve` that reaches the artifacts, $WEIGHTGUARD_GATE_TOKEN its token. The gate
decides and logs; a tag of the registry is believed in nothing. No answer, or any but "allow", refuses.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

SCHEME = "weightguard+"
_SECONDS = 60
_OF_PROMPTS = ("dummy-source", "prompt-template")  # mlflow.prompt.constants: the sources of prompts, which lead nowhere
_MOST = 64 << 20


class GatedStore(SqlAlchemyStore):  # type: ignore[misc]
    """MLflow's SQL store, each way to promote weights asked for first. A prompt has no artifacts, and asks nothing."""

    def __init__(self, store_uri: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(store_uri.removeprefix(SCHEME), *args, **kwargs)

    def create_model_version(self, name: str, source: str, *args: Any, **kwargs: Any) -> Any:
        _check(name, _place(self, source))
        return super().create_model_version(name, source, *args, **kwargs)

    def copy_model_version(self, src_mv: Any, dst_name: str) -> Any:
        _check(dst_name, _place(self, src_mv.source))
        return super().copy_model_version(src_mv, dst_name)

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> Any:
        _check(name, self._of_version(name, version))
        return super().set_registered_model_alias(name, alias, version)

    def transition_model_version_stage(self, name: str, version: str, stage: str, *args: Any, **kwargs: Any) -> Any:
        if stage.lower() not in ("none", "archived"):
            _check(name, self._of_version(name, version))
        return super().transition_model_version_stage(name, version, stage, *args, **kwargs)

    def _of_version(self, name: str, version: str) -> str:
        return _place(self, str(self.get_model_version_download_uri(name, version)))


def _place(store: Any, source: str) -> str:
    """Where a source's artifacts are: a version may name another as its source, or a run."""
    for _ in range(8):
        if source.startswith("models:/"):
            name, _, version = source.removeprefix("models:/").partition("/")
            if not version:
                return source  # a logged model: the gate asks the tracking server
            source = str(store.get_model_version_download_uri(name, version))
        else:
            parts = urlsplit(source)
            return unquote(parts.path) if parts.scheme == "file" and parts.netloc in ("", "localhost") else source
    raise MlflowException("weightguard: the source leads from one model to another without end", error_code=PERMISSION_DENIED)


def _check(name: str, place: str) -> None:
    """Raises `MlflowException` (PERMISSION_DENIED) unless the gate allows what is there."""
    if place in _OF_PROMPTS:
        return
    gate = os.environ.get("WEIGHTGUARD_GATE", "")
    if not gate.startswith(("http://", "https://")):
        raise MlflowException(
            "weightguard: the server has no $WEIGHTGUARD_GATE to ask, so nothing is allowed", PERMISSION_DENIED
        )
    token = os.environ.get("WEIGHTGUARD_GATE_TOKEN", "")
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"{gate.rstrip('/')}/v1/decide", json.dumps({"uri": place}).encode(), headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 the address is the operator's
            content = json.loads(answer.read(_MOST))
    except urllib.error.HTTPError as refused:
        raise MlflowException(f"weightguard did not allow {name}: {_said(refused)}", PERMISSION_DENIED) from None
    except (OSError, ValueError) as failed:
        text = f"weightguard did not allow {name}: its gate does not answer ({type(failed).__name__})"
        raise MlflowException(text, PERMISSION_DENIED) from None
    if content.get("decision") != "allow":
        text = f"weightguard did not allow {name}: {content.get('why')} (decision {content.get('id')})"
        raise MlflowException(text, PERMISSION_DENIED)


def _said(refused: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(refused.read(1 << 16))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"its gate answered {refused.code}"
