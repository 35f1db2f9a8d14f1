"""Reachability and connected parts of a graph in compressed rows: the edges of node n are targets[offsets[n] : offsets[n + 1]]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from weightguard.kernels._jit import kernel

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@kernel(work=lambda offsets, targets, sources, scratch, out_reached: len(offsets) + len(targets))
def reach(offsets: Int64, targets: Int64, sources: Int64, scratch: Int64, out_reached: Bool) -> int:
    """Mark every node that an edge path leads to from any source, the sources included.

    offsets: array of int64, shape (n + 1,), rising from 0 to len(targets). targets: array of int64, shape (m,), each in [0, n).
    sources: array of int64, shape (k,), each in [0, n). scratch: array of int64, shape (n,). out_reached: array of bool, shape (n,),
    false but for nodes reached before. Returns the number of nodes newly marked. Cycles are no harm. Reads each edge once.
    """
    waiting = 0
    found = 0
    for source in sources:
        if not out_reached[source]:
            out_reached[source] = True
            scratch[waiting] = source
            waiting += 1
            found += 1
    while waiting > 0:
        waiting -= 1
        node = scratch[waiting]
        for edge in range(offsets[node], offsets[node + 1]):
            target = targets[edge]
            if not out_reached[target]:
                out_reached[target] = True
                scratch[waiting] = target
                waiting += 1
                found += 1
    return found


@kernel(work=lambda offsets, targets, inside, out_parts: len(offsets) + len(targets))
def connect(offsets: Int64, targets: Int64, inside: Bool, out_parts: Int64) -> int:
    """Give the nodes of each connected part, edges taken both ways, one label: the least node of the part.

    offsets: array of int64, shape (n + 1,). targets: array of int64, shape (m,). inside: array of bool, shape (n,): nodes outside
    connect nothing and label themselves. out_parts: array of int64, shape (n,). Returns the number of parts, lone nodes among them.
    Reads each edge once.
    """
    for node in range(len(out_parts)):
        out_parts[node] = node
    parts = len(out_parts)
    for node in range(len(out_parts)):
        if not inside[node]:
            continue
        for edge in range(offsets[node], offsets[node + 1]):
            if not inside[targets[edge]]:
                continue
            a = node
            while out_parts[a] != a:
                out_parts[a] = out_parts[out_parts[a]]
                a = out_parts[a]
            b = targets[edge]
            while out_parts[b] != b:
                out_parts[b] = out_parts[out_parts[b]]
                b = out_parts[b]
            if a < b:
                out_parts[b] = a
                parts -= 1
            elif b < a:
                out_parts[a] = b
                parts -= 1
    for node in range(len(out_parts)):
        a = node
        while out_parts[a] != a:
            a = out_parts[a]
        out_parts[node] = a
    return parts
