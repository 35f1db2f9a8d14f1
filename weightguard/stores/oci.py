"""OCI registries: oci://HOST/NAME[:TAG|@DIGEST], the layers of a manifest as files, read by ranges.

Distribution specification 1.1 (pulling manifests, pulling blobs); image specification 1.1 (manifest, index, annotations). Names of
layers: the title annotation, or ModelPack's and Docker's file path. Credentials are those of `docker login`: ~/.docker/config.json
($DOCKER_CONFIG), its auths and its helpers. Plain HTTP only to this machine.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import posixpath
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from weightguard.errors import ConfigurationError, Unreadable
from weightguard.stores.found import Found, Network, shown
from weightguard.stores.web import Answer, Web, basic, check

_URI = re.compile(r"oci://([^/@]+)/([a-z0-9][a-z0-9._/-]*?)(?::([\w][\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?/?")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_EMPTY = "sha256:" + hashlib.sha256(b"").hexdigest()
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
INDEXES = frozenset({INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"})
KINDS = INDEXES | {MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"}
ACCEPT = {"Accept": ", ".join(sorted(KINDS))}
MANIFEST_BYTES = 8 << 20
OF_MANIFESTS = ("config", "layers", "blobs", "fsLayers")
"""Keys that an index has none of."""
_LAYERS, MANIFESTS_OF_INDEX = 20_000, 64
_KEYS = "schemaVersion mediaType artifactType config layers manifests blobs fsLayers subject digest size annotations urls data"
_FOLDED = {key.casefold(): key for key in _KEYS.split()}
_NAMES = (
    "org.opencontainers.image.title",
    "org.cncf.model.filepath",
    "org.cnai.model.filepath",
    "com.docker.model.filepath",
)
_ENDINGS = (
    ("tar+gzip", ".tar.gz"),
    ("tar+zstd", ".tar.zst"),
    ("tar", ".tar"),
    ("gguf", ".gguf"),
    ("safetensors", ".safetensors"),
)
_HELPER = re.compile(r"[\w.-]+")


def open_store(uri: str, network: Network) -> Artifact:
    """An artifact or image of a registry. Raises `ConfigurationError` for a URI that names none."""
    found = _URI.fullmatch(uri)
    if found is None:
        raise ConfigurationError(f"{shown(uri)[:200]}: write oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:DIGEST")
    return Artifact(found[1], found[2], found[4] or found[3] or "latest", network)


class Artifact:
    """The layers of one manifest, or of all manifests of an index. plain: by HTTP without TLS, whatever the host."""

    def __init__(self, host: str, name: str, reference: str, network: Network, *, plain: bool = False) -> None:
        self._registry = Registry(host, network, plain=plain)
        self._name = name
        self._reference = reference
        mark = "@" if DIGEST.fullmatch(reference) else ":"
        self._root = f"oci://{host}/{name}{mark}{reference}"

    def below(self) -> Iterator[Found]:
        content = self._registry.manifest(self._name, self._reference)
        of_index = content.get("manifests")
        if of_index is None:
            yield from self._layers(content, self._root)
            return
        if not content.keys().isdisjoint(OF_MANIFESTS):
            raise Unreadable("malformed", "a manifest that is an index too")
        if not isinstance(of_index, list) or len(of_index) > MANIFESTS_OF_INDEX:
            raise Unreadable("limit", f"an index of more than {MANIFESTS_OF_INDEX} manifests")
        for entry in of_index:
            digest = entry.get("digest") if isinstance(entry, dict) else None
            if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
                raise Unreadable("malformed", "an index with an entry that has no digest")
            yield from self._layers(self._registry.manifest(self._name, digest), f"{self._root}/{digest[7:19]}")

    def of_manifest(self, manifest: Mapping[str, Any]) -> Iterator[Found]:
        """The layers of a manifest that is at hand."""
        return self._layers(manifest, self._root)

    def beside(self, file: Found) -> dict[str, Found]:
        return {f.name: f for f in self.below() if f.folder == file.folder}

    def read(self, file: Found, offset: int, length: int) -> bytes:
        return self._registry.blob(self._name, "sha256:" + file.sha256, offset, length, file.size)

    def _layers(self, manifest: Mapping[str, Any], root: str) -> Iterator[Found]:
        layers = manifest.get("layers")
        if not isinstance(layers, list) or len(layers) > _LAYERS or not manifest.keys().isdisjoint(("blobs", "fsLayers")):
            raise Unreadable(
                "malformed", "a manifest without layers, with others beside them, or with more than any artifact has"
            )
        config = manifest.get("config")
        if isinstance(config, dict) and config.get("digest") not in {x.get("digest") for x in layers if isinstance(x, dict)}:
            layers = [*layers, {**config, "annotations": {_NAMES[0]: "manifest.config"}}]  # a blob too: it could hold anything
        taken: dict[str, tuple[str, int]] = {}
        before = 0
        for layer in layers:
            digest, size = (layer.get("digest"), layer.get("size")) if isinstance(layer, dict) else (None, None)
            if (
                not isinstance(digest, str)
                or not DIGEST.fullmatch(digest)
                or isinstance(size, bool)
                or not isinstance(size, int)
            ):
                raise Unreadable("malformed", "a layer without digest or size")
            if size < 0 or size >= 1 << 62 or (size == 0) != (digest == _EMPTY):  # of none, nothing would be read
                raise Unreadable("malformed", "a layer of an impossible size")
            path = _path(layer, digest)
            if taken.get(path, (digest, size)) != (digest, size):
                path = f"{digest[7:]}/{path}"
            if taken.setdefault(path, (digest, size)) != (digest, size):
                raise Unreadable("malformed", "a layer that stands in two sizes")
            if len(taken) == before:
                continue  # the same layer again
            before = len(taken)
            uri = f"{root}/{path}"
            yield Found(uri, uri, True, self, size, digest, digest[7:])


def _path(layer: Mapping[str, Any], digest: str) -> str:
    """What a layer is called: by its annotations, else by its digest and media type."""
    annotations: Any = layer.get("annotations")
    for key in _NAMES if isinstance(annotations, dict) else ():
        name = annotations.get(key)
        if isinstance(name, str) and name.strip("/"):
            inside = posixpath.normpath(name.strip("/").replace("\\", "/"))
            if not inside.startswith("..") and len(inside) < 1024:
                return inside
    kind = str(layer.get("mediaType", ""))
    return digest[7:19] + next((end for word, end in _ENDINGS if word in kind), "")


def manifest_of(body: bytes) -> dict[str, Any]:
    """A manifest as every client reads it: Go's decoder takes keys in any case, and the last of several. Raises `Unreadable`."""
    try:
        content = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Unreadable("malformed", f"no manifest: {error}"[:200]) from None
    if not isinstance(content, dict):
        raise Unreadable("malformed", "no manifest")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key.casefold() for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice, or in two cases")
    wrong = [key for key, _ in pairs if key.casefold() in _FOLDED and key not in _FOLDED.values()]
    if wrong:
        raise ValueError(f"the key {wrong[0]!r} is in another case than the specification's")
    return dict(pairs)


class Registry:
    """One registry: manifests and blobs, each checked against the digest that it is asked by."""

    def __init__(self, host: str, network: Network, *, plain: bool = False) -> None:
        self._host = host
        self._base = f"{'http' if plain or _is_here(host) else 'https'}://{host}/v2"
        self._tokens: dict[str, str] = {}  # challenge -> authorization
        self._current = ""
        self._network = network
        self._web = Web(network, self._authorization)

    def manifest(self, name: str, reference: str) -> dict[str, Any]:
        """A manifest or index. Raises `Unreadable`."""
        url = f"{self._base}/{name}/manifests/{quote(reference, safe=':')}"
        answer = self._web.get(url, ACCEPT, MANIFEST_BYTES, exact=True)
        check(answer)
        content = manifest_of(answer.body)
        if DIGEST.fullmatch(reference) and "sha256:" + hashlib.sha256(answer.body).hexdigest() != reference:
            raise Unreadable("inconsistent", "the registry sent a manifest of another digest")
        return content

    def blob(self, name: str, digest: str, offset: int, length: int, size: int) -> bytes:
        """Bytes of a blob."""
        return self._web.range(f"{self._base}/{name}/blobs/{digest}", offset, length, size)[0]

    def _authorization(self, host: str, challenge: str) -> str | None:
        if host != self._host:
            return None
        if challenge and self._tokens.get(challenge, self._current) == self._current:  # new, or what it gave is refused by now
            self._tokens[challenge] = self._answered(challenge)
        if challenge:
            self._current = self._tokens[challenge]
        return self._current or None

    def _answered(self, challenge: str) -> str:
        """What a challenge asks for: a token of its realm (Distribution token authentication), or the password itself."""
        login = _basic(self._host)
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            return login
        said = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = urlsplit(said.get("realm", ""))
        if (
            scheme.lower() != "bearer"
            or realm.scheme not in ("https", "http")
            or (realm.scheme == "http" and not _is_here(realm.netloc))
        ):
            return ""
        query = "&".join(f"{key}={quote(said[key])}" for key in ("service", "scope") if key in said)
        web = Web(self._network, lambda host, _: login if host == realm.netloc else None)
        answer: Answer = web.get(f"{said['realm']}?{query}", {}, 1 << 20, exact=True)
        check(answer)
        try:
            found = json.loads(answer.body)
            return f"Bearer {found.get('token') or found['access_token']}"
        except (ValueError, KeyError, AttributeError):
            raise Unreadable("permission", "the registry's token service gave no token") from None


def _is_here(host: str) -> bool:
    """Whether a registry is on this machine, where container tools speak plain HTTP."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _basic(host: str) -> str:
    """The Authorization header of what `docker login` keeps for a host, or ""."""
    folder = os.environ.get("DOCKER_CONFIG", os.path.join(os.path.expanduser("~"), ".docker"))
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError):
        return ""
    if not isinstance(config, dict):
        return ""
    names = [host, f"https://{host}", f"https://{host}/v1/"] + (
        ["https://index.docker.io/v1/"] if host.endswith("docker.io") else []
    )
    helpers = config.get("credHelpers") if isinstance(config.get("credHelpers"), dict) else {}
    helper = (helpers or {}).get(host) or config.get("credsStore")
    if isinstance(helper, str) and _HELPER.fullmatch(helper):
        for name in names:
            if found := _helped(f"docker-credential-{helper}", name):
                return found
    auths: Any = config.get("auths")
    for name in names if isinstance(auths, dict) else ():
        entry = auths.get(name)
        if isinstance(entry, dict) and isinstance(entry.get("auth"), str) and entry["auth"]:
            return f"Basic {entry['auth']}"
    return ""


def _helped(program: str, host: str) -> str:
    path = shutil.which(program)
    if path is None:
        return ""
    try:
        done = subprocess.run([path, "get"], input=host.encode(), capture_output=True, timeout=10, check=True)  # noqa: S603
        found = json.loads(done.stdout)
        return basic(f"{found['Username']}:{found['Secret']}")
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return ""
