"""ML programs of CoreML (MIL.proto): constants in the model or in a file of blobs beside it; packed ones by what they unpack to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Final

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats._coreml.schema import SCHEMAS
from weightguard.formats._extents import cover, open_beside
from weightguard.formats._protobuf import Extent, Message, Numbers, Reader
from weightguard.formats._rows import Rows, called
from weightguard.stores import ByteSource
from weightguard.tensors import DTYPE_BITS, DTYPE_CODES, TensorTable
from weightguard.values import Accounts

_SMALL = 16  # elements of a constant in the model that is a setting of an operator
_LUT = 256  # entries of a look-up table, at most
_MODEL_PATH = "@model_path/"
_VERSION = 2
_PIECE = 64  # "aligned to 64 bytes": the file's header, each blob's, and where data begin
_SENTINEL = 0xDEADBEEF

# MIL.proto, DataType: the name here, and bits where elements of less than a byte have no name of their own
DATA_TYPES: Final = {
    1: ("BOOL", 8),
    2: ("STRING", 8),
    10: ("F16", 16),
    11: ("F32", 32),
    12: ("F64", 64),
    13: ("BF16", 16),
    21: ("I8", 8),
    22: ("I16", 16),
    23: ("I32", 32),
    24: ("I64", 64),
    25: ("I4", 4),
    31: ("U8", 8),
    32: ("U16", 16),
    33: ("U32", 32),
    34: ("U64", 64),
    35: ("U4", 4),
    36: ("U2", 2),
    37: ("U8", 1),
    38: ("U8", 6),
    39: ("U8", 3),
    40: ("F8_E4M3", 8),
    41: ("F8_E5M2", 8),
}


@dataclass(frozen=True)
class _Blob:
    path: str
    begin: int  # of its data, in bytes
    end: int
    entry: int  # where its metadata is


@dataclass
class Program:
    """Collects the rows of a program's constants. blobs: where those rows lie that are in other files."""

    reader: Reader
    rows: Rows
    source: ByteSource
    blobs: dict[int, _Blob] = field(default_factory=dict)
    _files: dict[str, ByteSource] = field(default_factory=dict)

    def read(self, extent: Extent, prefix: str, depth: int) -> None:
        """A Program; raises `Unreadable`."""
        message = self.reader.message(SCHEMAS["Program"], extent, depth)
        self._values(message, "attributes", prefix, depth + 1)
        for place in message.get("functions", ()):
            entry = self.reader.message(SCHEMAS["ProgramFunctionsEntry"], place, depth + 1)
            function = self.reader.message(SCHEMAS["Function"], entry.get("value", (0, 0)), depth + 2)
            name = f"{prefix}{entry.get('key', '')}."
            self._values(function, "attributes", name, depth + 3)
            for block in function.get("block_specializations", ()):
                inner = self.reader.message(SCHEMAS["FunctionBlockSpecializationsEntry"], block, depth + 3)
                if "value" in inner:
                    self._block(inner["value"], name if entry.get("key", "") != "main" else prefix, {}, depth + 4)

    def _block(self, extent: Extent, prefix: str, around: Mapping[str, int], depth: int) -> None:
        message = self.reader.message(SCHEMAS["Block"], extent, depth)
        self._values(message, "attributes", prefix, depth + 1)
        known = dict(around)  # the row of each value that is a constant, by name
        for place in message.get("operations", ()):
            self._operation(place, prefix, known, depth + 1)

    def _operation(self, extent: Extent, prefix: str, known: dict[str, int], depth: int) -> None:
        message = self.reader.message(SCHEMAS["Operation"], extent, depth)
        kind = message.get("type", "")
        outputs = [self.reader.message(SCHEMAS["NamedValueType"], place, depth + 1) for place in message.get("outputs", ())]
        name = outputs[0].get("name", "") if outputs else ""
        label = prefix + (name or kind)
        rows = self._values(message, "attributes", label, depth + 1)
        for place in message.get("inputs", ()):
            entry = self.reader.message(SCHEMAS["OperationInputsEntry"], place, depth + 1)
            argument = self.reader.message(SCHEMAS["Argument"], entry.get("value", (0, 0)), depth + 2)
            for binding in argument.get("arguments", ()):
                bound = self.reader.message(SCHEMAS["ArgumentBinding"], binding, depth + 3)
                if "value" in bound:
                    row = self._value(bound["value"], f"{label}.{entry.get('key', '')}", depth + 4)
                else:
                    row = known.get(bound.get("name", ""), -1)
                rows += [row] if row >= 0 else []
        for number, place in enumerate(message.get("blocks", ())):
            self._block(place, f"{label}.{number}.", known, depth + 1)
        if kind == "const" and len(rows) == 1:
            known[name] = rows[0]
        elif kind.startswith("constexpr_") and rows:
            dims = self._dims(outputs[0].get("type"), depth + 2)[1] if outputs else ()
            known[name] = self._unpacked(rows, prod(dims))

    def _unpacked(self, rows: list[int], parameters: int) -> int:
        """An operator that unpacks weights: its largest input holds them, the others are scales, tables, masks."""
        largest = max(rows, key=lambda row: self.rows.spans[row])
        logical = self.rows.logical
        logical[largest] = max(parameters, self.rows.elements(largest), logical[largest])
        for row in rows:
            if row != largest and logical[row] < 0 and self.rows.elements(row) <= max(_LUT, logical[largest] // 4):
                logical[row] = 0
        return largest

    def _values(self, message: Message, key: str, name: str, depth: int) -> list[int]:
        """The rows of a map of values."""
        rows = []
        for place in message.get(key, ()):
            entry = self.reader.message(SCHEMAS["OperationAttributesEntry"], place, depth)
            if "value" in entry:
                own = entry.get("key", "")
                rows.append(self._value(entry["value"], name if own == "val" else f"{name}.{own}", depth + 1))
        return [row for row in rows if row >= 0]

    def _value(self, extent: Extent, name: str, depth: int) -> int:
        """The row of a Value; -1 for one that holds no more than a setting."""
        message = self.reader.message(SCHEMAS["Value"], extent, depth)
        code, dims = self._dims(message.get("type"), depth + 1)
        if "blobFileValue" in message:
            blob = self.reader.message(SCHEMAS["ValueBlobFileValue"], message["blobFileValue"], depth + 1)
            return self._blob(blob, name, code, dims)
        if "immediateValue" not in message:
            return -1
        value = self.reader.message(SCHEMAS["ValueImmediateValue"], message["immediateValue"], depth + 1)
        tensor = self.reader.message(SCHEMAS["TensorValue"], value["tensor"], depth + 2) if "tensor" in value else {}
        row = -1
        for key, dtype in (("floats", "F32"), ("doubles", "F64"), ("ints", "I32"), ("longInts", "I64"), ("bools", "BOOL")):
            if key in tensor:
                numbers = self._numbers(key, tensor[key], depth + 3)
                if numbers.count > _SMALL:
                    shape = dims if prod(dims) == numbers.count else (numbers.count,)
                    row = self._add(name, DTYPE_CODES[dtype], shape, numbers.bytes)
        if "strings" in tensor:
            texts = self._numbers("strings", tensor["strings"], depth + 3)
            if texts.content > _SMALL << 8:
                row = self._add(name, DTYPE_CODES["STRING"], (texts.content,), texts.bytes)
        if "bytes" in tensor:
            values = self.reader.message(SCHEMAS["TensorValueRepeatedBytes"], tensor["bytes"], depth + 3).get("values", (0, 0))
            size = values[1] - values[0]
            if size > _SMALL:
                row = self._add(name, *self._typed(name, code, dims, size), size)
        return row

    def _numbers(self, key: str, extent: Extent, depth: int) -> Numbers:
        found = self.reader.message(SCHEMAS[f"TensorValueRepeated{key[0].upper()}{key[1:]}"], extent, depth)
        values: Numbers = found.get("values", Numbers())
        return values

    def _add(self, name: str, dtype: int, shape: tuple[int, ...], size: int) -> int:
        self.reader.data += size
        return self.rows.add(name, dtype, shape, size)

    def _dims(self, extent: Extent | None, depth: int) -> tuple[int, tuple[int, ...]]:
        """Element type and shape of a ValueType; dimensions that are not known are 1."""
        kind = self.reader.message(SCHEMAS["ValueType"], extent, depth) if extent else {}
        if "tensorType" not in kind:
            return 0, ()
        tensor = self.reader.message(SCHEMAS["TensorType"], kind["tensorType"], depth + 1)
        dims = []
        for place in tensor.get("dimensions", ()):
            dimension = self.reader.message(SCHEMAS["Dimension"], place, depth + 2)
            known = self.reader.message(SCHEMAS["DimensionConstantDimension"], dimension.get("constant", (0, 0)), depth + 3)
            dims.append(known.get("size", 0) if "constant" in dimension else 1)
        if any(d < 0 for d in dims) or prod(dims) >= 1 << 59:
            raise Unreadable("inconsistent", "a value with a shape that no file can fill")
        return tensor.get("dataType", 0), tuple(dims)

    def _typed(self, name: str, code: int, dims: tuple[int, ...], size: int) -> tuple[int, tuple[int, ...]]:
        """Code into `DTYPES`, and shape as stored, of values that take `size` bytes."""
        if code not in DATA_TYPES:
            raise Unreadable("unsupported", f"{called(name)} has element type {code}, which this version does not know")
        dtype, bits = DATA_TYPES[code]
        if -(-prod(dims) * bits // 8) != size:
            raise Unreadable("inconsistent", f"{called(name)} has {size} bytes, which its shape and type do not need")
        stored = DTYPE_CODES[dtype]
        return stored, dims if int(DTYPE_BITS[stored]) == bits else (size,)

    def _blob(self, message: Message, name: str, code: int, dims: tuple[int, ...]) -> int:
        """A BlobFileValue: a path, and where the blob's metadata is (MILBlob, StorageFormat.hpp)."""
        stated, entry = message.get("fileName", ""), message.get("offset", 0)
        path = stated.removeprefix(_MODEL_PATH)
        if path == stated or path.startswith("/") or "\\" in path or "\0" in path or {"..", ".", ""} & set(path.split("/")):
            raise Unreadable("malformed", f"{called(name)} lies at {stated[:120]!r}, out of the model's folder")
        if path not in self._files:
            self._files[path] = other = open_beside(self.source.beside, path, self.rows.limits)
            head = other.read(0, min(_PIECE, other.size))
            if int.from_bytes(head[4:8], "little") != _VERSION:
                raise Unreadable("unsupported", f"{path[:80]!r} is no file of blobs of version {_VERSION}")
        other = self._files[path]
        if not _PIECE <= entry <= other.size - _PIECE:
            raise Unreadable("truncated", f"{called(name)} lies at {entry} in {path[:80]!r} of {other.size} bytes")
        metadata = other.read(entry, _PIECE)
        size, begin = (int.from_bytes(metadata[at : at + 8], "little") for at in (8, 16))
        if int.from_bytes(metadata[:4], "little") != _SENTINEL:
            raise Unreadable("malformed", f"{called(name)} has no blob at {entry} in {path[:80]!r}")
        row = self.rows.add(name, *self._typed(name, code, dims, size), size)
        if DATA_TYPES[code][1] < 8 and prod(self.rows.dims[row]) != prod(dims):
            self.rows.logical[row] = prod(dims)
        self.blobs[row] = _Blob(path, begin, begin + size, entry)
        return row

    def place(self, table: TensorTable) -> tuple[TensorTable, dict[str, Accounts]]:
        """The table with rows of one blob as one storage, and what the bytes of the blobs' files are."""
        by_file: dict[str, list[int]] = defaultdict(list)
        for row, blob in self.blobs.items():
            by_file[blob.path].append(row)
        storages = np.array(table.storages)
        parts = {}
        for path, rows in by_file.items():
            entries = {self.blobs[row].entry for row in rows}
            extents = [(0, _PIECE, -1), *((entry, entry + _PIECE, -1) for entry in entries)]
            extents += [(self.blobs[row].begin, self.blobs[row].end, row) for row in rows]
            covered = cover(
                self._files[path], path, extents, lambda row: called(table.names[row]) if row >= 0 else "a blob's header"
            )
            for row, first in covered.ties:
                storages[row] = storages[first]
            heads = _PIECE * (1 + len(entries))
            parts[path] = covered.accounts + Accounts(tensors=-heads, headers=heads)
        return replace(table, storages=storages), parts
