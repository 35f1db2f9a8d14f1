"""litgpt: `lit_model.pth` and `hyperparameters.yaml`. iter_num is of micro batches of one rank. Source: litgpt, `pretrain.py`."""

from __future__ import annotations

from collections.abc import Iterator

from weightguard.evidence.found import Found, Values, exactly, number, product

NAME = "litgpt"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    yield from exactly("training tokens", number(values, "train.max_tokens"), "train.max_tokens", note="as planned, not as run")
    if "step_count" in values:
        yield from exactly("optimizer steps", number(values, "step_count"), "step_count")
        keys = ("iter_num", "train.micro_batch_size", "train.max_seq_length")
        yield from exactly("training tokens", product(*(number(values, key) for key in keys)), *keys, note="of one rank")
