"""The straight line, from targets to a report: each stage is one function from one value to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache

from weightguard.decision import decide
from weightguard.evidence.attached import Statement, attach, sha256
from weightguard.judge import judge, not_judged
from weightguard.limits import LIMITS
from weightguard.models import DECLARATION, JUDGED_WITH, SIGNATURE, Model, assemble
from weightguard.policy import Policy, as_json
from weightguard.reading import Progress, Reading, read_all
from weightguard.report import ModelReport, Report
from weightguard.rules.provenance import standing
from weightguard.stores.found import ANYWHERE, Listing, Network
from weightguard.stores.targets import collect
from weightguard.values import Finding, Unread
from weightguard.version import VERSION


@dataclass(frozen=True)
class Request:
    """What to scan and by which rules. declarations: what each --declaration holds; each_speaks: one that speaks for no model is
    an error. path_of: the path of a model that the policy's rules speak of, where it is scanned by another.
    """

    targets: Sequence[str]
    policy: Policy
    as_of: date
    declarations: Sequence[Statement] = ()
    read_declarations: bool = True  # those that lie beside the weights
    network: Network = ANYWHERE
    each_speaks: bool = True
    path_of: Callable[[str], str] = str


def scan(request: Request, progress: Progress | None = None) -> Report:
    """All models of the targets, each with its verdicts. Raises `ConfigurationError` for what the user must mend."""
    return scan_with_files(request, progress)[0]


def scan_with_files(request: Request, progress: Progress | None = None) -> tuple[Report, Mapping[str, str]]:
    """The same, and the real file of each path that was reached from the targets."""
    listing = collect(request.targets, LIMITS, request.network)
    return judged(listing, read_all(listing, request.policy.unexplained_bytes, progress), request)


def judged(listing: Listing, reading: Reading, request: Request) -> tuple[Report, Mapping[str, str]]:
    """The same for files that are read already."""
    policy = request.policy
    asked = {f.shown for f in listing.files}
    models = [m for m in assemble(reading.folders) if not asked.isdisjoint(_reached_by(m))]
    if not request.read_declarations:
        models = [replace(m, texts={n: t for n, t in m.texts.items() if n not in (DECLARATION, SIGNATURE)}) for m in models]

    hashed = cache(sha256)  # a file of terabytes is read once, however many rules name it

    def digest(path: str) -> str:
        real = reading.real[path]
        return reading.digests[real] if real in reading.digests else hashed(real)

    attached = attach(
        models,
        request.declarations,
        policy.declarations,
        policy.signers,
        request.as_of,
        digest,
        each_speaks=request.each_speaks,
    )
    reports: list[ModelReport] = []
    unread = list(reading.unread)
    for model in models:
        try:
            reports.append(judge(model, attached[model.path], policy, request.as_of, digest, request.path_of(model.path)))
        except Exception as error:  # a fault of ours about one model blocks it, and hides no other
            why = f"a fault of weightguard: {type(error).__name__}: {error}"[:300]
            unread.append(Unread(model.path, "internal", why))
            reports.append(not_judged(model, why))
    in_models = {f.path for m in models for f in m.files}
    spoken_for = in_models | {u.path for u in unread}
    no_model = [f for x in reading.folders for w in x.weights if w.path not in in_models for f in w.container.findings]
    dangerous = decide((), [*no_model, *reading.findings], policy) == "block"
    blocked = dangerous or any(m.decision == "block" for m in reports) or (bool(unread) and policy.unread == "block")
    report = Report(
        version=VERSION,
        policy=as_json(policy),
        models=tuple(reports),
        unread=tuple(unread),
        findings=(*listing.findings, *reading.findings, *no_model, *_old_data(policy, request.as_of)),
        dangerous=dangerous,
        files=len(set(reading.real.values())),
        bytes=reading.bytes,
        other=len(set(reading.real.values()) - {reading.real[path] for path in spoken_for if path in reading.real}),
        decision="block" if blocked else "allow",
    )
    return report, reading.real


def _old_data(policy: Policy, as_of: date) -> list[Finding]:
    """What a report says where the law's data was last checked too long before the day asked about."""
    found = []
    for id in policy.regimes:
        folder = policy.regime(id).FOLDER
        checked = standing(folder).checked_on if folder else as_of
        if (as_of - checked).days > policy.maximum_data_age:
            text = (
                f"the data of {id} was last checked on {checked}, more than {policy.maximum_data_age} days before {as_of}:"
                f" update weightguard, or look up the sources that weightguard rules show {id} names"
            )
            found.append(Finding("law-data-old", "medium", text, ""))
    return found


def _reached_by(model: Model) -> set[str]:
    """The targets that stand for a model: its files, its index or folder, and the sidecars that it is judged with."""
    folder = f"{model.folder}/" if model.folder else ""
    files = {path for f in model.files for path in (f.path, f.whole[0])}
    return {model.path, *files, *(folder + name for name in JUDGED_WITH)}
