"""nanoGPT: `ckpt.pt`. gradient_accumulation_steps is stored for all ranks together. Source: nanoGPT, `train.py`."""

from __future__ import annotations

from collections.abc import Iterator

from weightguard.evidence.found import Found, Values, exactly, number, product

NAME = "nanoGPT"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    if "iter_num" not in values or "config.block_size" not in values:
        return
    keys = ("iter_num", "config.gradient_accumulation_steps", "config.batch_size", "config.block_size")
    yield from exactly("training tokens", product(*(number(values, key) for key in keys)), *keys)
    yield from exactly("optimizer steps", number(values, "iter_num"), "iter_num")
