"""T5 and its like: an encoder and a decoder; a token passes one of them."""

from weightguard.architecture.config import HEADS, Config
from weightguard.architecture.family import Attention, Family


def heads_of_their_own_width(config: Config) -> Attention | None:
    heads, width = config.number(*HEADS), config.number("d_kv")
    return Attention(heads, width, width) if heads and width else None


FAMILIES = (
    Family(
        ("t5", "mt5", "umt5", "longt5", "switch_transformers"),
        "transformers T5ForConditionalGeneration, MT5ForConditionalGeneration",
        tied=True,
        attention=heads_of_their_own_width,
    ),
)
