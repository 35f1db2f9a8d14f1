"""Falcon: one fused query, key and value projection; the query heads are `num_attention_heads`, whatever `num_kv_heads` says."""

from weightguard.architecture.family import Family

FAMILIES = (Family(("falcon",), "transformers FalconForCausalLM", tied=True),)
