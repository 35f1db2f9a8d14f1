"""torch.export's archives (.pt2): weights as raw bytes beside a JSON of their names, shapes and types, or as files of torch.save.

Source: PyTorch, `torch/export/pt2_archive/_package.py` and `constants.py` (archive version 0), `torch/_export/serde/schema.py`
(PayloadMeta, TensorMeta, ScalarType), and `torch/export/__init__.py` (`load`, the layout before the archive: serialized_*.pt).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats._pickle.rebuild import Collector
from weightguard.formats._pickle.storages import TORCH_DTYPES, Dtype, Slice, Storages
from weightguard.formats.protocol import Container, Scalar
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.stores.memory import InMemory
from weightguard.stores.slices import Slice as Part
from weightguard.tensors import EMPTY, TensorTable, concatenate
from weightguard.values import Accounts, Finding

if TYPE_CHECKING:
    from weightguard.formats._zip import Archive, Member

NAME = "torch-export"
SPEC = "PyTorch, torch/export/pt2_archive, archive version 0, and torch/_export/serde/schema.py, at v2.13"

_OLD = re.compile(rb"serialized_(?:state_dict|exported_program|constants)\.(?:pt|json)")
_CONFIG = re.compile(r"data/(weights|constants)/[^/]*_(?:weights|constants)_config\.json")
_TEXT = re.compile(r"models/[^/]+\.json|serialized_exported_program\.json|extra/.+|extra_files/.+|data/aotinductor/.+\.json")
_SMALL = {
    "archive_format": rb"pt2",
    "archive_version": rb"\d{1,8}\n?",
    "version": rb"[\d.]{1,16}\n?",
    ".data/version": rb"\d{1,8}\n?",
    ".data/serialization_id": rb"\d{1,64}",
    ".format_version": rb"\d{1,8}\n?",
    ".storage_alignment": rb"\d{1,12}\n?",
    "byteorder": rb"little",
}
_INPUTS = re.compile(r"data/sample_inputs/.+\.pt|serialized_example_inputs\.pt")
_SAVED = re.compile(r"serialized_(?:state_dict|constants)\.(?:pt|json)")
_FEW_INPUTS = 64 << 10  # bytes of inputs that the program was traced with; more of them are counted
_NESTED = frozenset({"torch-zip", "torch-legacy", "pickle"})

# schema.py, class ScalarType
_SCALAR_TYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    33: "float8_e8m0fnu",
    34: "uint32",
    35: "uint64",
}
_STRIDED = 7


def sniff(head: bytes, tail: bytes) -> bool:
    """A zip with the record "archive_format", or with the files that torch.export.save wrote before it."""
    if not head.startswith(b"PK\3\4"):
        return False
    return b"/archive_format" in tail or _OLD.search(tail) is not None


def read(source: ByteSource, limits: Limits) -> Container:
    """The tensors of all weights and constants, each one's bytes checked against its shape. Raises `Unreadable`."""
    from weightguard.formats._zip import Archive

    archive = Archive(source, limits)
    reader = _Reader(source, archive, limits)
    for name in sorted(reader.members):
        reader.record(name)
    return reader.container()


class _Reader:
    """What has been read so far. members: by name, without the folder that all may lie in."""

    def __init__(self, source: ByteSource, archive: Archive, limits: Limits) -> None:
        self._source = source
        self._archive = archive
        self._limits = limits
        self._to = Collector(Storages(), limits)
        self._storages: dict[str, int] = {}
        self._nested: dict[str, Container] = {}
        self._findings: list[Finding] = []
        self._metadata: dict[str, str] = {}
        self._explained: set[str] = set()
        self.members = _without_folder(archive.members)

    def record(self, name: str) -> None:
        """Reads one record by its name; what is not known is left unexplained."""
        member = self.members[name]
        if member.size == 0:
            self._explained.add(name)
        elif name in _SMALL:
            text = self._bytes(name) if member.size <= 64 else b""
            if re.fullmatch(_SMALL[name], text) is None:
                raise Unreadable("unsupported", f"torch.export: {name} says {text[:64]!r}")
            self._metadata[name.rsplit("/", 1)[-1]] = text.decode("ascii").strip()
            self._explained.add(name)
        elif match := _CONFIG.fullmatch(name):
            self._config(name, match[1])
        elif _SAVED.fullmatch(name):
            self._saved(name, "")
        elif _INPUTS.fullmatch(name):
            self._saved(name, "sample_inputs.")
            if member.size > _FEW_INPUTS:
                message = (
                    f"inputs of {member.size} bytes, with which the program was traced: they are counted as its weights are"
                )
                self._findings.append(Finding("sample-inputs", "info", message, self._source.name))
            else:
                inputs = self._nested[name]
                accounts = Accounts(unexplained=inputs.accounts.unexplained)
                self._nested[name] = replace(inputs, tensors=EMPTY, scalars={}, accounts=accounts)
        elif _TEXT.fullmatch(name) and self._is_text(member):
            self._explained.add(name)

    def container(self) -> Container:
        """All of it. Raises `Unreadable` for what was compiled: its weights may lie in the code."""
        for name in self.members:
            if name not in self._explained and name.startswith(("data/aotinductor/", "data/executorch/", "data/mtia")):
                raise Unreadable("unsupported", f"torch.export: opaque: {name[:120]!r} is compiled for a machine")
        table, members, to = self._to.table(), self.members, self._to
        tables: list[TensorTable] = [table, *(c.tensors for c in self._nested.values())]
        uncovered = to.storages.uncovered()
        unexplained = self._archive.unexplained + uncovered
        unexplained += sum(max(m.stored, m.size) for n, m in members.items() if n not in self._explained)
        accounts = Accounts(sum(to.storages.sizes) - uncovered, 0, self._archive.padding, unexplained)
        for name, container in self._nested.items():
            a = container.accounts
            if members[name].method:  # compressed: in the file its bytes are fewer
                a = Accounts(min(a.tensors, members[name].stored), 0, 0, a.unexplained)
            accounts += Accounts(a.tensors, 0, a.padding, a.unexplained)
        scalars: dict[str, Scalar] = {}
        for container in self._nested.values():
            self._findings += container.findings
            scalars.update(container.scalars)
        if to.repeated:
            text = "a tensor shows stored elements more than once (an expanded view): stored elements are counted"
            self._findings.append(Finding("expanded-view", "low", text, self._source.name))
        together = concatenate(tables)
        together = replace(together, files=np.zeros(len(together), np.int64))
        headers = max(0, self._source.size - accounts.tensors - accounts.padding - accounts.unexplained)
        accounts = replace(accounts, headers=headers)
        return Container(NAME, together, self._metadata, scalars, tuple(self._findings), accounts)

    def _config(self, name: str, kind: str) -> None:
        """A PayloadConfig: for each name the record with its bytes, and its TensorMeta."""
        config = _json(self._bytes(name), name).get("config")
        if not isinstance(config, dict):
            raise Unreadable("malformed", f"torch.export: {name} has no config")
        self._explained.add(name)
        for key, payload in config.items():
            if not isinstance(payload, dict) or not isinstance(payload.get("path_name"), str):
                raise Unreadable("malformed", f"torch.export: {name} says nothing of where {key[:80]!r} lies")
            record = f"data/{kind}/{payload['path_name']}"
            if record not in self.members:
                raise Unreadable("missing", f"torch.export: the record {record[:120]!r} isn't there")
            if payload.get("use_pickle"):
                self._saved(record, f"{key}.")
            else:
                self._raw(key, record, payload.get("tensor_meta"))

    def _raw(self, key: str, record: str, meta: object) -> None:
        """A row for a strided view of a record's bytes."""
        member = self.members[record]
        if member.method:
            raise Unreadable("unsupported", f"torch.export: {record[:120]!r} is compressed")
        if not isinstance(meta, dict) or meta.get("layout") != _STRIDED:
            raise Unreadable("unsupported", f"torch.export: {key[:80]!r} has a layout other than strided")
        dtype = _dtype(key, meta.get("dtype"))
        size, stride = (_ints(key, meta.get(k)) for k in ("sizes", "strides"))
        offset = _int(key, meta.get("storage_offset"))
        if record in self._nested:
            raise Unreadable("inconsistent", f"torch.export: {record[:120]!r} is raw bytes and a file of torch.save")
        if record not in self._storages:
            self._storages[record] = self._to.storages.add(dtype, member.size)
            self._explained.add(record)
        self._to.view(key, Slice(self._storages[record], dtype, 0, member.size), dtype, offset, size, stride)

    def _saved(self, record: str, prefix: str) -> None:
        """A file of torch.save within the archive."""
        if record in self._nested:
            return
        if record in self._storages:
            raise Unreadable("inconsistent", f"torch.export: {record[:120]!r} is raw bytes and a file of torch.save")
        from weightguard.formats import read as read_container
        from weightguard.formats import readers_of

        member = self.members[record]
        inner: ByteSource = Part(self._source, self._archive.offset(member), member.stored, self._source.name)
        if member.method:
            inner = InMemory(self._source.name, self._archive.read(member))
        _, readers = readers_of(inner)
        readers = [r for r in readers if r.NAME in _NESTED]
        if not readers:
            raise Unreadable("unsupported", f"torch.export: {record[:120]!r} is no file of torch.save")
        container = read_container(readers, inner, self._limits)
        tensors = container.tensors
        if prefix:
            tensors = replace(tensors, names=[(prefix + n).rstrip(".") for n in tensors.names])
        self._nested[record] = replace(container, tensors=tensors)
        self._explained.add(record)

    def _bytes(self, name: str) -> bytes:
        return self._archive.read(self.members[name])

    def _is_text(self, member: Member) -> bool:
        if member.size > self._limits.text_bytes:
            return False
        data = self._archive.read(member)
        try:
            data.decode()
        except UnicodeDecodeError:
            return False
        return b"\0" not in data


def _without_folder(members: Sequence[Member]) -> dict[str, Member]:
    """Members by name: the archives of torch put all into one folder, the files before them did not."""
    roots = {m.name.partition("/")[0] for m in members}
    archive = len(roots) == 1 and all("/" in m.name for m in members)
    return {(m.name.partition("/")[2] if archive else m.name): m for m in members}


def _json(data: bytes, name: str) -> Mapping[str, Any]:
    """An object of JSON, no key given twice; raises `Unreadable` ("malformed")."""
    try:
        found = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Unreadable("malformed", f"torch.export: {name} is no JSON") from error
    if not isinstance(found, dict):
        raise Unreadable("malformed", f"torch.export: {name} is no object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Unreadable("inconsistent", "torch.export: a key is given twice")
    return found


def _dtype(key: str, code: object) -> Dtype:
    name = _SCALAR_TYPES.get(code) if type(code) is int else None
    if name is None:
        raise Unreadable("unsupported", f"torch.export: {key[:80]!r} has the type {code!r:.40}")
    return TORCH_DTYPES[name]


def _int(key: str, value: object) -> int:
    number = value.get("as_int") if isinstance(value, dict) else None
    if type(number) is not int:
        raise Unreadable("malformed", f"torch.export: {key[:80]!r} has a size that is no number")
    return number


def _ints(key: str, values: object) -> tuple[int, ...]:
    if not isinstance(values, list) or len(values) > 64:
        raise Unreadable("malformed", f"torch.export: {key[:80]!r} has no sizes or strides")
    return tuple(_int(key, v) for v in values)
