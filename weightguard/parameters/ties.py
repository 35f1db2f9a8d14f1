"""Weights that are stored, or named, more than once and are one parameter."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from weightguard.roles import TIED, WEIGHT
from weightguard.tensors import DTYPE_BITS, Int64, TensorTable, UInt8

_PADDED = 1024
# An output head and the input embedding that it may be tied to, by the last two parts of their names, in the libraries' order of use.
HEADS = (
    "lm_head.weight",
    "embed_out.weight",
    "predictions.decoder.weight",
    "lm_head.decoder.weight",
    "output.weight",
    "unembed.weight",
    "head.weight",
)
EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
    "tok_embeddings.weight",
    "shared.weight",
    "token_embd.weight",
    "tokens_embed.weight",
    "embeddings.weight",
    "llm.embed.weight",
)


def tie_by_storage(table: TensorTable, roles: UInt8, logical: Int64) -> None:
    """Rows that share a storage count what is distinct in it: sets `roles` to tied and lowers `logical`, in place.

    roles: array of uint8, shape (n,). logical: array of int64, shape (n,), parameters of each row so far.
    """
    storages, counts = np.unique(table.storages, return_counts=True)
    if len(storages) == len(table):
        return
    shared = np.flatnonzero(np.isin(table.storages, storages[counts > 1]) & (roles == WEIGHT))
    # Longest first at each place, so that the whole counts and a part of it is the tie.
    order = shared[np.lexsort((-table.spans[shared], table.begins[shared], table.storages[shared]))].tolist()
    for _, group in groupby(order, key=lambda row: int(table.storages[row])):
        _tie(table, list(group), roles, logical)


def _tie(table: TensorTable, rows: list[int], roles: UInt8, logical: Int64) -> None:
    """Rows of one storage. What a view without holes shows again is tied; a view with holes counts in full, unless it is there
    twice: two of them may interleave. Together they count no more than the bytes they reach over.
    """
    begin = 8 * int(table.begins[rows[0]])
    reached = begin
    room = 8 * max(int(table.begins[r]) + int(table.spans[r]) for r in rows) - begin
    seen: set[tuple[int, int, int, tuple[int, ...]]] = set()
    for row in rows:
        bits = int(DTYPE_BITS[table.dtypes[row]])
        elements = int(table.elements[row])
        start = 8 * int(table.begins[row])
        end = start + 8 * int(table.spans[row])
        key = (start, end, elements, table.shape(row))
        fresh = elements
        if key in seen:
            fresh = 0
        elif elements * bits >= end - start:  # without holes
            fresh = max(0, end - max(start, reached)) // bits
            reached = max(reached, end)
        seen.add(key)
        fresh = min(fresh, room // bits)
        room -= fresh * bits
        logical[row] = min(int(logical[row]), fresh)
        if fresh == 0 and elements:
            roles[row] = TIED


def tie_by_config(table: TensorTable, roles: UInt8, logical: Int64) -> None:
    """A head stored beside the embedding that the config ties it to, of the same shape, counts once."""
    heads = [row for row, name in enumerate(table.names) if is_named(name, HEADS) and roles[row] == WEIGHT]
    inputs = [row for row, name in enumerate(table.names) if is_named(name, EMBEDDINGS) and roles[row] == WEIGHT]
    for head in heads[:1] if len(heads) == 1 else ():  # of several, none is known to be the one
        if any(table.shape(head) == table.shape(row) for row in inputs if row != head):
            roles[head] = TIED
            logical[head] = 0


def without_padding(table: TensorTable, roles: UInt8, logical: Int64, vocabulary: int) -> None:
    """Rows of an output head beyond a stated vocabulary are padding that nothing trains: lowers `logical`, in place.

    Only where no more than `_PADDED` rows are, as tensor-parallel training pads a vocabulary.
    """
    for row, name in enumerate(table.names):
        if is_named(name, HEADS) and roles[row] == WEIGHT and len(table.shape(row)) == 2:
            rows, width = table.shape(row)
            if vocabulary < rows <= vocabulary + _PADDED and logical[row] == rows * width:
                logical[row] = vocabulary * width


def is_named(name: str, endings: tuple[str, ...]) -> bool:
    """Whether the last parts of a dotted name are one of these, outside of any numbered list."""
    if not name.endswith(endings) or any(part.isdigit() for part in name.split(".")):
        return False
    return ends_with(name, endings)


def ends_with(name: str, endings: tuple[str, ...]) -> bool:
    """Whether the last parts of a dotted name are one of these."""
    return name.endswith(endings) and any(name == e or e.startswith(".") or name.endswith("." + e) for e in endings)
