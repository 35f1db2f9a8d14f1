"""DeepSeek V4: each layer attends over a window, and beside it over compressed keys that an indexer may pick from."""

from collections.abc import Sequence

from weightguard.architecture.config import HEADS, Config
from weightguard.architecture.family import Family

_RATES = {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}


def over_compressed_keys(config: Config) -> int:
    """One key in `compress_rates` of them, for queries and values of all heads; an indexer scores those of sparse layers."""
    heads, width = config.number(*HEADS) or 0, config.number("head_dim") or 0
    index = (config.number("index_n_heads") or 0) * (config.number("index_head_dim") or 0)
    stated = config.values.get("compress_rates")
    rates = Config({**_RATES, **(stated if isinstance(stated, dict) else {})})
    total = 0
    for kind in config.texts("layer_types"):
        rate = rates.number(kind) or 1
        total += (2 * heads * width + (index if "sparse" in kind else 0)) // rate
    return total


def over_a_window(config: Config, layers: int) -> Sequence[int]:
    return [config.number("sliding_window") or 0] * layers


FAMILIES = (
    Family(
        ("deepseek_v4",),
        "transformers DeepseekV4ForCausalLM",
        windows=over_a_window,
        compressed=over_compressed_keys,
    ),
)
