"""ONNX: a model as a protobuf message, its weights among the initializers and constants of its graphs, or in files beside it."""

from __future__ import annotations

from weightguard.errors import Unreadable
from weightguard.formats._onnx.external import place_rows
from weightguard.formats._onnx.graph import KNOWN_DOMAINS, Graphs
from weightguard.formats._onnx.schema import MODEL, PAIR
from weightguard.formats._protobuf import LEN, VARINT, Message, Reader, top_level
from weightguard.formats._rows import Rows
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.values import Finding

NAME = "onnx"
SPEC = "onnx.proto (IR version 14) and docs/ExternalData.md, onnx 1.23; operators of com.microsoft: ONNX Runtime, ContribOperators.md"

_GRAPH, _OPSETS = 7, 8
_ONLY_HERE = frozenset({_GRAPH, _OPSETS, 20, 25})  # of ModelProto's fields, those that tell it from messages that begin alike
_WIRES = {number: VARINT if field.kind == "int" else LEN for number, field in MODEL.items()}


def sniff(head: bytes, tail: bytes) -> bool:
    """The first records are fields of a ModelProto, a graph or the operator sets among them."""
    records = top_level(head)
    if not records:
        return False
    wrong = [number for number, wire, _, _ in records if _WIRES.get(number, wire) != wire]
    return not wrong and records[0][0] in _WIRES and not _ONLY_HERE.isdisjoint(number for number, *_ in records)


def read(source: ByteSource, limits: Limits) -> Container:
    """All graphs, each tensor's size held against its shape; no tensor data is read but numbers that shapes are made of."""
    reader = Reader(source, limits)
    message = reader.message(MODEL, (0, source.size))
    if "graph" not in message:
        raise Unreadable("malformed", "a model without a graph")
    rows = Rows(limits)
    graphs = Graphs(reader, rows)
    graphs.graph(message["graph"], "", None, 1)
    for number, extent in enumerate(message.get("training_info", ())):
        graphs.training(extent, number, 1)
    for extent in message.get("functions", ()):
        graphs.function(extent, 1)
    findings = []
    if not graphs.uses.settle(rows):
        text = "quantised weights have more scales than such weights need: the scales count as weights"
        findings.append(Finding("scales-exceed-weights", "high", text, source.name))
    unknown = sorted(d for d in graphs.domains - KNOWN_DOMAINS)
    if unknown:
        text = f"operators of {', '.join(d[:60] for d in unknown[:5])}: whoever runs the model loads their code from elsewhere"
        findings.append(Finding("custom-operators", "info", text, source.name))
    for name in sorted(graphs.python):
        text = f"{name[:80]}: an operator that runs Python when the model does"
        findings.append(Finding("python-operator", "critical", text, source.name))
    table, parts = place_rows(rows.table(), graphs.places, source, limits)
    metadata = _metadata(reader, message)
    return Container(NAME, table, metadata, findings=tuple(findings), accounts=reader.accounts(), parts=parts)


def _metadata(reader: Reader, message: Message) -> dict[str, str]:
    """What the model says of itself."""
    metadata: dict[str, str] = {
        k: str(message[k]) for k in ("ir_version", "producer_name", "producer_version", "domain") if k in message
    }
    for extent in message.get("metadata_props", ()):
        pair = reader.message(PAIR, extent, 1)
        key, value = (reader.text(pair[k]) if k in pair else "" for k in ("key", "value"))
        metadata.setdefault(key, value)
    return metadata
