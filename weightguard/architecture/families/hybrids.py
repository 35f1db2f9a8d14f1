"""Decoders whose layers are state spaces, linear attention or short convolutions, some of them beside softmax attention."""

from weightguard.architecture.family import Family, any_attention

FAMILIES = (
    Family(
        ("bamba", "falcon_h1", "granitemoehybrid", "jamba", "nemotron_h"),
        "transformers BambaForCausalLM, FalconH1ForCausalLM, GraniteMoeHybridForCausalLM, JambaForCausalLM, NemotronHForCausalLM",
        by_shapes=True,
    ),
    Family(
        ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "olmo_hybrid", "minimax"),
        "transformers Qwen3NextForCausalLM, Qwen3_5ForCausalLM, OlmoHybridForCausalLM, MiniMaxForCausalLM",
        by_shapes=True,
    ),
    Family(("lfm2", "lfm3", "lara_mini"), "transformers Lfm2ForCausalLM, LaraMiniForCausalLM", tied=True, by_shapes=True),
    Family(
        ("kimi_linear", "bailing_hybrid"),
        "transformers KimiLinearForCausalLM, BailingHybridForCausalLM",
        by_shapes=True,
        attention=any_attention,
    ),
)
