"""`weightguard sweep`: a whole store, folder by folder; what was decided and has not changed is not read again."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from weightguard.cli import exits
from weightguard.errors import ConfigurationError

if TYPE_CHECKING:
    from weightguard.sweep.run import Summary

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", metavar="URI", help="s3://BUCKET/PREFIX, gs://, az://, hf://, oci:// or a local folder")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder for the state and results.parquet")
    parser.add_argument("--resume", action="store_true", help="go on with a sweep that did not end")
    parser.add_argument(
        "--engine", choices=("embedded", "ray", "dask"), default="embedded", help="what runs it (default: embedded)"
    )
    parser.add_argument("--policy", metavar="FILE", help="policy file; else $WEIGHTGUARD_POLICY, else the built-in one")
    parser.add_argument("--as-of", metavar="DATE", type=datetime.date.fromisoformat, help="the day whose law holds, YYYY-MM-DD")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    from weightguard.cli.progress import progress_on
    from weightguard.policy import resolve
    from weightguard.stores.found import ANYWHERE
    from weightguard.sweep.rows import Terms
    from weightguard.sweep.run import sweep

    if find_spec("duckdb") is None:  # before an hour of work
        raise ConfigurationError("sweep needs its extra: python -m pip install 'weightguard-gate[cloud,sweep]'")
    root = args.root.rstrip("/") or args.root
    if "://" not in root and not os.path.isdir(root):
        raise ConfigurationError(f"{root}: no such folder")
    if "://" not in root and os.path.realpath(args.output).startswith(os.path.realpath(root).rstrip(os.sep) + os.sep):
        raise ConfigurationError(f"--output {args.output}: lies in what is swept: write it elsewhere")
    terms = Terms(root, resolve(args.policy, None, os.environ), args.as_of or datetime.date.today(), ANYWHERE)
    with progress_on(sys.stderr, quiet=args.quiet) as progress:
        seen = (lambda done, total, seconds: progress(done, total, "")) if progress is not None else None
        summary = sweep(terms, args.output, args.engine, resume=args.resume, progress=seen)
    _print(summary, args.output)
    what = f"allowed {summary.models} of {summary.models} models"
    if summary.blocked:
        what = f"blocked {summary.blocked} of {summary.models} models"
    elif summary.dangerous:
        what = "blocked by a file that is dangerous to load"
    print(f"weightguard: {what}" + (f"; {summary.unread} unread" if summary.unread else ""), file=sys.stderr)
    if summary.blocked or summary.dangerous:
        return exits.BLOCKED
    return exits.UNREAD if summary.unread and terms.policy.unread == "block" else exits.ALLOWED


def _print(summary: Summary, folder: str) -> None:
    from weightguard.sweep.state import State

    rate = f", {summary.read / summary.seconds:,.0f} a second" if summary.read and summary.seconds > 0 else ""
    print(f"{summary.objects:,} objects, {summary.read:,} read in {summary.seconds:.1f} s{rate}; {summary.models:,} models")
    state = State(folder)
    try:
        for title, sql in _QUESTIONS:
            found = state.query(sql)
            if found:
                print(f"\n{title}")
            for row in found[:_SHOWN]:
                print("  " + "  ".join(_cell(cell) for cell in row))
            if len(found) > _SHOWN:
                print(f"  and more: they are in {os.path.join(folder, 'results.parquet')}")
    finally:
        state.close()


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else f"{value:.2e}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


_QUESTIONS = (
    (
        "blocked",
        "select model, status, clause, detail from rows where model != '' and decision = 'block' group by model"
        " order by max(operations_high is null) desc, max(operations_high) desc, model limit 11",
    ),
    (
        "dangerous to load",
        "select uri, reason, detail from rows where model = '' and decision = 'block' and kind != 'unread' order by uri limit 11",
    ),
    ("unread", "select uri, reason, detail from rows where kind = 'unread' order by size desc, uri limit 11"),
    (
        "of no known kind, small, and let be",
        "select count(*), sum(size), min(uri) from rows where kind = 'unknown' having count(*) > 0",
    ),
    (
        "largest",
        "select model, max(parameters), max(operations_high) from rows where model != '' group by model"
        " order by max(parameters) desc, model limit 5",
    ),
    (
        "stored more than once",
        "select count(*), size, min(uri) from rows where kind = 'weights' and version like '\"%' group by size, version"
        " having count(*) > 1 order by size * count(*) desc limit 11",
    ),
)
