"""DeepSpeed: `mp_rank_XX_model_states.pt` and its like.

global_samples counts samples of all ranks of this run; the sequence length is not stored. Source: DeepSpeed, `runtime/engine.py`
(_save_checkpoint).
"""

from __future__ import annotations

from collections.abc import Iterator

from weightguard.evidence.found import Found, Values, exactly, number, product

NAME = "DeepSpeed"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    if "ds_version" not in values and not any(key.startswith("ds_config.") for key in values):
        return
    yield from exactly("training samples", number(values, "global_samples"), "global_samples")
    yield from exactly("optimizer steps", number(values, "global_steps"), "global_steps")
    batch = product(number(values, "global_steps"), number(values, "ds_config.train_batch_size"))
    if number(values, "global_samples") is None:
        yield from exactly("training samples", batch, "global_steps", "ds_config.train_batch_size")
