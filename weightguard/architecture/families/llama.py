"""Llama and the dense decoders of its form: grouped-query attention, gated feed-forward."""

from weightguard.architecture.family import Family, every_layer

FAMILIES = (
    Family(("llama", "granite", "olmo", "olmo2", "glm4", "stablelm", "helium"), "transformers LlamaForCausalLM"),
    Family(("smollm3", "cohere"), "transformers SmolLM3ForCausalLM, CohereForCausalLM", tied=True),
    Family(("mistral", "ministral"), "transformers MistralForCausalLM", windows=every_layer),
    Family(("starcoder2",), "transformers Starcoder2ForCausalLM", tied=True, windows=every_layer),
)
