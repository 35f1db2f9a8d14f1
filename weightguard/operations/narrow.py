"""What claims and a declaration make of the bound: who may move which end.

A sidecar, card or metadata claim sets `best` and raises `high`; it never lowers `high` and never raises `low`. A declaration
sets all three, as far as the policy trusts it; one that it doesn't trust raises, and clears nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from weightguard.operations.forward import Forward
from weightguard.operations.runs import Lineage, of_tokens
from weightguard.values import Claim, Finding, Interval, Operations, geometric_mean, highest

APART = Fraction("1.3")
"""How far two claims may be apart before they contradict each other: what published figures of one run differ by."""


@dataclass(frozen=True)
class Narrowed:
    """`operations` with their findings; `declared`: whether a declaration lowered the upper end.

    taken: whether the clearing declarations stand as they are: nothing contradicts, raises or claims above them.
    """

    operations: Operations
    findings: tuple[Finding, ...]
    declared: bool
    taken: bool


def narrow(
    bound: Operations,
    forward: Forward | None,
    claims: tuple[Claim, ...],
    clearing: Lineage | None,
    raising: Lineage | None,
    declared_in: str,
    *,
    contradicted: bool,
    context: int,
) -> Narrowed:
    """The interval that decides.

    clearing, raising: what declarations add up to that the policy lets clear, and that may only raise. `declared_in`: their paths.
    contradicted: the weights contradict a declaration, so the wider interval holds. context: tokens, for claims of tokens.
    """
    findings: list[Finding] = []
    interval, claimed, apart = _claimed(bound.interval, claims, forward, context)
    findings += apart
    evidence, terms, assumptions, method = claims, bound.terms, bound.assumptions, bound.method
    lowered = taken = False
    for lineage, clears in ((clearing, True), (raising, False)):
        if lineage is None:
            continue
        declared = lineage.total
        if bound.interval.high is not None and declared.low > bound.interval.high:
            text = "more operations are declared than these weights can have taken alone: the larger number holds"
            findings.append(Finding("declaration-exceeds-bound", "medium", text, declared_in))
        below = declared.high is not None and any(claim.low > declared.high for claim in claimed)
        if below:
            text = "a claim beside the weights is above what is declared: the wider interval holds"
            findings.append(Finding("declaration-below-claim", "high", text, declared_in))
        if clears and not below and not contradicted:
            lowered = declared.high is not None and (interval.high is None or declared.high < interval.high)
            interval, method = declared, "declaration"
            most = lineage.additional.high
            taken = raising is None and (most is None or all(c.high is not None and c.high <= most for c in claimed))
            assumptions = forward.assumptions if forward else ()
        else:
            interval, method = highest(interval, declared), f"{method}, raised by a declaration"
        terms += lineage.terms
        high = declared.high if declared.high is not None else declared.low
        evidence += (Claim("training operations", declared.low, high, "declaration", declared_in, "declared"),)
    operations = Operations(interval, method, terms, evidence, assumptions)
    return Narrowed(operations, tuple(findings), lowered, taken)


def _claimed(
    interval: Interval, claims: tuple[Claim, ...], forward: Forward | None, context: int
) -> tuple[Interval, list[Interval], tuple[Finding, ...]]:
    """The bound with the largest claim as its `best`, raised where a claim passes it; the claims as operations; and how they
    contradict each other.
    """
    said: list[tuple[Claim, Interval]] = []
    for claim in claims:
        if claim.quantity == "training operations":
            said.append((claim, Interval(claim.low, geometric_mean(claim.low, claim.high), claim.high)))
        elif claim.quantity == "training tokens" and forward is not None:
            said.append((claim, of_tokens(forward, claim.high, context)))
    bests = [i.best for _, i in said if i.best is not None]
    if not bests:
        return interval, [i for _, i in said], ()
    best = max(bests)
    tops = [i.high for _, i in said]
    high = None if interval.high is None or None in tops else max(interval.high, *(t for t in tops if t is not None))
    return Interval(interval.low, max(best, interval.low), high), [i for _, i in said], _disagreeing(said)


def _disagreeing(said: list[tuple[Claim, Interval]]) -> tuple[Finding, ...]:
    """A finding where two claims, each as wide as it is, are further apart than packing and attention explain."""
    if len(said) < 2:
        return ()
    least = min(said, key=lambda x: x[1].high if x[1].high is not None else x[1].low)
    most = max(said, key=lambda x: x[1].low)
    top = least[1].high if least[1].high is not None else least[1].low
    if most[1].low <= APART * top:
        return ()
    text = f"{most[0].where} and {least[0].where} claim operations that don't agree: the larger stands"
    return (Finding("claims-disagree", "medium", text, most[0].where.partition(":")[0]),)


def unbounded(operations: Operations) -> Operations:
    """The same for a part of a model: what is missing may have taken any number of operations."""
    return replace(operations, interval=Interval(operations.interval.low, operations.interval.best, None))
