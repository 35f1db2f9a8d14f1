"""The containers that weights travel in, one module each; all are recognised by content, never by name."""

from __future__ import annotations

import gc
from dataclasses import replace

from weightguard.errors import Unreadable
from weightguard.formats import pickle_file, safetensors, signatures, torch_legacy, torch_zip
from weightguard.formats.protocol import HEAD, TAIL, Container, Format
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.values import Finding

FORMATS: tuple[Format, ...] = (safetensors, torch_zip, torch_legacy, pickle_file)
"""In sniffing order. To add a container: one module here, and its line in CONTRIBUTING's page."""


def identify(source: ByteSource, limits: Limits) -> Container | None:
    """The container that the bytes are; None for a file that holds no weights (text, an image, a table ...).

    Raises `Unreadable` for everything else: nothing is skipped.
    """
    if source.size == 0:
        return None
    head = source.read(0, min(source.size, HEAD))
    tail = b""
    if head.startswith(b"PK"):  # only a zip is told by its end, and its readers want these bytes at its start too
        tail = source.read(max(0, source.size - TAIL), min(source.size, TAIL))
    readers = [f for f in FORMATS if f.sniff(head, tail)]
    if not readers:
        signatures.explain(source, head, limits)
        return None
    collects = gc.isenabled()
    gc.disable()  # a read makes many small objects and no cycles: collections in the midst of it cost a tenth of its time
    try:
        return _read(readers, source, limits)
    finally:
        if collects:
            gc.enable()


def _read(readers: list[Format], source: ByteSource, limits: Limits) -> Container:
    containers: list[Container] = []
    refused: list[Unreadable] = []
    for reader in readers:  # the first bytes of one may look like another's: the whole file tells
        try:
            containers.append(reader.read(source, limits))
        except Unreadable as error:
            refused.append(error)
    if not containers:
        raise refused[0]
    container = containers[0]
    if len(containers) > 1:
        names = " and ".join(c.format for c in containers)
        polyglot = Finding("polyglot", "critical", f"the same bytes are {names}: readers will disagree on them", source.name)
        container = replace(container, findings=(*container.findings, polyglot))
    return container


__all__ = ["FORMATS", "Container", "Format", "Unreadable", "identify"]
