"""External data of ONNX: the files that tensors lie in, each extent checked against its file, each byte accounted for."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from weightguard.errors import Unreadable
from weightguard.formats._extents import cover, open_beside
from weightguard.formats._onnx.tensors import Place
from weightguard.formats._rows import called
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import TensorTable
from weightguard.values import Accounts


def place_rows(
    table: TensorTable, places: Mapping[int, Place], source: ByteSource, limits: Limits
) -> tuple[TensorTable, Mapping[str, Accounts]]:
    """The table with rows of identical extents as one storage, and what each other file's bytes are.

    Raises `Unreadable`: the reason of a file that can't be opened; "truncated", "inconsistent" as `cover` does; "malformed" for a
    path that leaves the folder.
    """
    if not places:
        return table, {}
    by_file: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for row, place in places.items():
        by_file[_inside(place, table.names[row])].append((place.offset, place.offset + place.length, row))
    storages = table.storages.copy()
    parts = {}
    for path, extents in by_file.items():
        covered = cover(open_beside(source.beside, path, limits), path, extents, lambda row: called(table.names[row]))
        for row, first in covered.ties:  # the same bytes again: one tensor under two names
            storages[row] = storages[first]
        parts[path] = covered.accounts
    return replace(table, storages=storages), parts


def _inside(place: Place, name: str) -> str:
    """The path, in its plain form: relative, below the model's folder."""
    path = place.location
    steps = path.split("/")
    if not path or path.startswith("/") or "\\" in path or "\0" in path or ".." in steps or path[1:2] == ":":
        raise Unreadable("malformed", f"external-data-path: {called(name)} lies at {path[:120]!r}, out of the model's folder")
    return posixpath.normpath(path)
