"""What the law is asked about one model: what is declared of it, held against its weights, as `rules.regime.Facts`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

from weightguard.evidence.attached import Attached
from weightguard.evidence.publication import Published, Unclear
from weightguard.evidence.sidecars import Sidecars
from weightguard.operations.bound import least
from weightguard.operations.forward import Forward
from weightguard.operations.narrow import Narrowed
from weightguard.operations.runs import Lineage, of_lineage
from weightguard.policy import Policy
from weightguard.rules.regime import Facts, Origin
from weightguard.values import UNBOUNDED, ZERO, Finding, Interval, Operations, Term, highest

if TYPE_CHECKING:  # read only where there is one
    from weightguard.evidence.declaration import Declaration

_MOST_REASONS = 5  # of what is missing, in one sentence; all are findings
Lineages = Sequence[tuple["Declaration", Lineage]]


@dataclass(frozen=True)
class Said:
    """What is declared of a model: the lineages that may clear and those that may only raise; how the weights contradict them."""

    declared: Attached
    clearing: Lineages
    raising: Lineages
    contradictions: tuple[Finding, ...]


def said_of(declared: Attached, forward: Forward | None, context: int, parameters: int) -> Said:
    """The declarations of a model with what they add up to. context: tokens, where a run says none; parameters: those stored."""
    clearing = _lineages(declared.clearing, forward, context)
    raising = _lineages(declared.raising, forward, context)
    return Said(declared, clearing, raising, _contradictions(declared, (*clearing, *raising), forward, parameters))


def _lineages(declarations: Sequence[Declaration], forward: Forward | None, context: int) -> list[tuple[Declaration, Lineage]]:
    """Each declaration of a model that declares runs, with what they add up to."""
    if forward is None:
        return []
    return [(d, x) for d in declarations if (x := of_lineage(d, forward, context)) is not None]


def widest(lineages: Lineages) -> Lineage | None:
    """What declarations of one model say together: "where two speak for one model the wider interval holds"."""
    if not lineages:
        return None
    found = lineages[0][1]
    for _, other in lineages[1:]:  # without a base: Note 1 asks for one lineage
        found = Lineage(found.total.union(other.total), None, found.total.union(other.total), found.terms + other.terms)
    return found


def _contradictions(declared: Attached, lineages: Lineages, forward: Forward | None, total: int) -> tuple[Finding, ...]:
    """How the weights contradict what is declared; the wider interval holds then."""
    texts = []
    if declared.parameters is not None and declared.parameters < total:
        texts.append(f"{declared.parameters} parameters are declared, the weights hold {total}: the wider interval holds")
    floor = least(forward, total)
    if any(x.total.high is not None and x.total.high < floor for _, x in lineages):
        texts.append("fewer operations are declared than a thousandth of a token a parameter takes: the wider interval holds")
    return tuple(Finding("declaration-contradicts-weights", "high", text, declared.paths) for text in texts)


def facts_of(
    missing: tuple[str, ...],
    bound: Interval,
    said: Said,
    narrowed: Narrowed,
    operations: Operations,
    claims: Sidecars,
    policy: Policy,
) -> Facts:
    """What the law is asked about. missing: parts of the model; bound: what the weights alone can have taken."""
    declared, clearing, contradicted = said.declared, widest(said.clearing), bool(said.contradictions)
    published = declared.published
    if isinstance(published, Published) and (claims.restricted or contradicted):
        published = Unclear(claims.restricted or "the weights contradict the declaration: they are not the ones it speaks of")
    more = len(missing) - _MOST_REASONS
    # published weights are clear whatever their operations rest on
    by_operations = (*operations.assumptions, *map(_base_condition, claims.bases))
    conditions = () if isinstance(published, Published) else by_operations
    if narrowed.declared or published is not None or any(d.country or d.note_2 for d in declared.clearing):
        paths = ", ".join(d.path for d in declared.clearing)
        conditions += (f"rests on {'a signed' if policy.declarations == 'signed' else 'an unsigned'} declaration ({paths})",)
    facts = Facts(
        complete=not missing,
        incomplete="; ".join(missing[:_MOST_REASONS]) + (f"; and {more} more" if more > 0 else ""),
        operations=operations.interval,
        published=published,
        base=_base(clearing, bound) if clearing and not contradicted else None,
        # an addition that something contradicts bounds nothing
        additional=clearing.additional if clearing and narrowed.taken else None,
        whole=declared.whole,
        data_complete=declared.data_complete,
        conditions=conditions,
        method=operations.method,
        transaction=policy.transaction,
    )
    if contradicted:
        return _with_lineages(facts, said)
    one = declared.clearing[0] if len(declared.clearing) == 1 else None
    facts = replace(
        facts,
        note_2=one.note_2 if one else None,
        generates=one.generates if one else None,
        biological=one.biological if one else None,
        origin=_origin(declared),
    )
    return _with_lineages(facts, said)


def _with_lineages(facts: Facts, said: Said) -> Facts:
    """The facts with what declarations say of the models that generated data, and of the model this one starts from."""
    if not said.clearing and not said.raising:
        return facts
    from weightguard.operations.graph import generation, original
    from weightguard.rules.us_ear_4e091.technical_note_3 import technical_note_3

    able, others = ([x.graph for _, x in lineages if x.graph is not None] for lineages in (said.clearing, said.raising))
    readings = technical_note_3(able, others)
    passes = [generation(graph) for graph in (*able, *others)]
    base, since = original(able[0]) if len(able) == 1 and facts.additional is not None else (None, UNBOUNDED)
    return replace(
        facts,
        readings=readings,
        generation=reduce(highest, passes, ZERO),
        original=base,
        modification=None if base is None else since,
    )


def _origin(declared: Attached) -> Origin | None:
    """Where the clearing declarations say that the model was made and on what; None where they don't say one and the same."""
    said = declared.clearing
    countries = {d.country for d in said}
    if len(countries) != 1 or declared.raising:
        return None
    runs = [run for d in said for run in d.lineage()]
    known = [(run.id, device) for run in runs for device in run.accelerators or (None,)]
    elsewhere = [(s.model or "", None) for run in runs for s in run.starts_from if s.model is not None]
    return Origin(countries.pop(), (*known, *elsewhere))


def with_generators(operations: Operations, facts: Facts) -> Operations:
    """The operations with what Technical Note 3 adds to them, whichever way it is read."""
    if not facts.readings:
        return operations
    added = reduce(Interval.union, (r.added for r in facts.readings))
    terms = tuple(
        Term(
            "data-generation models", r.added.high if r.added.high is not None else r.added.low, "operations", r.reason, r.name
        )
        for r in facts.readings
        if r.added != ZERO
    )
    return replace(operations, interval=operations.interval + added, terms=operations.terms + terms)


def _base(clearing: Lineage, bound: Interval) -> Interval | None:
    """The published base, no larger than these weights can have taken: Note 1's 25 percent grows with it."""
    base, most = clearing.base, bound.high
    if base is None or most is None:
        return base
    best = None if base.best is None else min(base.best, most)
    return Interval(min(base.low, most), best, most if base.high is None else min(base.high, most))


def _base_condition(base: str) -> str:
    return f"README.md says base_model {base!r}: its operations count as well (Technical Note 2)"
