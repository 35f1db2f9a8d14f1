"""Megatron-LM: `model_optim_rng.pt`, `common.pt`, `common_state` of a distributed checkpoint, `progress.txt`.

num_floating_point_operations_so_far counts attention in full before core 0.12 and halved from it on, never the router, and starts at 0
with --finetune. Tokens are samples x sequence length, but with packing or a growing length. Source: Megatron-LM,
`megatron/training/checkpointing.py` and `training.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from weightguard.evidence.found import Found, Values, exactly, key_like, number, product

NAME = "Megatron-LM"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    for flops in ("num_floating_point_operations_so_far", "progress.floating_point_operations"):
        key = key_like(values, flops)
        yield from exactly(
            "training operations", number(values, key), key, note="attention in full before core 0.12, halved since"
        )
    tokens = key_like(values, "progress.tokens_in_billions")
    yield from exactly("training tokens", product(number(values, tokens), Fraction(10**9)), tokens)
    samples, length = key_like(values, "consumed_train_samples"), key_like(values, "seq_length")
    found = product(number(values, samples), number(values, length))
    yield from exactly("training tokens", found, samples, length, note="not with packing or a growing length")
    if samples and not length:
        yield from exactly("training samples", number(values, samples), samples)
    old = key_like(values, "tokens")
    if old in ("tokens", "args.consumed_train_tokens"):
        yield from exactly("training tokens", number(values, old), old, note="Megatron-DeepSpeed")
    consumed = key_like(values, "consumed_train_tokens")
    yield from exactly("training tokens", number(values, consumed), consumed, note="Megatron-DeepSpeed")
    if key_like(values, "checkpoint_version"):
        yield from exactly("optimizer steps", number(values, "iteration", "total_iters"), "iteration")
