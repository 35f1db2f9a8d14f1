"""Arrays of objects, which `numpy.save` writes as one pickle after the header: run by the abstract machine, never loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import Globals
from weightguard.formats._pickle.findings import naming_calls, pickle_findings
from weightguard.formats._pickle.legacy import load_nested
from weightguard.formats._pickle.machine import run
from weightguard.formats._pickle.rebuild import Collector
from weightguard.formats._pickle.storages import Storages
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import TensorTable, concatenate
from weightguard.values import Accounts


class Objects:
    """The pickles of one file, and what they hold."""

    def __init__(self, path: str, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._seen = Globals()
        self._to = Collector(Storages(), limits)
        self._stray = 0

    def add(self, source: ByteSource, start: int, length: int, name: str) -> None:
        """Runs the pickle of an array; raises `Unreadable`, which names what loading it would have called."""
        if length > self._limits.pickle_bytes:
            raise Unreadable("limit", f"numpy: a pickle of {length} bytes")
        data = source.read(start, length)
        with naming_calls(self._seen):
            value, end = run(data, 0, self._limits, self._seen)
            if self._seen.persistent:
                raise Unreadable("unsupported", "a pickle that refers to data outside of it")
            self._stray += len(data) - end + load_nested(self._seen, self._to, self._limits)
            self._seen.deferred.clear()
            self._to.walk(value, name)

    def container(
        self, form: str, size: int, padding: int, unexplained: int, tables: Sequence[TensorTable] = (), tensors: int = 0
    ) -> Container:
        """The container of a file of `size` bytes; tables, tensors: its other arrays, and their bytes in the file."""
        to = self._to
        findings = pickle_findings(self._seen, to, self._path, self._limits)
        unexplained += self._stray + to.storages.uncovered() + to.stray_bytes(self._seen.blobs)
        room = max(0, size - padding - unexplained)
        tensors = min(room, tensors + sum(to.storages.sizes) - to.storages.uncovered())
        table = concatenate([*tables, to.table()])
        table = replace(table, files=np.zeros(len(table), np.int64))
        accounts = Accounts(tensors, room - tensors, padding, unexplained)
        return Container(form, table, {}, to.scalars, tuple(findings), accounts)
