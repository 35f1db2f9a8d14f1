"""Gemma 1 to 3: tied embeddings, a head width of its own, local layers in a fixed pattern."""

from collections.abc import Sequence

from weightguard.architecture.config import Config
from weightguard.architecture.family import Family, layer_types


def all_but_every_nth(config: Config, layers: int) -> Sequence[int]:
    """Windowed, but for every `sliding_window_pattern`-th layer, where no `layer_types` says so itself."""
    if config.texts("layer_types"):
        return layer_types(config, layers)
    window = config.number("sliding_window") or 0
    pattern = config.number("sliding_window_pattern", "_sliding_window_pattern") or (2 if config.model_type == "gemma2" else 6)
    return [window if (layer + 1) % pattern else 0 for layer in range(layers)]


FAMILIES = (
    Family(("gemma",), "transformers GemmaForCausalLM", tied=True),
    Family(("gemma2",), "transformers Gemma2ForCausalLM", tied=True, windows=all_but_every_nth),
    Family(("gemma3_text", "gemma3"), "transformers Gemma3ForCausalLM", tied=True, windows=all_but_every_nth),
)
