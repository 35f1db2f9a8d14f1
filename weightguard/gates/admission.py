"""Kubernetes admission (AdmissionReview v1, admission.k8s.io): which models an object would serve, and the answer about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

VERSION = "admission.k8s.io/v1"
MOST = 4 << 20  # bytes of a review: etcd keeps objects of 1.5 MiB at most
_DEPTH = 64
_STRINGS = 100_000


def asked(review: object) -> tuple[str, list[str]]:
    """The uid of a review, and the URIs of the models that its object names. ValueError for what is no review.

    KServe names them as `storageUri`, in model specs, in `storage` and in containers' arguments and environment; so every string
    under such a key counts, and every argument or value that is an URI.
    """
    request = review.get("request") if isinstance(review, Mapping) and review.get("apiVersion") == VERSION else None
    if not isinstance(request, Mapping) or not isinstance(request.get("uid"), str):
        raise ValueError(f"not an AdmissionReview of {VERSION}")
    return str(request["uid"]), list(dict.fromkeys(_uris(request.get("object"))))


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


def _uris(value: object) -> Iterator[str]:
    stack: list[tuple[object, str, int]] = [(value, "", 0)]
    seen = 0
    while stack:
        item, key, depth = stack.pop()
        seen += 1
        if depth > _DEPTH or seen > _STRINGS:
            raise ValueError("deeper or larger than any object")
        if isinstance(item, Mapping):
            stack += [(v, str(k), depth + 1) for k, v in item.items()]
        elif isinstance(item, list):
            stack += [(v, key, depth + 1) for v in item]
        elif isinstance(item, str):
            text = item.rpartition("=")[2] if key in ("args", "command") else item
            if key == "storageUri" or (key in ("args", "command", "value") and "://" in text):
                yield text
