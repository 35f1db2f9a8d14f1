"""What pickles of distributed training say of tensors that lie elsewhere."""

from __future__ import annotations

import re

from weightguard.formats._pickle.abstract import Object
from weightguard.formats._pickle.layout import MOST

# PROTO, FRAME from protocol 4 on, then the class: torch/distributed/checkpoint/metadata.py, before 2.0 in _shard/checkpoint
_STARTS = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?(?:ctorch\.distributed\.(?:_shard\.)?checkpoint\.metadata\nMetadata\n"
    rb"|\x8c.torch\.distributed\.(?:_shard\.)?checkpoint\.metadata\x94?\x8c\x08Metadata\x94?\x93"
    rb"|X....torch\.distributed\.(?:_shard\.)?checkpoint\.metadata(?:q.)?X\x08\0\0\0Metadata(?:q.)?\x93)",
    re.S,
)


def starts_distributed(head: bytes) -> bool:
    """Whether these are the first bytes of a pickled `Metadata` of `torch.distributed.checkpoint`."""
    return _STARTS.match(head) is not None


def shape_elsewhere(made: Object) -> tuple[int, ...] | None:
    """torch.Size((...)): the shape of a tensor in another file (DeepSpeed's param_shapes, the whole of a sharded tensor)."""
    size = made.args[0] if len(made.args) == 1 else None
    if type(size) not in (tuple, list) or len(size) > _DIMENSIONS:  # type: ignore[arg-type]
        return None
    lengths = tuple(n for n in size if type(n) is int and 0 <= n <= MOST)  # type: ignore[attr-defined]
    return lengths if len(lengths) == len(size) else None  # type: ignore[arg-type]


_DIMENSIONS = 64
