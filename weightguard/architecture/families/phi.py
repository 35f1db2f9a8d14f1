"""Phi 1 to 3."""

from weightguard.architecture.family import Family, every_layer

FAMILIES = (
    Family(("phi",), "transformers PhiForCausalLM"),
    Family(("phi3",), "transformers Phi3ForCausalLM", windows=every_layer),
)
