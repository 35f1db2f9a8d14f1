"""HTTP by ranges, over urllib3 (extra `cloud`): an object by its URL, and the reader that the Hub, OCI and MLflow stores share.

RFC 9110: ranges in section 14, entity tags in 8.8.3, redirects in 15.4. Whatever isn't exactly what was asked for is refused.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from weightguard.errors import ConfigurationError, Reason, Unreadable
from weightguard.stores.found import Found, Network, shown

_AGAIN = frozenset({429, 500, 502, 503, 504})
_REDIRECTS = 5
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # to any address of version 4 (RFC 6052)
_TAGS = ('"', "W/")  # how an entity tag begins
_CHUNK = 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_PROBED = "config.json adapter_config.json model.safetensors.index.json pytorch_model.bin.index.json weightguard.toml".split()
_INDEX_BYTES = 64 << 20

Authorize = Callable[[str, str], str | None]
"""The Authorization header for a host, given its challenge ("" before there is one)."""


@dataclass(frozen=True)
class Answer:
    """A response: lower-case header names, at most as many bytes of body as were wanted. url: who answered in the end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Web:
    """Requests within a `Network`'s limits. Credentials go to the host that they are for, and to no other."""

    def __init__(self, network: Network, authorize: Authorize | None = None) -> None:
        """Raises `ConfigurationError` where urllib3 is not installed."""
        try:
            import urllib3
        except ImportError:
            raise ConfigurationError("needs the extra: python -m pip install 'weightguard-gate[cloud]'") from None
        self._network = network
        self._authorize = authorize
        timeout = urllib3.Timeout(connect=min(5.0, network.seconds), read=network.seconds)
        options: dict[str, Any] = {"timeout": timeout, "retries": False, "maxsize": 64, "block": False}
        proxy = _proxy() if network.private else None
        self._direct: Any = urllib3.PoolManager(**options)
        self._proxied: Any = urllib3.ProxyManager(proxy, **options) if proxy else None
        if not network.private:
            self._direct.pool_classes_by_scheme = _public_only()

    def get(self, url: str, headers: Mapping[str, str], most: int, *, exact: bool = False) -> Answer:
        """GET, over redirects. `most`: bytes of body that are read; more are an error, unless not `exact`: then they are left.

        Raises `Unreadable` ("unavailable", "permission", "missing", "changed").
        """
        for attempt in range(self._network.retries + 1):
            last = attempt == self._network.retries
            try:
                answer = self._followed(url, headers, most, exact)
            except Unreadable as error:
                if last or error.reason != "unavailable" or error.detail.startswith("refused"):
                    raise
            else:
                if answer.status not in _AGAIN or last:
                    return answer
            time.sleep(0.1 * 4**attempt)
        raise AssertionError("the last attempt returns or raises")

    def json(self, url: str, headers: Mapping[str, str], most: int = _INDEX_BYTES) -> tuple[Any, Answer]:
        """A JSON body. Raises `Unreadable`, also for a status that isn't 200."""
        answer = self.get(url, headers, most, exact=True)
        check(answer)
        try:
            return json.loads(answer.body), answer
        except (ValueError, RecursionError):
            raise Unreadable("unavailable", f"{_host(url)} sent no JSON") from None

    def range(self, url: str, offset: int, length: int, size: int, version: str = "") -> tuple[bytes, Answer]:
        """Exactly these bytes of an object of `size` bytes. version: the `version_of` that it must have, "" for any."""
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        if version.startswith('"'):
            headers["If-Match"] = version
        answer = self.get(url, headers, length, exact=False)
        said = answer.headers.get("etag" if version.startswith(_TAGS) else "last-modified", version)
        if answer.status == 412 or (version and said != version):
            raise Unreadable("changed", "the object changed after it was listed")
        check(answer)
        if answer.status == 206:
            found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
            if found is None or (int(found[1]), int(found[2])) != (offset, offset + length - 1):
                raise Unreadable("unavailable", "the store sent another range than was asked for")
            if int(found[3]) != size:
                raise Unreadable("changed", f"the object has {found[3]} bytes now, and had {size}")
        elif offset or answer.headers.get("content-length", str(size)) != str(size):
            raise Unreadable("unavailable", "the store takes no ranges, and nothing is downloaded whole")
        if len(answer.body) != length:
            raise Unreadable("unavailable", f"the store sent {len(answer.body)} bytes where {length} were asked for")
        return answer.body, answer

    def _followed(self, url: str, headers: Mapping[str, str], most: int, exact: bool) -> Answer:
        first = urlsplit(url)
        challenge = ""
        for _ in range(_REDIRECTS + 1):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise Unreadable("unavailable", "refused: redirected to what is no web address")
            if first.scheme == "https" and parts.scheme == "http":
                raise Unreadable("unavailable", "refused: redirected from https to http")
            same = parts.netloc == first.netloc
            if not same and not self._network.redirects:
                raise Unreadable("unavailable", f"refused: redirected to another host, {parts.hostname}")
            sent = {"Accept-Encoding": "identity", "User-Agent": "weightguard", **headers}
            if same and self._authorize is not None and (token := self._authorize(parts.netloc, challenge)):
                if not (token.isascii() and token.isprintable()):
                    raise Unreadable("permission", "the credentials have a line break, or what else no header may hold")
                sent["Authorization"] = token
            answer = self._once(url, sent, most, exact)
            if answer.status == 401 and same and self._authorize is not None and not challenge:
                challenge = answer.headers.get("www-authenticate", "")
                if challenge:
                    continue
            location = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                return answer
            url = _joined(url, location)
        raise Unreadable("unavailable", "refused: redirected too often")

    def _pool(self, url: str) -> Any:
        """Through the proxy, unless the environment ($NO_PROXY) says not for this host."""
        return self._direct if self._proxied is None or proxy_bypass(urlsplit(url).netloc) else self._proxied

    def _once(self, url: str, headers: Mapping[str, str], most: int, exact: bool) -> Answer:
        import urllib3

        deadline = time.monotonic() + self._network.seconds
        try:
            answer = self._pool(url).request("GET", url, headers=dict(headers), redirect=False, preload_content=False)
            try:
                body = bytearray()
                redirected = 300 <= answer.status < 400
                while not redirected and len(body) < most + exact:
                    part = answer.read1(min(_CHUNK, most + exact - len(body)), decode_content=False)
                    if not part:
                        break
                    body += part
                    if time.monotonic() > deadline:
                        raise Unreadable("unavailable", f"{_host(url)} took longer than {self._network.seconds:g} s")
                if len(body) > most:
                    raise Unreadable("unavailable", f"{_host(url)} sent more than {most} bytes")
                found = {k.lower(): v for k, v in answer.headers.items()}
                return Answer(int(answer.status), found, bytes(body), url)
            finally:
                whole = answer.length_remaining == 0
                answer.release_conn() if whole else answer.close()
        except _Refused as refused:
            raise Unreadable("unavailable", str(refused)) from refused
        except urllib3.exceptions.HTTPError as error:
            raise Unreadable("unavailable", f"{_host(url)} does not answer: {type(error).__name__}") from error


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise Unreadable("unavailable", "refused: redirected to what is no web address") from None


class _Refused(Exception):
    """An address that may not be asked; not an OSError, which urllib3 would take for a lost connection."""


def check(answer: Answer) -> None:
    """Raises `Unreadable` for a status that is no success."""
    if answer.status in (200, 206):
        return
    reasons: dict[int, tuple[Reason, str]] = {
        401: ("permission", "wants credentials, or refuses those that it got"),
        403: ("permission", "refuses: check the credentials"),
        404: ("missing", "is not there, or not for these credentials"),
        410: ("missing", "is not there any more"),
        416: ("changed", "the object is shorter than it was"),
    }
    reason, text = reasons.get(answer.status, ("unavailable", f"answered with status {answer.status}"))
    raise Unreadable(reason, f"{_host(answer.url)}: {text}")


def version_of(headers: Mapping[str, str]) -> str:
    """What changes when an object does: its entity tag (RFC 9110, 8.8.3), else the time of its last change, else ""."""
    tag = headers.get("etag", "")
    return tag if tag.startswith(_TAGS) else headers.get("last-modified", "")


def basic(pair: str) -> str:
    """The Authorization header of "user:password" (RFC 7617)."""
    return "Basic " + base64.b64encode(pair.encode()).decode()


def open_store(uri: str, network: Network) -> Objects:
    """The object of a URL. Raises `ConfigurationError`."""
    parts = urlsplit(uri)
    if not parts.hostname or parts.fragment:
        raise ConfigurationError(f"{shown(uri)[:200]}: is no address of an object")
    return Objects(uri, network)


class Objects:
    """One object by its URL, and what a model's files are called beside it: a web server has no listing."""

    def __init__(self, uri: str, network: Network) -> None:
        parts = urlsplit(uri)
        self._query = f"?{parts.query}" if parts.query else ""  # may hold a signature: never shown
        self._credentials = parts.netloc.rpartition("@")[0]
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._host = parts.netloc.rpartition("@")[2]
        self._web = Web(network, self._authorization if self._credentials else None)

    def below(self) -> Iterator[Found]:
        if self._shown.endswith("/"):
            raise Unreadable("unsupported", "a web server has no listing: name the files, one target each")
        found = self._ask(self._shown)
        if found is None:
            raise Unreadable("missing", "is not there")
        yield found

    def beside(self, file: Found) -> dict[str, Found]:
        """Those of the usual names that are there, and what their index names."""
        from weightguard.stores.shards import named_in

        found = {file.name: file}
        for name in [name for name in _PROBED if name != file.name]:
            other = self._ask(f"{file.folder}/{name}", probed=True)
            if other is not None:
                found[name] = other
        for name in [n for n in found if n.endswith(".index.json") and found[n].size <= _INDEX_BYTES]:
            for shard in named_in(self.read(found[name], 0, found[name].size)):
                other = found.get(shard) or self._ask(f"{file.folder}/{quote(shard)}", probed=True)
                if other is not None:
                    found[shard] = other
        return found

    def read(self, file: Found, offset: int, length: int) -> bytes:
        return self._web.range(file.real + self._query, offset, length, file.size, file.version)[0]

    def _ask(self, url: str, *, probed: bool = False) -> Found | None:
        """An object, None where it is not there. probed: nobody named it, and a signature in the query is not of it."""
        answer = self._web.get(url + self._query, {"Range": "bytes=0-0"}, 1)
        if answer.status == 404 or (probed and self._query and answer.status in (400, 401, 403)):
            return None
        version = version_of(answer.headers)
        if answer.status == 416 and answer.headers.get("content-range") == "bytes */0":
            return Found(url, url, False, self, 0, version)
        check(answer)
        whole = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        size = whole[3] if whole else answer.headers.get("content-length", "")
        if not size.isdigit():
            raise Unreadable("unavailable", "the store doesn't say how long the object is")
        return Found(url, url, False, self, int(size), version)

    def _authorization(self, host: str, challenge: str) -> str | None:
        return basic(unquote(self._credentials)) if host.endswith(self._host) else None


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the store"


def _proxy() -> str | None:
    found = getproxies()
    return found.get("https") or found.get("http") if found else None


def _public_only() -> dict[str, Any]:
    """Connections that refuse an address that isn't public, before a byte is sent: also where a public name leads to it."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Http(HTTPConnection):
        def _new_conn(self) -> Any:
            return _checked(super()._new_conn())

    class Https(HTTPSConnection):
        def _new_conn(self) -> Any:
            return _checked(super()._new_conn())

    class HttpPool(HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(HTTPSConnectionPool):
        ConnectionCls = Https

    return {"http": HttpPool, "https": HttpsPool}


def _checked(connection: Any) -> Any:
    address = ipaddress.ip_address(connection.getpeername()[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    inner = mapped in _TRANSLATED or getattr(mapped, "sixtofour", None) or getattr(mapped, "teredo", None)
    if not mapped.is_global or mapped.is_multicast or inner or getattr(mapped, "is_site_local", False):
        connection.close()
        raise _Refused("refused: the address is not a public one")
    return connection
