"""The few values that travel from stage to stage. Frozen, no I/O, standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Literal

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "low", "medium", "high", "critical")
Status = Literal["controlled", "not_controlled", "undetermined"]
Decision = Literal["allow", "block"]
Trust = Literal["measured", "declared", "claimed"]  # read off the weights; a declaration; a sidecar, card or metadata


@dataclass(frozen=True)
class Finding:
    """Something worth saying about a file or a model; `id` is stable, in kebab case."""

    id: str
    severity: Severity
    message: str
    path: str


@dataclass(frozen=True)
class Unread:
    """A part that was not accounted for: `reason` is one of `errors.Reason`, `detail` is one line."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Accounts:
    """What the bytes of a file are, in bytes: together its size.

    unexplained may be more than the file has: hidden bytes count as what they are once decompressed or decoded.
    """

    tensors: int = 0
    headers: int = 0
    padding: int = 0
    unexplained: int = 0

    def __add__(self, other: Accounts) -> Accounts:
        return Accounts(
            self.tensors + other.tensors,
            self.headers + other.headers,
            self.padding + other.padding,
            self.unexplained + other.unexplained,
        )


NOTHING = Accounts()


@dataclass(frozen=True)
class Interval:
    """Operations known to lie in [low, high]; exact numbers, so that decimals add as written.

    `best` is None when nothing points inside the interval, `high` is None when nothing bounds it.
    Always low <= best <= high.
    """

    low: Fraction
    best: Fraction | None
    high: Fraction | None

    def __post_init__(self) -> None:
        inside = self.best is None or (self.low <= self.best and (self.high is None or self.best <= self.high))
        if self.low < 0 or not inside or (self.high is not None and self.low > self.high):
            raise ValueError(f"not an interval: {self.low}, {self.best}, {self.high}")

    def __add__(self, other: Interval) -> Interval:
        return Interval(
            self.low + other.low,
            None if self.best is None or other.best is None else self.best + other.best,
            None if self.high is None or other.high is None else self.high + other.high,
        )

    def union(self, other: Interval) -> Interval:
        """The smallest interval that holds both; `best` is the larger one, which errs to the safe side."""
        bests = [b for b in (self.best, other.best) if b is not None]
        return Interval(
            min(self.low, other.low),
            max(bests) if bests else None,
            None if self.high is None or other.high is None else max(self.high, other.high),
        )


def highest(a: Interval, b: Interval) -> Interval:
    """Each end the higher of the two; `best` the highest that is said, no lower than `low`."""
    low = max(a.low, b.low)
    bests = [i.best for i in (a, b) if i.best is not None]
    high = None if a.high is None or b.high is None else max(a.high, b.high)
    return Interval(low, max(low, *bests) if bests else None, high)


def geometric_mean(low: Fraction, high: Fraction) -> Fraction:
    """The geometric mean to a double's precision, never outside [low, high]; exact where the two are equal."""
    return low if low == high else min(max(Fraction(math.sqrt(low * high)), low), high)


ZERO = Interval(Fraction(0), Fraction(0), Fraction(0))
UNBOUNDED = Interval(Fraction(0), None, None)


@dataclass(frozen=True)
class Claim:
    """One piece of evidence: a quantity as an interval, who said it, where it stood, how far it is trusted."""

    quantity: str  # "training operations", "training tokens", "parameters" ...
    low: Fraction
    high: Fraction
    source: str  # "trainer_state.json", "model card", "declaration" ...
    where: str  # file and key
    trust: Trust


@dataclass(frozen=True)
class Ancestor:
    """Something that a model came from, as a declaration says it. sources: the ids of what it came from, and in what way.

    kind: "run", "model" (known elsewhere) or "generator" (of data). published: whether its weights are, None of a run.
    """

    id: str
    kind: str
    text: str
    operations: Interval | None
    published: bool | None
    sources: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Term:
    """One line of a derivation: `value` in `unit`, the formula with its inputs, and the source of the rule."""

    label: str
    value: Fraction
    unit: str
    formula: str
    source: str


@dataclass(frozen=True)
class Distribution:
    """Two quantiles of a simulation, in operations: the share `level` of the samples lies between them. It decides nothing."""

    level: float
    low: float
    high: float
    seed: int


@dataclass(frozen=True)
class Operations:
    """Training operations with everything that led to them."""

    interval: Interval
    method: str
    terms: tuple[Term, ...] = ()
    evidence: tuple[Claim, ...] = ()
    assumptions: tuple[str, ...] = ()
    distribution: Distribution | None = None


@dataclass(frozen=True)
class Law:
    """The two dated facts about a regime: what its text is, and whether it is enforced."""

    text_as_of: date
    status: str
    enforcement: str
    enforcement_as_of: date


@dataclass(frozen=True)
class License:
    """What a transaction with a controlled item takes. `review`: how an application would be reviewed, "" where nothing says."""

    answer: Literal["not_required", "exception", "required", "open"]
    clause: str
    reason: str
    review: str = ""
    conditions: tuple[str, ...] = ()
    to_settle: tuple[str, ...] = ()

    @property
    def permits(self) -> bool:
        """Whether the transaction needs no licence, or has an exception."""
        return self.answer in ("not_required", "exception")


@dataclass(frozen=True)
class Verdict:
    """A regime's answer for one model. `clause` is the citation that decided."""

    regime: str
    status: Status
    clause: str
    reason: str
    law: Law
    conditions: tuple[str, ...] = ()
    unattested: tuple[str, ...] = ()  # those of `conditions` that nobody attested
    to_settle: tuple[str, ...] = ()
    not_assessed: tuple[str, ...] = field(default=())
    blocks: bool = True  # whether a status that isn't not_controlled is a reason to block
    license: License | None = None  # of the transaction that was given, if the item is controlled or may be
