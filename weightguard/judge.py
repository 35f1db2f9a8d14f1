"""One model, from its files to its verdicts and the decision: counts, architecture, operations, law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from functools import partial

from weightguard.architecture import families
from weightguard.architecture.config import CONTEXT, Config, claimed_layers, language_model, repeats
from weightguard.architecture.describe import Architecture, active, describe
from weightguard.architecture.family import Family, all_stored
from weightguard.architecture.parts import missing_parts, too_much_state
from weightguard.decision import Subject, decide, waived
from weightguard.errors import Unreadable
from weightguard.evidence import sidecars
from weightguard.evidence.attached import Attached, Digest
from weightguard.facts import facts_of, said_of, widest, with_generators
from weightguard.models import Model
from weightguard.operations.bound import Bounds, from_weights
from weightguard.operations.forward import Forward, from_architecture, from_tensors, with_shapes
from weightguard.operations.narrow import narrow, unbounded
from weightguard.parameters.count import Parameters, count, is_tied
from weightguard.policy import Policy
from weightguard.report import Counts, File, ModelReport
from weightguard.roles import ROLES
from weightguard.values import UNBOUNDED, Ancestor, Claim, Distribution, Finding, Interval, Operations, Verdict

PART_MISSING = "part-missing"


def judge(model: Model, declared: Attached, policy: Policy, as_of: date, digest: Digest, path: str) -> ModelReport:
    """The report on one model. digest: SHA-256 of a weight file by its path, for waivers; path: what the policy's rules call it."""
    weights = _weigh(model, policy)
    claims = sidecars.collect(model.texts, model.index_metadata, model.folder)
    claims = replace(claims, claims=claims.claims + _from_checkpoints(model))
    said = said_of(declared, weights.forward, weights.context, weights.parameters.total)
    narrowed = narrow(
        weights.bound,
        weights.forward,
        claims.claims,
        widest(said.clearing),
        widest(said.raising),
        declared.paths,
        contradicted=bool(said.contradictions),
        context=weights.context,
    )
    operations = unbounded(narrowed.operations) if weights.missing else narrowed.operations
    operations = replace(operations, distribution=_distribution(weights, declared, claims.claims, operations.interval))
    facts = facts_of(weights.missing, weights.bound.interval, said, narrowed, operations, claims, policy)
    operations = with_generators(operations, facts)
    verdicts = tuple(policy.regime(id).classify(facts, as_of) for id in policy.regimes)
    counted, waivers = _unwaived(verdicts, model, policy, as_of, digest) if not weights.missing else (verdicts, ())
    findings = (
        *weights.findings,
        *claims.findings,
        *_claimed_counts(claims.claims, weights.parameters, model.path),
        *said.contradictions,
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
        decision=decide(counted, findings, policy, _subject(model, weights, declared, digest, path)),
        findings=findings,
        provenance=_provenance(declared),
    )


def _provenance(declared: Attached) -> tuple[Ancestor, ...]:
    if not declared.all:
        return ()
    from weightguard.evidence.provenance import ancestors  # most models have no declaration

    return next((found for d in declared.all if (found := ancestors(d))), ())


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


def _subject(model: Model, weights: _Weights, declared: Attached, digest: Digest, path: str) -> Subject:
    """What the policy's rules and approvals decide about."""
    regimes = [r for a in declared.approved for r in a.approval.regimes or ("",)]
    return Subject(path, not weights.missing, _hashed(model, digest), frozenset(regimes))


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


def _claimed_counts(claims: Sequence[Claim], parameters: Parameters, path: str) -> tuple[Finding, ...]:
    """An index that claims another number of parameters than its shards hold is believed in nothing."""
    said = [claim.high for claim in claims if claim.quantity == "parameters"]
    if not said or said[0] in (parameters.total, parameters.stored):
        return ()
    text = f"the index claims {said[0]} parameters, the weights hold {parameters.total}: the weights count"
    return (Finding("index-contradicts-weights", "medium", text, path),)
