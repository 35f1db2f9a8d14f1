"""Language models that were trained beside towers of other inputs: Mllama's cross-attention layers, Moshi's audio."""

from weightguard.architecture.config import Config
from weightguard.architecture.family import Family, every_layer


def cross_attention_layers(config: Config) -> str:
    """Layers that attend to an image, which a text token passes by."""
    layers = config.values.get("cross_attention_layers")
    if not isinstance(layers, list) or not all(type(n) is int and 0 <= n < 10_000 for n in layers) or not layers:
        return ""
    return rf"\.layers\.(?:{'|'.join(map(str, layers))})\."


FAMILIES = (
    Family(("mllama", "mllama_text_model"), "transformers MllamaForConditionalGeneration", idle=cross_attention_layers),
    Family(("moshi",), "transformers MoshiForCausalLM", windows=every_layer),
)
