"""torchtitan: `train_state` of a distributed checkpoint.

ntokens_seen is one rank's count: times the data-parallel and context-parallel degrees, which are not stored. Source: torchtitan,
`train.py` (state_dict).
"""

from __future__ import annotations

from collections.abc import Iterator

from weightguard.evidence.found import Found, Values, exactly, key_like, number

NAME = "torchtitan"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    key = key_like(values, "ntokens_seen")
    yield from exactly(
        "training tokens", number(values, key), key, note="one rank's: times the data-parallel ranks, not stored"
    )
    if key:
        step = key_like(values, "train_state.step") or key_like(values, "step")
        yield from exactly("optimizer steps", number(values, step), step)
