"""What training frameworks leave in checkpoints and beside them: one small file a framework, each with its keys and their traps.

A counter is of the run that wrote it: it starts again at 0 when a checkpoint is fine-tuned, so what a run started from comes on
top. Nothing here is proof: whoever wrote the file wrote the number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module

from weightguard.evidence.found import Found, Values
from weightguard.models import Model
from weightguard.values import Claim

Reader = Callable[[Values], Iterator[Found]]


def collect(model: Model) -> tuple[Claim, ...]:
    """Claims of the plain values in a model's checkpoints and in the small files beside them."""
    files = [(f.path, f.container.scalars) for f in model.files] + list(model.beside)
    claims = [claim for path, values in files if values for claim in claims_of(values, path)]
    return tuple(_once(claims))


def claims_of(values: Values, path: str) -> list[Claim]:
    """The claims that any framework's keys make of these values, by dotted path."""
    claims = []
    for source, read in _readers():
        for found in read(values):
            keys = "; ".join(f"{key} = {str(values.get(key))[:40]}" for key in found.keys)
            where = f"{path}: {keys}" + (f" ({found.note})" if found.note else "")
            claims.append(Claim(found.quantity, found.low, found.high, source, where, "claimed"))
    return claims


def _once(claims: list[Claim]) -> Iterator[Claim]:
    """What every rank's file repeats is one claim, the largest of each source and quantity."""
    best: dict[tuple[str, str], Claim] = {}
    for claim in claims:
        key = claim.source, claim.quantity
        if key not in best or claim.high > best[key].high:
            best[key] = claim
    yield from best.values()


@cache
def _readers() -> tuple[tuple[str, Reader], ...]:
    names = sorted(n[:-3] for n in os.listdir(os.path.dirname(__file__)) if n.endswith(".py") and n != "__init__.py")
    modules = [import_module(f"{__name__}.{name}") for name in names]
    return tuple((module.NAME, module.read) for module in modules)
