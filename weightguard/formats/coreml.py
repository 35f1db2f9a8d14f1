"""CoreML: a model as a protobuf message; its weights in layers, or, of an ML program, in a file of blobs beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weightguard.errors import Unreadable
from weightguard.formats._coreml.program import Program
from weightguard.formats._coreml.schema import SCHEMAS
from weightguard.formats._protobuf import LEN, VARINT, Extent, Numbers, Reader, Schema, top_level
from weightguard.formats._rows import Rows
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import DTYPE_CODES
from weightguard.values import Finding

NAME = "coreml"
SPEC = "coremltools 9.0, mlmodel/format (Model.proto, NeuralNetwork.proto, MIL.proto) and MILBlob, StorageFormat.hpp"

_FIRST_KIND = 200  # of the fields of Model, those from here on say what kind it is
_PIPELINES = ("pipeline", "pipelineClassifier", "pipelineRegressor")
_NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
_KINDS = {f.name: f.nested or {} for f in SCHEMAS["Model"].values() if f.name}
_NOT_READ = frozenset(f.name for f in SCHEMAS["Model"].values() if f.kind == "bytes")
_LONGEST_NAME = 1024
_MOST_SCALES = 4  # weights that a scale has, at least


def sniff(head: bytes, tail: bytes) -> bool:
    """The version of the specification, a description, and a kind of model."""
    records = top_level(head) or []
    if not records or records[0][:2] != (1, VARINT) or any(number not in SCHEMAS["Model"] for number, *_ in records):
        return False
    return any(number >= _FIRST_KIND and wire == LEN for number, wire, *_ in records)


def read(source: ByteSource, limits: Limits) -> Container:
    """All weights of the model, and of those that it is made of; no tensor data is read but the headers of blobs."""
    reader, rows = Reader(source, limits), Rows(limits)
    model = _Model(reader, rows, Program(reader, rows, source), set())
    model.read((0, source.size), "", 0)
    table, parts = model.program.place(rows.table())
    findings = tuple(
        Finding("custom-operators", "info", f"{name}: whoever runs the model loads its code from elsewhere", source.name)
        for name in sorted(model.custom)
    )
    return Container(NAME, table, findings=findings, accounts=reader.accounts(), parts=parts)


@dataclass
class _Model:
    """Collects the rows of a model. custom: what of it runs code of its own."""

    reader: Reader
    rows: Rows
    program: Program
    custom: set[str]

    def read(self, extent: Extent, prefix: str, depth: int) -> None:
        message = self.reader.message(SCHEMAS["Model"], extent, depth)
        kinds = [key for key in message if key]
        unknown = sorted(_NOT_READ & set(kinds))
        if unknown:
            raise Unreadable("unsupported", f"a CoreML model of kind {unknown[0]}, which this version does not read")
        for kind in kinds:
            if kind in _PIPELINES:
                self._pipeline(kind, message[kind], prefix, depth + 1)
            elif kind in _NETWORKS:
                self._network(kind, message[kind], prefix, depth + 1)
            elif kind == "mlProgram":
                self.program.read(message[kind], prefix, depth + 1)
            else:
                if kind == "customModel":
                    self.custom.add("a custom model")
                self._walk(
                    SCHEMAS[kind[0].upper() + kind[1:] if kind[:3] != "glm" else f"GLM{kind[3:]}"],
                    message[kind],
                    prefix + kind,
                    depth + 1,
                )

    def _pipeline(self, kind: str, extent: Extent, prefix: str, depth: int) -> None:
        if kind != "pipeline":
            outer = self.reader.message(_KINDS[kind], extent, depth)
            if "pipeline" not in outer:
                return
            extent, depth = outer["pipeline"], depth + 1
        for number, place in enumerate(self.reader.message(SCHEMAS["Pipeline"], extent, depth).get("models", ())):
            self.read(place, f"{prefix}{number}.", depth + 1)

    def _network(self, kind: str, extent: Extent, prefix: str, depth: int) -> None:
        """Each layer's weights by its name; what else holds numbers (a mean image) by the network's."""
        schema = _KINDS[kind]
        layers = [number for number, field in schema.items() if field.name == "layers"]
        for number, wire, begin, end, tag in self.reader.records(extent):
            field = schema.get(number)
            if number in layers and wire == LEN:
                name = self._name((begin, end))
                self._walk(SCHEMAS["NeuralNetworkLayer"], (begin, end), prefix + name, depth + 1)
            elif field is not None and field.nested is not None and wire == LEN:
                self._walk(field.nested, (begin, end), f"{prefix}network", depth + 1)
            else:
                self.reader.account(field, (number, wire, begin, end, tag), depth)

    def _name(self, layer: Extent) -> str:
        for number, wire, begin, end, _ in self.reader.records(layer):
            if (number, wire) == (1, LEN) and end - begin <= _LONGEST_NAME:
                return self.reader.read((begin, end)).decode(errors="replace")
        return "layer"

    def _walk(self, schema: Schema, extent: Extent, name: str, depth: int) -> None:
        """Any message: weights and lists of numbers in it are rows."""
        if depth > 100:
            raise Unreadable("limit", "messages nested more than 100 deep")
        lists: dict[int, Numbers] = {}
        for record in self.reader.records(extent):
            number, wire, begin, end, _ = record
            field = schema.get(number)
            if field is not None and field.nested is SCHEMAS["WeightParams"] and wire == LEN:
                self._weights((begin, end), name, depth + 1)
            elif field is not None and field.nested is not None and wire == LEN:
                if field.nested is SCHEMAS["CustomLayerParams"]:
                    self.custom.add("a custom layer")
                self._walk(field.nested, (begin, end), name, depth + 1)
            elif field is not None and field.kind in ("f32s", "f64s") and wire != VARINT:
                self.reader.count(lists.setdefault(number, Numbers()), field.kind, record)
            else:
                self.reader.account(field, record, depth)
        for number, numbers in lists.items():
            self._numbers(numbers, "F32" if schema[number].kind == "f32s" else "F64", name)

    def _numbers(self, numbers: Numbers | None, dtype: str, name: str, most: int = -1) -> None:
        """A row; of at most `most` elements it is one of scales."""
        if numbers is not None and numbers.count:
            self.reader.data += numbers.bytes
            self.rows.add(name, DTYPE_CODES[dtype], (numbers.count,), numbers.bytes, 0 if numbers.count <= most else -1)

    def _weights(self, extent: Extent, name: str, depth: int) -> None:
        """WeightParams: floats of 32 or 16 bits, or codes of a few bits with their scales or their table."""
        message = self.reader.message(SCHEMAS["WeightParams"], extent, depth)
        self._numbers(message.get("floatValue"), "F32", name)
        quantization: Mapping[str, Extent] | None = None
        bits = 8
        if "quantization" in message:
            found = self.reader.message(SCHEMAS["QuantizationParams"], message["quantization"], depth + 1)
            bits, quantization = found.get("numberOfBits", 8), found
        most = -1
        for key, dtype in (("float16Value", "F16"), ("rawValue", "U8"), ("int8RawValue", "I8")):
            begin, end = message.get(key, (0, 0))
            size = end - begin
            if key == "float16Value" and size % 2:
                raise Unreadable("inconsistent", f"layer {name[:80]!r} holds {size} bytes of 16-bit floats")
            if size:
                packed = key != "float16Value" and (quantization is not None or key == "int8RawValue")
                logical = 8 * size // (bits if 0 < bits <= 8 else 1) if key == "rawValue" else size
                self.reader.data += size
                shape = (size // 2,) if key == "float16Value" else (size,)
                self.rows.add(name, DTYPE_CODES[dtype], shape, size, logical if packed else -1)
                most = max(most, 1 << 8, logical // _MOST_SCALES) if packed else most
        if quantization is None:
            return
        for key, kinds in (("linearQuantization", ("scale", "bias")), ("lookupTableQuantization", ("floatValue",))):
            if key in quantization:
                schema = SCHEMAS["LinearQuantizationParams" if key[:6] == "linear" else "LookUpTableQuantizationParams"]
                params = self.reader.message(schema, quantization[key], depth + 2)
                for kind in kinds:
                    self._numbers(params.get(kind), "F32", f"{name}.{kind}", most)
