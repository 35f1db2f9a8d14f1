"""The files of all targets, wherever they lie: local paths, and URIs of the stores below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

from weightguard.errors import ConfigurationError, Unreadable
from weightguard.limits import Limits
from weightguard.stores import folder
from weightguard.stores.found import Found, Listing, Network, Store, shown
from weightguard.values import Unread

# scheme -> module with `open_store(uri, network) -> Store`, and what it needs beyond the core
STORES = {
    **dict.fromkeys(("s3", "s3a", "gs", "az", "azure", "abfs", "abfss"), "weightguard.stores.objects"),
    **dict.fromkeys(("http", "https"), "weightguard.stores.web"),
    "hf": "weightguard.stores.hub",
    "oci": "weightguard.stores.oci",
    **dict.fromkeys(("models", "runs", "mlflow-artifacts"), "weightguard.stores.mlflow"),
}
IN_ORDER = frozenset({"s3", "s3a", "gs", "az", "azure", "abfs", "abfss"})
"""Schemes whose listings come in the order of their keys."""
_URI = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)


def scheme_of(target: str) -> str | None:
    """The scheme of a target that is a URI; None for a local path."""
    found = _URI.match(target)
    return found[1].lower() if found else None


def open_store(uri: str, network: Network) -> Store:
    """The store that a URI leads to. Raises `ConfigurationError` for a scheme that is not known, or not installed."""
    scheme = scheme_of(uri)
    if scheme not in STORES:
        raise ConfigurationError(f"{shown(uri)[:200]}: no such kind of store; known are: {', '.join(STORES)}, and local paths")
    found: Store = import_module(STORES[scheme]).open_store(uri, network)
    return found


def collect(targets: Sequence[str], limits: Limits, network: Network) -> Listing:
    """All files of the targets. Raises `ConfigurationError` for a target that isn't there or can't be listed."""
    remote = [t for t in targets if scheme_of(t) is not None]
    if not remote:
        return folder.collect(targets, limits)
    local = folder.collect([t for t in targets if scheme_of(t) is None], limits)
    files = {f.shown: f for f in local.files}
    unread: list[Unread] = list(local.unread)
    for uri in remote:
        for found in _listed(uri, network):
            known = files.get(found.shown)
            if known is not None and known.store is not None and _differ(known, found, uri):
                raise ConfigurationError(f"{found.shown[:200]}: two objects go by this name: scan them one by one")
            if known is None or (found.whole_folder and not known.whole_folder):
                files[found.shown] = found
            if len(files) > limits.files:
                raise ConfigurationError(f"more than {limits.files} objects: sweep {shown(uri)} instead of scanning it")
    return replace(local, files=tuple(sorted(files.values(), key=lambda f: f.shown)), unread=tuple(unread))


def _differ(a: Found, b: Found, uri: str) -> bool:
    """Whether two objects of one shown address are not the same. uri: the target of the second, whose query is not shown."""
    return (a.size, a.version, a.sha256) != (b.size, b.version, b.sha256) or "?" in uri


def _listed(uri: str, network: Network) -> list[Found]:
    try:
        found = list(open_store(uri, network).below())
    except Unreadable as error:
        raise ConfigurationError(f"{shown(uri)}: {error.reason}: {error.detail}") from error
    if not found:
        raise ConfigurationError(f"{shown(uri)}: nothing is there")
    return found
