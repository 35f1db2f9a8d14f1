"""The table of a sweep as Parquet (extra `sweep`), written beside and put in place when it is whole."""

from __future__ import annotations

import os
from typing import Any

from weightguard.errors import ConfigurationError
from weightguard.sweep.rows import Row
from weightguard.sweep.state import State

_NUMBERS = {"size": "int64", "parameters": "int64", "operations_low": "float64", "operations_high": "float64"}


def write(state: State, path: str) -> None:
    """All rows, in the order of their URIs. Raises `ConfigurationError`."""
    try:
        import pyarrow as arrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise ConfigurationError("results are Parquet: python -m pip install 'weightguard-gate[sweep]'") from None
    kinds: dict[str, Any] = {"int64": arrow.int64(), "float64": arrow.float64(), "": arrow.string()}
    schema = arrow.schema([(name, kinds[_NUMBERS.get(name, "")]) for name in Row._fields])
    arrow.set_memory_pool(arrow.system_memory_pool())  # which gives back what it doesn't need
    beside = f"{path}.writing"
    try:
        with ParquetWriter(beside, schema, compression="zstd") as file:
            for page in state.rows():
                columns = [
                    arrow.array(column, field.type) for column, field in zip(zip(*page, strict=True), schema, strict=True)
                ]
                file.write_batch(arrow.record_batch(columns, schema=schema))
        os.replace(beside, path)
    except OSError as error:
        raise ConfigurationError(f"{path}: can't write the results: {error.strerror or error}") from error
