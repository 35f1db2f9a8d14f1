"""Files that a commit or push adds, laid out in a folder with what belongs to them, so that a scan can judge them whole.

A `State` is one folder at one moment: the entries that are new, and the others it held then. The same path may stand in many
states, with other bytes in each; all are laid out, each under the label of its state. Every file is a hard link where the file
system has them, so that nothing large is written twice.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace

from weightguard.errors import ConfigurationError
from weightguard.gates.git import Objects, Repository, lfs_oid
from weightguard.models import CONFIG, DECLARATION, INDEX_SUFFIX, companions, index_files, is_sidecar
from weightguard.report import ModelReport, Report
from weightguard.values import Unread

_HEAD = 4096  # bytes that tell text from anything else, and more than any Git LFS pointer
# What a changed optimizer file, config or index may belong to, beside the files that an index or a numbering names.
_WEIGHT_NAMES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".gguf", ".onnx", ".h5")


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
    """`real`: the file that holds the bytes, or None where they are not to be had. `identity` is equal for equal sources."""

    identity: str
    real: str | None
    is_text: bool
    pointer: bool = False


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
        self._laid: set[tuple[str, str]] = set()  # (path, identity) of plain files, which need nothing beside them
        self._groups: set[tuple[str, frozenset[tuple[str, str]]]] = set()
        self._conflicts = 0
        self.identities: dict[str, tuple[str, str]] = {}  # path laid out -> (path in the repository, identity)
        self.new: set[str] = set()  # paths laid out that are to be judged
        self.unread: list[Unread] = []

    def add(self, state: State) -> None:
        """Lays out what is new in a state, unless it stands there already in the same company."""
        contents = {name: self._content(state.entries[name]) for name in state.new}
        whole = {name for name, c in contents.items() if not c.is_text or is_sidecar(name) or name.endswith(_WEIGHT_NAMES)}
        beside = self._beside(state, whole) if whole else set()
        company = {name: self._content(state.entries[name]) for name in beside} | {n: contents[n] for n in whole}
        group = (state.folder, frozenset((name, c.identity) for name, c in company.items()))
        if group in self._groups:
            company = {}
        self._groups.add(group)
        for name in sorted(state.new - whole):
            path = _join(state.folder, name)
            if (path, contents[name].identity) not in self._laid:
                self._laid.add((path, contents[name].identity))
                company[name] = contents[name]
        label = state.label
        for name, content in sorted(company.items()):
            label = self._lay(label, state.folder, name, content, is_new=name in state.new)

    def _beside(self, state: State, targets: set[str]) -> set[str]:
        """Names of the state without which the targets can't be judged as whole models."""
        indexes = {n: index_files(self._bytes(state.entries[n])) for n in state.entries if n.endswith(INDEX_SUFFIX)}
        wanted = companions(targets, sorted(state.entries), indexes)
        wanted |= {name for name in state.entries if name.endswith(_WEIGHT_NAMES)}
        return wanted - targets

    def _bytes(self, source: Blob | OnDisk) -> bytes:
        content = self._content(source)
        if content.real is None:
            return b""
        with open(content.real, "rb") as file:
            return file.read()

    def _content(self, source: Blob | OnDisk) -> _Content:
        if source not in self._contents:
            self._contents[source] = self._fetch(source)
        return self._contents[source]

    def _fetch(self, source: Blob | OnDisk) -> _Content:
        if isinstance(source, OnDisk):
            identity, real = source.path, source.path
            if os.path.islink(real):  # what git takes of a link is its text
                real = os.path.join(self._store, f"link-{len(self._contents)}")
                with _writing(real), open(real, "wb") as file:
                    file.write(os.fsencode(os.readlink(source.path)))
        elif source.same is not None:
            identity, real = source.oid, source.same
        else:
            identity, real = source.oid, os.path.join(self._store, source.oid)
            with _writing(real):
                if not self._objects.save(source.oid, real):
                    return _Content(identity, None, is_text=False)
        try:
            with open(real, "rb") as file:
                head = file.read(_HEAD)
        except OSError:  # the scan says why, under its own name
            return _Content(identity, real, is_text=False)
        sha256 = lfs_oid(head)
        if sha256 is None:
            return _Content(identity, real, is_text=b"\0" not in head)
        stored = self._repository.lfs_object(sha256)
        return _Content(f"lfs {sha256}", stored if os.path.isfile(stored) else None, is_text=False, pointer=True)

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
        try:
            self._link(content.real, os.path.join(self.root, at))
        except (FileExistsError, NotADirectoryError):  # names that this file system holds for the same
            self._conflicts += 1
            label = f"{label or '.'}~{self._conflicts}"
            at = _join(label, _safe(name))
            self._link(content.real, os.path.join(self.root, at))
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


def judged(report: Report, staging: Staging, *, each_unexplained: int | None = None) -> Report:
    """The part of a scan of a `Staging` that speaks of what is new.

    each_unexplained: bytes of one file that no rule explains, up to which it is let be; None leaves that to the scan.

    A model that lacks a part is left out where the same files stand whole at another moment of the same push.
    """
    models = [m for m in report.models if not staging.new.isdisjoint(_touched_by(m))]
    whole = {staging.identities[f.path] for m in models if m.complete for f in m.files}
    kept = tuple(m for m in models if m.complete or not {staging.identities[f.path] for f in m.files} <= whole)
    folders = {_folder(m.path) for m in kept}
    unread = [u for u in (*report.unread, *staging.unread) if u.path in staging.new or _folder(u.path) in folders]
    if each_unexplained is not None:
        unread = [u for u in unread if u.reason != "unrecognised" or _size(staging, u.path) > each_unexplained]
    findings = tuple(f for f in report.findings if f.path in staging.new)
    blocked = any(m.decision == "block" for m in kept) or (bool(unread) and report.policy["unread"] == "block")
    return replace(
        report,
        models=kept,
        unread=tuple(sorted(unread, key=lambda u: u.path)),
        findings=findings,
        decision="block" if blocked else "allow",
    )


def _touched_by(model: ModelReport) -> set[str]:
    """The paths whose change is a change of the model: its files, and the sidecars that say how to read them."""
    folder = _folder(model.path)
    return {model.path, *(f.path for f in model.files), *(_join(folder, n) for n in (CONFIG, DECLARATION))}


def _size(staging: Staging, path: str) -> int:
    try:
        return os.path.getsize(os.path.join(staging.root, path))
    except OSError:
        return 1 << 62


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


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
