"""Kubernetes admission (AdmissionReview v1, admission.k8s.io): which models an object would serve, and the answer about them.

An object names a model as KServe's `storageUri` (or `storage`), as a URI in any other text, as what a model server is told to serve
(`--model ORG/NAME`, MODEL_ID), or as an image that is mounted. What names its model in no such way is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from weightguard.models import WEIGHT_NAMES
from weightguard.stores.targets import STORES

VERSION = "admission.k8s.io/v1"
MOST = 4 << 20  # bytes of a review: etcd keeps objects of 1.5 MiB at most
_DEPTH = 64
_STRINGS = 100_000
_NOT_SPEC = frozenset({"metadata", "status"})  # of the object itself: kubectl keeps the one before it in an annotation
_WHOLE = frozenset({"storageUri", "uri", "modelUri", "sourceModelUri"})
_IN_STORAGE = ("path", "key", "parameters")  # KServe: where that is, only a secret of the cluster says
_CARRIERS = frozenset(STORES) | set("file ftp gcs hdfs modelscope ms pvc sftp wasb wasbs webhdfs".split())
_URI = re.compile(r"([a-z][a-z0-9+.-]*):/[^\s\"'`;,|&<>()]+", re.IGNORECASE)
_WEIGHTS = (*WEIGHT_NAMES, ".tar", ".tgz", ".gz", ".zip", ".zst")
_OPTION = re.compile(r"(?!--?served)--?(?:[a-z]+[-_])*(?:model|repo|lora|hf|pretrained)(?:[-_][a-z]+)*|-m|serve", re.IGNORECASE)
_VARIABLE = re.compile(r"(?!SERVED)(?:[A-Z0-9]+_)*MODEL(?:_(?:ID|NAME|PATH|REPO|NAME_OR_PATH))?")
_REPOSITORY = re.compile(r"(?:[\w.-]+=)?([\w.-]+/[\w.-]+)(?:@([\w./-]+)|[:/].*)?")
_REVISION = re.compile(r"--?(?:[a-z]+[-_])*revision|(?:[A-Z0-9]+_)*REVISION")
_HOST = re.compile(r"localhost|[^/]*[.:][^/]*")


class Review(NamedTuple):
    """What is asked: `models` must all be allowed; of `images`, which run, those that lie where the gate decides. gone: a deletion."""

    uid: str
    models: tuple[str, ...]
    images: tuple[str, ...]
    gone: bool


def asked(review: object) -> Review:
    """What a review asks, its models as URIs. ValueError for what is no review."""
    request = review.get("request") if isinstance(review, Mapping) and review.get("apiVersion") == VERSION else None
    if not isinstance(request, Mapping) or not isinstance(request.get("uid"), str):
        raise ValueError(f"not an AdmissionReview of {VERSION}")
    found = list(dict.fromkeys(_named(request.get("object"))))
    models, images = (tuple(uri for runs, uri in found if runs == which) for which in (False, True))
    return Review(request["uid"], models, images, request.get("operation") == "DELETE")


def answer(uid: str, denied: Sequence[str]) -> dict[str, Any]:
    """The review's response: denied with all reasons, or allowed where there are none."""
    response: dict[str, Any] = {"uid": uid, "allowed": not denied}
    if denied:
        response["status"] = {"code": 403, "message": "; ".join(denied)[:2000]}
    return {"apiVersion": VERSION, "kind": "AdmissionReview", "response": response}


def path_of(uri: str) -> str | None:
    """The local path of a file URI or of an absolute path; None for another kind of URI."""
    if uri.startswith("/"):
        return uri
    parts = urlsplit(uri)
    return unquote(parts.path) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None


def _named(value: object) -> Iterator[tuple[bool, str]]:
    """(whether it is an image that runs, URI) of all that an object names."""
    stack: list[tuple[object, str, int]] = [(value, "", 0)]
    seen = 0
    while stack:
        item, key, depth = stack.pop()
        seen += 1
        if depth > _DEPTH or seen > _STRINGS:
            raise ValueError("deeper or larger than any object")
        if isinstance(item, Mapping):
            stack += [(v, str(k), depth + 1) for k, v in item.items() if depth or k not in _NOT_SPEC]
            yield from _of_mapping(item, key)
        elif isinstance(item, list):
            stack += [(v, key, depth + 1) for v in item]
            if key in ("args", "command"):
                texts = [text for text in item if isinstance(text, str)]
                yield from ((False, uri) for uri in _of_words([w.strip("\"'`;") for text in texts for w in text.split()]))
            if key == "env":
                given = {str(e["name"]): str(e.get("value")) for e in item if isinstance(e, Mapping) and "name" in e}
                revision = next((v for n, v in given.items() if _REVISION.fullmatch(n)), "")
                yield from (
                    (False, _repository(v, revision)) for n, v in given.items() if _VARIABLE.fullmatch(n) and _is_named(v)
                )
        elif isinstance(item, str):
            if key == "storageUri" or (key in _WHOLE and ":/" in item):
                yield False, item
            elif key == "image":
                yield True, _image(item)
            else:
                yield from ((False, m[0]) for m in _URI.finditer(item) if _carries(m[1].lower(), m[0]))


def _of_mapping(item: Mapping[Any, Any], key: str) -> Iterator[tuple[bool, str]]:
    if key == "image" and isinstance(item.get("reference"), str):  # an image as a volume
        yield False, _image(item["reference"])
    if key == "storage" and any(name in item for name in _IN_STORAGE):
        yield False, f"storage:/{item.get('path', '')}"


def _of_words(words: Sequence[str]) -> Iterator[str]:
    """Repositories that options name; with the revision that another option asks for."""
    pairs = []
    for before, word in zip(["", *words], words, strict=False):
        option, has_value, value = word.partition("=") if word.startswith("-") else ("", "", "")
        pairs.append((option, value.strip("\"'")) if has_value else (before, word))
    revision = next((value for option, value in pairs if _REVISION.fullmatch(option)), "")
    for option, value in pairs:
        if _OPTION.fullmatch(option) and _is_named(value):
            yield _repository(value, revision)
        elif _OPTION.fullmatch(option) or option.endswith("config"):  # {"model": "ORG/NAME"}
            yield from (_repository(m[1], revision) for m in re.finditer(r"\"model\"\s*:\s*\"([\w.-]+/[\w.-]+)\"", value))


def _is_named(value: str) -> bool:
    return _REPOSITORY.fullmatch(value) is not None and "://" not in value


def _repository(value: str, revision: str) -> str:
    """A repository of the Hub as a URI. value: as model servers take it, ORG/NAME, with @REVISION, :QUANT or a file behind it."""
    found = _REPOSITORY.fullmatch(value)
    name, own = (found[1], found[2]) if found else (value, None)
    return f"hf://{name}@{own or revision}" if own or revision else f"hf://{name}"


def _carries(scheme: str, uri: str) -> bool:
    """Whether a URI in a text may lead to weights: a web address only by the name of its file."""
    if scheme in ("http", "https"):
        return uri.lower().endswith(_WEIGHTS) or urlsplit(uri).path.lower().endswith(_WEIGHTS)
    return scheme in _CARRIERS


def _image(reference: str) -> str:
    """An image as a URI: without a host it is of Docker's own registry (distribution/reference, "familiar names")."""
    host, slash, _ = reference.partition("/")
    if slash and _HOST.fullmatch(host):
        return f"oci://{reference}"
    return f"oci://docker.io/{reference if slash else 'library/' + reference}"
