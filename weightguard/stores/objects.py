"""S3, Google Cloud Storage and Azure Blob Storage, by obstore (extra `cloud`): ranged reads of the version that was listed.

Credentials are found as each provider's own tools find them: AWS_* and web identity (a profile through boto3, where it is
installed), GOOGLE_APPLICATION_CREDENTIALS and the default credentials, AZURE_* and managed identity. AWS_ENDPOINT_URL names another
server that speaks S3.
"""

from __future__ import annotations

import datetime
import os
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from operator import itemgetter
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from weightguard.errors import ConfigurationError, Reason, Unreadable
from weightguard.stores.found import Found, Network, shown, without_secrets

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,221}")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}\.(?:dfs|blob)\.(?:core\.windows\.net|fabric\.microsoft\.com)")
_PAGE = 1000
_LISTED_AT_ONCE = 6  # folders
_REASONS: dict[str, tuple[Reason, str]] = {
    "PermissionDeniedError": ("permission", "the store refuses: check the credentials"),
    "UnauthenticatedError": ("permission", "the store wants credentials"),
    "FileNotFoundError": ("missing", "is not there"),
    "PreconditionError": ("changed", "the object changed after it was listed"),
}


def open_store(uri: str, network: Network) -> Objects:
    """The objects below a URI. Raises `ConfigurationError` for one that names no bucket, or where obstore is not installed."""
    try:
        from obstore.store import from_url
    except ImportError:
        raise ConfigurationError(
            f"{shown(uri)[:200]}: needs the extra: python -m pip install 'weightguard-gate[cloud]'"
        ) from None
    parts = urlsplit(uri)
    scheme = {"s3a": "s3", "azure": "az"}.get(parts.scheme, parts.scheme)
    container, _, account = parts.netloc.rpartition("@") if "@" in parts.netloc else (parts.netloc, "", "")
    if not _BUCKET.fullmatch(container) or (account and not (scheme in ("abfs", "abfss") and _ACCOUNT.fullmatch(account))):
        raise ConfigurationError(f"{shown(uri)[:200]}: is no name of a bucket or container")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{shown(uri)[:200]}: takes no query")
    client: Any = {"timeout": f"{network.seconds:g}s", "connect_timeout": f"{min(5.0, network.seconds):g}s"}
    if _plain_endpoint(scheme):
        client["allow_http"] = True
    retry: Any = {
        "max_retries": network.retries,
        "retry_timeout": datetime.timedelta(seconds=2 * network.seconds),
        "backoff": {
            "init_backoff": datetime.timedelta(milliseconds=100),
            "max_backoff": datetime.timedelta(seconds=2),
            "base": 2,
        },
    }
    root = f"{scheme}://{parts.netloc}"
    try:
        store = from_url(root, client_options=client, retry_config=retry, **_credentials(scheme))
    except Exception as error:
        raise ConfigurationError(f"{root}: {_clean(error)}") from error
    return Objects(store, root, parts.path.strip("/"), network.retries, whole=parts.path.endswith("/"))


class Objects:
    """A bucket, from a prefix on. whole: the address ends as a folder's does, so no object is meant by it."""

    def __init__(self, store: Any, root: str, prefix: str, retries: int, *, whole: bool) -> None:
        self._store = store
        self._root = root
        self._prefix = prefix
        self._retries = retries
        self._whole = whole

    def below(self) -> Iterator[Found]:
        """The object of that key, if there is one, and all objects below it."""
        import obstore

        if self._prefix and not self._whole:
            try:
                yield self._found(obstore.head(self._store, self._prefix), whole_folder=False)
            except Exception as error:
                if not isinstance(error, FileNotFoundError):
                    raise _unreadable(error) from error
        try:
            yield from map(self._found, _without_markers(meta for page in self._pages(self._prefix) for meta in page))
        except Exception as error:
            raise _unreadable(error) from error

    def _pages(self, prefix: str) -> Iterator[Sequence[Any]]:
        """All objects below a prefix in the order of their keys, a page at a time; several folders are listed at once."""
        import obstore

        pages = iter(obstore.list(self._store, prefix or None, chunk_size=_PAGE))
        first: Sequence[Any] = next(pages, ())
        inside = len(prefix) + 1 if prefix else 0
        if len(first) < _PAGE or not any("/" in meta["path"][inside:] for meta in first):
            yield first  # few, or one large folder
            yield from pages
            return
        level = obstore.list_with_delimiter(self._store, prefix or None)
        folders = set(level["common_prefixes"])
        entries: list[tuple[str, Any]] = [(f"{folder}/", None) for folder in folders]
        entries += [(meta["path"], meta) for meta in level["objects"] if meta["size"] or meta["path"] not in folders]
        ahead: deque[tuple[Any, _Ahead | None]] = deque()
        for key, meta in sorted(entries, key=itemgetter(0)):
            ahead.append((meta, None if meta else _Ahead(self._store, key.rstrip("/"))))
            while len(ahead) >= _LISTED_AT_ONCE:
                yield from _of(ahead.popleft())
        while ahead:
            yield from _of(ahead.popleft())

    def beside(self, file: Found) -> dict[str, Found]:
        import obstore

        folder = file.folder.removeprefix(self._root).strip("/")
        try:
            listed = obstore.list_with_delimiter(self._store, folder or None)["objects"]
        except Exception as error:
            raise _unreadable(error) from error
        return {f.name: f for f in (self._found(meta, whole_folder=False) for meta in listed)}

    def read(self, file: Found, offset: int, length: int) -> bytes:
        for attempt in range(self._retries):  # obstore asks again for an answer, not for the rest of one that breaks off
            try:
                return self._read(file, offset, length)
            except Unreadable as error:
                if error.reason != "unavailable":
                    raise
                time.sleep(0.1 * 4**attempt)
        return self._read(file, offset, length)

    def _read(self, file: Found, offset: int, length: int) -> bytes:
        import obstore

        options: Any = {"range": (offset, offset + length)}
        if file.version.startswith('"'):
            options["if_match"] = file.version
        try:
            answer = obstore.get(self._store, file.real.removeprefix(f"{self._root}/"), options=options)
            if answer.meta["size"] != file.size or not file.version or _version(answer.meta) != file.version:
                raise Unreadable("changed", "the object changed after it was listed")
            data = bytearray()
            for chunk in answer.stream(min_chunk_size=length):
                data += chunk
                if len(data) > length:
                    raise Unreadable("unavailable", "the store sent more than was asked for")
        except Unreadable:
            raise
        except Exception as error:
            raise _unreadable(error) from error
        return bytes(data)

    def _found(self, meta: Any, *, whole_folder: bool = True) -> Found:
        uri = f"{self._root}/{meta['path']}"
        return Found(uri, uri, whole_folder, self, int(meta["size"]), _version(meta))


def _without_markers(metas: Iterator[Any]) -> Iterator[Any]:
    """Objects but those of no bytes by which consoles mark a folder: `data/` before `data/x`, listed as `data`."""
    before: Any = None
    for meta in metas:
        if before is not None and (before["size"] or not meta["path"].startswith(f"{before['path']}/")):
            yield before
        before = meta
    if before is not None:
        yield before


class _Ahead:
    """A folder that is listed by a thread of its own, a few pages ahead of who reads them."""

    def __init__(self, store: Any, prefix: str) -> None:
        self._pages: Queue[Any] = Queue(maxsize=4)
        Thread(target=self._run, args=(store, prefix), daemon=True).start()

    def _run(self, store: Any, prefix: str) -> None:
        import obstore

        try:
            for page in obstore.list(store, prefix, chunk_size=_PAGE):
                self._pages.put(page)
            self._pages.put(None)
        except Exception as error:
            self._pages.put(error)

    def __iter__(self) -> Iterator[Sequence[Any]]:
        while (page := self._pages.get()) is not None:
            if isinstance(page, Exception):
                raise page
            yield page


def _of(entry: tuple[Any, _Ahead | None]) -> Iterator[Sequence[Any]]:
    meta, folder = entry
    yield from folder if folder is not None else [[meta]]


def _version(meta: Any) -> str:
    """The entity tag, in quotes also where a listing has none (Azure's); or where there is none the time of the last change."""
    tag = str(meta["e_tag"] or "")
    if not tag:
        return str(meta["last_modified"].isoformat())
    return tag if tag.startswith(('"', "W/")) else f'"{tag}"'


def _plain_endpoint(scheme: str) -> bool:
    """Whether the user's own settings name a server that is reached without TLS."""
    names = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"), "gs": ("STORAGE_EMULATOR_HOST",)}
    named = names.get(scheme, ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"))
    return any(os.environ.get(name, "").startswith("http://") for name in named)


def _credentials(scheme: str) -> dict[str, Any]:
    """What obstore does not find by itself."""
    found: dict[str, Any] = {}
    if scheme == "s3":
        if "AWS_ENDPOINT_URL_S3" in os.environ:
            found["endpoint"] = os.environ["AWS_ENDPOINT_URL_S3"]
        if not {"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"} & os.environ.keys() and "AWS_PROFILE" in os.environ:
            try:
                from obstore.auth.boto3 import Boto3CredentialProvider
            except ImportError:
                raise ConfigurationError("AWS_PROFILE is set: profiles need boto3 (python -m pip install boto3)") from None
            found["credential_provider"] = Boto3CredentialProvider()
    return found


def _unreadable(error: Exception) -> Unreadable:
    known = _REASONS.get(type(error).__name__)
    return Unreadable(*known) if known else Unreadable("unavailable", _clean(error))


def _clean(error: Exception) -> str:
    """What an error says, in a line, without queries of URLs, which may hold signatures."""
    text = str(error)
    status = re.search(r"status code: (\d{3}[A-Za-z ]*)", text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    if status:
        return f"the store answered {status[1].strip()}" + (f" ({code[1]})" if code else "")
    return without_secrets(text) or type(error).__name__
