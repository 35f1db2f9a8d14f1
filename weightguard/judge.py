"""One model, from its files to its verdicts and the decision: counts, architecture, operations, law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from functools import partial, reduce
from typing import TYPE_CHECKING

from weightguard.architecture import families
from weightguard.architecture.config import CONTEXT, Config, claimed_layers, language_model, repeats
from weightguard.architecture.describe import Architecture, active, describe
from weightguard.architecture.family import Family, all_stored
from weightguard.architecture.parts import missing_parts, too_much_state
from weightguard.decision import Subject, decide, waived
from weightguard.errors import Unreadable
from weightguard.evidence import sidecars
from weightguard.evidence.attached import Attached, Digest
from weightguard.evidence.publication import Published, Unclear
from weightguard.models import Model
from weightguard.operations.bound import Bounds, from_weights, least
from weightguard.operations.forward import Forward, from_architecture, from_tensors, with_shapes
from weightguard.operations.narrow import Narrowed, narrow, unbounded
from weightguard.operations.runs import Lineage, of_lineage
from weightguard.parameters.count import Parameters, count, is_tied
from weightguard.policy import Policy
from weightguard.report import Counts, File, ModelReport
from weightguard.roles import ROLES
from weightguard.rules.regime import Facts, Origin
from weightguard.values import (
    UNBOUNDED,
    ZERO,
    Claim,
    Distribution,
    Finding,
    Interval,
    Operations,
    Term,
    Verdict,
    highest,
)

if TYPE_CHECKING:  # read only where there is one
    from weightguard.evidence.declaration import Declaration

PART_MISSING = "part-missing"
_MOST_REASONS = 5  # of what is missing, in one sentence; all are findings


def judge(model: Model, declared: Attached, policy: Policy, as_of: date, digest: Digest) -> ModelReport:
    """The report on one model. `digest`: SHA-256 of a weight file by its path, for waivers."""
    weights = _weigh(model, policy)
    claims = sidecars.collect(model.texts, model.index_metadata, model.folder)
    claims = replace(claims, claims=claims.claims + _from_checkpoints(model))
    clearing = _lineages(declared.clearing, weights.forward, weights.context)
    raising = _lineages(declared.raising, weights.forward, weights.context)
    contradictions = _contradictions(declared, (*clearing, *raising), weights)
    narrowed = narrow(
        weights.bound,
        weights.forward,
        claims.claims,
        _widest(clearing),
        _widest(raising),
        declared.paths,
        contradicted=bool(contradictions),
        context=weights.context,
    )
    operations = unbounded(narrowed.operations) if weights.missing else narrowed.operations
    operations = replace(operations, distribution=_distribution(weights, declared, claims.claims, operations.interval))
    facts = _facts(weights, declared, narrowed, operations, _widest(clearing), claims, bool(contradictions), policy)
    facts = replace(
        _with_generators(facts, clearing, raising, bool(contradictions)),
        origin=None if contradictions else _origin(declared),
        transaction=policy.transaction,
    )
    operations = _counted(operations, facts)
    verdicts = tuple(policy.regime(id).classify(facts, as_of) for id in policy.regimes)
    counted, waivers = _unwaived(verdicts, model, policy, as_of, digest) if not weights.missing else (verdicts, ())
    findings = (
        *weights.findings,
        *claims.findings,
        *_claimed_counts(claims.claims, weights.parameters, model.path),
        *contradictions,
        *narrowed.findings,
        *(Finding(PART_MISSING, "high", line, model.path) for line in weights.missing),
        *waivers,
        *_approvals(declared, model.path),
    )
    p = weights.parameters
    return ModelReport(
        name=model.name,
        path=model.path,
        complete=not weights.missing,
        missing=weights.missing,
        files=tuple(File(f.path, f.container.format, f.bytes, f.container.accounts) for f in model.files),
        parameters=Counts(
            p.total,
            active(weights.architecture, p.total) if weights.architecture else p.total,
            p.stored,
            p.by_role,
            p.by_dtype,
            p.quantization,
        ),
        architecture=weights.architecture,
        forward_operations=weights.forward,
        training_operations=operations,
        verdicts=verdicts,
        decision=decide(counted, findings, policy, _subject(model, weights, declared, digest)),
        findings=findings,
    )


def _distribution(weights: _Weights, declared: Attached, claims: Sequence[Claim], within: Interval) -> Distribution | None:
    """Quantiles of what the declared tokens, or else the claimed ones, took; None where nobody says tokens."""
    phases = [phase for d in declared.all for run in d.lineage() for phase in run.phases]
    tokens = sum((phase.tokens for phase in phases), Fraction(0))
    said = max((c for c in claims if c.quantity == "training tokens"), key=lambda c: c.high, default=None)
    if weights.forward is None or (not tokens and said is None):
        return None
    from weightguard.operations.distribution import of_tokens  # most models have no such claim

    if not tokens and said is not None:
        return of_tokens(weights.forward, said.low, said.high, weights.context, within)
    context = sum((phase.tokens * (phase.context or weights.context) for phase in phases), Fraction(0)) / tokens
    return of_tokens(weights.forward, tokens, tokens, int(context), within)


def _from_checkpoints(model: Model) -> tuple[Claim, ...]:
    """Claims of the plain values that lie in the checkpoints themselves."""
    if not model.beside and not any(f.container.scalars for f in model.files):
        return ()
    from weightguard.evidence.trainers import collect  # most models have none

    return collect(model)


def not_judged(model: Model, why: str) -> ModelReport:
    """A model that a fault of ours kept from being judged: it stays in the report, and is blocked."""
    return ModelReport(
        name=model.name,
        path=model.path,
        complete=False,
        missing=(why,),
        files=tuple(File(f.path, f.container.format, f.bytes, f.container.accounts) for f in model.files),
        parameters=Counts(0, 0, 0, dict.fromkeys(ROLES, 0), {}, None),
        architecture=None,
        forward_operations=None,
        training_operations=Operations(UNBOUNDED, "not judged"),
        verdicts=(),
        decision="block",
        findings=(Finding("not-judged", "critical", why, model.path),),
    )


@dataclass(frozen=True, eq=False)
class _Weights:
    """What the weights and their config say by themselves. `context`: tokens that a declaration means where it says none."""

    parameters: Parameters
    architecture: Architecture | None
    forward: Forward | None
    bound: Operations
    context: int
    missing: tuple[str, ...]
    findings: tuple[Finding, ...]


def _weigh(model: Model, policy: Policy) -> _Weights:
    config, family = _described(model)
    tied = is_tied(config.values if config else None, family.tied if family else False) and (family is None or family.ties)
    parameters = count(model, tied)
    architecture: Architecture | None = None
    wrong: tuple[Finding, ...] = ()
    if not model.components:
        architecture, wrong = describe(model.tensors, parameters, config, family, tied, model.path)
    forward, limit = _forward(model, parameters, architecture, config, policy)
    if (
        forward is not None
        and config is not None
        and not config.values.keys().isdisjoint(("image_size", "sample_size", "depths"))
    ):
        from weightguard.operations.image import of_image  # most models are of tokens

        forward = of_image(forward, architecture, model.tensors, parameters, config)
    bounds = Bounds(policy.maximum_training_tokens, policy.bound_context, policy.post_training_factor)
    config_context = (config.number(*CONTEXT) or 0) if config is not None else 0
    missing = (
        *model.missing,
        *(f.message for f in wrong if f.id == PART_MISSING),
        *missing_parts(model.tensors, config, _claimed(model, config, family), known=_known(architecture)),
        *(line for c in model.components for line in _missing_of(c)),
        *too_much_state(parameters),
        *limit,
    )
    return _Weights(
        parameters,
        architecture,
        forward,
        from_weights(forward, config_context, bounds) if forward else Operations(UNBOUNDED, "weights"),
        min(config_context or bounds.bound_context, bounds.bound_context),
        tuple(dict.fromkeys(missing)),
        (*model.findings, *parameters.findings, *(f for f in wrong if f.id != PART_MISSING)),
    )


def _claimed(model: Model, config: Config | None, family: Family | None) -> int | None:
    """Layers that a config claims to be on disk."""
    if config is not None and family is not None and family.stored is not all_stored:
        return family.stored(config)
    return claimed_layers(model.config) if model.config else None


def _known(architecture: Architecture | None) -> bool:
    return architecture is not None and architecture.source != "shapes"


def _described(model: Model) -> tuple[Config | None, Family | None]:
    """The config of a model's language model and its family: of config.json, else of a GGUF's own hyperparameters."""
    if model.config is not None:
        config = language_model(model.config)
        return config, families.find(config) or families.find(Config(model.config))
    if len(model.files) and all(f.container.format == "gguf" for f in model.files):
        from weightguard.architecture import gguf

        first = model.files[0].container
        found = gguf.config_of({**first.metadata, **first.scalars})
        if found is not None:
            return Config(found), gguf.FAMILY
    return None, None


def _missing_of(component: Model) -> list[str]:
    config = language_model(component.config) if component.config is not None else None
    return missing_parts(component.tensors, config, claimed_layers(component.config) if component.config else None)


def _forward(
    model: Model, parameters: Parameters, architecture: Architecture | None, config: Config | None, policy: Policy
) -> tuple[Forward | None, tuple[str, ...]]:
    try:
        if architecture is not None and _known(architecture):
            return from_architecture(architecture, parameters, policy.positions, all_experts=policy.all_experts), ()
        times = repeats(config) if config else 1
        bound = from_tensors(model.tensors, parameters, policy.positions, times)
        return (with_shapes(bound, architecture) if architecture is not None else bound), ()
    except Unreadable as error:
        return None, (error.detail,)


def _lineages(declarations: Sequence[Declaration], forward: Forward | None, context: int) -> list[tuple[Declaration, Lineage]]:
    """Each declaration of a model that declares runs, with what they add up to."""
    if forward is None:
        return []
    return [(d, x) for d in declarations if (x := of_lineage(d, forward, context)) is not None]


def _widest(lineages: Sequence[tuple[Declaration, Lineage]]) -> Lineage | None:
    """What declarations of one model say together: "where two speak for one model the wider interval holds"."""
    if not lineages:
        return None
    found = lineages[0][1]
    for _, other in lineages[1:]:  # without a base: Note 1 asks for one lineage
        found = Lineage(found.total.union(other.total), None, found.total.union(other.total), found.terms + other.terms)
    return found


def _contradictions(
    declared: Attached, lineages: Sequence[tuple[Declaration, Lineage]], weights: _Weights
) -> tuple[Finding, ...]:
    """How the weights contradict what is declared; the wider interval holds then."""
    texts = []
    total = weights.parameters.total
    if declared.parameters is not None and declared.parameters < total:
        texts.append(f"{declared.parameters} parameters are declared, the weights hold {total}: the wider interval holds")
    floor = least(weights.forward, total)
    if any(x.total.high is not None and x.total.high < floor for _, x in lineages):
        texts.append("fewer operations are declared than a thousandth of a token a parameter takes: the wider interval holds")
    return tuple(Finding("declaration-contradicts-weights", "high", text, declared.paths) for text in texts)


def _facts(
    weights: _Weights,
    declared: Attached,
    narrowed: Narrowed,
    operations: Operations,
    clearing: Lineage | None,
    claims: sidecars.Sidecars,
    contradicted: bool,
    policy: Policy,
) -> Facts:
    """What the law is asked about."""
    published = declared.published
    if isinstance(published, Published) and (claims.restricted or contradicted):
        published = Unclear(claims.restricted or "the weights contradict the declaration: they are not the ones it speaks of")
    missing = weights.missing
    more = len(missing) - _MOST_REASONS
    # published weights are clear whatever their operations rest on
    by_operations = (*operations.assumptions, *map(_base_condition, claims.bases))
    conditions = () if isinstance(published, Published) else by_operations
    if narrowed.declared or published is not None or any(d.country or d.note_2 for d in declared.clearing):
        paths = ", ".join(d.path for d in declared.clearing)
        conditions += (f"rests on {'a signed' if policy.declarations == 'signed' else 'an unsigned'} declaration ({paths})",)
    return Facts(
        complete=not missing,
        incomplete="; ".join(missing[:_MOST_REASONS]) + (f"; and {more} more" if more > 0 else ""),
        operations=operations.interval,
        published=published,
        base=_base(clearing, weights.bound.interval) if clearing and not contradicted else None,
        # an addition that something contradicts bounds nothing
        additional=clearing.additional if clearing and narrowed.taken else None,
        whole=declared.whole,
        data_complete=declared.data_complete,
        conditions=conditions,
        method=operations.method,
    )


def _with_generators(
    facts: Facts,
    clearing: Sequence[tuple[Declaration, Lineage]],
    raising: Sequence[tuple[Declaration, Lineage]],
    contradicted: bool,
) -> Facts:
    """The facts with what declarations say of the models that generated data, and of the model this one starts from."""
    if not clearing and not raising:
        return facts
    from weightguard.operations.graph import generation, original
    from weightguard.rules.us_ear_4e091.technical_note_3 import technical_note_3

    able, others = ([x.graph for _, x in lineages if x.graph is not None] for lineages in (clearing, raising))
    said = clearing[0][0] if len(clearing) == 1 and not contradicted else None
    readings = technical_note_3(able, others)
    passes = [generation(graph) for graph in (*able, *others)]
    base, since = original(able[0]) if len(able) == 1 and facts.additional is not None else (None, UNBOUNDED)
    return replace(
        facts,
        readings=readings,
        generation=reduce(highest, passes, ZERO),
        original=base,
        modification=None if base is None else since,
        note_2=said.note_2 if said else None,
        generates=said.generates if said else None,
        biological=said.biological if said else None,
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


def _counted(operations: Operations, facts: Facts) -> Operations:
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


def _subject(model: Model, weights: _Weights, declared: Attached, digest: Digest) -> Subject:
    """What the policy's rules and approvals decide about."""
    regimes = [r for a in declared.approved for r in a.approval.regimes or ("",)]
    return Subject(model.path, not weights.missing, _hashed(model, digest), frozenset(regimes))


def _approvals(declared: Attached, path: str) -> list[Finding]:
    """What is to be said of approvals and of declarations that a policy wants signed."""
    found = [
        Finding(
            "approved",
            "info",
            f"approved by {a.approval.by} until {a.approval.expires}, signed by {a.principal}"
            + (f" ({a.approval.reference})" if a.approval.reference else ""),
            path,
        )
        for a in declared.approved
    ]
    return found + [
        Finding("not-signed", "info", f"counts as unsigned: {reason}", where) for where, reason in declared.unsigned
    ]


def _hashed(model: Model, digest: Digest) -> list[tuple[int, Callable[[], str]]]:
    return [(size, partial(digest, path)) for path, size in dict.fromkeys(f.whole for f in model.files)]


def _unwaived(
    verdicts: Sequence[Verdict], model: Model, policy: Policy, as_of: date, digest: Digest
) -> tuple[Sequence[Verdict], tuple[Finding, ...]]:
    """The verdicts that no waiver covers, and what is to be said about the waivers."""
    files = _hashed(model, digest)
    counted: list[Verdict] = []
    findings: list[Finding] = []
    for verdict in verdicts if policy.waivers else ():
        found = waived(policy, files, verdict.regime, as_of)
        findings += found.findings
        if found.waiver is None:
            counted.append(verdict)
        else:
            text = f"{verdict.regime} waived until {found.waiver.expires} by {found.waiver.approved_by}: {found.waiver.reason}"
            findings.append(Finding("waived", "info", text, model.path))
    return counted if policy.waivers else list(verdicts), tuple(findings)


def _base_condition(base: str) -> str:
    return f"README.md says base_model {base!r}: its operations count as well (Technical Note 2)"


def _claimed_counts(claims: Sequence[Claim], parameters: Parameters, path: str) -> tuple[Finding, ...]:
    """An index that claims another number of parameters than its shards hold is believed in nothing."""
    said = [claim.high for claim in claims if claim.quantity == "parameters"]
    if not said or said[0] in (parameters.total, parameters.stored):
        return ()
    text = f"the index claims {said[0]} parameters, the weights hold {parameters.total}: the weights count"
    return (Finding("index-contradicts-weights", "medium", text, path),)
