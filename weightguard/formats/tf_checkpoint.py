"""TensorFlow checkpoints (V2): an index that is a table of names, and data files beside it."""

from __future__ import annotations

from weightguard.formats._tensorflow.bundle import read_bundle
from weightguard.formats._tensorflow.tables import MAGIC
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource

NAME = "tensorflow-checkpoint"
SPEC = "TensorFlow 2.21, core/util/tensor_bundle and core/protobuf/tensor_bundle.proto; LevelDB, table_format.md"


def sniff(head: bytes, tail: bytes) -> bool:
    """A table's footer. LevelDB's own tables have it too: what they hold tells."""
    return tail.endswith(MAGIC)


def read(source: ByteSource, limits: Limits) -> Container:
    """Every tensor that the index names, its bytes held against its shape and the data files; no tensor data is read."""
    bundle = read_bundle(source, source.name.rpartition("/")[2], source.beside, limits)
    return Container(NAME, bundle.tensors, scalars=bundle.scalars, accounts=bundle.accounts, parts=bundle.parts)
