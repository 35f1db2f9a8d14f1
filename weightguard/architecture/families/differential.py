"""DiffLlama: differential attention weighs each half of the values by the scores of all heads, at twice the cost."""

from dataclasses import replace

from weightguard.architecture.config import Config
from weightguard.architecture.family import Attention, Family, multi_head


def twice(config: Config) -> Attention | None:
    found = multi_head(config)
    return replace(found, passes=2) if found else None


FAMILIES = (Family(("diffllama",), "transformers DiffLlamaForCausalLM", attention=twice),)
