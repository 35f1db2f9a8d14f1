"""The policy (schema weightguard/policy/1): what blocks, with which bounds, and whose statements may clear.

A policy that was given (`--policy`, $WEIGHTGUARD_POLICY) may say anything; one that was found by search lies in the folder of
whoever brought the model, so it may only tighten the built-in one. Every built-in bound comes from rules/bounds.toml.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from weightguard.errors import ConfigurationError
from weightguard.limits import LIMITS
from weightguard.rules.provenance import bounds
from weightguard.rules.regime import SHIPPED, Regime, Transaction, regime
from weightguard.toml_lines import Checker, Document, Key, is_sha256, nearest, read, shown
from weightguard.values import SEVERITIES, Severity

SCHEMA = "weightguard/policy/1"
FILE_NAME = "weightguard-policy.toml"
VARIABLE = "WEIGHTGUARD_POLICY"

if TYPE_CHECKING:  # read only where a policy states one
    from weightguard.rules.thresholds import Threshold

Source = Literal["built-in", "found", "--policy", "environment"]


@dataclass(frozen=True)
class Waiver:
    """An accepted block, bound to content: `files` are (bytes, SHA-256) of every weight file of the model."""

    files: frozenset[tuple[int, str]]
    regimes: tuple[str, ...]
    reason: str
    approved_by: str
    expires: date  # the last day on which it holds


@dataclass(frozen=True)
class Rule:
    """A decision for verdicts that match all that is said; empty: any. `files` are (bytes, SHA-256) of every weight file.

    "approve": it passes only with a signed approval. paths: patterns of the reported path, in which * also matches /.
    """

    decision: Literal["allow", "block", "approve"]
    reason: str
    regimes: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    files: frozenset[tuple[int, str]] = frozenset()


@dataclass(frozen=True)
class Policy:
    """All values of a policy and where it came from. `all_experts` bounds with every expert active (--strict)."""

    regimes: tuple[str, ...]
    undetermined: Literal["block", "allow"]
    undeclared_conditions: Literal["block", "allow"]
    declarations: Literal["any", "given", "signed"]
    unread: Literal["block", "report"]
    maximum_training_tokens: Fraction
    bound_context: int
    post_training_factor: Fraction
    kernel_positions: int
    maximum_training_pixels: Fraction
    unexplained_bytes: int
    maximum_data_age: int
    findings: Severity
    signers: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    rules: tuple[Rule, ...] = ()
    all_experts: bool = False
    transaction: Transaction | None = None
    own_regimes: tuple[Threshold, ...] = ()
    source: Source = "built-in"
    path: str | None = None
    sha256: str | None = None

    @property
    def positions(self) -> int:
        """How often a kernel is charged for each token of the bound: by kernel_positions, and by the pixels of all of training."""
        pixels = max(self.maximum_training_pixels, self.maximum_training_tokens)
        return max(1, min(self.kernel_positions, ceil(pixels / self.maximum_training_tokens)))

    def regime(self, id: str) -> Regime:
        """The regime of that id: one that this policy states, else one that ships (KeyError if there is none)."""
        return next((own for own in self.own_regimes if id == own.ID), None) or regime(id)

    @property
    def all_regimes(self) -> tuple[str, ...]:
        """The ids of all regimes that can be asked for."""
        return (*SHIPPED, *(own.ID for own in self.own_regimes))


# Each choice from loose to tight. A policy found by search may move only to the right of the built-in one.
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "undetermined": ("allow", "block"),
    "undeclared_conditions": ("allow", "block"),
    "declarations": ("any", "given", "signed"),
    "unread": ("report", "block"),
    "findings": tuple(reversed(SEVERITIES)),
}
_LARGER_IS_TIGHTER = (
    "maximum_training_tokens",
    "bound_context",
    "post_training_factor",
    "kernel_positions",
    "maximum_training_pixels",
)
_SMALLER_IS_TIGHTER = ("unexplained_bytes", "maximum_data_age")
_KEYS = (
    "schema",
    "regimes",
    *_CHOICES,
    *_LARGER_IS_TIGHTER,
    *_SMALLER_IS_TIGHTER,
    "signers",
    "transaction",
    "regime",
    "rule",
    "waiver",
)


def built_in() -> Policy:
    """The policy where nobody gives one."""
    bound = {symbol: entry.value for symbol, entry in bounds().items()}
    return Policy(
        regimes=("us-ear-4e091",),
        undetermined="block",
        undeclared_conditions="allow",
        declarations="any",
        unread="block",
        maximum_training_tokens=bound["maximum_training_tokens"],
        bound_context=int(bound["bound_context"]),
        post_training_factor=bound["post_training_factor"],
        kernel_positions=int(bound["kernel_positions"]),
        maximum_training_pixels=bound["maximum_training_pixels"],
        unexplained_bytes=int(bound["unexplained_bytes"]),
        maximum_data_age=int(bound["maximum_data_age"]),
        findings="critical",
    )


def strict(policy: Policy) -> Policy:
    """What --strict makes of a policy: unattested conditions block, only given declarations clear, every expert is active."""
    return replace(only_given(policy), undeclared_conditions="block", all_experts=True)


def only_given(policy: Policy) -> Policy:
    """A policy in which what lies beside the weights, written by whoever brought them, clears nothing: what every gate decides by."""
    return replace(policy, declarations="given") if policy.declarations == "any" else policy


# ---- where a policy comes from


def resolve(given: str | None, start_dir: str | None, environment: Mapping[str, str]) -> Policy:
    """The policy that holds: `given` (--policy), else $WEIGHTGUARD_POLICY, else found from `start_dir` (None: no search),
    else the built-in one."""
    if given is not None:
        return load_given(given)
    if environment.get(VARIABLE):
        return load_given(environment[VARIABLE], "environment")
    return (find(start_dir) if start_dir is not None else None) or built_in()


def load_given(path: str, source: Source = "--policy") -> Policy:
    """A policy that somebody vouches for by naming its file. Raises `ConfigurationError` with every problem."""
    policy = _load(path, path, source)
    if policy is None:
        raise ConfigurationError(f"{path}: has no [tool.weightguard]")
    return policy


def find(start_dir: str) -> Policy | None:
    """The policy nearest to `start_dir`, up to the root of its repository; None if there is none.

    Raises `ConfigurationError` where it loosens anything, with the line, and where a folder holds two.
    """
    start = os.path.abspath(start_dir)
    for folder in _folders(start):
        names = [name for name in (FILE_NAME, "pyproject.toml") if os.path.lexists(os.path.join(folder, name))]
        paths = [os.path.join(folder, name) for name in names]
        shown_paths = [os.path.relpath(path, start).replace(os.sep, "/") for path in paths]
        for path, shown_path in zip(paths, shown_paths, strict=True):
            if not os.path.isfile(path):  # a pipe would be waited for, a dangling link hides what was meant
                raise ConfigurationError(f"{shown_path}: is not a file")
        found = [policy for pair in zip(paths, shown_paths, strict=True) if (policy := _load(*pair, "found")) is not None]
        if len(found) > 1:
            raise ConfigurationError(f"two policies: {shown_paths[0]} and [tool.weightguard] of {shown_paths[1]}; keep one")
        if found:
            return found[0]
    return None


def _folders(start: str) -> list[str]:
    """`start` and the folders above it up to the one with .git; only `start` where there is no repository."""
    folders = [start]
    while not os.path.lexists(os.path.join(folders[-1], ".git")):
        above = os.path.dirname(folders[-1])
        if above == folders[-1]:
            return [start]
        folders.append(above)
    return folders


def _load(path: str, shown_path: str, source: Source) -> Policy | None:
    """The policy in a file; None for a pyproject.toml without [tool.weightguard]."""
    try:
        with open(path, "rb") as file:
            raw = file.read(LIMITS.sidecar_bytes + 1)
    except OSError as error:
        raise ConfigurationError(f"{shown_path}: can't be read: {error.strerror}") from None
    if len(raw) > LIMITS.sidecar_bytes:
        raise ConfigurationError(f"{shown_path}: larger than {LIMITS.sidecar_bytes} bytes: not a policy")
    inside: Key = ("tool", "weightguard") if os.path.basename(path) == "pyproject.toml" else ()
    if inside and b"weightguard" not in raw:
        return None  # most projects: nothing of ours in it, so not worth parsing
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{shown_path}: is not UTF-8 text") from None
    document = read(shown_path, text)
    table: Any = document.data
    for name in inside:
        table = table.get(name) if isinstance(table, dict) else None
    if table is None:
        return None
    import hashlib  # loads a library: only where there is a policy

    policy = _parse(document, inside, table, source)
    return replace(policy, source=source, path=shown_path, sha256=hashlib.sha256(raw).hexdigest())


# ---- what it says


def _parse(document: Document, inside: Key, table: object, source: Source) -> Policy:
    check = Checker(document)
    if not isinstance(table, dict):
        raise ConfigurationError(f"{document.where(inside)}: [tool.weightguard] must be a table")
    check.known_keys(table, inside, _KEYS)
    schema = table.get("schema")
    if schema is None and not inside:  # in a pyproject.toml the table's name says what it is
        check.problem((*inside, "schema"), f'schema is missing: write schema = "{SCHEMA}" on the first line')
    elif schema is not None and schema != SCHEMA:
        check.problem((*inside, "schema"), f'schema must be "{SCHEMA}", the one that this version reads, not {shown(schema)}')
    values: dict[str, Any] = {name: check.choice(table, (*inside, name), words) for name, words in _CHOICES.items()}
    values |= {name: _bound(check, inside, table, name) for name in (*_LARGER_IS_TIGHTER, *_SMALLER_IS_TIGHTER)}
    values["own_regimes"] = _own_regimes(check, inside, table)
    known = (*SHIPPED, *(own.ID for own in values["own_regimes"] or ()))
    values["regimes"] = _regimes(check, (*inside, "regimes"), table, known) if "regimes" in table else None
    values["signers"] = _signers(check, (*inside, "signers"), table["signers"]) if "signers" in table else None
    values["transaction"] = _transaction(check, (*inside, "transaction"), table)
    values["waivers"] = _waivers(check, (*inside, "waiver"), table, known)
    values["rules"] = _rules(check, (*inside, "rule"), table, known)
    policy = replace(built_in(), **{name: value for name, value in values.items() if value is not None})
    if source == "found":
        _only_tightens(check, inside, table, policy)
    check.finish()
    return policy


def _bound(check: Checker, inside: Key, table: Mapping[str, Any], name: str) -> Fraction | int | None:
    if name not in table:
        return None
    key: Key = (*inside, name)
    if name in ("bound_context", "kernel_positions"):
        return check.whole_number(table[name], key, least=1)
    if name in _SMALLER_IS_TIGHTER:
        return check.whole_number(table[name], key)
    number = check.number(table[name], key)
    if number is not None and number < 1:
        check.problem(key, f"{name} must be at least 1")
        return None
    return number


def _strings(check: Checker, key: Key, value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(item, str) and item.strip() for item in value):
        return tuple(dict.fromkeys(value))
    check.problem(key, f'{key[-1]} must be a list of strings: write {key[-1]} = ["..."]')
    return ()


def _own_regimes(check: Checker, inside: Key, table: Mapping[str, Any]) -> tuple[Threshold, ...] | None:
    """[[regime]]: thresholds that a policy states, in the form of those that ship."""
    if "regime" not in table:
        return None
    from weightguard.rules.thresholds.own import own_regimes  # few policies have any

    return own_regimes(check, (*inside, "regime"), table)


def _regimes(check: Checker, key: Key, table: Mapping[str, Any], known: Sequence[str]) -> tuple[str, ...] | None:
    found = _strings(check, key, table.get("regimes"))
    for name in found:
        if name not in known:
            guess = nearest(name, known)
            hint = f"did you mean {guess}?" if guess else "weightguard rules list names those shipped"
            check.problem(key, f"no regime has the id {shown(name)}; {hint}")
    if table.get("regimes") == []:
        check.problem(key, "regimes is empty, so nothing would be asked: list at least one")
    return found or None


def country(code: str) -> str | None:
    """An ISO 3166 alpha-2 code in capitals; None for what is none."""
    return code.upper() if len(code) == 2 and code.isascii() and code.isalpha() else None


COUNTRIES = ("destination", "consignee_hq", "consignee_parent")
ATTESTED = ("facility", "deemed_export", "encrypted")


def _transaction(check: Checker, key: Key, table: Mapping[str, Any]) -> Transaction | None:
    """[transaction]: where models judged by this policy are to go."""
    given = check.table(table, key, (*COUNTRIES, *ATTESTED))
    if given is None:
        return None
    values: dict[str, Any] = {name: check.boolean(given, (*key, name)) or False for name in ATTESTED}
    for name in COUNTRIES:
        text = check.string(given, (*key, name))
        values[name] = country(text) if text is not None else None
        if text is not None and values[name] is None:
            check.problem((*key, name), f'{name} must be two letters of ISO 3166, such as "DE", not {shown(text)}')
    return Transaction(**values)


def _signers(check: Checker, key: Key, value: object) -> tuple[str, ...]:
    """Lines of an allowed_signers file: whose signatures count."""
    from weightguard.evidence.signatures import faulty_signer  # few policies have any

    found = _strings(check, key, value)
    for line in found:
        if fault := faulty_signer(line):
            check.problem(key, f"a line of signers {fault}: {shown(line)}")
    return found


_DECISIONS = ("allow", "block", "approve")
_STATUSES = ("controlled", "not_controlled", "undetermined")


def _rules(check: Checker, key: Key, table: Mapping[str, Any], known: Sequence[str]) -> tuple[Rule, ...]:
    """[[rule]]: the first that matches a verdict decides."""
    found = []
    for at, item in check.tables(table, key, ("decision", "reason", "regimes", "status", "paths", "files")):
        if "decision" not in item:
            check.problem((*at, "decision"), 'decision is missing: write decision = "block" (or "approve", "allow")')
        decision = check.choice(item, (*at, "decision"), _DECISIONS)
        reason = check.string(item, (*at, "reason"), required=True)
        regimes = _regimes(check, (*at, "regimes"), item, known) if "regimes" in item else ()
        status = _strings(check, (*at, "status"), item["status"]) if "status" in item else ()
        for word in status:
            if word not in _STATUSES:
                check.problem((*at, "status"), f"status can't be {shown(word)}; write some of {', '.join(_STATUSES)}")
        paths = _strings(check, (*at, "paths"), item["paths"]) if "paths" in item else ()
        files = _waived_files(check, (*at, "files"), item["files"]) if "files" in item else frozenset()
        empty = [name for name in ("regimes", "status", "paths") if item.get(name) == []]
        if empty:
            check.problem(at, f"{' and '.join(empty)} is empty, so the rule would match anything: list some, or leave it out")
        if decision is not None and reason is not None:
            found.append(Rule(decision, reason, regimes or (), status, paths, files))  # type: ignore[arg-type]
    return tuple(found)


def _waivers(check: Checker, key: Key, table: Mapping[str, Any], known: Sequence[str]) -> tuple[Waiver, ...]:
    found = []
    for item_key, item in check.tables(table, key, ("files", "regimes", "reason", "approved_by", "expires")):
        files = _waived_files(check, (*item_key, "files"), item.get("files"))
        regimes = _regimes(check, (*item_key, "regimes"), item, known)
        reason = check.string(item, (*item_key, "reason"), required=True)
        approved_by = check.string(item, (*item_key, "approved_by"), required=True)
        expires = check.day(item, (*item_key, "expires"), required=True)
        if files and regimes and reason and approved_by and expires:
            found.append(Waiver(files, regimes, reason, approved_by, expires))
    return tuple(found)


def _waived_files(check: Checker, key: Key, value: object) -> frozenset[tuple[int, str]]:
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        check.problem(key, 'files must list every weight file: write files = [{bytes = 123, sha256 = "..."}]')
        return frozenset()
    found = set()
    for position, item in enumerate(value):
        item_key: Key = (*key, position)
        check.known_keys(item, item_key, ("bytes", "sha256"))
        size = check.whole_number(item.get("bytes"), (*item_key, "bytes"), least=1)
        digest = item.get("sha256")
        if not is_sha256(digest):
            check.problem((*item_key, "sha256"), "sha256 must be a string of 64 hexadecimal digits")
        elif size is not None:
            found.add((size, str(digest).lower()))
    return frozenset(found)


def _only_tightens(check: Checker, inside: Key, table: Mapping[str, Any], policy: Policy) -> None:
    """Problems for every value of a found policy that is looser than the built-in one."""
    base = built_in()
    advice = "a policy found by search may only tighten: to use this one, pass --policy"
    for name, words in _CHOICES.items():
        if words.index(getattr(policy, name)) < words.index(getattr(base, name)):
            check.problem(
                (*inside, name), f'{name} = "{getattr(policy, name)}" is looser than "{getattr(base, name)}"; {advice}'
            )
    for name in (*_LARGER_IS_TIGHTER, *_SMALLER_IS_TIGHTER):
        value, least = getattr(policy, name), getattr(base, name)
        if value > least if name in _SMALLER_IS_TIGHTER else value < least:
            word = "larger" if name in _SMALLER_IS_TIGHTER else "smaller"
            check.problem((*inside, name), f"{name} is {word} than the built-in {float(least):g}, which is looser; {advice}")
    missing = [name for name in base.regimes if name not in policy.regimes]
    if missing:
        check.problem((*inside, "regimes"), f"regimes leaves out {', '.join(missing)}; {advice}")
    if table.get("signers"):
        check.problem((*inside, "signers"), f"signers says whose statements clear; {advice}")
    if table.get("transaction") is not None:
        check.problem((*inside, "transaction"), f"a transaction may need no licence, so it lets a block pass; {advice}")
    for position, rule in enumerate(table["rule"] if isinstance(table.get("rule"), list) else ()):
        if isinstance(rule, dict) and rule.get("decision") == "allow":
            check.problem((*inside, "rule", position), f"a rule that allows lets a block pass; {advice}")
    for position in range(len(table["waiver"]) if isinstance(table.get("waiver"), list) else 0):
        check.problem((*inside, "waiver", position), f"a waiver lets a block pass; {advice}")


# ---- how a report prints it


def as_json(policy: Policy) -> dict[str, Any]:
    """The policy as the report prints it: where it came from (never an absolute path), then its values, as JSON types."""
    return {
        "source": policy.source,
        "path": reported(policy.path),
        "sha256": policy.sha256,
        "regimes": list(policy.regimes),
        **{name: getattr(policy, name) for name in _CHOICES},
        **{name: _number(getattr(policy, name)) for name in (*_LARGER_IS_TIGHTER, *_SMALLER_IS_TIGHTER)},
        "all_experts": policy.all_experts,
        "signers": list(policy.signers),
        "rules": [_rule(rule) for rule in policy.rules],
        "transaction": asdict(policy.transaction) if policy.transaction is not None else None,
        "own_regimes": [_own_regime(own) for own in policy.own_regimes],
        "waivers": [
            {
                "files": [{"bytes": size, "sha256": digest} for size, digest in sorted(waiver.files)],
                "regimes": list(waiver.regimes),
                "reason": waiver.reason,
                "approved_by": waiver.approved_by,
                "expires": waiver.expires.isoformat(),
            }
            for waiver in policy.waivers
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "decision": rule.decision,
        "reason": rule.reason,
        "regimes": list(rule.regimes),
        "status": list(rule.status),
        "paths": list(rule.paths),
        "files": [{"bytes": size, "sha256": digest} for size, digest in sorted(rule.files)],
    }


def _own_regime(own: Threshold) -> dict[str, Any]:
    levels = [
        {"value": _number(x.value), "comparison": x.comparison, "counts": x.counts, "effect": x.effect} for x in own.levels
    ]
    return {"id": own.ID, "title": own.TITLE, "blocks": own.blocks, "levels": levels}


def reported(path: str | None) -> str | None:
    """A policy's path for a report, which holds no absolute one."""
    return os.path.basename(path) if path is not None and os.path.isabs(path) else path


def _number(value: Fraction | int) -> int | float:
    return int(value) if Fraction(value).denominator == 1 else float(value)
