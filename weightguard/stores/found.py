"""What a listing holds: files found below a target, each with the store that opens it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from weightguard.stores import Opened
from weightguard.values import Finding, Unread

Beside = Callable[[str], Opened]


@dataclass(frozen=True)
class Network:
    """How far a store may go. seconds: of one request; retries: after its first try.

    private: whether addresses that are not public may be asked; redirects: whether another host than the one asked may answer.
    """

    seconds: float = 20.0
    retries: int = 2
    private: bool = True
    redirects: bool = True


ANYWHERE = Network()


class Store(Protocol):
    """Objects below an address; every method raises `Unreadable`."""

    def below(self) -> Iterator[Found]:
        """Everything below the address, in the order of the store."""
        ...

    def beside(self, file: Found) -> dict[str, Found]:
        """The files of a file's folder, itself included, by name."""
        ...

    def read(self, file: Found, offset: int, length: int) -> bytes:
        """Exactly these bytes, of the version that was listed ("changed" where it is another)."""
        ...


@dataclass(frozen=True)
class Found:
    """A file of a target. `shown` is the path as reached from the target, with "/"; `real` is what to open: a path or a URI.

    store: None for the local file system, else where `size` (bytes), `version` (changes when the object does, "" where nothing
    says) and `sha256` (what the store itself names the content by) are from.
    """

    shown: str
    real: str
    whole_folder: bool  # False: a file target, which stands for its model only
    store: Store | None = None
    size: int = 0
    version: str = ""
    sha256: str = ""

    @property
    def folder(self) -> str:
        return self.shown.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.shown.rpartition("/")[2]

    def open(self, name: str, beside: Beside | None = None) -> Opened:
        """The bytes. name: what errors call it; beside: opens what its reader asks for. Raises `Unreadable`."""
        if self.store is None:
            from weightguard.stores.local import LocalFile

            return LocalFile(self.real, name, beside)
        from weightguard.stores.ranged import RangedFile

        return RangedFile(self, self.store, name, beside)


@dataclass(frozen=True)
class Listing:
    """Files in the order of their paths, and what the walk could not take. also: other paths that lead to one of the files."""

    files: tuple[Found, ...]
    unread: tuple[Unread, ...] = ()
    findings: tuple[Finding, ...] = ()
    also: tuple[Found, ...] = ()


def shown(uri: str) -> str:
    """A URI as reports print it: without what may be a secret in it."""
    plain = re.split(r"[?#]", uri, maxsplit=1)[0]
    return re.sub(r"^([a-z][a-z0-9+.-]*://)(?:(?<=http://)|(?<=https://)|(?=[^/@]*:))[^/]*@", r"\1", plain, flags=re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The first line of what another program says, without credentials or queries of the addresses in it."""
    first = (text.strip().splitlines() or [""])[0]
    return re.sub(r"\?[^\s\"')]*", "?...", re.sub(r"//[^/@\s]*@", "//", first))[:300]


def joined(folder: str, path: str) -> str | None:
    """The path that a relative one leads to from a folder, both with "/"; None where it leads out of it."""
    inside = posixpath.normpath(path)
    if posixpath.isabs(path) or inside == ".." or inside.startswith("../"):
        return None
    return f"{folder}/{inside}" if folder else inside
