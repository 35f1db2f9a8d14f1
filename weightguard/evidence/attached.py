"""Which declaration speaks for which model, and how far the policy lets it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from weightguard.errors import ConfigurationError
from weightguard.evidence.publication import Published, Unclear
from weightguard.limits import LIMITS
from weightguard.models import DECLARATION, Model

if TYPE_CHECKING:
    from weightguard.evidence.declaration import Declaration


@dataclass(frozen=True)
class Attached:
    """The declarations of one model: those that the policy lets clear, and those that may only raise."""

    clearing: tuple[Declaration, ...] = ()
    raising: tuple[Declaration, ...] = ()

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
        """Whether every run of every clearing declaration attests the Technical Note 3 condition."""
        runs = [run for d in self.clearing for run in d.lineage()]
        return bool(runs) and all(run.data_complete for run in runs)

    @property
    def parameters(self) -> Fraction | None:
        """The fewest parameters that a declaration states."""
        return min((d.parameters for d in self.all if d.parameters is not None), default=None)


Digest = Callable[[str], str]
"""SHA-256 of a weight file, by its path as reached from the target."""


def attach(
    models: Sequence[Model],
    given: Sequence[tuple[str, str]],
    trust: Literal["any", "given", "signed"],
    as_of: date,
    digest: Digest,
) -> dict[str, Attached]:
    """The declarations of each model, by its path.

    A declaration that lies in a folder speaks for the model there; one of `given` (path, text) for the only model of the targets,
    unless `path` or `files` picks. Raises `ConfigurationError` where a declaration is wrong or doesn't say which model it means.
    """
    problems: list[str] = []
    clearing: dict[str, list[Declaration]] = defaultdict(list)
    raising: dict[str, list[Declaration]] = defaultdict(list)
    given_texts = {text for _, text in given}
    folders: dict[str, list[Model]] = defaultdict(list)
    for model in models:
        folders[model.folder].append(model)
    sources = [(_shown(path), text, list(models), clearing if trust != "signed" else raising) for path, text in given]
    for folder, inside in folders.items():
        text = inside[0].texts.get(DECLARATION, b"").decode(errors="replace")
        if text and text not in given_texts:
            path = f"{folder}/{DECLARATION}" if folder else DECLARATION
            sources.append((path, text, inside, clearing if trust == "any" else raising))
    for path, text, candidates, into in sources:
        from weightguard.evidence.declaration import load  # most scans have none

        try:
            declaration = load(path, text, as_of)
            into[_picked(declaration, candidates, digest).path].append(declaration)
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(*problems)
    return {m.path: Attached(tuple(clearing[m.path]), tuple(raising[m.path])) for m in models}


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
        named = {f.name: f.path for f in model.files}
        if not set(declaration.selects_files) >= set(named):
            return False
        return all(digest(path) == declaration.selects_files[name] for name, path in named.items())
    return True


def _shown(path: str) -> str:
    return os.path.basename(path) if os.path.isabs(path) else path.replace(os.sep, "/")


def read_given(path: str) -> tuple[str, str]:
    """(path, text) of a --declaration. Raises `ConfigurationError` if there is none or it is too large."""
    try:
        if os.path.getsize(path) > LIMITS.sidecar_bytes:
            raise ConfigurationError(f"{path}: larger than any declaration")
        with open(path, encoding="utf-8") as file:
            return path, file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: can't read the declaration: {error}") from error


def sha256(path: str) -> str:
    """SHA-256 of a file, in full."""
    import hashlib  # loads a library: only where a digest is asked for

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
