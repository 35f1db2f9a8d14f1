"""`weightguard explain`: the derivation of every number and clause, with sources."""

from __future__ import annotations

import argparse
import sys

from weightguard.cli import exits
from weightguard.cli.options import add_scan_options, request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scan_options(parser)


def run(args: argparse.Namespace) -> int:
    from weightguard.pipeline import scan
    from weightguard.reports.derivation import render

    report = scan(request(args))
    sys.stdout.write(render(report))
    return exits.status(report, strict=args.strict)
