"""`weightguard serve`: the HTTP gate."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys

from weightguard.errors import ConfigurationError

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root", metavar="DIR", action="append", required=True, help="decide only below this folder; repeatable"
    )
    parser.add_argument("--log", metavar="FILE", required=True, help="append-only log of all decisions, chained by hashes")
    parser.add_argument("--policy", metavar="FILE", help="policy file; else $WEIGHTGUARD_POLICY, else the built-in one")
    parser.add_argument("--tokens", metavar="FILE", help="bearer tokens, one a line; without it only this machine may ask")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8091, help="port to listen at (default: 8091)")
    parser.add_argument("--workers", type=int, default=2, help="scans at once (default: 2)")
    parser.add_argument("--waiting", type=int, default=64, help="requests that may wait; more get 503 (default: 64)")
    parser.add_argument("--seconds", type=float, default=30.0, help="until a decision is given up and denied (default: 30)")


def run(args: argparse.Namespace) -> int:
    try:
        import uvicorn

        from weightguard.gates.service import Settings, app
    except ImportError:
        raise ConfigurationError("serve needs its extra: python -m pip install 'weightguard-gate[serve]'") from None
    from weightguard.policy import resolve

    tokens = _tokens(args.tokens)
    if not tokens and args.host not in _LOOPBACK:
        raise ConfigurationError(f"--host {args.host} without --tokens would answer anybody: give --tokens FILE")
    roots = [os.path.realpath(root) for root in args.root]
    for given, root in zip(args.root, roots, strict=True):
        if not os.path.isdir(root):
            raise ConfigurationError(f"--root {given}: is not a folder")
    policy = resolve(args.policy, None, os.environ)
    settings = Settings(policy, tuple(roots), args.log, tokens, max(1, args.workers), max(0, args.waiting), args.seconds)
    application = app(settings)
    print(f"weightguard: deciding below {', '.join(args.root)} at http://{args.host}:{args.port}", file=sys.stderr)
    uvicorn.run(application, host=args.host, port=args.port, log_level="warning", server_header=False)
    return 0


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
