"""The values that the pickle machine computes with, and what it records about the names that a pickle uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from weightguard.formats._pickle.allowed import CALLS_ARGUMENTS

if TYPE_CHECKING:
    from weightguard.formats._pickle.storages import Slice

REFERENCED, CALLED, BUILT, MUTATED, EXTENSION, RESULT_CALLED = 0, 1, 2, 4, 8, 16

Value = object  # int, float, str, bytes, bool, None, tuple, list, Dict, Set, Global, Persistent or Object


class Dict(list[Value]):
    """A dictionary as the flat list key, value, key, value ...: nothing is hashed, so no key can be made to collide."""


class Set(list[Value]):
    """A set or frozenset, as the list of its members in the order written."""


class Global:
    """Something the pickle names: `module`, `name`, and `uses`, a sum of CALLED, BUILT, MUTATED, EXTENSION, RESULT_CALLED."""

    __slots__ = ("module", "name", "path", "through", "uses")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self.path = f"{module}.{name}"
        self.through = CALLS_ARGUMENTS.get(self.path)  # arguments that this callable calls in its turn
        self.uses = REFERENCED


class Persistent:
    """A persistent id: a reference to something outside of the pickle. `slice` is set once that has been looked up."""

    __slots__ = ("id", "slice")

    def __init__(self, id: Value) -> None:
        self.id = id
        self.slice: Slice | None = None


class Object:
    """The result of a call or instantiation that was not made.

    callee: the `Global` that would be called, or whose result would be. args: what with. state: the argument of BUILD,
    if any (a list of them if several). items: keys and values set on it, elements: values appended to it, both None
    until used.
    """

    __slots__ = ("args", "callee", "elements", "items", "state")

    def __init__(self, callee: Global, args: tuple[Value, ...]) -> None:
        self.callee = callee
        self.args = args
        self.state: Value = None
        self.items: Dict | None = None
        self.elements: list[Value] | None = None


class Globals(dict[tuple[str, str], Global]):
    """What one file's pickles name, by (module, name). It outlives a pickle that turns out malformed.

    deferred: calls whose arguments hold a file of their own. persistent: the persistent ids met.
    blobs: bytes in bytes constants, whether or not the pickle keeps them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deferred: list[Object] = []
        self.persistent: list[Persistent] = []
        self.blobs = 0

    def start_over(self) -> None:
        """Forgets all but the names, for a pickle that is run again with more of its bytes."""
        self.deferred.clear()
        self.persistent.clear()
        self.blobs = 0

    def named(self, module: str, name: str) -> Global:
        found = self.get((module, name))
        if found is None:
            found = self[module, name] = Global(module, name)
        return found


class Pickle(NamedTuple):
    """The abstract value at STOP and the offset after it."""

    value: Value
    end: int
