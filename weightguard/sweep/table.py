"""The table of a sweep as Parquet, by DuckDB (extra `sweep`): written beside, and put in place when it is whole."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from weightguard.errors import ConfigurationError
from weightguard.sweep.rows import Row
from weightguard.sweep.state import State

_TYPES = {"size": "BIGINT", "parameters": "BIGINT", "operations_low": "DOUBLE", "operations_high": "DOUBLE"}
_SETTINGS = {"memory_limit": "32MB", "threads": 1, "preserve_insertion_order": True}
_READING: dict[str, Any] = {
    "allow_quoted_nulls": False,  # "" is a text, nothing is no value
    "auto_detect": False,
    "buffer_size": 4 << 20,
    "max_line_size": 1 << 20,
    "parallel": False,
}


def write(state: State, path: str) -> None:
    """All rows, in the order of their URIs. Raises `ConfigurationError`."""
    try:
        import duckdb
    except ImportError:
        raise ConfigurationError("results are Parquet: python -m pip install 'weightguard-gate[sweep]'") from None
    lines, beside = f"{path}.lines", f"{path}.writing"
    columns = {name: _TYPES.get(name, "VARCHAR") for name in Row._fields}
    try:
        with open(lines, "w", encoding="utf-8", newline="") as file:
            for page in state.rows():
                file.writelines(",".join(map(_field, row)) + "\n" for row in page)
        with duckdb.connect(config={**_SETTINGS, "temp_directory": f"{path}.spill"}) as db:
            rows = db.read_csv(lines, header=False, columns=columns, delimiter=",", quotechar='"', escapechar='"', **_READING)
            rows.write_parquet(beside, compression="zstd", row_group_size=20_480)
        os.replace(beside, path)
    except (OSError, duckdb.Error) as error:
        raise ConfigurationError(f"{path}: can't write the results: {str(error).splitlines()[0][:300]}") from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(lines)


def _field(value: object) -> str:
    """A value as RFC 4180 has it: a text in quotes, a number plain, nothing for no value."""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return "" if value is None else repr(value)
