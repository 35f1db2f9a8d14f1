"""Sparse mixtures of the Llama form: every expert is a gated feed-forward, a router picks a few a token."""

from weightguard.architecture.family import Family

FAMILIES = (
    Family(("mixtral",), "transformers MixtralForCausalLM"),
    Family(("olmoe", "phimoe"), "transformers OlmoeForCausalLM, PhimoeForCausalLM"),
    Family(("llama4_text",), "transformers Llama4ForCausalLM: one routed and one shared expert a token"),
)
