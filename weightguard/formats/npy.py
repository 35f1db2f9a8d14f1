"""NumPy's files of one array: a header and the elements, or a pickle where they are objects."""

from __future__ import annotations

from weightguard.errors import Unreadable
from weightguard.formats._numpy import FIRST, MAGIC, parse_header
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import from_rows
from weightguard.values import Accounts

NAME = "npy"
SPEC = "NumPy, NEP 1 and numpy.lib.format, versions 1.0 to 3.0"

_ARRAY = "array"  # the only array of the file has no name of its own


def sniff(head: bytes, tail: bytes) -> bool:
    """The magic string."""
    return head.startswith(MAGIC)


def read(source: ByteSource, limits: Limits) -> Container:
    """The array: its size checked against its shape and type; a pickle's names judged. Raises `Unreadable`."""
    header = parse_header(source.read(0, min(source.size, FIRST)))
    if header.objects:
        from weightguard.formats._numpy_objects import Objects

        objects = Objects(source.name, limits)
        objects.add(source, header.start, source.size - header.start, _ARRAY)
        return objects.container(NAME, source.size, header.padding, header.unexplained)
    data = source.size - header.start
    if header.bytes > data:
        raise Unreadable("truncated", f"numpy: {header.bytes} bytes of elements announced, {data} given")
    names, dtypes, shapes, spans = zip(*header.rows(_ARRAY), strict=True) if header.fields else ((), (), (), ())
    unexplained = header.unexplained + data - header.bytes
    tensors = sum(spans)
    headers = source.size - tensors - header.padding - unexplained
    accounts = Accounts(tensors, headers, header.padding, unexplained)
    return Container(NAME, from_rows(names, dtypes, shapes, spans), accounts=accounts)
