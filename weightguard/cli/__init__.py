"""The command line: one file a command, loaded when it is called."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from weightguard.cli.exits import USAGE
from weightguard.errors import ConfigurationError
from weightguard.version import VERSION

COMMANDS = {
    "scan": "decide for every model in files and folders",
    "explain": "the derivation of every number and clause, with sources",
    "declare": "write a training declaration for a model, or check one",
    "attest": "bind a model's verdict to the digests of its files, as an in-toto statement",
    "verify": "whether a model's files are those that a statement attests",
    "rules": "the regimes shipped, their dates and legal status",
    "hook": "what a git hook calls: pre-commit, pre-push",
    "sweep": "decide for a whole store, and again only for what changes in it",
    "serve": "answer over HTTP whether weights may leave",
    "demo": "build a small corpus on the spot, scan it, show every kind of verdict",
}
EPILOG = """\
exit status:
  0  every model is allowed
  1  at least one is blocked: controlled, or undetermined under the policy
  2  wrong usage or configuration, no target, a target that doesn't exist
  3  nothing is blocked, but something could not be read (a gate treats it as a block)

Nothing that weightguard inspects is executed, imported or unpickled.
An aid to self-classification, not legal advice."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Only `ConfigurationError` is expected here: it is printed, status 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if sys.stdout is None or sys.stderr is None:  # closed by the caller: nobody would hear the answer
        return USAGE
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a section sign must not stop a report
    if arguments in (["--version"], ["-V"]):
        print(f"weightguard {VERSION}")
        return 0
    command = next((a for a in arguments if a in COMMANDS), None)
    parser = _parser(command)
    namespace = parser.parse_args(arguments)
    if namespace.command is None:
        parser.print_help()
        return USAGE
    try:
        run = import_module(f"weightguard.cli.{namespace.command}").run
        result: int = run(namespace)
        sys.stdout.flush()
        return result
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"weightguard: {_one_line(problem)}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # the reader of our output is gone: no decision was delivered
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return USAGE
    except Exception as error:
        if os.environ.get("WEIGHTGUARD_TRACEBACK"):
            raise
        text = f"a fault of weightguard, nothing is allowed: {type(error).__name__}: {error}"
        print(f"weightguard: {_one_line(text)} (WEIGHTGUARD_TRACEBACK=1 shows where)", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("weightguard: interrupted", file=sys.stderr)
        return USAGE


def _parser(command: str | None) -> argparse.ArgumentParser:
    """The parser; only the options of the command that is called are built."""
    parser = argparse.ArgumentParser(
        prog="weightguard",
        description="Count a checkpoint's parameters, bound the operations it took to train, and decide under ECCN 4E091.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", "-V", action="version", version=f"weightguard {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == command:
            import_module(f"weightguard.cli.{name}").add_arguments(sub)
    return parser


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
