"""PyTorch's files from before 1.6: a stream of five pickles, then the storages.

Source: PyTorch, `torch/serialization.py`, `_legacy_save` and `_legacy_load`. The rules are in `_pickle.legacy`.
"""

from __future__ import annotations

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import Globals
from weightguard.formats._pickle.findings import account, naming_calls, pickle_findings
from weightguard.formats._pickle.legacy import Head, check_storages, load_nested, read_head, starts_legacy
from weightguard.formats._pickle.rebuild import Collector
from weightguard.formats._pickle.storages import Storages
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource

NAME = "torch-legacy"
SPEC = "PyTorch, torch/serialization.py, _legacy_load, at v2.13"

_FIRST_READ = 4 << 20


def sniff(head: bytes, tail: bytes) -> bool:
    """The magic number as the first value of a pickle of any protocol."""
    return starts_legacy(head)


def read(source: ByteSource, limits: Limits) -> Container:
    """The file's tensors and plain values. Raises `Unreadable`; what it would have called stands in the detail."""
    seen = Globals()
    with naming_calls(seen):
        return _read(source, limits, seen)


def _read(source: ByteSource, limits: Limits, seen: Globals) -> Container:
    storages, data, head = _head(source, limits, seen)
    to = Collector(storages, limits)

    def fetch(at: int, length: int) -> bytes:
        return data[at : at + length] if at + length <= len(data) else source.read(at, length)

    end = check_storages(head, fetch, source.size, storages)
    unexplained = source.size - end + load_nested(seen, to, limits)
    to.walk(head.value)
    findings = pickle_findings(seen, to, source.name, limits)
    unexplained += storages.uncovered() + to.stray_bytes(seen.blobs)
    accounts = account(source.size, to, unexplained)
    return Container(NAME, to.table(), {"byteorder": head.order}, to.scalars, tuple(findings), accounts, shapes=to.shapes)


def _head(source: ByteSource, limits: Limits, seen: Globals) -> tuple[Storages, bytes, Head]:
    """The pickles: their length is known only once they have been run, so larger pieces are read until they fit."""
    length = _FIRST_READ
    while True:
        data = source.read(0, min(length, source.size, limits.pickle_bytes))
        storages = Storages()
        seen.start_over()
        try:
            return storages, data, read_head(data, limits, seen, storages)
        except Unreadable as error:
            if error.reason != "truncated" or len(data) == source.size:
                raise
            if len(data) == limits.pickle_bytes:
                raise Unreadable("limit", f"torch: pickles of more than {limits.pickle_bytes} bytes") from error
        length *= 4
