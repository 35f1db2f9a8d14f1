"""RecurrentGemma: linear recurrences, and every attention layer over a window."""

from collections.abc import Sequence

from weightguard.architecture.config import Config
from weightguard.architecture.family import Family


def attention_window(config: Config, layers: int) -> Sequence[int]:
    return [config.number("attention_window_size") or 0] * layers


FAMILIES = (Family(("recurrent_gemma",), "transformers RecurrentGemmaForCausalLM", tied=True, windows=attention_window),)
