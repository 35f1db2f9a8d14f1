"""Llama and the dense decoders of its form: grouped-query attention, gated feed-forward."""

from weightguard.architecture.family import Family, every_layer, latent_attention

FAMILIES = (
    Family(("llama", "granite", "olmo", "olmo2", "glm4", "stablelm", "helium"), "transformers LlamaForCausalLM"),
    Family(
        (
            "apertus",
            "apertus1p5_text",
            "arcee",
            "bitnet",
            "cwm",
            "exaone",
            "exaone4",
            "glm",
            "hyperclovax",
            "internlm3",
            "iquestcoder",
            "jais2",
            "ministral3",
            "nanochat",
            "olmo3",
            "persimmon",
            "seed_oss",
            "nemotron",
            "hunyuan_v1_dense",
        ),
        "transformers ApertusForCausalLM, ArceeForCausalLM, ExaoneForCausalLM, GlmForCausalLM, Olmo3ForCausalLM ...",
    ),
    Family(
        ("smollm3", "cohere", "cohere2", "ernie4_5", "granite_swa", "vaultgemma", "gemma3n_text", "mpt"),
        "transformers SmolLM3ForCausalLM, CohereForCausalLM, Cohere2ForCausalLM, VaultGemmaForCausalLM ...",
        tied=True,
    ),
    Family(("gemma4_unified_text",), "transformers Gemma4ForCausalLM", tied=True, by_shapes=True),
    Family(("minicpm3",), "transformers MiniCPM3ForCausalLM", tied=True, attention=latent_attention),
    Family(("mistral", "ministral"), "transformers MistralForCausalLM", windows=every_layer),
    Family(("starcoder2",), "transformers Starcoder2ForCausalLM", tied=True, windows=every_layer),
)
