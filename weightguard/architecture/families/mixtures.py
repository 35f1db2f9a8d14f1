"""Mixtures of experts: shared experts, dense first layers, interleaving and identity experts beside the routed ones."""

from weightguard.architecture.config import Config
from weightguard.architecture.family import Family, any_attention, latent_attention, routed


def with_zero_experts(config: Config) -> tuple[int, int] | None:
    """LongCat's router also picks `zero_expert_num` experts that compute nothing: those that compute, in the mean."""
    found = routed(config)
    if found is None:
        return None
    experts, used = found
    return experts, -(-used * experts // (experts + (config.number("zero_expert_num") or 0)))


FAMILIES = (
    Family(
        (
            "afmoe",
            "aria_text",
            "beam",
            "doge",
            "exaone_moe",
            "flex_olmo",
            "flint",
            "glm4_moe",
            "granitemoe",
            "granitemoe_swa",
            "granitemoeshared",
            "hy_v3",
            "kolibri1",
            "laguna",
            "mellum",
            "mimo_v2_flash",
            "minimax_m2",
            "minimax_m3_vl_text",
            "sarvam_moe",
            "solar_open",
            "dbrx",
            "hunyuan_v1_moe",
        ),
        "transformers AfmoeForCausalLM, Glm4MoeForCausalLM, GraniteMoeForCausalLM, MiniMaxM2ForCausalLM ...",
        by_shapes=True,
    ),
    Family(
        ("ernie4_5_moe", "cohere2_moe", "zaya"),
        "transformers Ernie4_5_MoeForCausalLM, Cohere2MoeForCausalLM",
        tied=True,
        by_shapes=True,
    ),
    Family(("gemma4_text",), "transformers Gemma4ForCausalLM", tied=True, by_shapes=True),
    Family(
        ("dots3_note_text", "hy_v4", "axk2", "sarvam_mla", "dots1"),
        "transformers Dots3NoteForCausalLM, HYV4ForCausalLM, AXK2ForCausalLM, SarvamMLAForCausalLM",
        by_shapes=True,
        attention=any_attention,
    ),
    Family(("longcat_flash",), "transformers LongcatFlashForCausalLM", attention=latent_attention, experts=with_zero_experts),
)
