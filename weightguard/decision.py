"""What a policy makes of a model's verdicts and findings: rules, waivers, approvals, then the defaults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from fnmatch import fnmatchcase

from weightguard.policy import Policy, Rule, Waiver, reported
from weightguard.toml_lines import shown
from weightguard.values import SEVERITIES, Decision, Finding, Verdict

Files = Sequence[tuple[int, Callable[[], str]]]
"""Of each weight file of a model: its bytes, and a function that gives its SHA-256, "" where it lies in a store that doesn't say."""


@dataclass(frozen=True)
class Subject:
    """What is decided about: its reported path, whether it is complete, and its weight files. `approved`: a signed approval
    covers it, for the regimes named, or for all ("").
    """

    path: str = ""
    complete: bool = True
    files: Files = field(default=())
    approved: frozenset[str] = frozenset()


NOBODY = Subject()


def decide(verdicts: Sequence[Verdict], findings: Sequence[Finding], policy: Policy, subject: Subject = NOBODY) -> Decision:
    """Whether one model passes, by its verdicts and findings."""
    if any(_blocks(verdict, policy, subject) for verdict in verdicts):
        return "block"
    limit = SEVERITIES.index(policy.findings)
    return "block" if any(SEVERITIES.index(finding.severity) >= limit for finding in findings) else "allow"


def _blocks(verdict: Verdict, policy: Policy, subject: Subject) -> bool:
    """The first rule that matches decides; then the defaults, which a signed approval lifts."""
    approved = subject.complete and bool(subject.approved & {"", verdict.regime})
    for rule in policy.rules:
        if _matches(rule, verdict, subject):
            return {"block": True, "approve": not approved, "allow": not subject.complete}[rule.decision]
    return _by_default(verdict, policy) and not approved


def _by_default(verdict: Verdict, policy: Policy) -> bool:
    if not verdict.blocks:
        return False
    if verdict.status == "not_controlled" or (verdict.license is not None and verdict.license.permits):
        return bool(verdict.unattested) and policy.undeclared_conditions == "block"
    if verdict.status == "undetermined":
        return policy.undetermined == "block"
    return True


def _matches(rule: Rule, verdict: Verdict, subject: Subject) -> bool:
    """Whether a rule speaks of a verdict; files are hashed only where every size is listed."""
    if rule.regimes and verdict.regime not in rule.regimes:
        return False
    if rule.status and verdict.status not in rule.status:
        return False
    if rule.paths and not any(fnmatchcase(subject.path, pattern) for pattern in rule.paths):
        return False
    return not rule.files or _listed(subject.files, rule.files, {}, unknown=rule.decision != "allow")


def _listed(files: Files, listed: frozenset[tuple[int, str]], digests: dict[int, str], *, unknown: bool = False) -> bool:
    """Whether every file is listed by size and SHA-256. `digests`: those known, by position; added to.

    unknown: whether a file of a listed size whose digest nobody knows counts as listed, as it must where that blocks.
    """
    sizes = {size for size, _ in listed}
    if not files or not all(size in sizes for size, _ in files):
        return False
    for position, (_, sha256) in enumerate(files):
        if position not in digests:
            digests[position] = sha256().lower()
    return all(
        (size, digests[position]) in listed or (unknown and not digests[position]) for position, (size, _) in enumerate(files)
    )


@dataclass(frozen=True)
class Waived:
    """The waiver that covers a model under a regime, if one does, and what is to be said about others that would have."""

    waiver: Waiver | None
    findings: tuple[Finding, ...]


def waived(policy: Policy, files: Files, regime: str, as_of: date) -> Waived:
    """Whether a waiver covers a model, all of whose weight files are given.

    A file is hashed, at most once, only where every file's size is listed. An expired waiver has no effect and is a finding.
    """
    digests: dict[int, str] = {}
    findings: list[Finding] = []
    for waiver in policy.waivers:
        if regime in waiver.regimes and _listed(files, waiver.files, digests):
            if as_of <= waiver.expires:
                return Waived(waiver, tuple(findings))
            message = f"the waiver of {regime} approved by {shown(waiver.approved_by)} expired on {waiver.expires}: no effect"
            findings.append(Finding("waiver-expired", "medium", message, reported(policy.path) or ""))
    return Waived(None, tuple(findings))
