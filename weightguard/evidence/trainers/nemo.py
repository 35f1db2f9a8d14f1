"""NeMo 1: `model_config.yaml`. What a run was set to, not what it did: steps at most. Source: NeMo, `megatron_gpt_config.yaml`."""

from __future__ import annotations

from collections.abc import Iterator

from weightguard.evidence.found import Found, Values, exactly, key_like, number, product

NAME = "NeMo"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    steps, batch = number(values, "trainer.max_steps"), number(values, "global_batch_size", "model.global_batch_size")
    length = number(values, "encoder_seq_length", "model.encoder_seq_length", "data.seq_length", "model.data.seq_length")
    found = product(steps, batch, length)
    yield from exactly(
        "training tokens", found, "trainer.max_steps", "global_batch_size", "encoder_seq_length", note="as planned, not as run"
    )
    key = key_like(values, "consumed_samples")
    yield from exactly("training tokens", product(number(values, key), length), key, "encoder_seq_length")
