"""Weights that are stored, or named, more than once and are one parameter."""

from __future__ import annotations

import numpy as np

from weightguard.roles import TIED, WEIGHT
from weightguard.tensors import DTYPE_BITS, Int64, TensorTable, UInt8

# An output head and the input embedding that it may be tied to, by the last two parts of their names, in the libraries' order of use.
HEADS = ("lm_head.weight", "embed_out.weight", "predictions.decoder.weight", "lm_head.decoder.weight", "output.weight")
EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
    "tok_embeddings.weight",
    "shared.weight",
)


def tie_by_storage(table: TensorTable, roles: UInt8, logical: Int64) -> None:
    """Rows that share a storage count what is distinct in it: sets `roles` to tied and lowers `logical`, in place.

    roles: array of uint8, shape (n,). logical: array of int64, shape (n,), parameters of each row so far.
    """
    storages, counts = np.unique(table.storages, return_counts=True)
    if len(storages) == len(table):
        return
    shared = np.flatnonzero(np.isin(table.storages, storages[counts > 1]) & (roles == WEIGHT))
    sizes = DTYPE_BITS[table.dtypes] // 8
    # Longest first at each place, so that the whole counts and a part of it is the tie.
    order = shared[np.lexsort((-table.elements[shared], table.begins[shared], table.storages[shared]))]
    storage, reached = -1, 0
    for row in order.tolist():
        if table.storages[row] != storage:
            storage, reached = int(table.storages[row]), 0
        begin = int(table.begins[row])
        end = begin + int(table.elements[row]) * int(sizes[row])
        fresh = max(0, end - max(begin, reached)) // int(sizes[row])
        reached = max(reached, end)
        if fresh < logical[row]:
            logical[row] = fresh
        if fresh == 0 and table.elements[row]:
            roles[row] = TIED


def tie_by_config(table: TensorTable, roles: UInt8, logical: Int64) -> None:
    """A head stored beside the embedding that the config ties it to, of the same shape, counts once."""
    heads = [row for row, name in enumerate(table.names) if name.endswith(HEADS) and roles[row] == WEIGHT]
    inputs = [row for row, name in enumerate(table.names) if name.endswith(EMBEDDINGS) and roles[row] == WEIGHT]
    for head in heads:
        if any(table.shape(head) == table.shape(row) for row in inputs if row != head):
            roles[head] = TIED
            logical[head] = 0
