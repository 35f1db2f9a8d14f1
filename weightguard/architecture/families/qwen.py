"""Qwen 2 and 3, dense and with experts."""

from collections.abc import Sequence

from weightguard.architecture.config import Config
from weightguard.architecture.family import Family, layer_types


def above_max_window_layers(config: Config, layers: int) -> Sequence[int]:
    """Layers from `max_window_layers` on are windowed, if `use_sliding_window`, where no `layer_types` says so itself."""
    if config.texts("layer_types"):
        return layer_types(config, layers)
    window = config.number("sliding_window") if config.flag("use_sliding_window", False) else None
    first = config.number("max_window_layers") or 0
    return [window if window and layer >= first else 0 for layer in range(layers)]


FAMILIES = (
    Family(("qwen2", "qwen3"), "transformers Qwen2ForCausalLM, Qwen3ForCausalLM", windows=above_max_window_layers),
    Family(("qwen2_moe", "qwen3_moe"), "transformers Qwen2MoeForCausalLM", windows=above_max_window_layers),
)
