"""torch.optim: the step of Adam and its like counts updates of this run. Source: torch, `optim/adam.py`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from weightguard.evidence.found import Found, Values, exactly, number

NAME = "optimizer state"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    steps = [
        key
        for key in values
        if key.endswith(".step") and (key.startswith("state.") or ".state." in key or "param_groups." in key)
    ]
    key = max(steps, key=lambda k: number(values, k) or Fraction(0), default="")
    yield from exactly("optimizer steps", number(values, key), key)
