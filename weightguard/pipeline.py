"""The straight line, from targets to a report: each stage is one function from one value to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from weightguard.architecture import families
from weightguard.architecture.config import CONTEXT, Config, claimed_layers, language_model, repeats
from weightguard.architecture.describe import Architecture, active, describe
from weightguard.architecture.parts import missing_parts
from weightguard.errors import Unreadable
from weightguard.evidence import sidecars
from weightguard.evidence.attached import Attached, Digest, attach, sha256
from weightguard.evidence.publication import Published
from weightguard.limits import LIMITS
from weightguard.models import DECLARATION, Model, assemble
from weightguard.operations.bound import BACKWARD, Bounds, from_weights
from weightguard.operations.forward import Forward, from_architecture, from_tensors
from weightguard.operations.narrow import narrow, unbounded
from weightguard.operations.runs import Lineage, of_lineage
from weightguard.parameters.count import Parameters, count, is_tied
from weightguard.policy import Policy, as_json, decide, waived
from weightguard.reading import Progress, read_all
from weightguard.report import Counts, File, ModelReport, Report
from weightguard.roles import ROLES
from weightguard.rules.regime import Facts, regime
from weightguard.rules.us_ear_4e091.entry import technical_note_3_uncounted
from weightguard.stores.folder import collect
from weightguard.values import UNBOUNDED, Claim, Finding, Operations, Unread, Verdict
from weightguard.version import VERSION

if TYPE_CHECKING:  # read only where there is one
    from weightguard.evidence.declaration import Declaration


@dataclass(frozen=True)
class Request:
    """What to scan and by which rules. `declarations`: (path as given, text) of each --declaration."""

    targets: Sequence[str]
    policy: Policy
    as_of: date
    declarations: Sequence[tuple[str, str]] = ()
    read_declarations: bool = True  # those that lie beside the weights


PART_MISSING = "part-missing"
_MOST_REASONS = 5  # of what is missing, in one sentence; all are findings
_FEW_VALUES = 1 << 20  # steps, rates and the like, beside the smallest models


def scan(request: Request, progress: Progress | None = None) -> Report:
    """All models of the targets, each with its verdicts. Raises `ConfigurationError` for what the user must mend."""
    policy = request.policy
    listing = collect(request.targets, LIMITS)
    reading = read_all(listing, policy.unexplained_bytes, progress)
    asked = {f.shown for f in listing.files}
    models = [
        m for folder in reading.folders for m in assemble(folder) if not asked.isdisjoint({m.path, *(f.path for f in m.files)})
    ]
    if not request.read_declarations:
        models = [replace(m, texts={n: t for n, t in m.texts.items() if n != DECLARATION}) for m in models]

    def digest(path: str) -> str:
        return sha256(reading.real[path])

    attached = attach(models, request.declarations, policy.declarations, request.as_of, digest)
    reports: list[ModelReport] = []
    unread = list(reading.unread)
    for model in models:
        try:
            reports.append(_judge(model, attached[model.path], request, digest))
        except Exception as error:  # a fault of ours about one model blocks it, and hides no other
            why = f"a fault of weightguard: {type(error).__name__}: {error}"[:300]
            unread.append(Unread(model.path, "internal", why))
            reports.append(_not_judged(model, why))
    in_models = {f.path for m in models for f in m.files}
    spoken_for = in_models | {u.path for u in unread}
    no_model = [f for x in reading.folders for w in x.weights if w.path not in in_models for f in w.container.findings]
    dangerous = decide((), no_model, policy) == "block"
    blocked = dangerous or any(m.decision == "block" for m in reports) or (bool(unread) and policy.unread == "block")
    return Report(
        version=VERSION,
        policy=as_json(policy),
        models=tuple(reports),
        unread=tuple(unread),
        findings=(*listing.findings, *reading.findings, *no_model),
        dangerous=dangerous,
        files=len(set(reading.real.values())),
        bytes=reading.bytes,
        other=len({real for path, real in reading.real.items() if path not in spoken_for}),
        decision="block" if blocked else "allow",
    )


def _judge(model: Model, declared: Attached, request: Request, digest: Digest) -> ModelReport:
    """One model: counts, architecture, operations, verdicts, decision."""
    policy = request.policy
    config = language_model(model.config) if model.config is not None else None
    family = families.find(config) if config is not None else None
    tied = is_tied(config.values if config else None, family.tied if family else False)
    parameters = count(model, tied)
    architecture: Architecture | None = None
    findings = (*model.findings, *parameters.findings)
    wrong: tuple[Finding, ...] = ()
    if config is not None and family is not None:
        architecture, wrong = describe(model.tensors, parameters, config, family, tied, model.path)
        findings += tuple(f for f in wrong if f.id != PART_MISSING)
    missing = (
        *model.missing,
        *(f.message for f in wrong if f.id == PART_MISSING),
        *missing_parts(model.tensors, config, claimed_layers(model.config) if model.config else None),
        *_too_much_state(parameters),
    )
    forward, limit = _forward(model, parameters, architecture, config, policy)
    missing = tuple(dict.fromkeys((*missing, *limit)))

    bounds = _bounds(policy)
    config_context = config.number(*CONTEXT) or 0 if config else 0
    context = min(config_context or bounds.bound_context, bounds.bound_context)
    bound = from_weights(forward, config_context, bounds) if forward else Operations(UNBOUNDED, "weights")
    claims = sidecars.collect(model.texts, model.index_metadata, model.folder)
    findings += claims.findings + _claimed_counts(claims.claims, parameters, model.path)
    clearing = _lineage(declared.clearing, forward, context)
    raising = _lineage(declared.raising, forward, context)
    contradicted = declared.parameters is not None and declared.parameters < parameters.total
    least = _least(forward, parameters)
    if any(x and x.total.high is not None and x.total.high < least for x in (clearing, raising)):
        contradicted = True
        text = "fewer operations are declared than a thousandth of a token a parameter takes: the wider interval holds"
        findings += (Finding("declaration-contradicts-weights", "high", text, declared.paths),)
    if declared.parameters is not None and declared.parameters < parameters.total:
        text = f"{declared.parameters} parameters are declared, the weights hold {parameters.total}: the wider interval holds"
        findings += (Finding("declaration-contradicts-weights", "high", text, declared.paths),)
    narrowed = narrow(
        bound, forward, claims.claims, clearing, raising, declared.paths, contradicted=contradicted, context=context
    )
    runs = {id: i for lineage in (clearing, raising) if lineage for id, i in lineage.runs.items()}
    uncounted = tuple(line for d in declared.all for line in technical_note_3_uncounted(d, runs))
    operations = unbounded(narrowed.operations) if missing or uncounted else narrowed.operations
    findings += narrowed.findings
    findings += tuple(Finding(PART_MISSING, "high", line, model.path) for line in missing)

    # published weights are clear whatever their operations rest on
    by_operations = (*operations.assumptions, *(_base_condition(b) for b in claims.bases))
    conditions = () if isinstance(declared.published, Published) else by_operations
    if narrowed.declared or declared.published is not None:
        conditions += (f"rests on an unsigned declaration ({', '.join(d.path for d in declared.clearing)})",)
    facts = Facts(
        complete=not missing,
        incomplete="; ".join(missing[:_MOST_REASONS])
        + (f"; and {more} more" if (more := len(missing) - _MOST_REASONS) > 0 else ""),
        operations=operations.interval,
        published=declared.published,
        base=clearing.base if clearing else None,
        additional=clearing.additional if clearing and narrowed.operations.interval == clearing.total else None,
        whole=declared.whole,
        data_complete=declared.data_complete,
        conditions=conditions,
        method=operations.method,
        uncounted=uncounted,
    )
    verdicts = tuple(regime(id).classify(facts, request.as_of) for id in policy.regimes)
    counted, waivers = _unwaived(verdicts, model, request, digest)
    findings += waivers
    return ModelReport(
        name=model.name,
        path=model.path,
        complete=not missing,
        missing=missing,
        files=tuple(File(f.path, f.container.format, f.bytes) for f in model.files),
        parameters=Counts(
            parameters.total,
            active(architecture, parameters.total) if architecture else parameters.total,
            parameters.stored,
            parameters.by_role,
            parameters.by_dtype,
            parameters.quantization,
        ),
        architecture=architecture,
        forward_operations=forward,
        training_operations=operations,
        verdicts=verdicts,
        decision=decide(counted, findings, policy),
        findings=findings,
    )


def _not_judged(model: Model, why: str) -> ModelReport:
    """A model that a fault of ours kept from being judged: it stays in the report, and is blocked."""
    return ModelReport(
        name=model.name,
        path=model.path,
        complete=False,
        missing=(why,),
        files=tuple(File(f.path, f.container.format, f.bytes) for f in model.files),
        parameters=Counts(0, 0, 0, dict.fromkeys(ROLES, 0), {}, None),
        architecture=None,
        forward_operations=None,
        training_operations=Operations(UNBOUNDED, "not judged"),
        verdicts=(),
        decision="block",
        findings=(Finding("not-judged", "critical", why, model.path),),
    )


def _unwaived(
    verdicts: Sequence[Verdict], model: Model, request: Request, digest: Digest
) -> tuple[list[Verdict], tuple[Finding, ...]]:
    """The verdicts that no waiver covers, and what is to be said about the waivers."""
    files = [(f.bytes, partial(digest, f.path)) for f in model.files]
    counted: list[Verdict] = []
    findings: list[Finding] = []
    for verdict in verdicts if request.policy.waivers else ():
        found = waived(request.policy, files, verdict.regime, request.as_of)
        findings += found.findings
        if found.waiver is None:
            counted.append(verdict)
        else:
            text = f"{verdict.regime} waived until {found.waiver.expires} by {found.waiver.approved_by}: {found.waiver.reason}"
            findings.append(Finding("waived", "info", text, model.path))
    return counted if request.policy.waivers else list(verdicts), tuple(findings)


def _forward(
    model: Model, parameters: Parameters, architecture: Architecture | None, config: Config | None, policy: Policy
) -> tuple[Forward | None, tuple[str, ...]]:
    try:
        if architecture is not None:
            return from_architecture(architecture, parameters, policy.kernel_positions, all_experts=policy.all_experts), ()
        times = repeats(config) if config else 1
        return from_tensors(model.tensors, parameters, policy.kernel_positions, times), ()
    except Unreadable as error:
        return None, (error.detail,)


def _lineage(declarations: Sequence[Declaration], forward: Forward | None, context: int) -> Lineage | None:
    """What declarations of one model say; "where two speak for one model the wider interval holds"."""
    if forward is None:
        return None
    lineages = [x for d in declarations if (x := of_lineage(d, forward, context)) is not None]
    if not lineages:
        return None
    first = lineages[0]
    for other in lineages[1:]:
        first = Lineage(first.total.union(other.total), None, first.total.union(other.total), first.terms + other.terms)
    return first


def _too_much_state(parameters: Parameters) -> tuple[str, ...]:
    """Optimizers keep up to four values a weight, each in a slot of its own: more is the state of weights that are not here."""
    most = max(parameters.total + parameters.total // 50, _FEW_VALUES)
    if any(values > most for values in parameters.slots.values()) or parameters.by_role["optimizer"] > 4 * most:
        return ("optimizer state of more weights than are here",)
    return ()


def _least(forward: Forward | None, parameters: Parameters) -> Fraction:
    """Operations below which nobody trains all of these weights: a thousandth of a token a parameter."""
    return Fraction(BACKWARD * forward.matmul * parameters.total, 1000) if forward else Fraction(0)


def _bounds(policy: Policy) -> Bounds:
    return Bounds(policy.maximum_training_tokens, policy.bound_context, policy.post_training_factor, policy.kernel_positions)


def _base_condition(base: str) -> str:
    return f"README.md says base_model {base!r}: its operations count as well (Technical Note 2)"


def _claimed_counts(claims: Sequence[Claim], parameters: Parameters, path: str) -> tuple[Finding, ...]:
    """An index that claims another number of parameters than its shards hold is believed in nothing."""
    said = [claim.high for claim in claims if claim.quantity == "parameters"]
    if not said or said[0] in (parameters.total, parameters.stored):
        return ()
    text = f"the index claims {said[0]} parameters, the weights hold {parameters.total}: the weights count"
    return (Finding("index-contradicts-weights", "medium", text, path),)
