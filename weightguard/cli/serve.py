"""`weightguard serve`: the HTTP gate."""

from __future__ import annotations

import argparse
import hashlib
import os
import ssl
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from weightguard.errors import ConfigurationError
from weightguard.policy import load_given

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from weightguard.gates.decisions import Decisions
    from weightguard.policy import Policy

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", metavar="DIR", action="append", default=[], help="decide below this folder; repeatable")
    parser.add_argument("--store", metavar="URI", action="append", default=[], help="decide below s3://BUCKET, ...; repeatable")
    parser.add_argument("--private", action="store_true", help="stores may have addresses that are not public")
    parser.add_argument("--log", metavar="FILE", required=True, help="append-only log of all decisions, chained by hashes")
    parser.add_argument("--policy", metavar="FILE", help="policy file; else $WEIGHTGUARD_POLICY, else the built-in one")
    parser.add_argument(
        "--route", metavar="NAME=FILE", action="append", default=[], help="a policy of its own, below /NAME/v1/; repeatable"
    )
    parser.add_argument("--registry", metavar="URL", help="stand in front of this OCI registry, at /v2/: refuse manifests")
    parser.add_argument("--hub", metavar="URL", help="stand in front of this Hub, for clients with HF_ENDPOINT set to the gate")
    parser.add_argument("--webhook-secret", metavar="FILE", help="take events signed with the secret in this file")
    parser.add_argument("--tls-cert", metavar="FILE", help="serve HTTPS with this certificate")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key")
    parser.add_argument(
        "--client-ca", metavar="FILE", help="take only clients with a certificate of this authority (mutual TLS)"
    )
    parser.add_argument("--tokens", metavar="FILE", help="bearer tokens, one a line; without it only this machine may ask")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8091, help="port to listen at (default: 8091)")
    parser.add_argument("--workers", type=int, default=2, help="scans at once (default: 2)")
    parser.add_argument("--waiting", type=int, default=64, help="requests that may wait; more get 503 (default: 64)")
    parser.add_argument("--seconds", type=float, default=30.0, help="until a decision is given up and denied (default: 30)")


def run(args: argparse.Namespace) -> int:
    try:
        import uvicorn

        from weightguard.gates.decisions import NETWORK, Settings
        from weightguard.gates.service import app
    except ImportError:
        raise ConfigurationError("serve needs its extra: python -m pip install 'weightguard-gate[serve]'") from None
    from weightguard.policy import resolve
    from weightguard.stores.targets import STORES, scheme_of

    tokens = _tokens(args.tokens)
    if not tokens and not args.client_ca and args.host not in _LOOPBACK:
        raise ConfigurationError(f"--host {args.host} without --tokens or --client-ca would answer anybody: give one of them")
    if bool(args.tls_cert) != bool(args.tls_key) or (args.client_ca and not args.tls_cert):
        raise ConfigurationError("--tls-cert and --tls-key belong together, and --client-ca needs both")
    if not (args.root or args.store or args.registry or args.hub):
        raise ConfigurationError("nothing to decide on: give --root DIR, --store URI, --registry URL or --hub URL")
    roots = [os.path.realpath(root) for root in args.root]
    for given, root in zip(args.root, roots, strict=True):
        if not os.path.isdir(root):
            raise ConfigurationError(f"--root {given}: is not a folder")
    for store in args.store:
        if scheme_of(store) not in STORES:
            raise ConfigurationError(f"--store {store}: no such kind of store; known are: {', '.join(STORES)}")
    settings = Settings(
        resolve(args.policy, None, os.environ),
        tuple(roots),
        args.log,
        tokens,
        max(1, args.workers),
        max(0, args.waiting),
        args.seconds,
        tuple(args.store),
        dict(_route(text) for text in args.route),
        replace(NETWORK, private=args.private),
        _secret(args.webhook_secret),
    )
    application = app(settings, lambda decisions: _in_front(decisions, args.registry, args.hub))
    what = ", ".join([*args.root, *args.store, *filter(None, (args.registry, args.hub))])
    scheme = "https" if args.tls_cert else "http"
    print(f"weightguard: deciding for {what} at {scheme}://{args.host}:{args.port}", file=sys.stderr)
    uvicorn.run(
        application,
        host=args.host,
        port=args.port,
        log_level="warning",
        server_header=False,
        ssl_certfile=args.tls_cert,
        ssl_keyfile=args.tls_key,
        ssl_ca_certs=args.client_ca,
        ssl_cert_reqs=ssl.CERT_REQUIRED if args.client_ca else ssl.CERT_NONE,
    )
    return 0


def _in_front(decisions: Decisions, registry: str | None, hub: str | None) -> list[BaseRoute]:
    """The routes of gates in front of other services; the Hub's take every address that is left."""
    routes: list[BaseRoute] = []
    for name, url in (("--registry", registry), ("--hub", hub)):
        if url is not None and not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{name} {url}: write http://HOST or https://HOST")
        if url is not None and "@" in url:
            raise ConfigurationError(f"{name}: write it without credentials: those of its clients are passed on")
    if registry is not None:
        from weightguard.gates.oci_push import PushGate

        routes += PushGate(decisions, registry).routes()
    if hub is not None:
        from weightguard.gates.hub_proxy import HubGate

        routes += HubGate(decisions, hub).routes()
    return routes


def _route(text: str) -> tuple[str, Policy]:
    name, _, path = text.partition("=")
    if not name.replace("-", "").isalnum() or not path or name in ("v1", "v2", "api", "metrics"):
        raise ConfigurationError(f"--route {text}: write NAME=FILE, with a name of letters, digits and -")
    return name, load_given(path)


def _secret(path: str | None) -> bytes:
    if path is None:
        return b""
    try:
        with open(path, "rb") as file:
            found = file.read(4096).strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: can't read the secret: {error.strerror}") from error
    if len(found) < 16:
        raise ConfigurationError(f"{path}: needs a secret of at least 16 characters")
    return found


def _tokens(path: str | None) -> frozenset[str]:
    """SHA-256 of each token of a file. Raises `ConfigurationError` where there is none in it."""
    if path is None:
        return frozenset()
    try:
        with open(path, encoding="utf-8") as file:
            found = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: can't read the tokens: {error}") from error
    if not found or any(len(token) < 16 for token in found):
        raise ConfigurationError(f"{path}: needs tokens of at least 16 characters, one a line")
    return frozenset(hashlib.sha256(token.encode()).hexdigest() for token in found)
