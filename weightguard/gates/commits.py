"""The folders of commits that hold anything new, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from weightguard.gates.git import Added, Objects
from weightguard.gates.staging import Blob, State

_TREE, _LINK, _SUBMODULE = "40000", "120000", "160000"
_PATH_BYTES = 4096  # the longest path (limits.h)


def states(
    objects: Objects,
    added: Added,
    roots: Iterable[tuple[str, str]],
    same: Callable[[str, str], str | None] | None = None,
) -> Iterator[State]:
    """A state for every folder, at every moment, that holds a blob of `added`; and one for each blob in no folder.

    roots: (label, tree) in the order of judging. same(path, blob): a file outside git's store with that blob's bytes.

    A new blob lies in a new tree, so trees that the other side has are not entered; a tree met before at the same path is not
    entered again. A blob that a tag names, in no tree, is judged by itself.
    """
    met: set[tuple[str, str]] = set()
    placed: set[str] = set()
    for label, root in roots:
        pending = [("", root)]
        while pending:
            folder, tree = pending.pop()
            if (folder, tree) in met or tree not in added.trees:
                continue
            met.add((folder, tree))
            entries: dict[str, Blob] = {}
            for mode, name, oid in objects.entries(tree):
                path = f"{folder}/{name}" if folder else name
                if mode == _TREE:
                    pending.append((path, oid))
                elif mode == _LINK and added.blobs.get(oid, (0,))[0] <= _PATH_BYTES:
                    placed.add(oid)  # a link's text
                elif mode != _SUBMODULE:  # which is pushed from its own repository
                    entries[name] = Blob(oid, same(path, oid) if same else None)
            new = frozenset(name for name, blob in entries.items() if blob.oid in added.blobs)
            if new:
                placed.update(entries[name].oid for name in new)
                yield State(label, folder, entries, new)
    for oid in sorted(added.blobs.keys() - placed):
        folder, _, name = added.blobs[oid][1].rpartition("/")
        name = name or "blob"
        yield State(oid[:12], folder, {name: Blob(oid)}, frozenset({name}))
