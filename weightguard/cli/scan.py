"""`weightguard scan`: the report on standard output, progress and a last line on standard error."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from weightguard.cli import exits
from weightguard.cli.options import add_scan_options, request, write

if TYPE_CHECKING:
    from weightguard.report import Report

FORMATS = ("text", "json", "jsonl", "sarif", "cyclonedx", "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_scan_options(parser)
    parser.add_argument("--format", choices=FORMATS, default="text", help="form of the report (default: text)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the report there instead of to standard output")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress; text names only what is blocked or unread")


def run(args: argparse.Namespace) -> int:
    from weightguard.cli.progress import progress_on
    from weightguard.pipeline import scan

    wanted = request(args)
    with progress_on(sys.stderr, quiet=args.quiet) as progress:
        report = scan(wanted, progress)
    if args.format == "text":
        from weightguard.reports import text

        colour = args.output is None and text.wants_colour(sys.stdout)
        output = text.render(report, quiet=args.quiet, colour=colour)
    else:
        output = import_module(f"weightguard.reports.{args.format}").render(report)
    write(output, args.output, "report")
    if not report.models:
        print("weightguard: no model found", file=sys.stderr)
    print(last_line(report), file=sys.stderr)
    return exits.status(report, strict=args.strict)


def last_line(report: Report) -> str:
    """The stable last line on standard error."""
    models, unread = len(report.models), len(report.unread)
    what = f"allowed {models} of {models} models"
    if report.blocked:
        what = f"blocked {report.blocked} of {models} models"
    elif report.dangerous:
        what = "blocked by a file that is dangerous to load"
    return f"weightguard: {what}" + (f"; {unread} unread" if unread else "")
