"""MLflow: models:/NAME/VERSION, models:/NAME@ALIAS and runs:/RUN/PATH, by mlflow's own client (extra `mlflow`).

mlflow says where the artifacts lie ($MLFLOW_TRACKING_URI, its credentials); they are read there: a folder, an object store, or the
tracking server's own artifacts by HTTP.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote, urlsplit

from weightguard.errors import ConfigurationError, Unreadable
from weightguard.limits import LIMITS
from weightguard.stores.found import Found, Network, Store, shown, without_secrets
from weightguard.stores.web import Web, basic

_MODEL = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/]+))(?:/(?P<path>.*))?")
_HOPS = 8  # a version may name another one as its source


def open_store(uri: str, network: Network) -> Store:
    """Where MLflow says that a URI's artifacts are. Raises `ConfigurationError`."""
    from weightguard.stores.targets import open_store as opened

    where = resolved(uri)
    if where.startswith("mlflow-artifacts:"):
        return Artifacts(where, _tracking(), network)
    return opened(where, network) if "://" in where else _Local(where, uri)


def resolved(uri: str) -> str:
    """The address of a URI's artifacts: a local path, or a URI of another store. Raises `ConfigurationError`."""
    where = uri
    for _ in range(_HOPS):
        scheme = where.partition(":/")[0]
        if scheme not in ("models", "runs"):
            return _path_of(where) if scheme == "file" else where
        where = _resolved(where)
    raise ConfigurationError(f"{shown(uri)[:200]}: leads from one model to another without end")


def _resolved(uri: str) -> str:
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient, is_tracking_uri_set
    except ImportError:
        raise ConfigurationError(
            f"{shown(uri)[:200]}: needs the extra: python -m pip install 'weightguard-gate[mlflow]'"
        ) from None
    if not is_tracking_uri_set():  # its default would make a database in the current folder
        raise ConfigurationError(f"{shown(uri)[:200]}: set MLFLOW_TRACKING_URI to the address of the tracking server")
    client = MlflowClient()
    try:
        if uri.startswith("runs:/"):
            run, _, path = uri.removeprefix("runs:/").partition("/")
            root = client.get_run(run).info.artifact_uri
            return f"{root}/{path}".rstrip("/")
        if re.fullmatch(r"models:/m-[0-9a-f]{16,}", uri):
            return str(mlflow.get_logged_model(uri.removeprefix("models:/")).artifact_location)
        found = _MODEL.fullmatch(uri)
        if found is None:
            raise ConfigurationError(f"{shown(uri)[:200]}: write models:/NAME/VERSION or models:/NAME@ALIAS")
        version = found["version"] or client.get_model_version_by_alias(found["name"], found["alias"]).version
        root = client.get_model_version_download_uri(found["name"], str(version))
        return f"{root}/{found['path']}".rstrip("/") if found["path"] else str(root)
    except MlflowException as error:
        raise ConfigurationError(f"{shown(uri)[:200]}: mlflow: {without_secrets(str(error))}") from error
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"{shown(uri)[:200]}: mlflow does not answer: {type(error).__name__}") from error


class _Local:
    """A folder or file of this machine, under the name that MLflow gives it."""

    def __init__(self, path: str, uri: str) -> None:
        self._path = os.path.realpath(path)
        self._uri = uri.rstrip("/")

    def below(self) -> Iterator[Found]:
        from weightguard.stores.folder import collect

        listing = collect([self._path], LIMITS)
        for unread in listing.unread:  # a link that leads out of the artifacts, say
            raise Unreadable("unavailable", f"{unread.path}: {unread.reason}: {unread.detail}")
        for found in listing.files:
            inside = os.path.relpath(found.real, self._path).replace(os.sep, "/")
            yield Found(self._uri if inside == "." else f"{self._uri}/{inside}", found.real, True)

    def beside(self, file: Found) -> dict[str, Found]:
        return {}

    def read(self, file: Found, offset: int, length: int) -> bytes:
        raise Unreadable("internal", "a local file is opened by its path")


class Artifacts:
    """Artifacts that the tracking server hands out itself (`mlflow-artifacts:`), by its REST interface."""

    def __init__(self, uri: str, tracking: str, network: Network) -> None:
        parts = urlsplit(uri)
        base = f"https://{parts.netloc}" if parts.netloc else tracking
        if not base.startswith(("http://", "https://")):
            raise ConfigurationError(f"{shown(uri)[:200]}: set MLFLOW_TRACKING_URI to the server's http address")
        self._host = urlsplit(tracking).netloc  # whose the credentials are
        self._api = f"{base.rstrip('/')}/api/2.0/mlflow-artifacts/artifacts"
        self._web = Web(network, self._authorization)
        self._root = "mlflow-artifacts:/" + parts.path.strip("/")
        self._path = parts.path.strip("/")

    def below(self) -> Iterator[Found]:
        pending = [self._path]
        listed = 0
        while pending:
            folder = pending.pop()
            answer, _ = self._web.json(f"{self._api}?path={quote(folder, safe='')}", {})
            for item in (answer.get("files") or []) if isinstance(answer, dict) else ():
                path = item.get("path") if isinstance(item, dict) else None
                if not isinstance(path, str) or ".." in path.split("/"):
                    raise Unreadable("unavailable", "the server's listing is none")
                listed += 1
                if listed > LIMITS.files:
                    raise Unreadable("limit", f"more than {LIMITS.files} artifacts")
                inside = f"{folder}/{path.rpartition('/')[2]}"
                if item.get("is_dir"):
                    pending.append(inside)
                    continue
                size = item.get("file_size")
                if not str(size).isdecimal():
                    raise Unreadable("unavailable", "the server's listing has a file without a size")
                uri = f"{self._root}{inside[len(self._path) :]}"
                yield Found(uri, uri, True, self, int(str(size)), "")

    def beside(self, file: Found) -> dict[str, Found]:
        return {f.name: f for f in self.below() if f.folder == file.folder}

    def read(self, file: Found, offset: int, length: int) -> bytes:
        path = self._path + file.shown[len(self._root) :]
        return self._web.range(f"{self._api}/{quote(path)}", offset, length, file.size)[0]

    def _authorization(self, host: str, challenge: str) -> str | None:
        if host != self._host:
            return None
        if os.environ.get("MLFLOW_TRACKING_TOKEN"):
            return f"Bearer {os.environ['MLFLOW_TRACKING_TOKEN']}"
        if os.environ.get("MLFLOW_TRACKING_USERNAME"):
            pair = f"{os.environ['MLFLOW_TRACKING_USERNAME']}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
            return basic(pair)
        return None


def _tracking() -> str:
    import mlflow

    return str(mlflow.get_tracking_uri())


def _path_of(uri: str) -> str:
    return unquote(urlsplit(uri).path)
