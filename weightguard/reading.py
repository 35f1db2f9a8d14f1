"""Every file of a listing read once, and what could not be: the one place where an `Unreadable` becomes an `Unread`."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from weightguard.errors import Unreadable
from weightguard.formats import identify
from weightguard.limits import LIMITS
from weightguard.models import INDEX_SUFFIX, WEIGHT_NAMES, Folder, WeightFile, companions, index_files, is_sidecar
from weightguard.stores.folder import Found, Listing, companion, names_in
from weightguard.stores.local import LocalFile
from weightguard.values import Finding, Unread

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
    """`folders` in the order of their paths; `real`: where each file is, by its path as reached from the target.

    bytes: size of all files, each real file once.
    """

    folders: tuple[Folder, ...]
    unread: tuple[Unread, ...]
    findings: tuple[Finding, ...]
    real: Mapping[str, str]
    bytes: int


def read_all(listing: Listing, unexplained_bytes: int, progress: Progress | None) -> Reading:
    """Every file of the listing, and those beside its file targets without which they can't be judged.

    unexplained_bytes: how many bytes of a file that no rule explains are let be.
    """
    found, beside = _with_companions(listing)
    unread = [*listing.unread, *beside]
    weights: dict[str, list[WeightFile]] = defaultdict(list)
    texts: dict[str, dict[str, bytes]] = defaultdict(dict)
    failed: dict[str, set[str]] = defaultdict(set)
    size = 0
    seen: set[str] = set()
    let_be: list[str] = []
    for done, file in enumerate(found):
        if progress is not None:
            progress(done, len(found), file.shown)
        length = _size(file)
        size += 0 if file.real in seen else length
        seen.add(file.real)
        try:
            read = _read_file(file)
        except Unreadable as error:
            if error.reason == "unrecognised" and length <= unexplained_bytes and not file.name.endswith(WEIGHT_NAMES):
                let_be.append(file.shown)
                continue
            unread.append(Unread(file.shown, error.reason, error.detail))
            failed[file.folder].add(file.name)
            continue
        if isinstance(read, WeightFile):
            weights[file.folder].append(read)
            if read.container.unexplained > unexplained_bytes:
                text = f"{read.container.unexplained} bytes of the file that no rule of {read.container.format} explains"
                unread.append(Unread(file.shown, "unrecognised", text))
                failed[file.folder].add(file.name)
        elif read is not None:
            texts[file.folder][file.name] = read
    names = sorted({f.folder for f in found})
    folders = tuple(Folder(n, tuple(weights[n]), texts[n], frozenset(failed[n])) for n in names)
    findings: tuple[Finding, ...] = ()
    if let_be:
        text = (
            f"{len(let_be)} files of no known kind, each of at most {unexplained_bytes} bytes, are let be; the first is named"
        )
        findings = (Finding("unexplained-files", "low", text, let_be[0]),)
    return Reading(folders, tuple(unread), findings, {f.shown: f.real for f in found}, size)


def _size(file: Found) -> int:
    try:
        return os.path.getsize(file.real)
    except OSError:
        return 0


def _read_file(file: Found) -> WeightFile | bytes | None:
    """One file: weights, the text of a sidecar, or None for any other. A fault of ours is an `Unreadable` too: never a pass."""
    try:
        with LocalFile(file.real, file.shown) as source:
            container = identify(source, LIMITS)
            text = None
            if container is None:
                if file.name.endswith(WEIGHT_NAMES):
                    if source.size == 0:
                        raise Unreadable("truncated", "named like weights, but empty")
                    raise Unreadable("malformed", "named like weights, but text or another kind of file")
                if is_sidecar(file.name):
                    if source.size > LIMITS.sidecar_bytes:
                        raise Unreadable("limit", f"{source.size} bytes of what says something about a model")
                    text = source.read(0, source.size)
            source.check_unchanged()
            if container is None:
                return text
            return WeightFile(file.shown, source.size, replace(container, findings=(*container.findings, *_misnamed(file))))
    except Unreadable:
        raise
    except (MemoryError, RecursionError) as error:
        raise Unreadable("limit", f"needs more than weightguard allows ({type(error).__name__})") from error
    except Exception as error:
        raise Unreadable("internal", f"a fault of weightguard: {type(error).__name__}: {error}"[:300]) from error


def _misnamed(file: Found) -> tuple[Finding, ...]:
    if file.name.lower().endswith(_OTHER_NAMES):
        text = "holds weights under the name of another kind of file: rename it to what it is"
        return (Finding("disguised-weights", "critical", text, file.shown),)
    return ()


def _with_companions(listing: Listing) -> tuple[list[Found], list[Unread]]:
    """The files of the listing, and those beside its file targets without which they can't be judged."""
    found = {f.shown: f for f in listing.files}
    unread: list[Unread] = []
    alone: dict[str, list[Found]] = defaultdict(list)
    for f in listing.files:
        if not f.whole_folder:
            alone[f.folder].append(f)
    for shown, targets in alone.items():
        beside = _beside(shown, shown or ".", {f.name for f in targets})
        for f in targets:
            if not beside and os.path.islink(f.shown):  # a target that is a link has its companions where it points to
                beside += _beside(shown, os.path.dirname(f.real), {os.path.basename(f.real)})
        for b in beside:
            if isinstance(b, Unread):
                unread.append(b)
            elif not os.path.isdir(b.real):
                found.setdefault(b.shown, b)
    return sorted(found.values(), key=lambda f: f.shown), unread


def _beside(shown: str, folder: str, targets: set[str]) -> list[Found | Unread]:
    """The companions of file targets in one real folder."""
    names = names_in(folder)
    indexes = {n: _index(os.path.join(folder, n)) for n in names if n.endswith(INDEX_SUFFIX)}
    real = os.path.realpath(folder)
    return [companion(shown, real, n) for n in sorted(companions(targets, names, indexes))]


def _index(path: str) -> list[str]:
    try:
        with LocalFile(os.path.realpath(path), path) as source:
            return index_files(source.read(0, source.size)) if source.size <= LIMITS.sidecar_bytes else []
    except Unreadable:
        return []
