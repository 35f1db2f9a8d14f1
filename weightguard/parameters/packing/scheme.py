"""What a packing scheme is: a module with NAME, SPEC and `find`. Schemes never import one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from weightguard.tensors import DTYPES, TensorTable


@dataclass(frozen=True)
class Packed:
    """A row that holds packed weights: the parameters it stands for, and the rows of its scales, zero points and tables."""

    row: int
    logical: int
    beside: tuple[int, ...]


class Scheme(Protocol):
    """The protocol that each module of `packing` satisfies."""

    NAME: str
    SPEC: str

    def find(self, table: TensorTable, rows: Mapping[str, int], config: Mapping[str, Any]) -> Iterator[Packed]:
        """All packed rows of this scheme. `rows`: name -> row. `config`: quantization_config, or empty: a claim."""
        ...


def siblings(rows: Mapping[str, int], prefix: str, *names: str) -> tuple[int, ...]:
    """The rows `prefix` + name that are there."""
    return tuple(rows[prefix + n] for n in names if prefix + n in rows)


def dtype_is(table: TensorTable, row: int, *names: str) -> bool:
    """Whether a row's dtype is one of these."""
    return DTYPES[table.dtypes[row]][0] in names
