"""Distributed checkpoints of Megatron keep all layers of a kind in one tensor, their first dimension the layer.

Source: Megatron-LM, `megatron/core/transformer/transformer_block.py` (`sharded_state_dict`: `decoder.layers.NAME`, with the global
layer offset as a prepended axis, unless the layers are not homogeneous) and `megatron/core/optimizer/distrib_optimizer.py`
(`optimizer.state.SLOT.NAME`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np

from weightguard.models.files import Group
from weightguard.tensors import TensorTable, concatenate, from_rows

_STACK = re.compile(r"(?:^|\.)layers\.(?=[A-Za-z_])")
_SLOT = re.compile(
    r"(?P<before>(?:chained_\d{1,3}\.)?optimizer\.state\.)(?P<slot>exp_avg|exp_avg_sq|fp32_param|param|momentum_buffer)\."
)
_FEWEST = 3  # tensors of one prefix that must agree on the number of layers
_MOST = 10_000


def with_layers_apart(group: Group) -> Group:
    """A DCP group with a row for each layer, as every other checkpoint has them; unchanged if it has no such stacks."""
    table, copies = group.front()
    if len(copies):
        return group
    table = replace(table, names=[_slot_last(n) for n in table.names])
    apart = _apart(table)
    return replace(group, joined=(table if apart is None else apart, copies))


def _slot_last(name: str) -> str:
    """The name of optimizer state as torch has it: the parameter, then what it is of it."""
    match = _SLOT.match(name)
    return f"{match['before']}{name[match.end() :]}.{match['slot']}" if match else name


def _apart(table: TensorTable) -> TensorTable | None:
    stacks: dict[str, list[tuple[int, int]]] = defaultdict(list)  # by the name before it: row, where the rest begins
    for row, name in enumerate(table.names):
        match = _STACK.search(name)
        if match and not name.startswith(("optimizer.", "chained_")) and int(table.starts[row + 1]) > int(table.starts[row]):
            stacks[name[: match.end()]].append((row, match.end()))
    names: list[str] = []
    dtypes: list[int] = []
    shapes: list[tuple[int, ...]] = []
    spans: list[int] = []
    split = np.zeros(len(table), bool)
    for prefix, rows in stacks.items():
        layers, times = Counter(table.shape(row)[0] for row, _ in rows).most_common(1)[0]
        ranks = {len(table.shape(row)) for row, _ in rows}
        if not 0 < layers <= _MOST or times < max(_FEWEST, len(rows)) or not {2, 3} <= ranks:
            continue
        for row, at in rows:
            split[row] = True
            shape, span, name = table.shape(row)[1:], int(table.spans[row]) // layers, table.names[row]
            names += [f"{prefix}{i}.{name[at:]}" for i in range(layers)]
            dtypes += [int(table.dtypes[row])] * layers
            shapes += [shape] * layers
            spans += [span] * layers
    if not names:
        return None
    return concatenate([_rows(table, ~split), from_rows(names, dtypes, shapes, spans)])


def _rows(table: TensorTable, kept: np.ndarray) -> TensorTable:
    rows = np.flatnonzero(kept).tolist()
    lengths = [int(table.starts[r + 1] - table.starts[r]) for r in rows]
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return TensorTable(
        names=[table.names[r] for r in rows],
        dtypes=table.dtypes[kept],
        dims=np.array([d for r in rows for d in table.shape(r)], np.int64),
        starts=starts,
        elements=table.elements[kept],
        storages=table.storages[kept],
        begins=table.begins[kept],
        spans=table.spans[kept],
        files=table.files[kept],
        logical=table.logical[kept],
    )
