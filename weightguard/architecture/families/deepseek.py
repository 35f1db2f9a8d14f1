"""DeepSeek 2 and 3, Kimi K2: multi-head latent attention, shared and routed experts, dense first layers."""

from weightguard.architecture.config import HEADS, Config
from weightguard.architecture.family import Attention, Family


def latent_attention(config: Config) -> Attention | None:
    """Queries and keys are a part without and a part with rotation wide; values have a width of their own.

    `num_key_value_heads` says as many as there are heads, though what is cached is one latent vector.
    """
    heads, v = config.number(*HEADS), config.number("v_head_dim")
    plain, rotated = config.number("qk_nope_head_dim"), config.number("qk_rope_head_dim")
    return Attention(heads, plain + rotated, v) if heads and v and plain and rotated else None


FAMILIES = (
    Family(
        ("deepseek_v2", "deepseek_v3", "kimi_k2"),
        "transformers DeepseekV2ForCausalLM, DeepseekV3ForCausalLM",
        attention=latent_attention,
    ),
)
