"""The stream that torch.save wrote before its zip files, and still writes inside of plain pickles.

Five pickles follow one another: a magic number, a protocol, facts of the system, the object, and the list of storage
keys. Then comes, for each key in that order, the number of elements as eight bytes and the elements themselves
(PyTorch, `torch/serialization.py`, `_legacy_save` and `_legacy_load`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import Dict, Globals, Object, Value
from weightguard.formats._pickle.machine import run
from weightguard.formats._pickle.rebuild import Collector
from weightguard.formats._pickle.storages import Storages, register
from weightguard.limits import LIMITS, Limits

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_BINARY_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # LONG1's ten bytes of it
_TEXT_MAGIC = b"119547037146038801333356L"  # LONG, in protocols 0 and 1
_TRIAL = replace(LIMITS, pickle_opcodes=65_536, pickle_memo=65_536)

Read = Callable[[int, int], bytes]


class Head(NamedTuple):
    """The object, its storage keys in the file's order and how many it refers to, and where the first storage is."""

    value: Value
    keys: list[str]
    referred: int
    order: str
    end: int


def starts_legacy(head: bytes) -> bool:
    """Whether these are the first bytes of such a stream: the magic number as the first value, in any protocol.

    torch.load takes what STOP finds on the top of the stack, so that other values may lie below it.
    """
    start = head[:48]
    if (start[:1] == b"\x80" and _BINARY_MAGIC in start) or (start[:1] == b"L" and _TEXT_MAGIC in start):
        return True
    if _BINARY_MAGIC not in head and _TEXT_MAGIC[:-1] not in head:
        return False
    with suppress(Unreadable):
        return run(head, 0, _TRIAL, Globals()).value == MAGIC_NUMBER
    return False


def read_head(data: bytes, limits: Limits, seen: Globals, storages: Storages, scope: str = "") -> Head:
    """The five pickles at the start of `data`; raises `Unreadable`."""
    magic, at = run(data, 0, limits, seen)
    if type(magic) is not int or magic != MAGIC_NUMBER:
        raise Unreadable("malformed", "torch: the first pickle isn't the magic number")
    protocol, at = run(data, at, limits, seen)
    if type(protocol) is not int or protocol != PROTOCOL:
        raise Unreadable("unsupported", "torch: a legacy protocol other than 1001")
    system, at = run(data, at, limits, seen)
    first = len(seen.persistent)
    value, at = run(data, at, limits, seen)
    own = seen.persistent[first:]
    listed, at = run(data, at, limits, seen)
    before = len(storages.keys)
    register(own, storages, scope)
    if type(listed) is not list:
        raise Unreadable("malformed", "torch: the storage keys aren't a list")
    keys = [k if type(k) is str else str(k) if type(k) is int and k.bit_length() < 65 else _bad_key() for k in listed]
    return Head(value, keys, len(storages.keys) - before, _byte_order(system), at)


def _bad_key() -> str:
    raise Unreadable("malformed", "torch: a storage key that is neither text nor a number")


def _byte_order(system: Value) -> str:
    if type(system) is Dict:
        for key, value in zip(system[::2], system[1::2], strict=True):
            if type(key) is str and key == "little_endian" and value is False:
                return "big"
    return "little"


def check_storages(head: Head, read: Read, size: int, storages: Storages, scope: str = "") -> int:
    """Checks that the storages after the pickles are those announced, within `size` bytes; the offset after the last.

    Raises `Unreadable` ("truncated", "inconsistent").
    """
    at = head.end
    for key in head.keys:
        number = storages.keys.get(scope + key)
        if number is None:
            raise Unreadable("inconsistent", f"torch: a storage {key[:80]!r} that nothing refers to")
        if at + 8 > size:
            raise Unreadable("truncated", f"torch: the file ends before storage {key[:80]!r}")
        count = int.from_bytes(read(at, 8), "big" if head.order == "big" else "little", signed=True)
        expected = storages.sizes[number]
        if count * storages.dtypes[number].bytes != expected:
            raise Unreadable("inconsistent", f"torch: storage {key[:80]!r} has {count} elements, others were announced")
        at += 8 + expected
        if at > size:
            raise Unreadable("truncated", f"torch: the file ends within storage {key[:80]!r}")
    stored = len(set(head.keys))
    if stored < len(head.keys):
        raise Unreadable("inconsistent", "torch: a storage is stored twice")
    if stored < head.referred:
        raise Unreadable("inconsistent", f"torch: the data of {head.referred - stored} storages are missing")
    return at


def load_nested(seen: Globals, to: Collector, limits: Limits) -> int:
    """Reads the files that lie as bytes within a pickle (`torch.storage._load_from_bytes`), whether or not the pickle
    keeps them; puts what each holds into the `state` of its call. Returns their unexplained bytes; raises `Unreadable`.
    """
    done: dict[int, Value] = {}
    room = limits.pickle_bytes
    unexplained = 0
    for made in seen.deferred:  # grows: a file in a file is found while the outer one is read
        data = _bytes_argument(made)
        key = id(made.args[0])
        if key not in done:
            room -= len(data)
            if room < 0 or len(done) > limits.tensors:
                raise Unreadable("limit", f"torch: more than {limits.pickle_bytes} bytes of files within a pickle")
            done[key] = _load(data, f"\0{len(done)}\0", seen, to.storages, limits)
            unexplained += len(data) - done[key][1]  # type: ignore[index]
            to.blobs[key] = len(data)
        made.state = done[key][0]  # type: ignore[index]
    return unexplained


def _load(data: bytes, scope: str, seen: Globals, storages: Storages, limits: Limits) -> tuple[Value, int]:
    head = read_head(data, limits, seen, storages, scope)
    end = check_storages(head, lambda at, length: data[at : at + length], len(data), storages, scope)
    found = getattr(head.value, "slice", None)
    return (head.value if found is None else found), end


def _bytes_argument(made: Object) -> bytes:
    data = made.args[0] if made.args else None
    if type(data) is Object and data.callee.path == "_codecs.encode" and data.args and type(data.args[0]) is str:
        return data.args[0].encode("latin-1", "replace")
    if type(data) is not bytes:
        raise Unreadable("unsupported", "torch: a file within a pickle that isn't bytes")
    return data
