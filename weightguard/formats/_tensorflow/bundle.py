"""The tensors of a TensorFlow checkpoint (V2): an index that is a table of names, and data files beside it.

After core/util/tensor_bundle/tensor_bundle.h and core/protobuf/tensor_bundle.proto of TensorFlow 2.21.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from weightguard.errors import Unreadable
from weightguard.formats._extents import cover, open_beside
from weightguard.formats._protobuf import LEN, Message, Reader, varint
from weightguard.formats._tensorflow.schema import (
    BUNDLE_ENTRY,
    BUNDLE_HEADER,
    DATA_TYPES,
    DIMENSION,
    OBJECT_GRAPH,
    SHAPE,
    SLICE,
)
from weightguard.formats._tensorflow.tables import Table
from weightguard.formats.protocol import Scalar
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES, TensorTable, from_rows
from weightguard.values import Accounts

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # what the object-based API adds to the name of every variable
_INDEX = ".index"
_MOST_SHARDS = 4096
_MOST_RANK = 254  # TensorShape::MaxDimensions
_MOST_SCALARS = 256


@dataclass(frozen=True)
class _Entry:
    """One tensor, or a slice of one. dtype: code into `DTYPES`. begin, size: in bytes of its shard. slices: how many, if it is cut."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    shard: int
    begin: int
    size: int
    slices: int


@dataclass
class _Rows:
    """One row a tensor: its extents are one, or those of its slices."""

    entries: list[_Entry] = field(default_factory=list)
    extents: list[list[tuple[int, int, int]]] = field(default_factory=list)  # (shard, begin, end)


@dataclass(frozen=True)
class Bundle:
    """tensors: all but the object graph. accounts: of the index. parts: of the data files, by their paths."""

    tensors: TensorTable
    scalars: Mapping[str, Scalar]
    accounts: Accounts
    parts: Mapping[str, Accounts]


def read_bundle(index: ByteSource, path: str, beside: Callable[[str], ByteSource], limits: Limits) -> Bundle:
    """Every tensor that the index names, its bytes held against its shape and the data files; no tensor data is read.

    path: of the index, as its data files have it before their numbers. beside: opens a data file by such a path. Raises `Unreadable`.
    """
    table = Table(index, limits)
    reader = Reader(index, limits)
    entries = table.entries()
    key, extent = next(entries, (None, (0, 0)))
    if key != b"" or next((wire for _, wire, *_ in reader.records(extent)), None) == LEN:
        kind = "V1 checkpoint of TensorFlow" if key == b"" else "LevelDB table"
        raise Unreadable("unsupported", f"a {kind}, which this version does not read")
    header = reader.message(BUNDLE_HEADER, extent)
    shards = header.get("num_shards", 0)
    if not 0 < shards <= _MOST_SHARDS:
        raise Unreadable("limit" if shards > 0 else "malformed", f"an index of {shards} data files")
    if header.get("endianness", 0):
        raise Unreadable("unsupported", "a checkpoint of big-endian numbers")
    rows = _collect((_entry(reader, key, extent, shards) for key, extent in entries), limits)
    if not path.endswith(_INDEX):
        raise Unreadable("missing", "an index of a checkpoint, not named *.index: its data files have the name before that")
    paths = [f"{path.removesuffix(_INDEX)}.data-{n:05d}-of-{shards:05d}" for n in range(shards)]
    others = [open_beside(beside, path, limits) for path in paths]
    parts = _cover(rows, paths, others)
    for entry in rows.entries:
        if entry.name == _GRAPH:
            parts[paths[entry.shard]] += _account_graph(others[entry.shard], entry, limits)
    kept = [n for n, e in enumerate(rows.entries) if e.name != _GRAPH]
    names = _names([rows.entries[n].name for n in kept])
    tensors = from_rows(
        names,
        [rows.entries[n].dtype for n in kept],
        [rows.entries[n].shape for n in kept],
        [sum(e - b for _, b, e in rows.extents[n]) for n in kept],
    )
    hidden = table.unexplained()
    accounts = reader.accounts() + Accounts(headers=-hidden, unexplained=hidden)
    return Bundle(tensors, _scalars([rows.entries[n] for n in kept], names, others), accounts, parts)


def _entry(reader: Reader, key: bytes, extent: tuple[int, int], shards: int) -> _Entry:
    """One BundleEntryProto, its numbers checked."""
    try:
        name = _sliced(key) if key[:1] == b"\0" else key.decode()
    except (UnicodeDecodeError, ValueError) as error:
        raise Unreadable("malformed", f"a name in the index that is none: {key[:40]!r}") from error
    reader.measure(key)
    message = reader.message(BUNDLE_ENTRY, extent)
    code = message.get("dtype", 0)
    if code not in DATA_TYPES:
        raise Unreadable("unsupported", f"tensor {name[:80]!r} has element type {code}, which this version does not know")
    dtype = DTYPE_CODES[DATA_TYPES[code]]
    shape = _shape(reader, message, name)
    shard, begin, size = (message.get(k, 0) for k in ("shard_id", "offset", "size"))
    if not 0 <= shard < shards or begin < 0 or size < 0:
        raise Unreadable("malformed", f"tensor {name[:80]!r} lies in data file {shard} of {shards}, at {begin}, {size} bytes")
    slices = message.get("slices", ())
    for place in slices:
        reader.skim(SLICE, place, 1)
    if DATA_TYPES[code] == "STRING":
        shape = (size,)  # of text, elements are bytes
    elif not slices and prod(shape) * max(8, int(DTYPE_BITS[dtype])) != 8 * size:
        raise Unreadable("inconsistent", f"tensor {name[:80]!r} has {size} bytes, which its shape and type do not need")
    return _Entry(name if key[:1] != b"\0" else "\0" + name, dtype, shape, shard, begin, size, len(slices))


def _sliced(key: bytes) -> str:
    """The name in the key of a slice: "OrderedCode" of 0, then of the name, zeros written as 00 FF, then 00 01."""
    end = key.index(b"\0\1", 1)
    return key[1:end].replace(b"\0\xff", b"\0").decode()


def _shape(reader: Reader, message: Message, name: str) -> tuple[int, ...]:
    if "shape" not in message:
        return ()
    shape = reader.message(SHAPE, message["shape"], 1)
    places = shape.get("dim", ())
    if shape.get("unknown_rank") or len(places) > _MOST_RANK:
        raise Unreadable("malformed", f"tensor {name[:80]!r} has a shape of no known rank")
    dims = tuple(reader.message(DIMENSION, place, 2).get("size", 0) for place in places)
    if any(d < 0 for d in dims):
        raise Unreadable("malformed", f"tensor {name[:80]!r} has a negative dimension")
    return dims


def _collect(entries: Iterable[_Entry], limits: Limits) -> _Rows:
    """Rows of whole tensors, and of cut ones with the extents of all their slices."""
    rows = _Rows()
    slices: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        if len(rows.entries) >= limits.tensors:
            raise Unreadable("limit", f"more than {limits.tensors} tensors")
        if entry.name.startswith("\0"):
            slices[entry.name[1:]].append(entry)
        else:
            rows.entries.append(entry)
    for entry in rows.entries:
        own = slices.pop(entry.name, []) if entry.slices else [entry]
        if entry.slices and (
            len(own) != entry.slices
            or any(s.dtype != entry.dtype for s in own)
            or sum(prod(s.shape) for s in own) != prod(entry.shape)
        ):
            raise Unreadable("inconsistent", f"tensor {entry.name[:80]!r} is not the sum of its slices")
        rows.extents.append([(s.shard, s.begin, s.begin + s.size) for s in own])
    if slices:
        raise Unreadable("inconsistent", f"slices of {next(iter(slices))[:80]!r}, which the index does not name")
    return rows


def _cover(rows: _Rows, paths: list[str], others: list[ByteSource]) -> dict[str, Accounts]:
    by_shard: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for row, extents in enumerate(rows.extents):
        for shard, begin, end in extents:
            by_shard[shard].append((begin, end, row))
    parts = {}
    for shard, (path, other) in enumerate(zip(paths, others, strict=True)):
        covered = cover(other, path, by_shard[shard], lambda row: f"tensor {rows.entries[row].name[:80]!r}")
        if covered.ties:
            first = rows.entries[covered.ties[0][0]].name
            raise Unreadable("inconsistent", f"tensor {first[:80]!r} overlaps another in {path[:80]!r}")
        parts[path] = covered.accounts
    return parts


def _account_graph(other: ByteSource, entry: _Entry, limits: Limits) -> Accounts:
    """The object graph is no tensor, but a message: of one string, its length and a checksum before it."""
    head = other.read(entry.begin, min(14, entry.size))
    try:
        length, at = varint(head, 0)
    except IndexError:
        length, at = -1, 0
    if length != entry.size - at - 4:
        return Accounts(-entry.size, 0, 0, entry.size)
    reader = Reader(other, limits)
    reader.skim(OBJECT_GRAPH, (entry.begin + at + 4, entry.begin + entry.size))
    return reader.accounts(entry.size) + Accounts(tensors=-entry.size)


def _names(stored: list[str]) -> list[str]:
    """Names without the object-based API's ending, where that tells no two apart."""
    short = [name.removesuffix(_VALUE) for name in stored]
    return short if len(set(short)) == len(short) else stored


def _scalars(entries: list[_Entry], names: list[str], others: list[ByteSource]) -> Mapping[str, Scalar]:
    """Counters, such as an optimizer's iterations."""
    found: dict[str, Scalar] = {}
    for entry, name in zip(entries, names, strict=True):
        if entry.dtype == DTYPE_CODES["I64"] and entry.shape == () and len(found) < _MOST_SCALARS and not entry.slices:
            found[name.replace("/", ".")] = int.from_bytes(others[entry.shard].read(entry.begin, 8), "little", signed=True)
    return found
