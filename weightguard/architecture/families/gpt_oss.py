"""gpt-oss: experts stacked in one tensor, every second layer windowed, learned attention sinks."""

from collections.abc import Sequence

from weightguard.architecture.config import Config
from weightguard.architecture.family import Family, layer_types


def even_layers(config: Config, layers: int) -> Sequence[int]:
    """Layers 0, 2, 4 ... are windowed where no `layer_types` says otherwise."""
    if config.texts("layer_types"):
        return layer_types(config, layers)
    return [0 if layer % 2 else config.number("sliding_window") or 0 for layer in range(layers)]


FAMILIES = (Family(("gpt_oss",), "transformers GptOssForCausalLM", windows=even_layers),)
