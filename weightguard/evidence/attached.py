"""Which declaration speaks for which model, and how far the policy lets it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from weightguard.errors import ConfigurationError
from weightguard.evidence.publication import Published, Unclear
from weightguard.limits import LIMITS
from weightguard.models import DECLARATION, SIGNATURE, Model

if TYPE_CHECKING:
    from weightguard.evidence.declaration import Approval, Declaration


@dataclass(frozen=True)
class Statement:
    """A declaration as bytes, so that what is verified is what is read: where it stood, its content, the signature beside it."""

    path: str
    content: bytes
    signature: bytes | None = None

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


@dataclass(frozen=True)
class Approved:
    """An approval that somebody signed for exactly these weights; `principal`: whose key."""

    approval: Approval
    principal: str


@dataclass(frozen=True)
class Attached:
    """The declarations of one model: those that the policy lets clear, and those that may only raise; signed approvals.

    unsigned: of each declaration that states an approval, or that a policy wants signed, why it doesn't count as signed.
    """

    clearing: tuple[Declaration, ...] = ()
    raising: tuple[Declaration, ...] = ()
    approved: tuple[Approved, ...] = ()
    unsigned: tuple[tuple[str, str], ...] = ()  # path, reason

    @property
    def all(self) -> tuple[Declaration, ...]:
        return (*self.clearing, *self.raising)

    @property
    def paths(self) -> str:
        return ", ".join(d.path for d in self.all)

    @property
    def published(self) -> Published | Unclear | None:
        """What the clearing declarations say of publication; an unclear one, of any, makes all unclear."""
        said = [d.published for d in self.clearing if d.published is not None]
        unclear = [d.published for d in self.all if isinstance(d.published, Unclear)]
        return (unclear or said)[0] if said else None

    @property
    def whole(self) -> bool:
        return bool(self.clearing) and all(d.whole for d in self.clearing)

    @property
    def data_complete(self) -> bool:
        """Whether every run of every clearing declaration attests the Technical Note 3 condition: generators' runs have one too."""
        runs = [run for d in self.clearing for run in d.runs.values()]
        return bool(runs) and all(run.data_complete for run in runs)

    @property
    def parameters(self) -> Fraction | None:
        """The fewest parameters that a declaration states."""
        return min((d.parameters for d in self.all if d.parameters is not None), default=None)


Digest = Callable[[str], str]
"""SHA-256 of a weight file, by its path as reached from the target."""


def attach(
    models: Sequence[Model],
    given: Sequence[Statement],
    trust: Literal["any", "given", "signed"],
    signers: Sequence[str],
    as_of: date,
    digest: Digest,
    *,
    each_speaks: bool = True,
) -> dict[str, Attached]:
    """The declarations of each model, by its path.

    A declaration that lies in a folder speaks for the model there; one of `given` for the only model of the targets, unless
    `path` or `files` picks. each_speaks: one that speaks for no model is an error.

    Raises `ConfigurationError` where a declaration is wrong or doesn't say which model it means.
    """
    problems: list[str] = []
    found = {m.path: Attached() for m in models}
    given_texts = {statement.content for statement in given}
    folders: dict[str, list[Model]] = defaultdict(list)
    for model in models:
        folders[model.folder].append(model)
    sources = [(replace(statement, path=_shown(statement.path)), list(models), trust != "signed") for statement in given]
    for folder, inside in folders.items():
        content = inside[0].texts.get(DECLARATION, b"")
        if content and content not in given_texts:
            path = f"{folder}/{DECLARATION}" if folder else DECLARATION
            sources.append((Statement(path, content, inside[0].texts.get(SIGNATURE)), inside, trust == "any"))
    for statement, candidates, clears in sources:
        from weightguard.evidence.declaration import load  # most scans have none

        try:
            declaration = load(statement.path, statement.text, as_of)
            if not each_speaks and not any(_speaks_for(declaration, m, digest) for m in candidates):
                continue
            model = _picked(declaration, candidates, digest)
        except ConfigurationError as error:
            problems += error.problems
            continue
        found[model.path] = _with(found[model.path], statement, declaration, clears, trust, signers, as_of)
    if problems:
        raise ConfigurationError(*problems)
    return found


def _with(
    before: Attached,
    statement: Statement,
    declaration: Declaration,
    clears: bool,
    trust: str,
    signers: Sequence[str],
    as_of: date,
) -> Attached:
    """One more declaration of a model. Signed counts only what names the digests of all weight files: it was picked by them."""
    principal = None
    unsigned, approved = before.unsigned, before.approved
    if trust == "signed" or declaration.approval is not None:
        from weightguard.evidence.signatures import verify

        signature = verify(statement.content, statement.signature, signers, as_of)
        principal, reason = signature.principal, signature.reason
        if principal is not None and not declaration.selects_files:
            principal, reason = None, "it names no [model] files: signed for any weights, it would count for none"
        if principal is None:
            unsigned += ((statement.path, reason),)
        elif declaration.approval is not None:
            approved += (Approved(declaration.approval, principal),)
    clearing, raising = before.clearing, before.raising
    if clears or (trust == "signed" and principal is not None):
        clearing += (declaration,)
    else:
        raising += (declaration,)
    return Attached(clearing, raising, approved, unsigned)


def _picked(declaration: Declaration, candidates: Sequence[Model], digest: Digest) -> Model:
    chosen = [m for m in candidates if _speaks_for(declaration, m, digest)]
    if len(chosen) == 1:
        return chosen[0]
    if not candidates:
        raise ConfigurationError(f"{declaration.path}: there is no model that this declaration can speak for")
    paths = ", ".join(m.path for m in (chosen or candidates)[:5])
    if not chosen:
        raise ConfigurationError(f"{declaration.path}: [model] path and files pick none of the models: {paths}")
    raise ConfigurationError(
        f"{declaration.path}: speaks for one model, and there are {len(chosen)}: add [model] path = one of {paths}"
    )


def _speaks_for(declaration: Declaration, model: Model, digest: Digest) -> bool:
    if declaration.selects_path is not None:
        wanted = declaration.selects_path.rstrip("/")
        return any(p == wanted or p.endswith("/" + wanted) for p in (model.path, model.folder, *(f.path for f in model.files)))
    if declaration.selects_files:
        return _names_all(declaration.selects_files, model, digest)
    return True


def _names_all(listed: Mapping[str, str], model: Model, digest: Digest) -> bool:
    """Whether every weight file of a model is listed with its digest: by its path in the model's folder, or by a name of its own."""
    paths = list(dict.fromkeys(f.whole[0] for f in model.files))
    prefix = f"{model.folder}/" if model.folder else ""
    names = Counter(path.rpartition("/")[2] for path in paths)
    for path in paths:
        name = path.rpartition("/")[2]
        inside = path.removeprefix(prefix)
        wanted = listed.get(inside) or (listed.get(name) if names[name] == 1 else None)
        if wanted is None or digest(path) != wanted:
            return False
    return bool(paths)


def _shown(path: str) -> str:
    return os.path.basename(path) if os.path.isabs(path) else path.replace(os.sep, "/")


def read_given(path: str) -> Statement:
    """What a --declaration holds, and the signature beside it.

    Raises `ConfigurationError` if it is not there, no text or too large.
    """
    from weightguard.evidence.signatures import LARGEST, SUFFIX

    content = read_bytes(path, LIMITS.sidecar_bytes)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: can't read the declaration: {error}") from error
    beside = path + SUFFIX
    return Statement(path, content, read_bytes(beside, LARGEST) if os.path.exists(beside) else None)


def read_bytes(path: str, most: int, what: str = "declaration") -> bytes:
    """A file of at most `most` bytes. Raises `ConfigurationError`, which calls it `what`."""
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: can't read the {what}: {error}") from error
    if len(content) > most:
        raise ConfigurationError(f"{path}: larger than any {what}")
    return content


def sha256(path: str) -> str:
    """SHA-256 of a file, in full."""
    import hashlib  # loads a library: only where a digest is asked for

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
