"""The rows of a table while a reader collects them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import prod

from weightguard.errors import Unreadable
from weightguard.limits import Limits
from weightguard.tensors import TensorTable, from_rows


@dataclasses.dataclass
class Rows:
    """Columns of what will be a `TensorTable`, each tensor a storage of its own."""

    limits: Limits
    names: list[str] = dataclasses.field(default_factory=list)
    dtypes: list[int] = dataclasses.field(default_factory=list)
    dims: list[Sequence[int]] = dataclasses.field(default_factory=list)
    spans: list[int] = dataclasses.field(default_factory=list)
    logical: list[int] = dataclasses.field(default_factory=list)
    _seen: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, name: str, dtype: int, dims: Sequence[int], span: int, logical: int = -1) -> int:
        """The number of a new row; a name that an earlier row has is told apart by a number. Raises `Unreadable` ("limit")."""
        row = len(self.names)
        if row >= self.limits.tensors:
            raise Unreadable("limit", f"more than {self.limits.tensors} tensors")
        self.names.append(self._unique(name))
        self.dtypes.append(dtype)
        self.dims.append(dims)
        self.spans.append(span)
        self.logical.append(logical)
        return row

    def _unique(self, name: str) -> str:
        times = self._seen.get(name, 0)
        while times and f"{name}#{times}" in self._seen:
            times += 1
        self._seen[name] = times + 1
        unique = f"{name}#{times}" if times else name
        self._seen.setdefault(unique, 1)
        return unique

    def elements(self, row: int) -> int:
        return prod(self.dims[row])

    def table(self) -> TensorTable:
        """The table of all rows; raises `Unreadable` as `from_rows` does."""
        return from_rows(self.names, self.dtypes, self.dims, self.spans, self.logical)


def called(name: str) -> str:
    """A tensor, in a message."""
    return f"tensor {name[:80]!r}"
