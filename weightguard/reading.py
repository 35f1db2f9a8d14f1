"""Every file of a listing read once, and what could not be: the one place where an `Unreadable` becomes an `Unread`."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from weightguard.archives import Contents, unpack
from weightguard.errors import Unreadable
from weightguard.formats import Container, Format, header_bytes, read, readers_of
from weightguard.formats.hidden import TAIL, dangers_in, zip_behind
from weightguard.formats.signatures import explain
from weightguard.limits import LIMITS
from weightguard.models import INDEX_SUFFIX, WEIGHT_NAMES, Folder, WeightFile, companions, index_files, is_sidecar
from weightguard.stores import ByteSource, Opened
from weightguard.stores.folder import companion, names_in
from weightguard.stores.found import Found, Listing, joined
from weightguard.stores.local import LocalFile
from weightguard.stores.ranged import FIRST as HEAD
from weightguard.tensors import DTYPE_BITS, EMPTY
from weightguard.values import Finding, Unread

if TYPE_CHECKING:
    from concurrent.futures import Executor

_SLACK = 64 << 10  # bytes
_MOST_AHEAD = 16 << 20  # bytes of a header; a longer one is read when its turn comes
_AT_ONCE = 128  # files of a store whose ends are held
_PIECES = "torch-dcp"  # its pieces are containers themselves
_UNMISTAKABLE = frozenset({"safetensors", "gguf", "torch-zip", "torch-legacy", "npz", "npy", "hdf5", "keras", "torch-dcp"})
_LONGEST_NAME = 1024  # characters of a tensor's name

Progress = Callable[[int, int, str], None]
"""Called before each file with (files done, files in all, path)."""

_OTHER_NAMES = tuple(
    (
        ".png .jpg .jpeg .gif .webp .bmp .ico .svg .tif .tiff .pdf .txt .md .rst .csv .tsv .json .jsonl .yaml .yml .toml .xml "
        ".html .htm .css .js .ts .py .ipynb .sh .c .h .cpp .rs .go .java .mp3 .mp4 .wav .flac .ogg .avi .mov .ttf .otf .woff "
        ".woff2 .log .parquet"
    ).split()
)


@dataclass(frozen=True)
class Reading:
    """`folders` in the order of their paths; `real`: the file of the store that holds each path, as reached from the target.

    bytes: size of all files, each real file once. digests: SHA-256 of real files, where their store names them by it.
    unknown: the small files of no known kind that are let be.
    """

    folders: tuple[Folder, ...]
    unread: tuple[Unread, ...]
    findings: tuple[Finding, ...]
    real: Mapping[str, str]
    bytes: int
    digests: Mapping[str, str]
    unknown: frozenset[str]


def read_all(listing: Listing, unexplained_bytes: int, progress: Progress | None) -> Reading:
    """Every file of the listing, those beside its file targets without which they can't be judged, and what archives hold.

    unexplained_bytes: how many bytes of a file that no rule explains are let be.
    """
    if any(f.store is not None for f in listing.files):
        from concurrent.futures import ThreadPoolExecutor  # a store answers slowly, and many requests at once

        with ThreadPoolExecutor(min(LIMITS.reads_at_once, len(listing.files) + 8)) as pool:
            return read_at_once([listing], unexplained_bytes, pool, progress)[0]()
    reader, found = _start(listing, unexplained_bytes)
    for done, file in enumerate(found):
        if progress is not None:
            progress(done, len(found), file.shown)
        reader.file(file)
    return reader.result()


def read_at_once(
    listings: Sequence[Listing], unexplained_bytes: int, pool: Executor, progress: Progress | None = None
) -> list[Callable[[], Reading]]:
    """Many files of several listings at a time; each result is made when it is asked for.

    Both ends of some files are fetched, then these are read: threads that wait for a store and threads that compute get in each
    other's way, and what was fetched is held only until it is read.
    """
    started = [_start(listing, unexplained_bytes) for listing in listings]
    files = [(reader, file) for reader, found in started for file in found]
    for first in range(0, len(files), _AT_ONCE):
        some = files[first : first + _AT_ONCE]
        opened = list(pool.map(_with_ends, some))
        reads = pool.map(lambda of, ends: of[0].alone(of[1], ends), some, opened)
        for done, ((reader, file), alone) in enumerate(zip(some, reads, strict=True), first):
            if progress is not None:
                progress(done, len(files), file.shown)
            reader.take(alone)
    return [reader.result for reader, _ in started]


def _with_ends(of: tuple[_Reader, Found]) -> Opened | Unreadable | None:
    """An object of a store, opened, its header and its end fetched; None for a local file."""
    reader, file = of
    if file.store is None:
        return None
    try:
        source = file.open(file.shown, reader.opener(file))
        head = source.read(0, min(file.size, HEAD))
        header = min(file.size, header_bytes(head), LIMITS.header_bytes)
        if len(head) < header <= _MOST_AHEAD:
            source.read(0, header)
        source.read(max(0, file.size - TAIL), min(file.size, TAIL))
        return source
    except Unreadable as error:
        return error


def _start(listing: Listing, unexplained_bytes: int) -> tuple[_Reader, list[Found]]:
    found, beside = _with_companions(listing)
    reader = _Reader({f.shown: f for f in found}, unexplained_bytes)
    reader.unread += [*listing.unread, *beside]
    for unread in reader.unread:
        folder, _, name = unread.path.rpartition("/")
        reader.lacks(folder, name)
    reader.real.update({f.shown: f.real for f in (*found, *listing.also)})
    return reader, found


@dataclass(frozen=True)
class _At:
    """Where a file was met. archive: path and size of the file of a target that it is inside of; depth: archives around it."""

    shown: str
    archive: tuple[str, int] | None = None
    depth: int = 0

    @property
    def folder(self) -> str:
        return self.shown.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.shown.rpartition("/")[2]


class _Reader:
    """What has been read so far, by folder."""

    def __init__(self, found: Mapping[str, Found], unexplained_bytes: int) -> None:
        self._found = found
        self._let_be_up_to = unexplained_bytes
        self.unread: list[Unread] = []
        self._weights: dict[str, dict[str, WeightFile]] = defaultdict(dict)
        self._texts: dict[str, dict[str, bytes]] = defaultdict(dict)
        self._failed: dict[str, set[str]] = defaultdict(set)
        self._let_be: dict[str, int] = {}
        self._findings: list[Finding] = []
        self._parts: dict[str, WeightFile] = {}
        self._claimed: set[str] = set()  # unread, and begin as a container does
        self._sizes: dict[str, int] = {}
        self.real: dict[str, str] = {}
        self._budget = [0]

    def alone(self, file: Found, opened: Opened | Unreadable | None) -> _Reader:
        """What one file says, apart from the others: for reading many at once."""
        other = _Reader(self._found, self._let_be_up_to)
        other.real[file.shown] = file.real
        other.file(file, opened)
        return other

    def take(self, other: _Reader) -> None:
        """What another has read, in the order in which it is given."""
        self.unread += other.unread
        self._findings += other._findings
        for mine, theirs in ((self._weights, other._weights), (self._texts, other._texts)):
            for folder, held in theirs.items():
                mine[folder].update(held)  # type: ignore[arg-type]
        for folder, names in other._failed.items():
            self._failed[folder] |= names
        self._let_be.update(other._let_be)
        self._parts.update(other._parts)
        self._claimed |= other._claimed
        self._sizes.update(other._sizes)
        self.real.update(other.real)

    def file(self, file: Found, opened: Opened | Unreadable | None = None) -> None:
        """Reads one file of the store, unless another has said what each of its bytes is."""
        part = self._parts.get(file.shown)
        if part is not None and part.container.format == _PIECES:
            return
        try:
            if isinstance(opened, Unreadable):
                raise opened
            with opened or file.open(file.shown, self.opener(file)) as source:
                self._sizes[file.real] = source.size
                self._budget = [LIMITS.unpacked_bytes]
                self._read(_At(file.shown), source)
        except Unreadable as error:
            self._refuse(_At(file.shown), 0, error)

    def _read(self, at: _At, source: ByteSource) -> None:
        """One file: weights, the text of a sidecar, an archive, or any other. A fault of ours is an `Unread` too: never a pass."""
        readers: list[Format] = []
        try:
            head, readers = readers_of(source)
            contents = None if readers else self._unpack(at, source, head)
            if contents is not None:
                self._read_contents(at, source, contents)
            elif readers:
                container = read(readers, source, LIMITS)
                hidden = self._hidden(at, source, head, container)
                _check_unchanged(source)
                self._add(at, source.size, replace(container, findings=(*container.findings, *hidden)))
            else:
                self._text(at, source, head)
        except Unreadable as error:
            self._refuse(at, source.size, error)
            if any(reader.NAME in _UNMISTAKABLE for reader in readers):
                self._claimed.add(at.shown)
            if at.shown in self._let_be:
                self._findings += dangers_in(source.read(0, source.size), at.shown, LIMITS)
        except (MemoryError, RecursionError) as error:
            why = f"needs more than weightguard allows ({type(error).__name__})"
            self._refuse(at, source.size, Unreadable("limit", why))
        except Exception as error:
            self._refuse(
                at, source.size, Unreadable("internal", f"a fault of weightguard: {type(error).__name__}: {error}"[:300])
            )

    def _hidden(self, at: _At, source: ByteSource, head: bytes, container: Container) -> list[Finding]:
        """What hides behind a container: in the few bytes at its end that no rule explains, or as a zip read from the end."""
        found: list[Finding] = []
        loose = min(container.unexplained, source.size)
        if 0 < loose <= self._let_be_up_to:
            found += dangers_in(source.read(source.size - loose, loose), at.shown, LIMITS)
        if not head.startswith(b"PK") and container.format != "llamafile":
            found += _zip_finding(at, source)
        return found

    def _unpack(self, at: _At, source: ByteSource, head: bytes) -> Contents | None:
        contents = unpack(source, head, LIMITS, self._budget) if head else None
        if contents is not None and at.depth >= LIMITS.archive_depth:
            raise Unreadable("limit", f"archives within archives, more than {LIMITS.archive_depth} deep")
        return contents

    def _read_contents(self, at: _At, source: ByteSource, contents: Contents) -> None:
        self._findings += contents.findings
        archive = at.archive or (at.shown, source.size)
        for name, reason, detail in contents.unread:
            self.unread.append(Unread(f"{at.shown}/{name}", reason, detail))
        for entry in contents.entries:
            inside = _At(f"{at.shown}/{entry.name}", archive, at.depth + 1)
            self.real[inside.shown] = self.real[archive[0]]
            try:
                member = entry.open()
            except Unreadable as error:
                self._refuse(inside, 0, error)
                continue
            self._read(inside, member)
        _check_unchanged(source)
        if contents.unexplained > self._let_be_up_to:
            text = f"{contents.unexplained} bytes of the archive that no rule of {contents.kind} explains"
            raise Unreadable("unrecognised", text)

    def _text(self, at: _At, source: ByteSource, head: bytes) -> None:
        """A file that holds no weights; the text of a sidecar is kept."""
        if source.size:
            explain(source, head, LIMITS)
            self._findings += _zip_finding(at, source)
        if at.name.endswith(WEIGHT_NAMES):
            if source.size == 0:
                raise Unreadable("truncated", "named like weights, but empty")
            raise Unreadable("malformed", "named like weights, but text or another kind of file")
        if is_sidecar(at.name):
            if source.size > LIMITS.sidecar_bytes:
                raise Unreadable("limit", f"{source.size} bytes of what says something about a model")
            text = source.read(0, source.size)
            _check_unchanged(source)
            self._texts[at.folder][at.name] = text
        else:
            _check_unchanged(source)

    def _add(self, at: _At, size: int, container: Container) -> None:
        misnamed = _misnamed(at)
        if misnamed and not (container.parts and container.accounts.tensors == 0):  # a text that only names its weights
            container = replace(container, findings=(*container.findings, misnamed))
        accounts = container.accounts
        left = size - accounts.tensors - accounts.headers - accounts.padding
        unexplained = max(left, accounts.unexplained) + _beyond(container)
        if unexplained > accounts.unexplained:
            container = replace(container, accounts=replace(accounts, unexplained=unexplained))
        parts = []
        for path, of_part in container.parts.items():
            shown = joined(at.folder, path) or path
            length = of_part.tensors + of_part.headers + of_part.padding + of_part.unexplained
            part = WeightFile(shown, length, Container(container.format, EMPTY, accounts=of_part), archive=at.archive)
            parts.append(part)
            self._parts[shown] = part
        self._weights[at.folder][at.name] = WeightFile(at.shown, size, container, tuple(parts), at.archive)
        self._check_explained(at, container)

    def _check_explained(self, at: _At, container: Container) -> None:
        if container.unexplained > self._let_be_up_to:
            text = f"{container.unexplained} bytes of the file that no rule of {container.format} explains"
            self.unread.append(Unread(at.shown, "unrecognised", text))
            self._failed[at.folder].add(at.name)

    def lacks(self, folder: str, name: str) -> None:
        """A file that was found and is not read: a model of its folder is not whole."""
        self._failed[folder].add(name)

    def _refuse(self, at: _At, size: int, why: Unreadable) -> None:
        if why.reason == "unrecognised" and size <= self._let_be_up_to and not at.name.endswith(WEIGHT_NAMES):
            self._let_be[at.shown] = size
            return
        self.unread.append(Unread(at.shown, why.reason, why.detail))
        self._failed[at.folder].add(at.name)

    def opener(self, file: Found) -> Callable[[str], Opened]:
        """Opens what a reader asks for beside a file: inside its folder, by the rules for links of the walk."""

        def beside(path: str) -> Opened:
            shown = joined(file.folder, path)
            if shown is None:
                raise Unreadable("link", f"{path[:200]!r} leads out of the folder")
            other = self._found.get(shown)
            if other is None and not file.whole_folder and file.store is not None:
                other = file.store.beside(file).get(path)
            elif other is None and not file.whole_folder:
                found = companion(file.folder, os.path.realpath(os.path.dirname(file.shown) or "."), path)
                if isinstance(found, Unread):
                    raise Unreadable("link", found.detail)
                other = found
            if other is None:
                raise Unreadable("missing", f"{path[:200]!r} is not there")
            source = other.open(shown)
            self.real.setdefault(shown, other.real)
            self._sizes.setdefault(other.real, source.size)
            return source

        return beside

    def result(self) -> Reading:
        """All of it; what one file says about the bytes of another stands for what was made of that one alone."""
        # not a container of its own, whatever is wrong with it
        parts = {p: x for p, x in self._parts.items() if p not in self._claimed or x.container.format == _PIECES}
        self.unread = [u for u in self.unread if u.path not in parts]
        for shown, part in parts.items():
            at = _At(shown)
            self._weights[at.folder].pop(at.name, None)
            self._failed[at.folder].discard(at.name)
            self._let_be.pop(shown, None)
            self._check_explained(at, part.container)
        self._say_let_be()
        names = sorted({*self._weights, *self._texts, *self._failed, *(f.folder for f in self._found.values())})
        folders = tuple(Folder(n, tuple(self._weights[n].values()), self._texts[n], frozenset(self._failed[n])) for n in names)
        digests = {f.real: f.sha256 for f in self._found.values() if f.store is not None}
        return Reading(
            folders=folders,
            unread=tuple(self.unread),
            findings=tuple(self._findings),
            real=self.real,
            bytes=sum(self._sizes.values()),
            digests=digests,
            unknown=frozenset(self._let_be),
        )

    def _say_let_be(self) -> None:
        if not self._let_be:
            return
        first, total = next(iter(self._let_be)), sum(self._let_be.values())
        if total > LIMITS.unknown_bytes:
            text = f"{len(self._let_be)} files of no known kind, {total} bytes together; this is the first"
            self.unread.append(Unread(first, "unrecognised", text))
        else:
            count, most = len(self._let_be), self._let_be_up_to
            text = f"{count} files of no known kind, each of at most {most} bytes, are let be; the first is named"
            self._findings.append(Finding("unexplained-files", "low", text, first))


def _beyond(container: Container) -> int:
    """Bytes that are a tensor's by their container's rules and more than its elements need; names too long, or of nothing."""
    table = container.tensors
    bits: int = sum(n * size for n, size in zip(table.elements.tolist(), DTYPE_BITS[table.dtypes].tolist(), strict=True))
    bytes_ = bits // 8
    excess = container.accounts.tensors - bytes_ - bytes_ // 64 - _SLACK
    long = sum(len(name) for name in table.names if len(name) > _LONGEST_NAME)
    empty = sum(len(table.names[row]) for row in np.flatnonzero(table.elements == 0).tolist())
    return max(0, excess) + long + (empty if empty > _SLACK else 0)


def _zip_finding(at: _At, source: ByteSource) -> list[Finding]:
    if not zip_behind(source):
        return []
    text = "ends as a zip archive, which whoever reads it from its end will open"
    return [Finding("polyglot", "critical", text, at.shown)]


def _check_unchanged(source: ByteSource) -> None:
    if isinstance(source, LocalFile):
        source.check_unchanged()


def _misnamed(at: _At) -> Finding | None:
    if at.name.lower().endswith(_OTHER_NAMES):
        text = "holds weights under the name of another kind of file: rename it to what it is"
        return Finding("disguised-weights", "critical", text, at.shown)
    return None


def _with_companions(listing: Listing) -> tuple[list[Found], list[Unread]]:
    """The files of the listing, and those beside its file targets without which they can't be judged."""
    found = {f.shown: f for f in listing.files}
    unread: list[Unread] = []
    alone: dict[str, list[Found]] = defaultdict(list)
    for f in listing.files:
        if not f.whole_folder:
            alone[f.folder].append(f)
    for shown, targets in alone.items():
        if targets[0].store is not None:
            beside = _beside_object(targets)
        else:
            beside = _beside(shown, shown or ".", {f.name for f in targets})
            for f in targets:
                if not beside and os.path.islink(f.shown):  # a target that is a link has its companions where it points to
                    beside += _beside(shown, os.path.dirname(f.real), {os.path.basename(f.real)})
        for b in beside:
            if isinstance(b, Unread):
                unread.append(b)
            elif b.store is not None or not os.path.isdir(b.real):
                found.setdefault(b.shown, b)
    return sorted(found.values(), key=lambda f: f.shown), unread


def _beside(shown: str, folder: str, targets: set[str]) -> list[Found | Unread]:
    """The companions of file targets in one real folder."""
    names = names_in(folder)
    real = os.path.realpath(folder)
    indexes = {n: _index(Found(n, os.path.join(real, n), False)) for n in names if n.endswith(INDEX_SUFFIX)}
    return [companion(shown, real, n) for n in sorted(companions(targets, names, indexes))]


def _beside_object(targets: Sequence[Found]) -> list[Found | Unread]:
    """The companions of objects that are targets, in one folder of a store."""
    store = targets[0].store
    try:
        others = store.beside(targets[0]) if store is not None else {}
    except Unreadable as error:
        return [Unread(targets[0].folder, error.reason, f"what lies beside can't be listed: {error.detail}")]
    indexes = {n: _index(f) for n, f in others.items() if n.endswith(INDEX_SUFFIX)}
    return [others[n] for n in sorted(companions({f.name for f in targets}, sorted(others), indexes)) if n in others]


def _index(file: Found) -> list[str]:
    try:
        with file.open(file.shown) as source:
            return index_files(source.read(0, source.size)) if source.size <= LIMITS.sidecar_bytes else []
    except Unreadable:
        return []
