"""`weightguard attest`: an in-toto statement that binds a model's verdict to the digests of its files."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from weightguard.cli import exits
from weightguard.cli.options import add_scan_options, request, write
from weightguard.cli.progress import progress_on
from weightguard.errors import ConfigurationError

if TYPE_CHECKING:
    from weightguard.pipeline import Request
    from weightguard.report import ModelReport, Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scan_options(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write the statement there instead of to standard output")


def run(args: argparse.Namespace) -> int:
    from weightguard.reports import attestation

    wanted = request(args)
    report, model, digests = hashed(wanted, args.output)
    write(attestation.render(report, digests, wanted.as_of), args.output, "statement")
    print(f"weightguard: attested {model.decision} for {len(digests)} files of {model.path}", file=sys.stderr)
    return exits.status(report, strict=args.strict)


def hashed(wanted: Request, statement: str | None) -> tuple[Report, ModelReport, dict[str, str]]:
    """The scan of one model, and the SHA-256 of every file of its target, by path in the model's folder.

    statement: the file of the statement itself, which is left out with its signature. Raises `ConfigurationError` where there is
    not exactly one model.
    """
    from weightguard.evidence.attached import sha256
    from weightguard.evidence.signatures import SUFFIX
    from weightguard.pipeline import scan_with_files

    with progress_on(sys.stderr, quiet=False) as progress:
        report, real = scan_with_files(wanted, progress)
    if len(report.models) != 1:
        paths = ", ".join(m.path for m in report.models[:5]) or "none"
        raise ConfigurationError(f"a statement is about one model, and there are {len(report.models)}: {paths}; name one")
    (model,) = report.models
    own = {os.path.realpath(statement + end) for end in ("", SUFFIX)} if statement else set()
    shown: dict[str, str] = {}  # of each real file, the shortest: a member of an archive is its archive
    for path, file in real.items():
        if file not in own and os.path.isfile(file):
            shown[file] = min(path, shown.get(file, path), key=len)
    folder = os.path.commonpath([os.path.dirname(path) for path in shown.values()]) if shown else ""
    return report, model, {os.path.relpath(path, folder or "."): sha256(file) for file, path in shown.items()}
