"""What a local target holds: every file once, links as section "Links" of the contract says, nothing skipped in silence."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence

from weightguard.errors import ConfigurationError, Unreadable
from weightguard.limits import Limits
from weightguard.stores.found import Found, Listing
from weightguard.stores.local import unreadable
from weightguard.values import Finding, Unread


def shown_path(path: str) -> str:
    """A path as reports print it: with "/", without a needless "./" or trailing "/"."""
    return os.path.normpath(path).replace(os.sep, "/")


def collect(targets: Sequence[str], limits: Limits) -> Listing:
    """All files of the targets. Raises `ConfigurationError` for a target that doesn't exist."""
    absent = [f"{t}: no such file or folder" for t in targets if not os.path.lexists(t)]
    absent += [f"{t}: a link to nothing" for t in targets if os.path.islink(t) and not os.path.exists(t)]
    if absent:
        raise ConfigurationError(*absent)
    walk = _Walk(limits)
    for target in targets:
        real = os.path.realpath(target)  # "a target that is itself a link is followed"
        if os.path.isdir(real):
            walk.folder(shown_path(target), real)
        else:
            walk.add(shown_path(target), real, whole_folder=False)
    return walk.listing()


def names_in(folder: str) -> list[str]:
    """Names in a real folder, sorted; empty where the system refuses."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def companion(shown_folder: str, real_folder: str, name: str) -> Found | Unread:
    """A file beside a file target, by the same rules for links as in a walk of its folder."""
    shown = f"{shown_folder}/{name}" if shown_folder else name
    path = os.path.join(real_folder, name)
    real = os.path.realpath(path)
    if os.path.islink(path) and not _inside(real, real_folder) and not _same_cache_repository(path, real):
        return Unread(shown, "link", "a link that leaves the folder")
    return Found(shown, real, whole_folder=False)


_DECLARATION = "weightguard.toml"


class _Walk:
    """Files met so far, by real path, so that each real file counts once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._found: dict[str, Found] = {}
        self._again: list[Found] = []
        self._also: list[Found] = []
        self._unread: list[Unread] = []
        self._findings: list[Finding] = []
        self._folders: set[str] = set()
        self._of_git: set[str] = set()

    def listing(self) -> Listing:
        # A revision of a cached model that shares some of its blobs with another is judged with them; one that shares all is the same.
        folders = {f.folder for f in self._found.values()}
        again = [f for f in self._again if f.folder in folders and self._found[f.real].shown != f.shown]
        names = {f.shown for f in self._found.values()}
        declared = [f for f in self._also if (f"{f.folder}/{_DECLARATION}" if f.folder else _DECLARATION) in names]
        again += [
            f for f in declared if f.shown not in names and f not in again
        ]  # what it says is about the weights linked there
        files = tuple(sorted((*self._found.values(), *again), key=lambda f: f.shown))
        if len({f.shown for f in files}) < len(files):
            raise ConfigurationError("two targets are reached by one path: name them by paths without links and ..")
        text = "git's own objects are not read here: the pre-push hook reads what leaves them"
        self._findings += [Finding("not-walked", "info", text, path) for path in sorted(self._of_git)]
        return Listing(files, tuple(self._unread), tuple(self._findings), tuple(self._also))

    def add(self, shown: str, real: str, *, whole_folder: bool) -> None:
        old = self._found.get(real)
        new = Found(shown, real, whole_folder)
        in_snapshot = whole_folder and "/snapshots/" in shown
        # A blob of the Hugging Face cache goes by its name in a snapshot, which says what it is.
        if old is None or (whole_folder and not old.whole_folder) or (in_snapshot and "/snapshots/" not in old.shown):
            self._found[real] = new
            self._also += [old] if old is not None else []
        else:
            self._also.append(new)
            self._again += [new] if in_snapshot else []
        if len(self._found) > self._limits.files:
            raise ConfigurationError(f"more than {self._limits.files} files: scan the folder in parts")

    def folder(self, shown: str, root: str) -> None:
        pending = [(shown, root, 0)]
        while pending:
            shown, real, depth = pending.pop()
            if real in self._folders:
                continue
            self._folders.add(real)
            if depth > self._limits.folder_depth:
                self._refuse(shown, Unreadable("limit", f"folders nested deeper than {self._limits.folder_depth}"))
                continue
            for name, path, kind in self._entries(shown, real):
                below = f"{shown}/{name}" if shown != "." else name
                if kind == "file" and _is_of_git(below, path):
                    self._of_git.add(below[: below.rindex(".git/")] + ".git")
                elif kind == "folder":
                    pending.append((below, path, depth + 1))
                elif kind == "file":
                    self.add(below, path, whole_folder=True)
                elif kind == "link":
                    self._link(below, path, root, pending, depth)
                else:
                    self._refuse(below, Unreadable("not-a-file", "a pipe, device or socket, not a file"))

    def _entries(self, shown: str, real: str) -> Iterator[tuple[str, str, str]]:
        try:
            entries = sorted(os.scandir(real), key=lambda e: e.name)
        except OSError as error:
            self._refuse(shown, unreadable(error))
            return
        for e in entries:
            try:
                mode = e.stat(follow_symlinks=False).st_mode
            except OSError as error:
                self._refuse(f"{shown}/{e.name}", unreadable(error))
                continue
            kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISREG, "file"), (stat.S_ISLNK, "link"))
            yield e.name, e.path, next((kind for test, kind in kinds if test(mode)), "special")

    def _link(self, shown: str, path: str, root: str, pending: list[tuple[str, str, int]], depth: int) -> None:
        real = os.path.realpath(path)
        if not os.path.exists(real):
            self._refuse(shown, Unreadable("missing", "a link to nothing"))
        elif not _inside(real, root) and not _same_cache_repository(path, real):
            self._refuse(shown, Unreadable("link", "a link that leaves the target; scan what it points to as well"))
        elif os.path.isdir(real):
            pending.append((shown, real, depth + 1))
        else:
            self.add(shown, real, whole_folder=True)

    def _refuse(self, shown: str, why: Unreadable) -> None:
        self._unread.append(Unread(shown, why.reason, why.detail))


# What git writes into its directory (gitrepository-layout(5)), and how each kind begins (gitformat-pack(5), gitformat-index(5))
_GIT_FILES = (
    (re.compile(r"objects/[0-9a-f]{2}/[0-9a-f]{38}(?:[0-9a-f]{24})?"), b"\x78"),
    (re.compile(r"objects/pack/pack-[0-9a-f]{40,64}\.pack"), b"PACK"),
    (re.compile(r"objects/pack/(?:pack-[0-9a-f]{40,64}|multi-pack-index[\w-]*)\.(?:idx|rev|bitmap|mtimes)"), b""),
    (re.compile(r"objects/info/commit-graphs?(?:/graph-[0-9a-f]{40,64}\.graph)?"), b"CGPH"),
    (re.compile(r"(?:worktrees/[^/]+/)?index"), b"DIRC"),
)
_SUBMODULE = re.compile(r"^modules/.+?/(?=objects/|index$)")
_LARGEST_GIT_FILE = 1 << 30  # but for packs: larger objects go into packs (core.bigFileThreshold)


def _is_of_git(shown: str, path: str) -> bool:
    """Whether a file below `.git` is one of git's own objects or lists, by its name, its size and its first bytes."""
    _, git, inside = f"/{shown}".rpartition("/.git/")
    if not git:
        return False
    inside = _SUBMODULE.sub("", inside)
    for name, magic in _GIT_FILES:
        if name.fullmatch(inside):
            try:
                with open(path, "rb", opener=_no_follow) as file:
                    begins = file.read(len(magic)) == magic
                    return begins and (magic == b"PACK" or os.fstat(file.fileno()).st_size <= _LARGEST_GIT_FILE)
            except OSError:
                return False
    return False


def _no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _same_cache_repository(link: str, real: str) -> bool:
    """Inside `models--*/snapshots`, a link into the same repository's `blobs` (the Hugging Face cache's layout)."""
    parts = os.path.dirname(os.path.abspath(link)).split(os.sep)
    for at, part in enumerate(parts[:-1]):
        if part.startswith("models--") and parts[at + 1] == "snapshots":
            return _inside(real, os.path.realpath(os.sep.join([*parts[: at + 1], "blobs"])))
    return False
