"""What a format reader is: a module with four names. Readers never import one another.

NAME    the container's name in reports
SPEC    the document that its rules come from
sniff   whether the bytes say they are this container: by content, never by file name
read    the whole container, checked, or `Unreadable`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import TensorTable
from weightguard.values import NOTHING, Accounts, Finding

Scalar = int | float | str | bool | None
PART_MISSING = "part-missing"


@dataclass(frozen=True, eq=False)
class Container:
    """One file, read.

    tensors: its tensor table (`files` all 0). metadata: text that the format keeps beside the tensors.
    scalars: plain values found beside the tensors, by their dotted path (an optimizer's step, an epoch).
    findings: one whose id is `PART_MISSING` says that the model isn't whole.
    accounts: what each byte of the file is; bytes in none of its counts are unexplained too.
    parts: the other files that this one names and that hold its tensors, by their path relative to its folder, as given to
        `source.beside`, with what each of their bytes is.
    shapes: shapes of tensors whose data lie in other files, by their dotted path.
    """

    format: str
    tensors: TensorTable
    metadata: Mapping[str, str] = field(default_factory=dict)
    scalars: Mapping[str, Scalar] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    accounts: Accounts = NOTHING
    parts: Mapping[str, Accounts] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def unexplained(self) -> int:
        """Bytes of the file itself that no rule of the format explains."""
        return self.accounts.unexplained


class Format(Protocol):
    """The protocol that each module of `formats` satisfies."""

    NAME: str
    SPEC: str

    def sniff(self, head: bytes, tail: bytes) -> bool:
        """Whether a file with these first bytes (up to `HEAD`) claims to be this container.

        tail: the last bytes (up to `TAIL`) of a file that begins as a zip does; the last few of one that nothing else tells.
        """
        ...

    def read(self, source: ByteSource, limits: Limits) -> Container:
        """The container, every check of its specification done; raises `Unreadable` and nothing else on purpose."""
        ...


HEAD = 64 << 10  # one read is enough for most headers, and one request over a network
TAIL = 66_000  # a zip's end record with the longest comment, and its zip64 locator
