"""DeepSeek 2 to 3.2, Kimi K2, GLM 5: multi-head latent attention, shared and routed experts, dense first layers, indexers."""

from weightguard.architecture.family import Family, latent_attention

FAMILIES = (
    Family(
        ("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "glm_moe_dsa", "axk1", "youtu", "glm4_moe_lite"),
        "transformers DeepseekV2ForCausalLM, DeepseekV3ForCausalLM, DeepseekV32ForCausalLM, GlmMoeDsaForCausalLM",
        attention=latent_attention,
    ),
)
