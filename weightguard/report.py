"""The report: what a scan found, as values. `reports` prints them, `weightguard.scan` returns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weightguard.architecture.describe import Architecture
from weightguard.operations.forward import Forward
from weightguard.values import Accounts, Ancestor, Decision, Finding, Operations, Unread, Verdict


@dataclass(frozen=True)
class File:
    """A weight file of a model, and what its bytes are; `sha256` is None unless something asked for it."""

    path: str
    format: str
    bytes: int
    accounts: Accounts
    sha256: str | None = None


@dataclass(frozen=True)
class Counts:
    """`total` and `active` are logical parameters; the others count stored elements."""

    total: int
    active: int
    stored_elements: int
    by_role: Mapping[str, int]
    by_dtype: Mapping[str, int]
    quantization: str | None


@dataclass(frozen=True, eq=False)
class ModelReport:
    """All that was found about one model, and the decision. `missing` says why it is not complete.

    provenance: what its declaration says it came from, the last run first; for drawings, not in the JSON report.
    """

    name: str
    path: str
    complete: bool
    missing: tuple[str, ...]
    files: tuple[File, ...]
    parameters: Counts
    architecture: Architecture | None
    forward_operations: Forward | None
    training_operations: Operations
    verdicts: tuple[Verdict, ...]
    decision: Decision
    findings: tuple[Finding, ...]
    provenance: tuple[Ancestor, ...] = ()

    @property
    def deciding(self) -> Verdict | None:
        """The verdict to name in one line: the first that blocks and is not clear; else the first; None where none was reached."""
        blocking = (v for v in self.verdicts if v.blocks and v.status != "not_controlled")
        return next(blocking, self.verdicts[0] if self.verdicts else None)


@dataclass(frozen=True, eq=False)
class Report:
    """A whole scan. `decision` is "block" if any model is blocked, or anything unread that the policy blocks.

    findings: those that belong to no model; `dangerous`: one of them blocks by itself.
    """

    version: str
    policy: Mapping[str, Any]
    models: tuple[ModelReport, ...]
    unread: tuple[Unread, ...]
    findings: tuple[Finding, ...]
    dangerous: bool
    files: int
    bytes: int
    other: int
    decision: Decision

    @property
    def blocked(self) -> int:
        """Number of models that are blocked."""
        return sum(model.decision == "block" for model in self.models)

    def to_dict(self) -> dict[str, Any]:
        """The content of the JSON report, schema weightguard/report/1."""
        from weightguard.reports.json import as_dict

        return as_dict(self)
