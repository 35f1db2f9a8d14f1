"""Files that a commit or push adds, laid out in a folder with what belongs to them, so that a scan can judge them whole.

A `State` is one folder at one moment: the entries that are new, and the others it held then. The same path may stand in many
states, with other bytes in each; all are laid out, each under the label of its state. What holds no weights, by the same test as
in a scan, needs no place. Every file is a hard link where the file system has them, so that nothing large is written twice.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Container, Iterator, Mapping, Set
from dataclasses import dataclass, replace

from weightguard.decision import decide
from weightguard.errors import ConfigurationError, Unreadable
from weightguard.formats import identify
from weightguard.formats.hidden import zip_behind
from weightguard.gates.git import Objects, Repository, lfs_oid
from weightguard.limits import LIMITS
from weightguard.models import INDEX_SUFFIX, JUDGED_WITH, WEIGHT_NAMES, companions, index_files, is_sidecar
from weightguard.policy import Policy
from weightguard.report import ModelReport, Report
from weightguard.stores import ByteSource
from weightguard.stores.local import LocalFile
from weightguard.stores.memory import InMemory
from weightguard.values import Unread

_HEAD = 4096  # more than any Git LFS pointer
_IN_MEMORY = 1 << 20  # a blob up to this size is looked at before it is written anywhere


@dataclass(frozen=True)
class Blob:
    """Bytes in git's store. `same`: a file outside it that git knows to hold the same, or None."""

    oid: str
    same: str | None = None


@dataclass(frozen=True)
class OnDisk:
    """A file of the working tree, by its path."""

    path: str


@dataclass(frozen=True)
class State:
    """One folder. `new` are the names in `entries` to be judged, the others only complete them."""

    label: str
    folder: str
    entries: Mapping[str, Blob | OnDisk]
    new: Set[str]


@dataclass(frozen=True)
class _Content:
    """What a source holds. `identity` is equal for equal sources; `real`: the file of its bytes, None where nobody has them.

    unwritten: the blob that `real` is to be written from when it is needed. plain: known to hold no weights.
    """

    identity: str
    real: str | None
    plain: bool = False
    pointer: bool = False
    unwritten: str | None = None


class Staging:
    """States laid out below `root`, an empty folder of our own."""

    def __init__(self, root: str, repository: Repository, objects: Objects) -> None:
        self.root = os.path.join(root, "files")
        self._store = os.path.join(root, "store")
        os.mkdir(self.root)
        os.mkdir(self._store)
        self._repository = repository
        self._objects = objects
        self._contents: dict[Blob | OnDisk, _Content] = {}
        self._groups: set[tuple[str, frozenset[tuple[str, str]]]] = set()
        self._labels: set[str] = set()
        self._conflicts = 0
        self.identities: dict[str, tuple[str, str]] = {}  # path laid out -> (path in the repository, identity)
        self.new: set[str] = set()  # paths laid out that are to be judged
        self.unread: list[Unread] = []

    def add(self, state: State) -> None:
        """Lays out what is new in a state, unless it stands there already in the same company."""
        new = {name for name in state.new if not self._content(state.entries[name]).plain or _has_part(name)}
        if not new:
            return
        company = {name: self._content(state.entries[name]) for name in new | self._beside(state, new)}
        group = (state.folder, frozenset((name, c.identity) for name, c in company.items()))
        if group in self._groups or all(c.plain and is_sidecar(name) for name, c in company.items()):
            return
        self._groups.add(group)
        label = state.label
        for name, content in sorted(company.items()):
            label = self._lay(label, state.folder, name, content, is_new=name in state.new)
            self._labels.add(label)

    def is_new(self, path: str) -> bool:
        """Whether a path of a report is of a file that is to be judged, or lies in one that is an archive."""
        return self._laid(path, self.new) != ""

    def identity(self, path: str) -> tuple[str, str, str]:
        """What a path of a report stands for: the path in the repository, its content, and where in that."""
        laid = self._laid(path, self.identities)
        return (*self.identities.get(laid, ("", "")), path[len(laid) :])

    def in_repository(self, path: str) -> str:
        """A path of a report without the label that it is laid out under."""
        label, _, inside = path.partition("/")
        return inside if label in self._labels else path

    def _laid(self, path: str, among: Container[str]) -> str:
        while path and path not in among:
            path = path.rpartition("/")[0]
        return path

    def _beside(self, state: State, targets: set[str]) -> set[str]:
        """Names of the state without which the targets can't be judged as whole models."""
        indexes = {n: index_files(self._bytes(state.entries[n])) for n in state.entries if n.endswith(INDEX_SUFFIX)}
        wanted = companions(targets, sorted(state.entries), indexes)
        wanted |= {name for name in state.entries if name.endswith(WEIGHT_NAMES)}
        return wanted - targets

    def _bytes(self, source: Blob | OnDisk) -> bytes:
        real = self._file(self._content(source))
        try:
            with open(real, "rb") as file:
                return file.read(LIMITS.sidecar_bytes)
        except OSError:
            return b""

    def _content(self, source: Blob | OnDisk) -> _Content:
        if source not in self._contents:
            self._contents[source] = self._fetch(source)
        return self._contents[source]

    def _fetch(self, source: Blob | OnDisk) -> _Content:
        if isinstance(source, OnDisk):
            if not os.path.islink(source.path):
                return self._looked_at(_Content(source.path, source.path))
            real = os.path.join(self._store, f"link-{len(self._contents)}")
            with _writing(real), open(real, "wb") as file:
                file.write(os.fsencode(os.readlink(source.path)))  # what git takes of a link is its text
            return self._looked_at(_Content(source.path, real))
        if source.same is not None:
            return self._looked_at(_Content(source.oid, source.same))
        real = os.path.join(self._store, source.oid)
        with _writing(real):
            found = self._objects.fetch(source.oid, real, _IN_MEMORY)
        if found is None:
            return _Content(source.oid, None)
        if isinstance(found, bytes):
            return self._recognised(_Content(source.oid, real, unwritten=source.oid), InMemory(source.oid, found))
        return self._looked_at(_Content(source.oid, real))

    def _looked_at(self, content: _Content) -> _Content:
        try:
            with LocalFile(content.real or "", content.identity) as source:
                return self._recognised(content, source)
        except Unreadable:  # the scan says why, under its own name
            return content

    def _recognised(self, content: _Content, source: ByteSource) -> _Content:
        sha256 = lfs_oid(source.read(0, source.size)) if source.size <= _HEAD else None
        if sha256 is not None:
            stored = self._repository.lfs_object(sha256)
            return _Content(f"lfs {sha256}", stored if os.path.isfile(stored) else None, pointer=True)
        try:
            return replace(content, plain=identify(source, LIMITS) is None and not zip_behind(source))
        except Exception:  # whatever is wrong with it, the scan says it
            return content

    def _file(self, content: _Content) -> str:
        """Where a content's bytes are, written now if they were not yet."""
        if content.real is None:
            return ""
        if content.unwritten is not None and not os.path.exists(content.real):
            with _writing(content.real):
                self._objects.fetch(content.unwritten, content.real, -1)
        return content.real

    def _lay(self, label: str, folder: str, name: str, content: _Content, *, is_new: bool) -> str:
        """Puts one file in place; returns the label under which there was room for it."""
        path = _join(folder, name)
        at = _join(label, "/".join(map(_safe, path.split("/"))))
        if content.real is None:
            if is_new:  # another's absence shows as a missing part
                why = "a Git LFS pointer: its object is not here" if content.pointer else "not in this repository"
                self.unread.append(Unread(at, "missing", why))
                self.new.add(at)
            return label
        real = self._file(content)
        try:
            self._link(real, os.path.join(self.root, at))
        except (FileExistsError, NotADirectoryError):  # names that this file system holds for the same
            self._conflicts += 1
            label = f"{label or '.'}~{self._conflicts}"
            at = _join(label, _safe(name))
            self._link(real, os.path.join(self.root, at))
        self.identities[at] = (path, content.identity)
        if is_new:
            self.new.add(at)
        return label

    def _link(self, real: str, at: str) -> None:
        with _writing(at):
            os.makedirs(os.path.dirname(at), exist_ok=True)
            try:
                os.link(os.path.realpath(real), at)
            except FileExistsError:
                raise
            except OSError:  # another file system, or one without hard links
                shutil.copyfile(real, at)


def judged(report: Report, staging: Staging, policy: Policy, *, file_by_file: bool) -> Report:
    """The part of a scan of a `Staging` that speaks of what is new.

    file_by_file: what no rule explains is let be up to `unexplained_bytes` a file, not for all files together.

    A model that lacks a part is left out where the same files stand whole at another moment of the same push.
    """
    models = [m for m in report.models if any(map(staging.is_new, _touched_by(m)))]
    files = [frozenset(staging.identity(f.path) for f in m.files) for m in models]
    whole = [held for m, held in zip(models, files, strict=True) if m.complete]
    kept = tuple(m for m, held in zip(models, files, strict=True) if m.complete or not any(held < other for other in whole))
    folders = {_folder(m.path) for m in kept}
    unread = [u for u in (*report.unread, *staging.unread) if staging.is_new(u.path) or _folder(u.path) in folders]
    if file_by_file:
        unread = [u for u in unread if not _may_be(u, staging, policy)]
    findings = tuple(f for f in report.findings if not f.path or staging.is_new(f.path))
    dangerous = decide((), findings, policy) == "block"
    blocked = dangerous or any(m.decision == "block" for m in kept) or (bool(unread) and policy.unread == "block")
    return replace(
        report,
        models=kept,
        unread=tuple(sorted(unread, key=lambda u: u.path)),
        findings=findings,
        dangerous=dangerous,
        decision="block" if blocked else "allow",
    )


def _may_be(u: Unread, staging: Staging, policy: Policy) -> bool:
    """Whether a file of no known kind is let be: small, and not named like weights."""
    small = _size(staging, u.path) <= policy.unexplained_bytes
    return u.reason == "unrecognised" and small and not u.path.endswith(WEIGHT_NAMES)


def _touched_by(model: ModelReport) -> set[str]:
    """The paths whose change is a change of the model: its files, and the sidecars that say how to read them."""
    folder = _folder(model.path)
    return {model.path, *(f.path for f in model.files), *(_join(folder, n) for n in JUDGED_WITH)}


def _size(staging: Staging, path: str) -> int:
    try:
        return os.path.getsize(os.path.join(staging.root, path))
    except OSError:
        return 1 << 62


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _has_part(name: str) -> bool:
    """Whether a file matters to a scan by its name alone."""
    return is_sidecar(name) or name.endswith(WEIGHT_NAMES)


def _safe(part: str) -> str:
    """One component of a path as a name in our folder: a tree made by hand may hold "..", ".git" or worse."""
    if part in ("", ".", "..", ".git") or len(os.fsencode(part)) > 255:
        return "_" + os.fsdecode(os.fsencode(part)[-200:])
    return part


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise
    except OSError as error:
        raise ConfigurationError(f"can't lay out {path} to be judged: {error.strerror}") from error
