"""Pieces of tensors that ranks hold, put together: split tensors become one row, replicas are copies.

Which tensors every rank of a tensor-parallel group holds whole is fixed by the frameworks: what follows a row-parallel product
(its bias), norms, routers, position embeddings (Megatron-LM, `megatron/core/tensor_parallel/layers.py` and the modules that build
on it). Whatever no such rule names is taken as split, so that a count is never too low.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from weightguard.tensors import DTYPE_BITS, FLOATING, Int64, TensorTable

Place = tuple[int, int]  # (table, row)

# Held whole by each rank: Megatron-LM and its core, Megatron-DeepSpeed and BLOOM, GPT-NeoX, Meta's llama
_WHOLE_VECTORS = re.compile(
    r"(?:^|[._])(?:(?:\w*layer_?norm\w*|\w*norm\d?|ln_\w+|\w*rmsnorm)(?:\.(?:weight|bias|scale))?|layer_norm_(?:weight|bias)"
    r"|(?:dense|dense_4h_to_h|linear_proj|linear_fc2|out_proj|c_proj|o_proj|down_proj|wo|w2)\.bias|router\.\w+|gate\.wg\.\w+"
    r"|gate_weight)$"
)
_WHOLE_MATRICES = re.compile(
    r"(?:^|\.)(?:router\.weight|gate\.wg\.weight|position_embeddings\.weight|tokentype_embeddings\.weight|gate_weight"
    r"|linear_(?:q|kv)_down_proj\.weight)$"
)
_BY_COLUMNS = re.compile(r"(?:^|\.)(?:dense|dense_4h_to_h|linear_proj|linear_fc2|out_proj|o_proj|down_proj|wo|w2)\.weight\d*$")
_LONGEST_VECTOR = 1 << 22
_FEW = 1 << 22


def is_whole(name: str, shape: Sequence[int]) -> bool:
    """Whether each rank of a tensor-parallel group holds all of this tensor."""
    if len(shape) < 2:
        return (not shape or shape[0] <= _LONGEST_VECTOR) and _WHOLE_VECTORS.search(name) is not None
    return len(shape) == 2 and _WHOLE_MATRICES.search(name) is not None


def width(table: TensorTable, row: int) -> int:
    """Elements of a row; those wider than 32 bits as often as 32 bits fit, for they may hold several weights each."""
    return int(table.elements[row]) * max(1, int(DTYPE_BITS[table.dtypes[row]]) // 32)


class Join:
    """Rows of several tables made into one: `keep`, `repeat` and `unite` add to it, `table` ends it.

    problems: one line each, why the tables can't be the ranks of one model.
    """

    def __init__(self, tables: Sequence[TensorTable]) -> None:
        self._tables = tables
        self._names: list[str] = []
        self._shapes: list[tuple[int, ...]] = []
        self._columns: list[tuple[int, int, int, int, int]] = []  # dtype, elements, begin, span, logical
        self._storages: list[int] = []
        self._known: dict[tuple[Place, ...] | tuple[tuple[int, int, int, int], ...], int] = {}
        self._copies: list[int] = []
        self.problems: dict[str, None] = {}
        self._replicas = 0  # elements that count as replicas by their names
        self._again = 0  # elements that repeat others, these among them

    def keep(self, place: Place, name: str) -> None:
        """A row as it is."""
        t, row = place
        table = self._tables[t]
        self._add(
            name,
            table.shape(row),
            (
                int(table.dtypes[row]),
                int(table.elements[row]),
                int(table.begins[row]),
                int(table.spans[row]),
                int(table.logical[row]),
            ),
            ((t, int(table.storages[row])),),
        )

    def repeat(self, place: Place, name: str) -> None:
        """A row that its name says is a replica; together they must be few, or `problems` says so."""
        t, row = place
        self._replicas += width(self._tables[t], row)
        self.again(place, name)

    def again(self, place: Place, name: str) -> None:
        """A row that repeats another for a reason that the caller knows."""
        self._copies.append(len(self._names))
        self._again += width(self._tables[place[0]], place[1])
        self.keep(place, name)

    def unite(self, places: Sequence[Place], name: str) -> None:
        """The pieces of one tensor, each on a rank of its own: split along one axis, or replicas of the whole."""
        if len(places) == 1:
            return self.keep(places[0], name)
        t, row = places[0]
        shape = self._tables[t].shape(row)
        dtype = int(self._tables[t].dtypes[row])
        shapes = [self._tables[t].shape(row) for t, row in places]
        alike = all(int(self._tables[t].dtypes[row]) == dtype for t, row in places)
        if not alike or dtype not in FLOATING or any(len(s) != len(shape) for s in shapes):
            if not alike or dtype in FLOATING:
                self.problems.setdefault(f"ranks hold {name[:80]!r} in other forms: they are not ranks of one model")
            for place in places:
                self.keep(place, name)
            return None
        if is_whole(name, shape) and all(s == shape for s in shapes):
            self.keep(places[0], name)
            for place in places[1:]:
                self.repeat(place, name)
            return None
        axis = self._axis(name, shapes)
        if axis is None:
            self.problems.setdefault(f"the shapes of {name[:80]!r} on the ranks don't fit together")
            for place in places:
                self.keep(place, name)
            return None
        whole = (
            tuple(sum(s[axis] for s in shapes) if i == axis else n for i, n in enumerate(shape)) if shape else (len(places),)
        )
        self._merge(places, name, whole, dtype)
        return None

    def matrix(self, places: Sequence[Place], name: str, shape: tuple[int, ...], dtype: int) -> None:
        """The pieces of a tensor of a known shape."""
        self._merge(places, name, shape, dtype)

    def row(self, name: str, shape: tuple[int, ...], dtype: int, elements: int, span: int) -> None:
        """A row that no table has: a tensor of which only the shape is written down."""
        self._add(name, shape, (dtype, elements, 0, span, -1), ((-1, len(self._names)),))

    def table(self) -> tuple[TensorTable, Int64]:
        """All rows, and the numbers of those that repeat others."""
        n = len(self._names)
        columns = np.array(self._columns, np.int64).reshape(n, 5)
        again = self._again
        once = sum(c[1] for c in self._columns) - sum(self._columns[row][1] for row in self._copies)
        counted = once + again - self._replicas
        if self._replicas > max(_FEW, counted // 4):  # a name alone never makes so many weights idle
            self.problems.setdefault("more is said to be replicated over the ranks than models replicate")
        if again > max(_FEW, once + once // 4):  # whatever the reason: the ranks could each hold weights of their own
            self.problems.setdefault("the ranks repeat more than they hold once")
        starts = np.zeros(n + 1, np.int64)
        np.cumsum([len(s) for s in self._shapes], out=starts[1:])
        return (
            TensorTable(
                names=self._names,
                dtypes=columns[:, 0].astype(np.uint8),
                dims=np.array([d for s in self._shapes for d in s], np.int64),
                starts=starts,
                elements=columns[:, 1].copy(),
                storages=np.array(self._storages, np.int64),
                begins=columns[:, 2].copy(),
                spans=columns[:, 3].copy(),
                files=np.zeros(n, np.int64),
                logical=columns[:, 4].copy(),
            ),
            np.array(self._copies, np.int64),
        )

    def _merge(self, places: Sequence[Place], name: str, shape: tuple[int, ...], dtype: int) -> None:
        tables = self._tables
        elements = sum(int(tables[t].elements[row]) for t, row in places)
        span = sum(int(tables[t].spans[row]) for t, row in places)
        # the same bytes of every rank under a second name are a tie; anything less is not
        key = tuple((t, int(tables[t].storages[r]), int(tables[t].begins[r]), int(tables[t].spans[r])) for t, r in places)
        self._add(name, shape, (dtype, min(elements, _MOST), 0, min(span, _MOST), -1), key)

    def _add(
        self,
        name: str,
        shape: tuple[int, ...],
        columns: tuple[int, int, int, int, int],
        storage: tuple[Place, ...] | tuple[tuple[int, int, int, int], ...],
    ) -> None:
        self._names.append(name)
        self._shapes.append(shape)
        self._columns.append(columns)
        self._storages.append(self._known.setdefault(storage, len(self._known)))

    @staticmethod
    def _axis(name: str, shapes: Sequence[tuple[int, ...]]) -> int | None:
        """The axis along which pieces are cut; None if they don't fit. Scalars and vectors have one."""
        first = shapes[0]
        if len(first) < 2:
            return 0
        axis = 1 if _BY_COLUMNS.search(name) else 0
        around = first[:axis] + first[axis + 1 :]
        return axis if all(s[:axis] + s[axis + 1 :] == around for s in shapes) else None


_MOST = (1 << 63) - 1


def by_name(tables: Mapping[int, TensorTable] | Sequence[TensorTable]) -> dict[str, list[Place]]:
    """The places of each name, in the order of the tables."""
    pairs: Iterable[tuple[int, TensorTable]] = tables.items() if isinstance(tables, Mapping) else enumerate(tables)
    found: dict[str, list[Place]] = {}
    for t, table in pairs:
        for row, name in enumerate(table.names):
            found.setdefault(name, []).append((t, row))
    return found


def unite_all(tables: Sequence[TensorTable]) -> tuple[TensorTable, Int64, tuple[str, ...]]:
    """The tables of a tensor-parallel group as one, the rows that repeat others, and what is wrong with it.

    Every rank holds a piece of every tensor: a name that some lack is a sign that they are not ranks of one model.
    """
    join = Join(tables)
    lacking = 0
    for name, places in by_name(tables).items():
        if len(places) not in (1, len(tables)) or len({t for t, _ in places}) != len(places):
            lacking += 1
            for place in places:
                join.keep(place, name)
        else:
            lacking += len(places) < len(tables)
            join.unite(places, name)
    if lacking:
        join.problems.setdefault(f"{lacking} tensors are not on every rank: the files are not ranks of one model")
    table, copies = join.table()
    return table, copies, tuple(join.problems)
