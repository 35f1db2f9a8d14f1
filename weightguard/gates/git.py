"""What git says, by its plumbing: which objects a push or a commit adds, and their bytes; and where Git LFS keeps its own.

Nothing is taken from the working tree. Replacement objects and grafts are off: what they hide is pushed all the same.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO

from weightguard.errors import ConfigurationError

_CHUNK = 1 << 20
_NETWORK_SECONDS = 20
_ENVIRONMENT = {
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_NO_LAZY_FETCH": "1",  # a hook doesn't download what a partial clone lacks
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_POINTER_BYTES = 1024  # Git LFS reads no pointer beyond that
# git-lfs: docs/spec.md, and the earlier names in lfs/pointer.go, which takes extensions before the version too
_POINTER = re.compile(
    r"(?:ext-\d-[^\n]*\n)*version https?://(?:git-lfs\.github\.com/spec/v1|hawser\.github\.com/spec/v1|git-media\.io/v/2)\s"
)
_POINTER_OID = re.compile(r"^oid sha256:([0-9a-f]{64})\s*$", re.MULTILINE)


def is_oid(text: str) -> bool:
    """Whether a text is the full name of an object, SHA-1 or SHA-256."""
    return _OID.fullmatch(text) is not None


def is_nothing(oid: str) -> bool:
    """The all-zero name: a ref that doesn't exist."""
    return not oid.strip("0")


def lfs_oid(head: bytes) -> str | None:
    """The SHA-256 that a Git LFS pointer stands for; None if these bytes, the whole of a file, are no pointer."""
    text = head.decode("utf-8", "surrogateescape").strip() if len(head) < _POINTER_BYTES else ""
    found = _POINTER_OID.search(text) if _POINTER.match(text) else None
    return found[1] if found else None


@dataclass(frozen=True)
class Added:
    """Objects that a push or commit adds, by name. `blobs`: size in bytes, and the path at which git met each first."""

    commits: tuple[str, ...]
    trees: frozenset[str]
    blobs: Mapping[str, tuple[int, str]]


class Repository:
    """The repository that a folder belongs to. Raises `ConfigurationError` where there is none, or no git."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._environment = {**os.environ, **_ENVIRONMENT}
        self.common_dir = os.path.join(folder, self._text("rev-parse", "--git-common-dir"))

    def top(self) -> str:
        """The root of the working tree."""
        return self._text("rev-parse", "--show-toplevel")

    def resolve(self, revision: str) -> str | None:
        """The object that a revision names; None if there is none."""
        found = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{object}", may_fail=True)
        return found.decode().strip() or None

    def at_remote(self, address: str) -> list[str]:
        """The commits and tags that a remote says it has, and that are here too; none where it doesn't answer."""
        said = self._run("ls-remote", "--quiet", "--", address, may_fail=True).decode("ascii", "replace").splitlines()
        asked = "".join(f"{oid}\n" for line in said if is_oid(oid := line.partition("\t")[0])).encode()
        known = self._run("cat-file", "--batch-check=%(objectname) %(objecttype)", input=asked).decode().splitlines()
        return sorted({line.partition(" ")[0] for line in known if line.endswith((" commit", " tag"))})

    def is_converted(self, path: str) -> bool:
        """Whether git stores other bytes of a file than those on disk (gitattributes: filter, ident, working-tree-encoding)."""
        said = self._run("check-attr", "-z", "filter", "ident", "working-tree-encoding", "--", path).split(b"\0")
        return not set(said[2::3]) <= {b"unspecified", b"unset"}

    def index_tree(self) -> str:
        """The tree that a commit of the index would have."""
        return self._text("write-tree")

    def changed_in_working_tree(self) -> set[str]:
        """Paths, from the root of the working tree, whose files differ from the index, or are said not to without a look.

        The latter are those marked "assume unchanged" and "skip worktree" (git-ls-files, -v).
        """
        found = set(os.fsdecode(self._run("diff-files", "--name-only", "-z", "--ignore-submodules")).split("\0"))
        marked = os.fsdecode(self._run("ls-files", "-v", "-z", "--full-name", "--", ":/")).split("\0")
        return found | {entry[2:] for entry in marked if entry[:1].islower() or entry[:1] == "S"}

    def lfs_object(self, sha256: str) -> str:
        """Where Git LFS keeps an object, if it has it."""
        storage = self._run("config", "--get", "lfs.storage", may_fail=True).rstrip(b"\n")
        root = os.path.join(self.common_dir, os.fsdecode(storage) or "lfs")
        return os.path.join(root, "objects", sha256[:2], sha256[2:4], sha256)

    def added(self, tips: Sequence[str], without: Sequence[str]) -> Added:
        """All objects reachable from `tips` and not from `without`, which are names of objects."""
        if not tips:
            return Added((), frozenset(), {})
        names: dict[str, str] = {}
        asked = "".join(f"{oid}\n" for oid in (*tips, *(f"^{oid}" for oid in without))).encode()
        for line in self._run("rev-list", "--objects", "--stdin", input=asked).split(b"\n")[:-1]:
            oid, _, name = os.fsdecode(line).partition(" ")
            names[oid] = name
        commits: list[str] = []
        trees: set[str] = set()
        blobs: dict[str, tuple[int, str]] = {}
        asked = "".join(f"{oid}\n" for oid in names).encode()
        for line in self._run("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", input=asked).splitlines():
            oid, kind, *size = line.decode().split(" ")
            if kind == "commit":
                commits.append(oid)
            elif kind == "tree":
                trees.add(oid)
            elif kind == "blob":
                blobs[oid] = (int(size[0]), names[oid])
            elif kind != "tag":
                raise ConfigurationError(f"git: {oid} is to be pushed and is not in this repository")
        return Added(tuple(commits), frozenset(trees), blobs)

    def objects(self) -> Objects:
        """A running `git cat-file --batch`; close it."""
        return Objects(self._start("cat-file", "--batch"))

    def _text(self, *arguments: str) -> str:
        return os.fsdecode(self._run(*arguments)).rstrip("\n")

    def _run(self, *arguments: str, input: bytes | None = None, may_fail: bool = False) -> bytes:
        try:
            done = subprocess.run(  # noqa: S603 - arguments are checked object names and options of ours
                ["git", *arguments],  # noqa: S607 - the git that called the hook puts itself first on PATH
                cwd=self._folder, env=self._environment, input=input or b"", capture_output=True, check=False,
                timeout=_NETWORK_SECONDS if arguments[0] == "ls-remote" else None,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return b""  # of ls-remote, which need not answer
        except OSError as error:
            raise _no_git(error) from error
        if done.returncode and not may_fail:
            said = os.fsdecode(done.stderr).strip().splitlines() or [f"exit status {done.returncode}"]
            first = next((line for line in said if line.startswith(("fatal:", "error:"))), said[0])
            raise ConfigurationError(f"git {arguments[0]} failed: {first}")
        return done.stdout if not done.returncode else b""

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603
                ["git", *arguments],  # noqa: S607
                cwd=self._folder, env=self._environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            raise _no_git(error) from error


def _no_git(error: OSError) -> ConfigurationError:
    return ConfigurationError(f"can't run git, which this hook needs: {error.strerror}")


class Objects:
    """Objects by name from one `git cat-file --batch`, each read to its end before the next; memory is bounded by a chunk.

    Every method raises `ConfigurationError` when git stops answering.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        if process.stdin is None or process.stdout is None:
            raise ValueError("not started with pipes")
        self._asked: IO[bytes] = process.stdin
        self._answer: IO[bytes] = process.stdout

    def fetch(self, oid: str, path: str, in_memory: int) -> bytes | bool | None:
        """An object's bytes, if they are at most `in_memory`; else True once they are in a new file at `path`.

        None if the repository doesn't have it.
        """
        size = self._size(oid)
        if size is None:
            return None
        if size <= in_memory:
            content = self._exactly(size)
            self._exactly(1)
            return content
        with open(path, "wb") as file:
            while size > 0:
                part = self._exactly(min(size, _CHUNK))
                size -= len(part)
                file.write(part)
        self._exactly(1)
        return True

    def tree_of(self, commit: str) -> str:
        """The tree of a commit."""
        return self._whole(commit).split(b"\n", 1)[0].removeprefix(b"tree ").decode()

    def entries(self, tree: str) -> Iterator[tuple[str, str, str]]:
        """(mode, name, object) of a tree; a name is as stored, and may be anything without NUL."""
        content, width, at = self._whole(tree), len(tree) // 2, 0
        while at < len(content):
            space = content.find(b" ", at)
            end = content.find(b"\0", max(space, at))
            if space < 0 or end < 0:
                raise ConfigurationError(f"git: the tree {tree} is damaged")
            yield (
                content[at:space].decode("ascii", "replace").lstrip("0"),
                os.fsdecode(content[space + 1 : end]),
                content[end + 1 : end + 1 + width].hex(),
            )
            at = end + 1 + width

    def _whole(self, oid: str) -> bytes:
        size = self._size(oid)
        if size is None:
            raise ConfigurationError(f"git: the object {oid} is not in this repository")
        content = self._exactly(size)
        self._exactly(1)
        return content

    def _size(self, oid: str) -> int | None:
        try:
            self._asked.write(oid.encode() + b"\n")
            self._asked.flush()
        except OSError as error:
            raise _stopped() from error
        answer = self._answer.readline().split()
        if len(answer) == 2 and answer[1] == b"missing":
            return None
        if len(answer) != 3:
            raise _stopped()
        return int(answer[2])

    def _exactly(self, size: int) -> bytes:
        data = self._answer.read(size)
        if len(data) != size:
            raise _stopped()
        return data

    def __enter__(self) -> Objects:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


def _stopped() -> ConfigurationError:
    return ConfigurationError("git cat-file failed: it stopped before its answer was complete")
