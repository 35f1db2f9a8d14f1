"""The GPT-2 line: GPT-2, BigCode, GPT-J, CodeGen, GPT-NeoX, BLOOM, OPT."""

from weightguard.architecture.family import Family

FAMILIES = (
    Family(("gpt2", "gpt_bigcode"), "transformers GPT2LMHeadModel, GPTBigCodeForCausalLM", tied=True),
    Family(("gptj", "codegen"), "transformers GPTJForCausalLM, CodeGenForCausalLM"),
    Family(("gpt_neox",), "transformers GPTNeoXForCausalLM"),
    Family(("bloom",), "transformers BloomForCausalLM", tied=True),
    Family(("opt",), "transformers OPTForCausalLM", tied=True),
)
