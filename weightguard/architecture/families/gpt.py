"""The GPT-2 line: GPT-2, BigCode, GPT-J, CodeGen, GPT-NeoX, BLOOM, OPT."""

from collections.abc import Sequence

from weightguard.architecture.config import Config
from weightguard.architecture.family import Family


def global_and_local(config: Config, layers: int) -> Sequence[int]:
    """GPT-Neo: `attention_layers` of "global" and "local", these over `window_size` keys."""
    kinds, window = config.texts("attention_layers"), config.number("window_size") or 0
    return [window if kind == "local" else 0 for kind in kinds] if len(kinds) == layers else [0] * layers


FAMILIES = (
    Family(("gpt_neo",), "transformers GPTNeoForCausalLM", tied=True, windows=global_and_local),
    Family(
        ("gpt2", "gpt_bigcode", "gpt-sw3", "gpt_neox_japanese", "biogpt", "xglm", "openai-gpt"),
        "transformers GPT2LMHeadModel, GPTBigCodeForCausalLM, BioGptForCausalLM, XGLMForCausalLM",
        tied=True,
    ),
    Family(("gptj", "codegen"), "transformers GPTJForCausalLM, CodeGenForCausalLM"),
    Family(("gpt_neox",), "transformers GPTNeoXForCausalLM"),
    Family(("bloom",), "transformers BloomForCausalLM", tied=True),
    Family(("opt",), "transformers OPTForCausalLM", tied=True),
)
