"""`weightguard declare`: a commented declaration template filled with what a scan knows; or a check of one that is there."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from dataclasses import replace

from weightguard.errors import ConfigurationError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="the model: a file or folder; with --check also a declaration file")
    parser.add_argument(
        "--check", action="store_true", help="check the declaration that is there, and what it makes of the verdict"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where to write (default: weightguard.toml beside the weights; -: print)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite a declaration that is there")


def run(args: argparse.Namespace) -> int:
    return _check(args) if args.check else _write(args)


def _write(args: argparse.Namespace) -> int:
    from weightguard.evidence.template import template
    from weightguard.models import DECLARATION
    from weightguard.pipeline import Request, scan
    from weightguard.policy import built_in

    # A declaration that is there may be broken: it is what this command is called to replace.
    policy = replace(built_in(), declarations="signed")
    report = scan(Request([args.target], policy, datetime.date.today(), read_declarations=False))
    if len(report.models) != 1:
        paths = ", ".join(m.path for m in report.models[:5]) or "none"
        raise ConfigurationError(
            f"{args.target}: a declaration speaks for one model, and there are {len(report.models)}: {paths}"
        )
    model = report.models[0]
    context = model.architecture.context if model.architecture else 0
    text = template(model.name, model.parameters.total, min(context, policy.bound_context) or None)
    folder = args.target if os.path.isdir(args.target) else os.path.dirname(args.target)
    path = args.output or os.path.join(folder, DECLARATION)
    if path == "-":
        sys.stdout.write(text)
        return 0
    try:
        with open(path, "w" if args.force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{path}: is there already; --check checks it, --force overwrites it") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: can't write: {error.strerror}") from error
    print(f"wrote {path}: fill it in, then weightguard declare --check {args.target}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from weightguard.cli import exits
    from weightguard.evidence.attached import read_given
    from weightguard.evidence.declaration import FILE_NAME, load
    from weightguard.pipeline import Request, scan
    from weightguard.policy import built_in
    from weightguard.reports import lineage
    from weightguard.reports.derivation import render

    today = datetime.date.today()
    if args.target.endswith(".toml"):
        statement = read_given(args.target)
        declaration = load(args.target, statement.text, today)
        print(f"{args.target}: a valid declaration of {len(declaration.runs)} runs")
        sys.stdout.write(lineage.render(declaration, _marks()))
        return 0
    report = scan(Request([args.target], built_in(), today))
    sys.stdout.write(render(report, _marks()))
    beside = os.path.join(args.target if os.path.isdir(args.target) else os.path.dirname(args.target), FILE_NAME)
    if os.path.isfile(beside):
        print(f"{beside}:")
        sys.stdout.write(lineage.render(load(beside, read_given(beside).text, today), _marks()))
    return exits.status(report, strict=False)


def _marks() -> tuple[str, str, str, str]:
    from weightguard.reports.derivation import ASCII, UNICODE

    return UNICODE if (sys.stdout.encoding or "ascii").lower().startswith("utf") else ASCII
