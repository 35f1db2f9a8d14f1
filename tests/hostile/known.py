"""Cases that go wrong today, each by the fault that it waits for. A case that is mended must leave this list: the test says so."""

from __future__ import annotations

_FAULTS: dict[str, str] = {}

OPEN: dict[str, str] = {name: fault for fault, names in _FAULTS.items() for name in names.split()}
