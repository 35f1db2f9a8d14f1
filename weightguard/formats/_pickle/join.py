"""Tables of one file's tensors, put together."""

from __future__ import annotations

import numpy as np

from weightguard.tensors import EMPTY, TensorTable


def joined(tables: list[TensorTable]) -> TensorTable:
    """All rows in order; unlike `tensors.concatenate`, of one file and one numbering of storages."""
    if len(tables) < 2:
        return tables[0] if tables else EMPTY
    starts = [np.zeros(1, np.int64)]
    for t in tables:
        starts.append(t.starts[1:] + starts[-1][-1])
    return TensorTable(
        names=[name for t in tables for name in t.names],
        dtypes=np.concatenate([t.dtypes for t in tables]),
        dims=np.concatenate([t.dims for t in tables]),
        starts=np.concatenate(starts),
        elements=np.concatenate([t.elements for t in tables]),
        storages=np.concatenate([t.storages for t in tables]),
        begins=np.concatenate([t.begins for t in tables]),
        spans=np.concatenate([t.spans for t in tables]),
        files=np.concatenate([t.files for t in tables]),
        logical=np.concatenate([t.logical for t in tables]),
    )
