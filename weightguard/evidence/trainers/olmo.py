"""OLMo and OLMo-core: `train/rankN.pt`, the trainer state.

global_train_petaflops is 0 or missing where the speed monitor was off. Source: OLMo, `olmo/train.py` (trainer_state_dict); OLMo-core,
`olmo_core/train/trainer.py` (TrainerStateDict).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from weightguard.evidence.found import Found, Values, exactly, key_like, number, product

NAME = "OLMo"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    tokens, flops = key_like(values, "global_train_tokens_seen"), key_like(values, "global_train_petaflops")
    yield from exactly("training tokens", number(values, tokens), tokens)
    yield from exactly("training operations", product(number(values, flops), Fraction(10**15)), flops)
    if tokens:
        processed = key_like(values, "data_loader.tokens_processed")
        yield from exactly("training tokens", number(values, processed), processed)
