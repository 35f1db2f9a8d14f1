"""The straight line, from targets to a report: each stage is one function from one value to the next."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from weightguard.version import VERSION
from weightguard.architecture import families
from weightguard.architecture.config import CONTEXT, Config, language_model, repeats
from weightguard.architecture.describe import Architecture, active, describe
from weightguard.architecture.parts import missing_parts
from weightguard.errors import ConfigurationError, Unreadable
from weightguard.evidence import sidecars
from weightguard.evidence.attached import Attached, attach, sha256
from weightguard.evidence.declaration import Declaration
from weightguard.formats import identify
from weightguard.limits import LIMITS
from weightguard.models import (
    DECLARATION,
    INDEX_SUFFIX,
    Folder,
    Model,
    WeightFile,
    assemble,
    companions,
    index_files,
    is_sidecar,
)
from weightguard.operations.bound import Bounds, from_weights
from weightguard.operations.forward import Forward, from_architecture, from_tensors
from weightguard.operations.narrow import narrow, unbounded
from weightguard.operations.runs import Lineage, of_lineage
from weightguard.parameters.count import Parameters, count, is_tied
from weightguard.policy import Policy, as_json, decide
from weightguard.report import Counts, File, ModelReport, Report
from weightguard.rules.regime import Facts, regime
from weightguard.rules.us_ear_4e091.entry import technical_note_3_uncounted
from weightguard.stores.folder import Found, Listing, collect, companion, names_in
from weightguard.stores.local import LocalFile
from weightguard.values import UNBOUNDED, Claim, Finding, Operations, Unread

Progress = Callable[[int, int, str], None]
"""Called before each file with (files done, files in all, path)."""

_WEIGHT_NAMES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".h5", ".pkl", ".pickle", ".npz", ".npy")
_OTHER_NAMES = (
    ".png .jpg .jpeg .gif .webp .bmp .ico .svg .tif .tiff .pdf .txt .md .rst .csv .tsv .json .jsonl .yaml .yml .toml .xml .html .htm "
    ".css .js .ts .py .ipynb .sh .c .h .cpp .rs .go .java .mp3 .mp4 .wav .flac .ogg .avi .mov .ttf .otf .woff .woff2 .log"
)


@dataclass(frozen=True)
class Request:
    """What to scan and by which rules. `declarations`: (path as given, text) of each --declaration."""

    targets: Sequence[str]
    policy: Policy
    as_of: date
    declarations: Sequence[tuple[str, str]] = ()
    read_declarations: bool = True  # those that lie beside the weights


def scan(request: Request, progress: Progress | None = None) -> Report:
    """All models of the targets, each with its verdicts. Raises `ConfigurationError` for what the user must mend."""
    policy = request.policy
    listing = collect(request.targets, LIMITS)
    folders, unread, read = _read_all(listing, policy, progress)
    asked = {f.shown for f in listing.files}
    models = [m for folder in folders for m in assemble(folder) if m.path in asked or any(f.path in asked for f in m.files)]
    real = {f.shown: f.real for f in read.found}
    if not request.read_declarations:
        models = [replace(m, texts={n: t for n, t in m.texts.items() if n != DECLARATION}) for m in models]
    attached = attach(models, request.declarations, policy.declarations, request.as_of, lambda path: sha256(real[path]))
    reports = tuple(_judge(model, attached[model.path], request) for model in models)
    blocked = any(m.decision == "block" for m in reports) or (bool(unread) and policy.unread == "block")
    in_models = {f.path for m in models for f in m.files}
    return Report(
        version=VERSION,
        policy=as_json(policy),
        models=reports,
        unread=unread,
        findings=(*listing.findings, *read.findings),
        files=read.files,
        bytes=read.bytes,
        other=read.files - len(in_models) - len({u.path for u in unread} & real.keys()),
        decision="block" if blocked else "allow",
    )


def _judge(model: Model, declared: Attached, request: Request) -> ModelReport:
    """One model: counts, architecture, operations, verdicts, decision."""
    policy = request.policy
    config = language_model(model.config) if model.config is not None else None
    family = families.find(config) if config is not None else None
    tied = is_tied(config.values if config else None, family.tied if family else False)
    parameters = count(model, tied)
    architecture: Architecture | None = None
    findings = (*model.findings, *parameters.findings)
    if config is not None and family is not None:
        architecture, wrong = describe(model.tensors, parameters, config, family, tied, model.path)
        findings += wrong
    missing = (*model.missing, *missing_parts(model.tensors, config), *_too_much_state(parameters))
    forward, limit = _forward(model, parameters, architecture, config, policy)
    missing += limit

    bounds = _bounds(policy)
    config_context = config.number(*CONTEXT) or 0 if config else 0
    context = min(config_context or bounds.bound_context, bounds.bound_context)
    bound = from_weights(forward, config_context, bounds) if forward else Operations(UNBOUNDED, "weights")
    claims = sidecars.collect(model.texts, model.index_metadata, model.folder)
    findings += claims.findings + _claimed_counts(claims.claims, parameters, model.path)
    clearing = _lineage(declared.clearing, forward, context)
    raising = _lineage(declared.raising, forward, context)
    contradicted = declared.parameters is not None and declared.parameters < parameters.total
    if contradicted:
        text = f"{declared.parameters} parameters are declared, the weights hold {parameters.total}: the wider interval holds"
        findings += (Finding("declaration-contradicts-weights", "high", text, declared.paths),)
    narrowed = narrow(
        bound, forward, claims.claims, clearing, raising, declared.paths, contradicted=contradicted, context=context
    )
    uncounted = tuple(line for d in declared.all for line in technical_note_3_uncounted(d))
    operations = unbounded(narrowed.operations) if missing or uncounted else narrowed.operations
    findings += narrowed.findings
    findings += tuple(Finding("part-missing", "high", line, model.path) for line in missing)

    conditions = (*operations.assumptions, *(_base_condition(b) for b in claims.bases))
    if narrowed.declared or declared.published is not None:
        conditions += (f"rests on an unsigned declaration ({', '.join(d.path for d in declared.clearing)})",)
    facts = Facts(
        complete=not missing,
        incomplete="; ".join(missing),
        operations=operations.interval,
        published=declared.published,
        base=clearing.base if clearing else None,
        additional=clearing.additional if clearing else None,
        whole=declared.whole,
        data_complete=declared.data_complete,
        conditions=conditions,
        method=operations.method,
        uncounted=uncounted,
    )
    verdicts = tuple(regime(id).classify(facts, request.as_of) for id in policy.regimes)
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
        decision=decide(verdicts, findings, policy),
        findings=findings,
    )


def _forward(
    model: Model, parameters: Parameters, architecture: Architecture | None, config: Config | None, policy: Policy
) -> tuple[Forward | None, tuple[str, ...]]:
    try:
        if architecture is not None:
            return from_architecture(architecture, parameters, all_experts=policy.all_experts), ()
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
    """Optimizers keep two or three values a weight: more is the state of a model whose weights are not here."""
    if parameters.by_role["optimizer"] > 8 * max(parameters.total, 1024):
        return ("optimizer state of more weights than are here",)
    return ()


def _bounds(policy: Policy) -> Bounds:
    return Bounds(
        policy.maximum_training_tokens, policy.bound_context, policy.post_training_factor, policy.kernel_positions
    )


def _base_condition(base: str) -> str:
    return f"README.md says base_model {base!r}: its operations count as well (Technical Note 2), as far as the bound holds them"


def _claimed_counts(claims: Sequence[Claim], parameters: Parameters, path: str) -> tuple[Finding, ...]:
    """An index that claims another number of parameters than its shards hold is believed in nothing."""
    said = [claim.high for claim in claims if claim.quantity == "parameters"]
    if not said or said[0] in (parameters.total, parameters.stored):
        return ()
    text = f"the index claims {said[0]} parameters, the weights hold {parameters.total}: the weights count"
    return (Finding("index-contradicts-weights", "medium", text, path),)


# ---- reading


@dataclass(frozen=True)
class _Read:
    files: int
    bytes: int
    found: Sequence[Found]
    findings: tuple[Finding, ...]


def _read_all(
    listing: Listing, policy: Policy, progress: Progress | None
) -> tuple[list[Folder], tuple[Unread, ...], _Read]:
    """Every file read once, grouped by folder; and what could not be read."""
    found, unread = _with_companions(listing)
    weights: dict[str, list[WeightFile]] = defaultdict(list)
    texts: dict[str, dict[str, bytes]] = defaultdict(dict)
    failed: dict[str, set[str]] = defaultdict(set)
    unread += listing.unread
    findings: list[Finding] = []
    size = small = 0
    for done, file in enumerate(found):
        if progress is not None:
            progress(done, len(found), file.shown)
        try:
            read = _read_file(file)
            size += read.bytes
            if isinstance(read, WeightFile):
                weights[file.folder].append(read)
                if read.container.unexplained > policy.unexplained_bytes:
                    text = f"{read.container.unexplained} bytes of the file that no rule of {read.container.format} explains"
                    raise Unreadable("unrecognised", text)
            elif read.text is not None:
                texts[file.folder][file.name] = read.text
        except Unreadable as error:
            bytes_ = os.path.getsize(file.real) if os.path.isfile(file.real) else 0
            size += bytes_
            # "other ... every byte accounted for ... or unread (all else above unexplained_bytes)", for the whole scan together
            if error.reason == "unrecognised" and small + bytes_ <= policy.unexplained_bytes:
                small += bytes_
                continue
            unread += (Unread(file.shown, error.reason, error.detail),)
            failed[file.folder].add(file.name)
    names = sorted({f.folder for f in found})
    folders = [Folder(n, tuple(weights[n]), texts[n], frozenset(failed[n])) for n in names]
    findings += [f for folder in folders for w in folder.weights if not len(w.container.tensors) for f in w.container.findings]
    return folders, unread, _Read(len(found), size, found, tuple(findings))


@dataclass(frozen=True)
class _Other:
    bytes: int
    text: bytes | None


def _read_file(file: Found) -> WeightFile | _Other:
    """One file, as weights or as something else. Any fault of ours is an `Unreadable` too: never a pass."""
    try:
        with LocalFile(file.real, file.shown) as source:
            container = identify(source, LIMITS)
            text = None
            if container is None:
                if file.name.endswith(_WEIGHT_NAMES):
                    empty = source.size == 0
                    raise Unreadable("truncated" if empty else "malformed", "named like weights, but " + ("empty" if empty else "is none"))
                if is_sidecar(file.name) and source.size <= LIMITS.sidecar_bytes:
                    text = source.read(0, source.size)
            source.check_unchanged()
            if container is None:
                return _Other(source.size, text)
            return WeightFile(file.shown, source.size, replace(container, findings=(*container.findings, *_misnamed(file))))
    except Unreadable:
        raise
    except (MemoryError, RecursionError) as error:
        raise Unreadable("limit", f"needs more than weightguard allows ({type(error).__name__})") from error
    except Exception as error:  # noqa: BLE001 - "any other exception in a reader becomes unread, never a pass"
        raise Unreadable("internal", f"a fault of weightguard, please report it: {type(error).__name__}: {error}"[:300]) from error


def _misnamed(file: Found) -> tuple[Finding, ...]:
    if file.name.lower().endswith(tuple(_OTHER_NAMES.split())):
        text = "holds weights under the name of another kind of file: rename it to what it is"
        return (Finding("disguised-weights", "critical", text, file.shown),)
    return ()


def _with_companions(listing: Listing) -> tuple[list[Found], tuple[Unread, ...]]:
    """The files of the listing, and those beside its file targets without which they can't be judged."""
    found = {f.shown: f for f in listing.files}
    unread: tuple[Unread, ...] = ()
    alone: dict[tuple[str, str], list[str]] = defaultdict(list)
    for f in listing.files:
        if not f.whole_folder:
            alone[f.folder, os.path.dirname(f.real)].append(f.name)
    for (shown, real), targets in alone.items():
        names = names_in(real)
        indexes = {n: _index(os.path.join(real, n)) for n in names if n.endswith(INDEX_SUFFIX)}
        for name in sorted(companions(targets, names, indexes)):
            beside = companion(shown, real, name)
            if isinstance(beside, Unread):
                unread += (beside,)
            elif os.path.isfile(beside.real):
                found.setdefault(beside.shown, beside)
    return sorted(found.values(), key=lambda f: f.shown), unread


def _index(path: str) -> list[str]:
    try:
        with LocalFile(path, path) as source:
            return index_files(source.read(0, source.size)) if source.size <= LIMITS.sidecar_bytes else []
    except Unreadable:
        return []


__all__ = ["ConfigurationError", "Request", "scan"]
