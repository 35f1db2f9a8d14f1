"""`weightguard attest`: an in-toto statement that binds a model's verdict to the digests of its files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from weightguard.cli import exits
from weightguard.cli.options import add_scan_options, request, write
from weightguard.cli.progress import progress_on
from weightguard.errors import ConfigurationError

if TYPE_CHECKING:
    from weightguard.pipeline import Request
    from weightguard.report import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scan_options(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write the statement there instead of to standard output")


def run(args: argparse.Namespace) -> int:
    from weightguard.reports import attestation

    wanted = request(args)
    report, digests = hashed(wanted, args.output)
    if len(report.models) != 1:
        raise ConfigurationError(f"a statement is about one model, and there are {several(report)}; name one")
    (model,) = report.models
    write(attestation.render(report, digests, wanted.as_of), args.output, "statement")
    print(f"weightguard: attested {model.decision} for {len(digests)} files of {model.path}", file=sys.stderr)
    return exits.status(report, strict=args.strict)


def several(report: Report) -> str:
    """How many models there are, and which."""
    return f"{len(report.models)}: " + (", ".join(m.path for m in report.models[:5]) or "none")


def hashed(wanted: Request, statement: str | None) -> tuple[Report, dict[str, str]]:
    """A scan, and the SHA-256 of every file of its target, by each path that reaches it, from the folder of them all.

    statement: the file of the statement itself, which is left out with its signature. Raises `ConfigurationError` for a URI.
    """
    from weightguard.evidence.attached import sha256
    from weightguard.evidence.signatures import SUFFIX
    from weightguard.pipeline import scan_with_files
    from weightguard.stores import found, targets

    stores = [target for target in wanted.targets if targets.scheme_of(target) is not None]
    if stores:
        raise ConfigurationError(
            f"{found.shown(stores[0])}: a statement is about whole files, which are not downloaded: name local ones"
        )
    with progress_on(sys.stderr, quiet=False) as progress:
        report, real = scan_with_files(wanted, progress)
    own = {os.path.realpath(statement + end) for end in ("", SUFFIX)} if statement else set()
    # what lies inside an archive is hashed with it
    shown = {path: file for path, file in real.items() if file not in own and not _inside(path, real) and os.path.isfile(file)}
    folder = os.path.commonpath([os.path.dirname(path) for path in shown]) if shown else ""
    digests = {file: sha256(file) for file in set(shown.values())}
    return report, {os.path.relpath(path, folder or "."): digests[file] for path, file in shown.items()}


def _inside(path: str, real: Mapping[str, str]) -> bool:
    """Whether a path leads into another file."""
    return any(path[:at] in real for at, c in enumerate(path) if c == "/")
