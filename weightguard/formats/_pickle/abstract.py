"""The values that the pickle machine computes with, and what it records about the names that a pickle uses."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from weightguard.formats._pickle.allowed import CALLS_ARGUMENTS, is_plain, modern

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from weightguard.formats._pickle.storages import Dtype, Slice

REFERENCED, CALLED, BUILT, MUTATED, EXTENSION, RESULT_CALLED, MADE, ACTS = 0, 1, 2, 4, 8, 16, 32, 64

# Attributes of an instance that an unpickler's own opcodes call (CPython, `pickle.py`: load_build, load_append, load_additems ...).
HOOKS = frozenset(
    "__setstate__ append extend add update __setitem__ __reduce__ __reduce_ex__ __class__ __call__ __new__".split()
)
# Those that callables of the allow-list call of what they are given (`tests/hostile/test_reach.py` finds them).
ASKED = frozenset("keys items values get setdefault pop detach requires_grad_ to as_subclass replace strip partition".split())
# What any code may call of what it takes for a dictionary, a list, a text or a tensor.
METHODS = frozenset(name for kind in (dict, list, set, tuple, str, bytes, int) for name in dir(kind)) | frozenset(
    "as_subclass clone contiguous copy_ cpu cuda data_ptr detach dim numel numpy requires_grad_ set_ size storage stride to type "
    "untyped_storage view".split()
)

Value = object  # int, float, str, bytes, bool, None, tuple, list, Dict, Set, Global, Persistent, Object or Run


class Dict(list[Value]):
    """A dictionary as the flat list key, value, key, value ...: nothing is hashed, so no key can be made to collide."""


class Set(list[Value]):
    """A set or frozenset, as the list of its members in the order written."""


class Global:
    """Something the pickle names: `module`, `name`, and `uses`, a sum of the above.

    CALLED: by REDUCE, INST or OBJ. MADE: an instance, by NEWOBJ. ACTS: called with what its kind may act on.
    modern: its path in Python 3. plain: a call of it is harmless whatever the arguments, and nothing need be looked at.
    """

    __slots__ = ("modern", "module", "name", "path", "plain", "through", "uses")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self.path = f"{module}.{name}"
        self.modern = ".".join(modern(module, name))
        self.through = CALLS_ARGUMENTS.get(self.modern)  # arguments that this callable calls in its turn
        self.plain = is_plain(module, name)
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


@dataclass(eq=False, slots=True)
class Run:
    """Items of a dictionary whose values are tensors, n one after another, in columns. In a `Dict` it is key and value of itself.

    Each tensor is contiguous and all of a storage that none before it has; the keys of these are `key` to `key + n - 1`.
    names: list of n texts, ASCII, none twice. dtypes: array of int64, shape (n,), indices into kinds.
    elements, ranks: arrays of int64, shape (n,). dims: array of int64, all shapes end to end.
    memo: array of int64, shape (n + 1,), the memo index of each name, and the one after the last tensor's.
    storage: the number of the first storage, once that has been looked up.
    """

    names: list[str]
    key: int
    kinds: tuple[Dtype, ...]
    dtypes: npt.NDArray[np.int64]
    elements: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    dims: npt.NDArray[np.int64]
    memo: npt.NDArray[np.int64]
    storage: int = -1


class Memo(dict[int, Value]):
    """What the pickle put in its memo, by index; of `runs`, in order, the names and the keys. KeyError for all else."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def __missing__(self, index: int) -> Value:
        place = bisect_right(self.runs, index, key=lambda run: int(run.memo[0])) - 1
        if place >= 0:
            run = self.runs[place]
            row = bisect_right(run.memo, index) - 1
            if row < len(run.names):
                if index == run.memo[row]:
                    return run.names[row]
                if index == run.memo[row] + 1:
                    return str(run.key + row)
        raise KeyError(index)


class Globals(dict[tuple[str, str], Global]):
    """What one file's pickles name, by (module, name). It outlives a pickle that turns out malformed.

    deferred: calls whose arguments hold a file of their own. persistent: the persistent ids met. runs: those not among them.
    blobs: bytes in bytes constants, whether or not the pickle keeps them. framed: whether a FRAME was met.
    looked_at: attributes in states so far, which `calls` limits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deferred: list[Object] = []
        self.persistent: list[Persistent] = []
        self.runs: list[Run] = []
        self.blobs = 0
        self.framed = False
        self.looked_at = 0

    def start_over(self) -> None:
        """Forgets all but the names, for a pickle that is run again with more of its bytes."""
        self.deferred.clear()
        self.persistent.clear()
        self.runs.clear()
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
