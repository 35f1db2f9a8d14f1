"""What a packing scheme is: a module with NAME, SPEC and `find`. Schemes never import one another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from weightguard.tensors import DTYPE_BITS, DTYPES, TensorTable

FEWEST_BITS = 2
"""The fewest bits a weight that formats of integer words have, where neither shapes nor a config say more."""
LONGEST_GROUP = 1 << 16
"""More weights a scale than any group has."""
_PADDING = 64  # padded words and rows: readings that differ by less than this part of the larger agree


@dataclass(frozen=True)
class Packed:
    """A row that holds packed weights: the parameters it stands for, and the rows of its scales, zero points and tables.

    beside: rows that grow with the weights by at most one value in eight. tables: codebooks and outliers, one in four. What is
    more than that is no scale, and counts as weights. other: the lower count that another reading gives (bits that a config
    claims, a stored shape), where the two contradict; the larger is `logical`. kept: whether the row's own dimensions are those
    of the weights (one stored element a weight).
    """

    row: int
    logical: int
    beside: tuple[int, ...] = ()
    tables: tuple[int, ...] = ()
    other: int | None = None
    kept: bool = False


class Scheme(Protocol):
    """The protocol that each module of `packing` satisfies."""

    NAME: str
    SPEC: str

    def find(self, stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
        """All packed rows of this scheme. `config`: quantization_config, or empty: a claim."""
        ...


class Stored:
    """The rows that a scheme may take, by name and by how their names end. Costs one pass over the names.

    rows: name -> row.
    """

    def __init__(self, table: TensorTable, rows: Mapping[str, int]) -> None:
        self.table = table
        self.rows = rows
        self._dtypes: list[str] = [DTYPES[code][0] for code in table.dtypes.tolist()]
        self._elements: list[int] = table.elements.tolist()
        self._ends: dict[str, list[tuple[str, int]]] = {}
        for name, row in rows.items():
            stem, dot, part = name.rpartition(".")
            self._ends.setdefault(part, []).append((stem + dot, row))
            for mark in "_:":
                head, _, word = part.rpartition(mark)
                if head and word:
                    self._ends.setdefault(mark + word, []).append((name[: -len(word)], row))

    def has(self, *ends: str) -> bool:
        """Whether any row's name ends so: see `ending`."""
        return any(end in self._ends for end in ends)

    def ending(self, end: str) -> Sequence[tuple[str, int]]:
        """Rows whose name's last dotted part is this, or ends in it if it begins with its last underscore or colon: (all of the name
        before the part, or up to that mark, row)."""
        return self._ends.get(end, ())

    def of_dtypes(self, *names: str) -> Iterator[tuple[str, int]]:
        """(name, row) of all rows of these dtypes."""
        return ((name, row) for name, row in self.rows.items() if self.dtype(row) in names)

    def get(self, prefix: str, *names: str) -> int | None:
        """The row of the first of `prefix` + name that is there."""
        for n in names:
            row = self.rows.get(prefix + n)
            if row is not None:
                return row
        return None

    def beside(self, prefix: str, names: Collection[str]) -> tuple[int, ...]:
        """The rows `prefix` + name that are there."""
        rows = self.rows
        return tuple([rows[name] for n in names if (name := prefix + n) in rows])

    def dtype(self, row: int) -> str:
        return self._dtypes[row]

    def is_integer(self, row: int) -> bool:
        return self.dtype(row)[0] in "IU"

    def width(self, row: int) -> int:
        """Bits of one stored element."""
        return int(DTYPE_BITS[self.table.dtypes[row]])

    def elements(self, row: int) -> int:
        return self._elements[row]

    def bits(self, row: int) -> int:
        """Bits of all stored elements."""
        return self.elements(row) * self.width(row)

    def shape(self, row: int) -> tuple[int, ...]:
        return self.table.shape(row)


def larger(*counts: int | None) -> tuple[int, int | None]:
    """The largest of several readings of one row, and the smallest where it contradicts; (0, None) of none."""
    read = [c for c in counts if c is not None]
    most, least = max(read, default=0), min(read, default=0)
    return most, least if least + most // _PADDING < most else None


def claimed(config: Any, *keys: str, most: int = 8, depth: int = 4) -> list[int]:
    """Every integer from 1 to `most` that a config gives under one of these keys, at any level down to `depth`."""
    found: list[int] = []
    levels = [config]
    for _ in range(depth):
        dicts = [v for v in levels if isinstance(v, dict)]
        found += [v for d in dicts for k in keys if type(v := d.get(k)) is int and 1 <= v <= most]
        levels = [v for d in dicts for v in d.values()]
    return found
