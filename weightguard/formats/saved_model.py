"""TensorFlow's graphs as protobuf messages: a SavedModel with its variables beside, or one graph with its weights inside."""

from __future__ import annotations

from weightguard.errors import Unreadable
from weightguard.formats._protobuf import LEN, VARINT, Reader, top_level
from weightguard.formats._rows import Rows
from weightguard.formats._tensorflow.bundle import Bundle, read_bundle
from weightguard.formats._tensorflow.graph import DANGEROUS, Graphs
from weightguard.formats._tensorflow.saved_schema import META_GRAPH, SAVED_MODEL
from weightguard.formats.protocol import HEAD, Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import concatenate
from weightguard.values import Accounts, Finding

NAME = "tensorflow-saved-model"
SPEC = "TensorFlow 2.21, core/protobuf/saved_model.proto, core/framework/graph.proto; guide/saved_model, The SavedModel format on disk"

_VARIABLES = "variables/variables.index"


def sniff(head: bytes, tail: bytes) -> bool:
    """A SavedModel, with the messages of a MetaGraphDef in it, or a GraphDef, whose nodes have names and operators."""
    records = top_level(head) or []
    return _is_saved_model(head, records) or _is_graph(head, records)


def _is_saved_model(head: bytes, records: list[tuple[int, int, int, int]]) -> bool:
    """ "saved_model_schema_version", then MetaGraphDefs: messages that hold messages."""
    if not records or any((number, wire) not in ((1, VARINT), (2, LEN)) for number, wire, *_ in records):
        return False
    graphs = [top_level(head[begin:end]) for number, _, begin, end in records if number == 2]
    return bool(graphs) and all(g and all(n <= 7 and wire == LEN for n, wire, *_ in g) for g in graphs)


def _is_graph(head: bytes, records: list[tuple[int, int, int, int]]) -> bool:
    """Nodes, whose first two fields are texts: of a SentencePiece model, which begins as they do, the second is a number."""
    if not records or records[0][:2] != (1, LEN):
        return False
    _, _, begin, end = records[0]
    node = top_level(head[begin:end]) or []
    ops = [head[begin:end][b:e] for number, wire, b, e in node if (number, wire) == (2, LEN)]
    return len(ops) == 1 and ops[0].isalnum() and ops[0][:1].isalpha()


def read(source: ByteSource, limits: Limits) -> Container:
    """Constants of all graphs, and the variables that lie beside them; no tensor data is read."""
    reader = Reader(source, limits)
    rows = Rows(limits)
    graphs = Graphs(reader, rows)
    everything = (0, source.size)
    head = source.read(0, min(source.size, HEAD))
    alone = any(record[:2] == (1, LEN) for record in (top_level(head) or [])[:1])  # a node; field 1 of a SavedModel is a number
    if not alone:
        for place in reader.message(SAVED_MODEL, everything).get("meta_graphs", ()):
            meta = reader.message(META_GRAPH, place, 1)
            if "graph_def" in meta:
                graphs.graph(meta["graph_def"], 2)
    else:
        graphs.graph(everything, 0)
    if alone and graphs.variables:
        raise Unreadable("missing", "a graph with variables, whose values lie in a checkpoint that it does not name")
    variables = _variables(source, limits) if graphs.variables else None
    table = rows.table()
    parts: dict[str, Accounts] = {}
    if variables is not None:
        table = concatenate((variables.tensors, table))
        table.files[:] = 0
        parts = {_VARIABLES: variables.accounts, **variables.parts}
    findings = tuple(
        Finding("tensorflow-op", "critical", f"the graph {DANGEROUS[op]} when it runs: {op}, node {node[:80]!r}", source.name)
        for op, node in sorted(graphs.dangers.items())
    )
    scalars = variables.scalars if variables is not None else {}
    return Container(NAME, table, scalars=scalars, findings=findings, accounts=reader.accounts(), parts=parts)


def _variables(source: ByteSource, limits: Limits) -> Bundle:
    """ "The variables directory contains a standard training checkpoint"."""
    try:
        index = source.beside(_VARIABLES)
    except Unreadable as error:
        raise Unreadable(error.reason, f"its variables lie in {_VARIABLES!r}: {error.detail}") from error
    return read_bundle(index, _VARIABLES, source.beside, limits)
