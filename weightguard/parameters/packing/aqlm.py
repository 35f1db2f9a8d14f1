"""AQLM: sums of vectors from codebooks; a code stands for a block of out_group x in_group weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, Stored, larger

NAME = "aqlm"
SPEC = (
    "aqlm inference.py: codes [out / og, in / ig, codebooks], codebooks [codebooks, 2^bits, og, ig], scales [out / og, 1, 1, 1]"
)


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """Blocks x the weights of one, as the codebooks' shape and the config's group sizes give them."""
    claimed = 1
    for key in ("in_group_size", "out_group_size"):
        value = config.get(key)
        claimed *= value if type(value) is int and 0 < value <= 1024 else 0
    for prefix, row in stored.ending("codes"):
        books = stored.get(prefix, "codebooks")
        codes, vectors = stored.shape(row), stored.shape(books) if books is not None else ()
        if len(codes) != 3 or len(vectors) != 4 or not stored.is_integer(row):
            continue
        blocks = codes[0] * codes[1]
        logical, other = larger(blocks * vectors[2] * vectors[3], blocks * claimed if claimed else None)
        yield Packed(row, logical, stored.beside(prefix, ("scales",)), stored.beside(prefix, ("codebooks",)), other)
