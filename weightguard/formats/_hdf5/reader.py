"""A whole HDF5 file: the walk over its groups, its attributes, and what each byte is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats import _keras
from weightguard.formats._hdf5 import objects
from weightguard.formats._hdf5.datasets import Dataset, Space, is_dataset, parse_dataset, parse_space, pieces
from weightguard.formats._hdf5.file import File
from weightguard.formats._hdf5.heaps import FractalHeap, GlobalHeaps, free_space, records
from weightguard.formats._hdf5.objects import Link, Message, links, messages, shared
from weightguard.formats._hdf5.types import OPAQUE, STRING, VARIABLE, Type, Variable, parse_type
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import DTYPE_CODES, from_rows
from weightguard.values import Accounts, Finding

_FREE_TEXT = 64 << 10
_PATH = 16 << 10  # characters of one path
_NAMES = 1 << 28  # characters of all paths
_LONGEST = 4096  # bytes of the names within one datatype
_KNOWN = (
    *(objects.DATASPACE, objects.LINK_INFO, objects.DATATYPE, objects.OLD_FILL, objects.FILL, objects.LINK, objects.LAYOUT),
    *(objects.GROUP_INFO, objects.FILTERS, objects.ATTRIBUTE, objects.OLD_TIME, objects.SYMBOL_TABLE, objects.TIME),
    *(objects.ATTRIBUTE_INFO, objects.REFERENCES, objects.EXTERNAL_FILES, objects.BTREE_K, objects.SPACE_INFO),
)
_NAME_LISTS = ("layer_names", "weight_names")  # Keras, and with a number after it where a list is split


class Attribute(NamedTuple):
    """data: the value, descriptors where it is of variable length."""

    name: str
    type: Type
    space: Space
    data: bytes


def read_hdf5(source: ByteSource, limits: Limits, form: str) -> Container:
    """The container of an HDF5 file, called `form`. Raises `Unreadable`."""
    file = File(source, limits)
    walk = _Walk(file, limits, source.name)
    try:
        if file.extension >= 0:
            walk.extension()
        walk.groups()
    except IndexError as error:
        raise Unreadable("malformed", "hdf5: a message or record that ends early") from error
    except Unreadable as error:
        worst = [f.message for f in walk.findings if f.severity == "critical"]
        if worst:  # a reader of the configuration has run it before it meets what is wrong
            raise Unreadable(error.reason, f"{error.detail}; {worst[0]}") from error
        raise
    walk.heaps.close()
    walk.judge_text()
    names, dtypes, shapes, spans = zip(*walk.rows, strict=True) if walk.rows else ((), (), (), ())
    data, padding, gaps = file.accounts()
    unexplained = file.unexplained + gaps
    tensors = max(0, min(data + walk.inline + walk.heaps.tensors, source.size - padding - unexplained))
    headers = max(0, source.size - tensors - padding - unexplained)
    table = from_rows(names, dtypes, shapes, spans)
    accounts = Accounts(tensors, headers, padding, unexplained)
    return Container(form, table, walk.metadata, {}, tuple(walk.findings), accounts)


class _Walk:
    """Goes from group to group, each object once. rows: (name, dtype, shape, bytes). inline: bytes of data in headers."""

    def __init__(self, file: File, limits: Limits, path: str) -> None:
        self.heaps = GlobalHeaps(file)
        self.rows: list[tuple[str, int, tuple[int, ...], int]] = []
        self.findings: list[Finding] = []
        self.metadata: dict[str, str] = {}
        self.inline = 0
        self._file, self._limits, self._path = file, limits, path
        self._characters = 0
        self._parts: set[bytes] = set()  # the names of all links
        self._texts: set[bytes] = set()  # values of attributes that nothing else explains
        self._lists: list[bytes] = []  # names that Keras lists: explained if they are names of links
        self._external = 0

    def extension(self) -> None:
        """The superblock's extension: messages about the whole file (II.C)."""
        file = self._file
        for m in messages(file, file.extension):
            if m.kind == objects.BTREE_K and len(m.data) >= 7:
                file.chunk_k, file.group_k, file.leaf_k = (int.from_bytes(m.data[i : i + 2], "little") for i in (1, 3, 5))
            elif m.kind == objects.SPACE_INFO:
                self._space_info(m.data)
            elif m.kind in (objects.SHARED_TABLE, objects.DRIVER, objects.CACHE_IMAGE):
                raise Unreadable("unsupported", f"hdf5: a superblock extension with a message of type {m.kind}")
            else:
                file.unexplained += len(m.data)

    def _space_info(self, data: bytes) -> None:
        """Free-space managers that stay in the file (IV.A.2.x)."""
        file = self._file
        if len(data) < 3 or data[0] != 1 or not data[2]:
            return
        at = 3 + file.lengths + file.lengths + 2 + file.offsets
        while at + file.offsets <= len(data):
            manager = file.address(data, at)
            if manager >= 0:
                free_space(file, manager)
            at += file.offsets

    def groups(self) -> None:
        """Every object that hard links lead to from the root."""
        file = self._file
        waiting = [(file.root, "")]
        seen = {file.root}
        while waiting:
            at, path = waiting.pop()
            found = messages(file, at)
            self._account(found)
            self._attributes(found, path)
            if is_dataset(found):
                self._dataset(path, found)
                continue
            below = []
            names: set[str] = set()
            for link in links(file, found):
                self._name(link, path, names)
                if link.kind == objects.EXTERNAL:
                    self._leaves(link, path)
                elif link.kind == objects.HARD and link.address not in seen:
                    seen.add(link.address)
                    below.append((link.address, f"{path}/{link.name}" if path else link.name))
            waiting += reversed(below)
            if not path and file.root_cache is not None:
                self._check_cache(found)

    def _check_cache(self, found: list[Message]) -> None:
        """The superblock of old versions repeats where the root group's links are: two readers must see the same."""
        file = self._file
        for m in found:
            if m.kind == objects.SYMBOL_TABLE and file.root_cache != (
                file.address(m.data, 0),
                file.address(m.data, file.offsets),
            ):
                raise Unreadable("inconsistent", "hdf5: the superblock leads to another root group than the root's header")

    def _account(self, found: list[Message]) -> None:
        for m in found:
            if m.kind not in _KNOWN:
                self._file.unexplained += len(m.data)

    def _name(self, link: Link, path: str, names: set[str]) -> None:
        if link.name in names:
            raise Unreadable("inconsistent", f"hdf5: a group that names {link.name[:80]!r} twice")
        names.add(link.name)
        self._parts.add(link.name.encode())
        self._characters += len(path) + len(link.name) + 1
        if len(path) + len(link.name) > _PATH or self._characters > _NAMES:
            raise Unreadable("limit", "hdf5: names longer than weightguard reads")
        if len(self._parts) > 4 * self._limits.tensors:
            raise Unreadable("limit", f"hdf5: more than {4 * self._limits.tensors} names")

    def _leaves(self, link: Link, path: str) -> None:
        self._external += 1
        if self._external <= 20:
            text = f"a link {f'{path}/{link.name}'[:120]!a} leads to another file, {link.text[:120]!a}: opened with this one"
            self.findings.append(Finding("hdf5-external-link", "critical", text, self._path))

    # -- datasets

    def _dataset(self, path: str, found: list[Message]) -> None:
        file = self._file
        try:
            dataset = parse_dataset(file, found)
            type = dataset.type
            count = dataset.space.elements
            if type.names > _LONGEST:
                file.unexplained += type.names
            file.unexplained += type.gaps * count
            self.inline += len(dataset.inline or b"")
            shape = (0,) if dataset.space.null else dataset.space.dims
            stored = dataset.stored
            bfloat = type.kind == OPAQUE and type.size == 2 and self._is_bfloat
            for f in type.fields:
                dims = (*shape, *f.dims)
                code = f.dtype
                if bfloat:  # Keras writes bfloat16 as two opaque bytes and says so in an attribute
                    code, dims = DTYPE_CODES["BF16"], shape
                self.rows.append(
                    (f"{path}.{f.name}" if f.name else path, code, dims, min(count * prod(f.dims) * f.size, stored))
                )
            for v in type.variables:
                self._sequence(f"{path}.{v.name}" if v.name else path, dataset, v)
        except Unreadable as error:
            raise Unreadable(error.reason, f"{error.detail} ({path[:80]!r})") from error
        if len(self.rows) > self._limits.tensors:
            raise Unreadable("limit", f"more than {self._limits.tensors} tensors")

    def _sequence(self, path: str, dataset: Dataset, variable: Variable) -> None:
        """One row of all items of all sequences: a vector for each number in an item."""
        items = 0
        for piece in pieces(self._file, dataset):
            for at, index, length in _descriptors(self._file, piece, variable.begin):
                items += length
                self.heaps.get(at, index, length * variable.base.size, True)
        for f in variable.base.fields:
            name = f"{path}.{f.name}" if f.name else path
            self.rows.append((name, f.dtype, (items, *f.dims), items * prod(f.dims) * f.size))

    # -- attributes

    def _attributes(self, found: list[Message], path: str) -> None:
        """Those in the header and those in a heap of their own (IV.A.2.m, IV.A.2.v)."""
        self._is_bfloat = False
        file = self._file
        for m in found:
            if m.kind == objects.ATTRIBUTE:
                self._attribute(_parse_attribute(file, m.data), path)
            elif m.kind == objects.ATTRIBUTE_INFO and len(m.data) > 2:
                place = 2 + (2 if m.data[1] & 1 else 0)
                heap_at, tree = file.address(m.data, place), file.address(m.data, place + file.offsets)
                if heap_at < 0:
                    continue
                heap = FractalHeap(file, heap_at)
                _, by_name = records(file, tree, (8,))
                for r in by_name:
                    if r[8] & 2:
                        raise Unreadable("unsupported", "hdf5: attributes in a shared heap")
                    self._attribute(_parse_attribute(file, heap.get(r[:8])), path)
                if m.data[1] & 2:
                    records(file, file.address(m.data, place + 2 * file.offsets), (9,))
                heap.close()

    def _attribute(self, attribute: Attribute, path: str) -> None:
        values = list(self._values(attribute))
        name, type = attribute.name, attribute.type
        is_text = type.kind == STRING or (type.kind == VARIABLE and type.variables[0].base.kind == STRING)
        if name == "dtype" and [v.rstrip(b"\0") for v in values] == [b"bfloat16"]:
            self._is_bfloat = True
        if name.rstrip("0123456789") in _NAME_LISTS and is_text:
            self._lists += values
            return
        if is_text and len(values) == 1 and not attribute.space.dims:
            text = values[0].rstrip(b"\0")
            if not path:
                self.metadata[name] = text.decode("utf-8", "backslashreplace")
            if text[:1] == b"{" and (hidden := self._config(text)) is not None:
                self._file.unexplained += hidden
                return
        self._texts.update(values)
        self._texts.add(name.encode())

    def _config(self, text: bytes) -> int | None:
        """Bytes of a configuration that could be anything; None if the text is none. What it would run is a finding."""
        examined = _keras.examine(text, self._path, self._limits)
        if examined is None:
            return None
        self.findings += examined.findings
        return examined.hidden

    def _values(self, attribute: Attribute) -> Iterator[bytes]:
        """The value: texts one by one, anything else as the bytes that it is."""
        type = attribute.type
        size = type.size
        if not type.variables:
            if type.kind == STRING and size:
                yield from (attribute.data[i : i + size] for i in range(0, len(attribute.data), size))
            else:
                yield attribute.data
            return
        piece = np.frombuffer(attribute.data, np.uint8).reshape(-1, size)
        for v in type.variables:
            for at, index, length in _descriptors(self._file, piece, v.begin):
                yield self.heaps.get(at, index, length * v.base.size, False)
        if type.fields:
            yield attribute.data

    def judge_text(self) -> None:
        """Attributes are small; values that repeat are counted once, and lists of the names in the file not at all."""
        pickles = [t for t in self._texts if len(t) > 1]
        for value in self._lists:
            if not set(value.rstrip(b"\0").split(b"/")) <= self._parts:
                self._texts.add(value)
        total = sum(map(len, self._texts))
        self._file.unexplained += total if total > _FREE_TEXT else 0
        if any(t[:1] in b"\x80c(]}i" for t in pickles):
            from weightguard.formats._pickle.findings import constant_findings  # PyTables unpickles attributes when it opens

            found = constant_findings(sorted(pickles), self._path, self._limits)
            self.findings += [replace(f, message=f"{f.message} (an attribute)") for f in found]


def _descriptors(file: File, piece: np.ndarray, begin: int) -> Iterator[tuple[int, int, int]]:
    """(address, index, items) of the sequences that aren't empty (IV.B, "Variable-length" in a global heap)."""
    o = file.offsets
    columns = np.ascontiguousarray(piece[:, begin : begin + 8 + o])
    lengths = columns[:, :4].copy().view("<u4").ravel()
    for row in np.flatnonzero(lengths).tolist():
        entry = columns[row].tobytes()
        at = file.address(entry, 4)
        if at < 0:
            raise Unreadable("malformed", "hdf5: a sequence without an address")
        yield at, int.from_bytes(entry[4 + o : 8 + o], "little"), int(lengths[row])


def _parse_attribute(file: File, data: bytes) -> Attribute:
    """An attribute message (IV.A.2.m); raises `Unreadable`."""
    if len(data) < 8 or data[0] not in (1, 2, 3):
        raise Unreadable("unsupported", "hdf5: an attribute of another version")
    version, flags = data[0], data[1] if data[0] > 1 else 0
    sizes = [int.from_bytes(data[2 + 2 * i : 4 + 2 * i], "little") for i in range(3)]
    at = 9 if version == 3 else 8
    parts = []
    for size in sizes:
        parts.append(data[at : at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    if at > len(data) + 7:
        raise Unreadable("malformed", "hdf5: an attribute that ends early")
    name, type_data, space_data = parts
    type, _ = parse_type(shared(file, objects.DATATYPE, type_data) if flags & 1 else type_data, file.offsets)
    space = parse_space(shared(file, objects.DATASPACE, space_data) if flags & 2 else space_data, file.lengths)
    size = space.elements * type.size
    if at + size > len(data):
        raise Unreadable("truncated", f"hdf5: an attribute of {size} bytes that ends early")
    file.hidden(data[at + size :])
    if type.names > _LONGEST:
        file.unexplained += type.names
    return Attribute(name.split(b"\0")[0].decode("utf-8", "backslashreplace"), type, space, data[at : at + size])
