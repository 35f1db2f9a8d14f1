"""The Hugging Face Hub: hf://ORG/REPO[@REVISION][/PATH], hf://datasets/..., hf://spaces/..., pinned to the commit listed.

$HF_ENDPOINT names another server; the token is $HF_TOKEN's, or that of `hf auth login` ($HF_TOKEN_PATH, $HF_HOME/token).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from weightguard.errors import ConfigurationError, Unreadable
from weightguard.stores.found import Found, Network, shown
from weightguard.stores.web import Web

_URI = re.compile(r"hf://(?:(datasets|spaces|models)/)?([\w.-]+(?:/[\w.-]+)?)(?:@(refs/pr/\d+|[^/]+))?(?:/(.*))?")
_NEXT = re.compile(r"<([^>]+)>[^<]*?;\s*rel\s*=\s*\"?(?:[^\",;]*\s)?next\b", re.IGNORECASE)  # RFC 8288
_PAGES = 100_000
_LFS = re.compile(r"[0-9a-f]{64}")


def open_store(uri: str, network: Network) -> Repository:
    """A repository of the Hub. Raises `ConfigurationError` for a URI that names none."""
    found = _URI.fullmatch(uri)
    if found is None or (found[1] is None and found[2].partition("/")[0] == "buckets"):
        raise ConfigurationError(f"{shown(uri)[:200]}: write hf://ORG/REPO, hf://ORG/REPO@REVISION or hf://ORG/REPO/PATH")
    return Repository(found[1] or "models", found[2], found[3] or "main", (found[4] or "").strip("/"), network)


class Repository:
    """A commit of a repository, from a path on."""

    def __init__(self, kind: str, name: str, revision: str, path: str, network: Network) -> None:
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        self._host = urlsplit(endpoint).netloc
        self._web = Web(network, self._authorization)
        self._api = f"{endpoint}/api/{kind}/{name}"
        self._files = f"{endpoint}/{'' if kind == 'models' else kind + '/'}{name}/resolve"
        self._root = f"hf://{'' if kind == 'models' else kind + '/'}{name}@{revision}"
        self._revision = revision
        self._path = path
        self._commit = ""
        self._moved: dict[str, str] = {}  # where the content of a file is, for as long as that answers

    def below(self) -> Iterator[Found]:
        for item in self._tree():
            path = item["path"]
            if not self._path or path == self._path or path.startswith(self._path + "/"):
                yield self._found(item, whole_folder=path != self._path)

    def beside(self, file: Found) -> dict[str, Found]:
        folder = file.shown.removeprefix(self._root + "/").rpartition("/")[0]
        inside = [item for item in self._tree() if item["path"].rpartition("/")[0] == folder]
        return {item["path"].rpartition("/")[2]: self._found(item, whole_folder=False) for item in inside}

    def read(self, file: Found, offset: int, length: int) -> bytes:
        path = file.shown.removeprefix(self._root + "/")
        url = f"{self._files}/{file.version}/{quote(path)}"
        moved = self._moved.get(path)
        if moved is not None:
            try:
                return self._web.range(moved, offset, length, file.size)[0]
            except Unreadable:  # a signed address holds for a while only
                self._moved.pop(path, None)
        data, answer = self._web.range(url, offset, length, file.size)
        if answer.url != url:
            self._moved[path] = answer.url
        return data

    def _tree(self) -> Iterator[dict[str, Any]]:
        if not self._commit:
            info, _ = self._web.json(f"{self._api}/revision/{quote(self._revision, safe='')}", {})
            commit = info.get("sha") if isinstance(info, dict) else None
            if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40,64}", commit):
                raise Unreadable("unavailable", "the Hub names no commit")
            self._commit = commit
        url = f"{self._api}/tree/{self._commit}?recursive=true"
        for _ in range(_PAGES):
            items, answer = self._web.json(url, {})
            if not isinstance(items, list):
                raise Unreadable("unavailable", "the Hub's listing is none")
            for item in items:
                known = (
                    isinstance(item, dict) and isinstance(item.get("path"), str) and item.get("type") in ("file", "directory")
                )
                if not known:
                    raise Unreadable("unavailable", "the Hub's listing has what is no file and no folder")
                if item.get("type") == "file":
                    yield item
            link = answer.headers.get("link", "")
            following = _NEXT.search(link)
            if following is None and "next" in link.lower():
                raise Unreadable("unavailable", "the Hub's listing goes on where it can't be followed")
            if following is None:
                return
            url = urljoin(url, following[1])
            if urlsplit(url).netloc != self._host:
                raise Unreadable("unavailable", "the Hub's listing goes on at another host")
        raise Unreadable("limit", f"a listing of more than {_PAGES} pages")

    def _found(self, item: dict[str, Any], *, whole_folder: bool) -> Found:
        stored = item.get("lfs") if isinstance(item.get("lfs"), dict) else {}
        size, oid = item.get("size"), str(stored.get("oid", "") if stored else "")
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise Unreadable("unavailable", "the Hub's listing has a file without a size")
        uri = f"{self._root}/{item['path']}"
        return Found(uri, uri, whole_folder, self, size, self._commit, oid if _LFS.fullmatch(oid) else "")

    def _authorization(self, host: str, challenge: str) -> str | None:
        token = _token()
        return f"Bearer {token}" if token and host == self._host else None


def _token() -> str:
    if os.environ.get("HF_TOKEN"):
        return os.environ["HF_TOKEN"].strip()
    home = os.environ.get("HF_HOME", os.path.join(os.path.expanduser("~"), ".cache", "huggingface"))
    try:
        with open(os.environ.get("HF_TOKEN_PATH", os.path.join(home, "token")), encoding="utf-8") as file:
            return file.read(1024).strip()
    except (OSError, UnicodeDecodeError):
        return ""
