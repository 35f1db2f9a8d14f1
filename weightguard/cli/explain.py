"""`weightguard explain`: the derivation of every number and clause, with sources."""

from __future__ import annotations

import argparse
import sys

from weightguard.cli import exits
from weightguard.cli.options import add_scan_options, request, write

FORMATS = ("text", "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scan_options(parser)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="a tree, or a page with the interval drawn against the thresholds (default: text)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the derivation there instead of to standard output")


def run(args: argparse.Namespace) -> int:
    from weightguard.pipeline import scan

    report = scan(request(args))
    if args.format == "html":
        from weightguard.reports import html

        output = html.render(report)
    else:
        from weightguard.reports import derivation

        encoding = "utf-8" if args.output else (sys.stdout.encoding or "ascii")
        output = derivation.render(report, derivation.UNICODE if encoding.lower().startswith("utf") else derivation.ASCII)
    write(output, args.output, "derivation")
    return exits.status(report, strict=args.strict)
