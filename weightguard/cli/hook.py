"""`weightguard hook`: what git and the pre-commit framework call. The same exit status as a scan.

A declaration clears only if it is given on the hook's own command line: one that comes with the commits was written by whoever
wrote them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from weightguard.cli import exits
from weightguard.cli.options import add_scan_options, request
from weightguard.cli.scan import last_line
from weightguard.cli.temporary import temporary_folder
from weightguard.errors import ConfigurationError

if TYPE_CHECKING:
    from weightguard.gates.git import Objects, Repository
    from weightguard.gates.staging import State
    from weightguard.report import Report

_MOST_LINES = 37  # of a report, before the note and the last line on standard error
_LINKED_BYTES = 1 << 20  # a staged blob from this size on is not unpacked if git knows the file to be the same


def add_arguments(parser: argparse.ArgumentParser) -> None:
    hooks = parser.add_subparsers(dest="hook", metavar="HOOK", title="hooks", required=True)
    text = "judge the files named, or what is staged; put -- before the names"
    add_scan_options(hooks.add_parser("pre-commit", help=text, description=text[0].upper() + text[1:] + "."))
    text = "judge every file of the commits being pushed; reads git's ref lines from standard input"
    push = hooks.add_parser("pre-push", help=text, description=text[0].upper() + text[1:] + ".")
    add_scan_options(push)  # its targets are REMOTE and URL


def run(args: argparse.Namespace) -> int:
    from weightguard.gates.git import Repository
    from weightguard.gates.staging import Staging, judged
    from weightguard.pipeline import scan
    from weightguard.policy import only_given

    before_commit = args.hook == "pre-commit"
    given = list(args.targets)
    args.targets = ["."]
    wanted = request(args)
    wanted = replace(wanted, policy=only_given(wanted.policy), each_speaks=False)
    repository = Repository(os.getcwd())
    # inside git's own folder, where a hard link to a file of the working tree or of Git LFS costs nothing
    inside = repository.common_dir if os.access(repository.common_dir, os.W_OK) else None
    with temporary_folder("weightguard-", inside) as folder, repository.objects() as objects:
        staging = Staging(folder, repository, objects)
        if before_commit:
            states = _named(given) if given else _staged(repository, objects)
        else:
            states = _pushed(repository, objects, given)
        for state in states:
            staging.add(state)
        with contextlib.chdir(staging.root):
            report = scan(replace(wanted, path_of=staging.in_repository))
        # How the names of a commit are split over calls must not matter, so no sum over files decides there.
        report = judged(report, staging, wanted.policy, file_by_file=before_commit)
    _show(report)
    return exits.status(report, strict=False)


# ---- pre-commit


def _named(paths: Iterable[str]) -> Iterator[State]:
    """The files named, each with what lies beside it in the working tree."""
    from weightguard.gates.staging import OnDisk, State

    folders: dict[str, set[str]] = {}
    absent = []
    for path in paths:
        if os.path.islink(path):  # what git takes of it is its text
            continue
        if not os.path.lexists(path) or os.path.isdir(path):
            absent.append(f"{path}: no such file")
        else:
            folder, _, name = os.path.relpath(path).rpartition("/")
            folders.setdefault(folder, set()).add(name)
    if absent:
        raise ConfigurationError(*absent[:5])
    for folder, names in sorted(folders.items()):
        with os.scandir(folder or ".") as found:
            beside = {e.name: e.path for e in found if e.is_file(follow_symlinks=False) or e.name in names}
        yield State("", folder, {name: OnDisk(os.path.abspath(path)) for name, path in beside.items()}, frozenset(names))


def _staged(repository: Repository, objects: Objects) -> Iterator[State]:
    """What a commit of the index would add to HEAD, as the index has it: the working tree may say something else."""
    from weightguard.gates.commits import states

    tree = repository.index_tree()
    before = repository.resolve("HEAD^{tree}")  # a tree, because git enters no commit's tree to leave out what another holds
    added = repository.added([tree], [before] if before else [])
    top, changed = repository.top(), repository.changed_in_working_tree()

    def same(path: str, oid: str) -> str | None:
        file = os.path.join(top, path)
        size = added.blobs[oid][0] if oid in added.blobs else 0
        if size < _LINKED_BYTES or path in changed or os.path.islink(file) or repository.is_converted(path):
            return None
        return file if os.path.isfile(file) and os.path.getsize(file) == size else None

    return states(objects, added, [("", tree)], same)


# ---- pre-push


def _pushed(repository: Repository, objects: Objects, given: list[str]) -> Iterator[State]:
    """What the refs on standard input would send to the remote."""
    from weightguard.gates.commits import states

    if len(given) > 2:
        raise ConfigurationError("hook pre-push takes REMOTE and URL, as git gives them")
    by_framework = os.environ.get("PRE_COMMIT") == "1"
    address = given[-1] if given else os.environ.get("PRE_COMMIT_REMOTE_URL", "")
    if not by_framework and (not given or sys.stdin is None or sys.stdin.isatty()):
        raise ConfigurationError("hook pre-push takes REMOTE and URL, and the lines that git gives it on standard input")
    lines = [line for line in ([] if sys.stdin is None else sys.stdin.buffer.read().splitlines()) if line.strip()]
    tips, without = _from_framework(repository) if by_framework and not lines else _from_lines(repository, lines)
    if tips and address:  # what it says now: a tracking branch may be of another time, or of another place
        without += repository.at_remote(address)
    added = repository.added(tips, without)
    tagged = [
        tree
        for tip in set(tips).difference(added.commits)
        if repository.resolve(f"{tip}^{{commit}}") is None and (tree := repository.resolve(f"{tip}^{{tree}}"))
    ]
    roots = [*((c[:12], objects.tree_of(c)) for c in added.commits), *((tree[:12], tree) for tree in tagged)]
    yield from states(objects, added, roots)


def _from_lines(repository: Repository, lines: list[bytes]) -> tuple[list[str], list[str]]:
    """From "<local ref> <local oid> <remote ref> <remote oid>" a line: what is sent, and what the remote says that it has."""
    from weightguard.gates.git import is_nothing, is_oid

    tips, without = [], []
    for line in lines:
        fields = os.fsdecode(line).rsplit(" ", 3)
        if len(fields) != 4 or not is_oid(fields[1]) or not is_oid(fields[3]):
            raise ConfigurationError("standard input: not the ref lines that git gives a pre-push hook")
        if not is_nothing(fields[1]):  # else the ref is deleted, which sends nothing
            tips.append(fields[1])
            if not is_nothing(fields[3]) and repository.resolve(fields[3]):
                without.append(fields[3])
    return tips, without


def _from_framework(repository: Repository) -> tuple[list[str], list[str]]:
    """The same from the pre-commit framework, which keeps standard input to itself and tells of one ref only."""
    tip = os.environ.get("PRE_COMMIT_TO_REF") or os.environ.get("PRE_COMMIT_LOCAL_BRANCH") or "HEAD"
    oid = repository.resolve(tip)
    if oid is None:
        raise ConfigurationError(f"{tip}: git knows no such revision")
    start = os.environ.get("PRE_COMMIT_FROM_REF")
    known = repository.resolve(start) if start else None
    return [oid], [known] if known else []


# ---- output


def _show(report: Report) -> None:
    """Under 40 lines, the reason first; one line on standard error where all is well."""
    from weightguard.reports import text

    if report.decision == "block":
        lines = text.render(report, quiet=True, colour=text.wants_colour(sys.stdout)).splitlines()
        if len(lines) > _MOST_LINES:
            more = len(lines) - _MOST_LINES + 1
            lines[_MOST_LINES - 1 :] = [f"({more} lines more: weightguard scan FOLDER shows the whole report)"]
        if report.blocked:
            lines.append("In a hook a declaration clears only as --declaration FILE of the hook's own command.")
        print("\n".join(lines), flush=True)
    print(last_line(report), file=sys.stderr)
