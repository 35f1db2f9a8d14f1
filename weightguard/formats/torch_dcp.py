"""PyTorch's distributed checkpoints: `.metadata`, and the pieces of tensors in `__RANK_N.distcp` beside it.

Source: PyTorch, `torch/distributed/checkpoint/metadata.py` (Metadata, TensorStorageMetadata, BytesStorageMetadata, MetadataIndex)
and `filesystem.py` (_StorageInfo, `_write_item`: each piece is a file of torch.save by itself). The pickle is read by the abstract
machine; global sizes and types come from it, and each piece must hold the chunk that it is said to hold.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import Dict, Globals, Object, Value
from weightguard.formats._pickle.distributed import starts_distributed
from weightguard.formats._pickle.findings import name_findings, naming_calls
from weightguard.formats._pickle.machine import run
from weightguard.formats._pickle.rebuild import torch_dtype
from weightguard.formats._pickle.storages import PAIRED, Dtype
from weightguard.formats.protocol import PART_MISSING, Container, Scalar
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.stores.slices import Slice
from weightguard.tensors import TensorTable, concatenate, from_rows
from weightguard.values import Accounts, Finding

NAME = "torch-dcp"
SPEC = "PyTorch torch/distributed/checkpoint/metadata.py and filesystem.py, v2.13"

_OPENED = 4_000  # tensor pieces whose own header is read; of more, lengths must fit
_OBJECTS = 20_000  # pieces that are pickled objects: each is read, equal ones once
_SAME = 64 << 10  # bytes of an object that is remembered by its content
_MOST_HEADER = 4096  # bytes that torch.save adds to one tensor
_PAIRWISE = 2048  # chunks in no grid that are compared one by one
_SCALARS = 10_000
_FILE = re.compile(r"[^/\\\0]{1,200}\.distcp")
_LONGEST = (1 << 63) - 1

Index = tuple[str, tuple[int, ...]]


class Piece(NamedTuple):
    """Where a chunk, or an object (shape None), lies: `length` bytes from `offset` of a file."""

    name: str
    path: str
    offset: int
    length: int
    shape: tuple[int, ...] | None
    dtype: Dtype | None


class Tensor(NamedTuple):
    dtype: Dtype
    size: tuple[int, ...]
    chunks: list[tuple[tuple[int, ...], tuple[int, ...]]]  # offsets, sizes


def sniff(head: bytes, tail: bytes) -> bool:
    """A pickle whose first object is a `Metadata`."""
    return starts_distributed(head)


def read(source: ByteSource, limits: Limits) -> Container:
    """The global tensors, every piece checked. Raises `Unreadable`; what loading it would have called stands in the detail.

    Pieces that are not there are a finding `part-missing`.
    """
    seen = Globals()
    with naming_calls(seen):
        return _read(source, limits, seen)


def _read(source: ByteSource, limits: Limits, seen: Globals) -> Container:
    if source.size > limits.pickle_bytes:
        raise Unreadable("limit", f"pickle: a file of {source.size} bytes")
    data = source.read(0, source.size)
    value, end = run(data, 0, limits, seen)
    if seen.persistent or seen.deferred:
        raise Unreadable("malformed", "dcp: a description that refers to data outside of it")
    fields = _fields(value, "Metadata")
    tensors, objects = _described(fields.get("state_dict_metadata"), limits)
    stored = _stored(fields.get("storage_data"))
    pieces, absent = _pieces(tensors, objects, stored)
    files = _Files(source, limits)
    files.read(pieces)
    lost = absent + files.lost
    findings = [*name_findings(seen, source.name), *files.findings]
    if lost:
        what = f"{len(lost)} pieces of the checkpoint are not there, {lost[0]} first"
        findings.append(Finding(PART_MISSING, "high", what, source.name))
    names = list(tensors)
    sizes = [_logical_size(t) for t in tensors.values()]
    table = from_rows(
        [n.encode("utf-8", "backslashreplace").decode() for n in names],
        [t.dtype.code for t in tensors.values()],
        sizes,
        [_bytes(n, t.size, t.dtype) for n, t in tensors.items()],
    )
    unexplained = len(data) - end + seen.blobs
    return Container(
        NAME,
        concatenate([table, *files.tables]) if files.tables else table,
        scalars=files.scalars,
        findings=tuple(findings),
        accounts=Accounts(0, max(0, source.size - unexplained), 0, unexplained),
        parts=files.accounts,
    )


# -- the description


def _fields(value: Value, kind: str) -> dict[str, Value]:
    """The attributes of an instance of this class of torch.distributed, whatever the version; raises `Unreadable`."""
    if type(value) is not Object or value.callee.name != kind or not value.callee.module.startswith("torch.distributed."):
        raise Unreadable("malformed", f"dcp: not a {kind}")
    state = value.state
    if state is None and not value.args:
        return {}
    if type(state) is not Dict or value.args:
        raise Unreadable("malformed", f"dcp: a {kind} of an unknown form")
    found: dict[str, Value] = {}
    for key, item in zip(state[::2], state[1::2], strict=True):
        if type(key) is not str or key in found:
            raise Unreadable("malformed", f"dcp: a {kind} names an attribute twice, or by what is no text")
        found[key] = item
    return found


def _described(value: Value, limits: Limits) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors, and the names of objects, by state_dict_metadata."""
    if type(value) is not Dict:
        raise Unreadable("malformed", "dcp: state_dict_metadata isn't a dictionary")
    tensors: dict[str, Tensor] = {}
    objects: list[str] = []
    known: set[str] = set()
    if len(value) // 2 > limits.tensors:
        raise Unreadable("limit", f"more than {limits.tensors} tensors")
    for name, item in zip(value[::2], value[1::2], strict=True):
        if type(name) is not str or name in known:
            raise Unreadable("malformed", "dcp: state_dict_metadata names something twice, or by what is no text")
        known.add(name)
        if type(item) is Object and item.callee.name == "BytesStorageMetadata":
            _fields(item, "BytesStorageMetadata")
            objects.append(name)
        else:
            tensors[name] = _tensor(name, _fields(item, "TensorStorageMetadata"))
    return tensors, objects


def _tensor(name: str, fields: Mapping[str, Value]) -> Tensor:
    properties = fields.get("properties")
    state = properties.state if type(properties) is Object and properties.callee.name == "TensorProperties" else None
    first: Value = None
    if type(state) is tuple and state:  # __getstate__: dtype first
        first = state[0]
    elif type(state) is Dict:
        first = dict(zip(map(str, state[::2]), state[1::2], strict=True)).get("dtype")
    dtype = torch_dtype(name, first)
    size = _lengths(name, fields.get("size"))
    chunks = fields.get("chunks")
    if type(chunks) is not list:
        raise Unreadable("malformed", f"dcp: {name[:80]!r} has no list of chunks")
    _bytes(name, size, dtype)
    parts = []
    for chunk in chunks:
        found = _fields(chunk, "ChunkStorageMetadata")
        offsets, sizes = _lengths(name, found.get("offsets")), _lengths(name, found.get("sizes"))
        if len(offsets) != len(size) or len(sizes) != len(size):
            raise Unreadable("inconsistent", f"dcp: {name[:80]!r} has a chunk of other dimensions")
        if any(o + s > n for o, s, n in zip(offsets, sizes, size, strict=True)):
            raise Unreadable("inconsistent", f"dcp: {name[:80]!r} has a chunk outside of it")
        parts.append((offsets, sizes))
    _check_tiled(name, size, parts)
    return Tensor(dtype, size, parts)


def _lengths(name: str, value: Value) -> tuple[int, ...]:
    """A torch.Size, a tuple or a list of lengths."""
    if type(value) is Object and value.callee.path == "torch.Size" and len(value.args) == 1:
        value = value.args[0]
    if type(value) not in (tuple, list) or any(type(n) is not int or not 0 <= n <= _LONGEST for n in value):  # type: ignore[attr-defined]
        raise Unreadable("malformed", f"dcp: {name[:80]!r}: not a shape")
    return tuple(value)  # type: ignore[arg-type]


def _bytes(name: str, size: Sequence[int], dtype: Dtype) -> int:
    total = prod(size) * dtype.bytes
    if total > _LONGEST:
        raise Unreadable("inconsistent", f"dcp: {name[:80]!r} has a shape that no file can fill")
    return total


def _logical_size(tensor: Tensor) -> tuple[int, ...]:
    """torch counts pairs of 4-bit floats as one element."""
    size = tensor.size
    return size if tensor.dtype.code != PAIRED else (*size[:-1], size[-1] * 2) if size else (2,)


def _check_tiled(name: str, size: tuple[int, ...], chunks: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    """Every element in exactly one chunk; raises `Unreadable` ("inconsistent", "limit")."""
    full = [(o, s) for o, s in chunks if prod(s)]
    if sum(prod(s) for _, s in full) != prod(size):
        raise Unreadable("inconsistent", f"dcp: the chunks of {name[:80]!r} leave holes in it or overlap")
    if len(full) < 2:
        return
    if len({o for o, _ in full}) < len(full):
        raise Unreadable("inconsistent", f"dcp: two chunks of {name[:80]!r} overlap")
    cuts = [sorted({o[i] for o, _ in full}) for i in range(len(size))]
    ends = [dict(zip(c, [*c[1:], n], strict=True)) for c, n in zip(cuts, size, strict=True)]
    if prod(len(c) for c in cuts) == len(full) and all(o[i] + s[i] == ends[i][o[i]] for o, s in full for i in range(len(size))):
        return  # the cells of a grid, each once
    if len(full) > _PAIRWISE:
        raise Unreadable("limit", f"dcp: {name[:80]!r} has {len(full)} chunks in no grid")
    begins = np.array([o for o, _ in full], np.int64)
    stops = begins + np.array([s for _, s in full], np.int64)
    for at in range(len(full) - 1):
        meets = (begins[at + 1 :] < stops[at]) & (stops[at + 1 :] > begins[at])
        if meets.all(axis=1).any():
            raise Unreadable("inconsistent", f"dcp: two chunks of {name[:80]!r} overlap")


# -- where the pieces lie


def _stored(value: Value) -> dict[Index, tuple[str, int, int]]:
    """(file, offset, length) of each piece, by its name and offsets."""
    if type(value) is not Dict:
        raise Unreadable("malformed", "dcp: storage_data isn't a dictionary")
    found: dict[Index, tuple[str, int, int]] = {}
    for key, item in zip(value[::2], value[1::2], strict=True):
        index, info = _fields(key, "MetadataIndex"), _fields(item, "_StorageInfo")
        name, offset = index.get("fqn"), index.get("offset")
        path, begin, length = info.get("relative_path"), info.get("offset"), info.get("length")
        if type(name) is not str or type(path) is not str or type(begin) is not int or type(length) is not int:
            raise Unreadable("malformed", "dcp: a piece without its name, file, offset and length")
        if not _FILE.fullmatch(path):
            raise Unreadable("unsupported", f"dcp: a piece of {name[:80]!r} lies in {path[:80]!r}, not in a *.distcp beside it")
        if info.get("transform_descriptors"):
            raise Unreadable("unsupported", f"dcp: a piece of {name[:80]!r} is compressed or encrypted")
        if not 0 <= begin <= _LONGEST or not 0 <= length <= _LONGEST:
            raise Unreadable("malformed", f"dcp: a piece of {name[:80]!r} lies outside of any file")
        place = (name, () if offset is None else _lengths(name, offset))
        if place in found:
            raise Unreadable("inconsistent", f"dcp: a piece of {name[:80]!r} lies in two places")
        found[place] = (path, begin, length)
    return found


def _pieces(
    tensors: Mapping[str, Tensor], objects: Sequence[str], stored: dict[Index, tuple[str, int, int]]
) -> tuple[list[Piece], list[str]]:
    """Every piece that the description needs, and those that it says no place of; raises `Unreadable` for places of nothing."""
    wanted: list[tuple[Index, tuple[int, ...] | None, Dtype | None]] = [((n, ()), None, None) for n in objects]
    for name, t in tensors.items():
        wanted += [((name, offsets), sizes, t.dtype) for offsets, sizes in t.chunks if prod(sizes) or (name, offsets) in stored]
    pieces = []
    absent = []
    for index, sizes, dtype in wanted:
        place = stored.pop(index, None)
        if place is None:
            absent.append(index[0][:80])
        else:
            pieces.append(Piece(index[0], *place, sizes, dtype))
    if stored:
        raise Unreadable("inconsistent", f"dcp: places of {len(stored)} pieces that nothing describes")
    return pieces, absent


class _Files:
    """The files of pieces, read. accounts: what their bytes are; lost: names of pieces whose file is absent or too short."""

    def __init__(self, source: ByteSource, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._same: dict[bytes, Container] = {}
        self._opens = 0
        self._objects = 0
        self.accounts: dict[str, Accounts] = {}
        self.tables: list[TensorTable] = []
        self.scalars: dict[str, Scalar] = {}
        self.findings: list[Finding] = []
        self.lost: list[str] = []

    def read(self, pieces: Sequence[Piece]) -> None:
        """Checks every piece against its file; raises `Unreadable`."""
        by_file: dict[str, list[Piece]] = defaultdict(list)
        for piece in pieces:
            by_file[piece.path].append(piece)
        self._opens = sum(p.shape is not None for p in pieces)
        for path, inside in sorted(by_file.items()):
            try:
                file = self._source.beside(path)
            except Unreadable as error:
                if error.reason != "missing":
                    raise
                self.lost += [p.name[:80] for p in inside]
                continue
            if max(p.offset + p.length for p in inside) > file.size:  # the file is unread by itself, too
                self.lost += [f"{p.name[:80]} (cut short)" for p in inside if p.offset + p.length > file.size]
                continue
            self.accounts[path] = self._file(file, inside)

    def _file(self, file: ByteSource, pieces: list[Piece]) -> Accounts:
        total = Accounts()
        end = 0
        for piece in sorted(pieces, key=lambda p: (p.offset, p.length)):
            if piece.offset < end:
                raise Unreadable(
                    "inconsistent", f"dcp: the pieces of {piece.name[:80]!r} and another overlap in {file.name[:80]}"
                )
            total += Accounts(unexplained=piece.offset - end)
            end = piece.offset + piece.length
            total += self._piece(file, piece)
        return total + Accounts(unexplained=file.size - end)

    def _piece(self, file: ByteSource, piece: Piece) -> Accounts:
        if piece.shape is None or piece.dtype is None:
            return self._object(file, piece)
        size = prod(piece.shape) * piece.dtype.bytes
        if not size <= piece.length <= size + _MOST_HEADER:
            text = f"{piece.length} bytes for a chunk of {size} bytes"
            raise Unreadable("inconsistent", f"dcp: {piece.name[:80]!r}: {text}")
        if self._opens > _OPENED:
            return Accounts(size, piece.length - size)
        found = self._open(file, piece)
        t = found.tensors
        if len(t) != 1 or int(t.elements[0]) * piece.dtype.bytes != size or int(t.dtypes[0]) != piece.dtype.code:
            raise Unreadable("inconsistent", f"dcp: a piece of {piece.name[:80]!r} isn't the chunk that it is said to be")
        if t.shape(0) != piece.shape:
            raise Unreadable("inconsistent", f"dcp: a piece of {piece.name[:80]!r} has another shape than is said")
        return self._accounted(found, piece)

    def _object(self, file: ByteSource, piece: Piece) -> Accounts:
        """A pickled object: read as the file that it is; what it holds counts under the object's name."""
        self._objects += 1
        if self._objects > _OBJECTS:
            raise Unreadable("limit", f"dcp: more than {_OBJECTS} objects")
        if not piece.length:
            return Accounts()
        found = self._open(file, piece)
        name = piece.name.partition("/shard_")[0].encode("utf-8", "backslashreplace").decode()
        if len(found.tensors):
            names = [f"{name}.{n}" if n else name for n in found.tensors.names]
            self.tables.append(replace(found.tensors, names=names))
        if len(self.scalars) < _SCALARS:
            self.scalars |= {f"{name}.{key}" if key else name: value for key, value in found.scalars.items()}
        return self._accounted(found, piece)

    def _open(self, file: ByteSource, piece: Piece) -> Container:
        from weightguard.formats import identify

        content = file.read(piece.offset, piece.length) if piece.shape is None and piece.length <= _SAME else b""
        known = self._same.get(content) if content else None
        if known is not None:
            return known
        found = identify(Slice(file, piece.offset, piece.length, file.name), self._limits)
        if found is None:
            raise Unreadable("malformed", f"dcp: a piece of {piece.name[:80]!r} is no file of torch.save")
        self.findings += found.findings
        if content:
            self._same[content] = found
        return found

    @staticmethod
    def _accounted(found: Container, piece: Piece) -> Accounts:
        a = found.accounts
        left = piece.length - a.tensors - a.headers - a.padding
        return Accounts(a.tensors, a.headers, a.padding, max(left, a.unexplained))
