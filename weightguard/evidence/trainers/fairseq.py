"""fairseq: `checkpoint_last.pt`. A batch holds up to max_tokens of each worker. Source: fairseq, `trainer.py` (state_dict)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from weightguard.evidence.found import Found, Values, exactly, key_like, number, product

NAME = "fairseq"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    updates = max((number(values, key) or Fraction(0) for key in values if key.endswith(".num_updates")), default=Fraction(0))
    if not updates or not any(key.startswith("optimizer_history.") for key in values):
        return
    key = next(key for key in values if key.endswith(".num_updates") and number(values, key) == updates)
    most, workers = key_like(values, "max_tokens"), key_like(values, "distributed_world_size")
    often = key_like(values, "update_freq.0") or key_like(values, "update_freq")
    found = product(updates, number(values, most), number(values, workers) or Fraction(1), number(values, often) or Fraction(1))
    yield from exactly("training tokens", found, key, most, workers, often, note="at most: batches may be smaller")
    yield from exactly("optimizer steps", updates, key)
