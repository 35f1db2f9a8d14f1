"""How many parameters a config says a matrix of a decoder's layer has: a check on what packed words are said to hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PLACE = re.compile(r"^(?:(?:model|language_model)\.)*(?:layers\.\d+\.(?:mlp|self_attn)\.(\w+)|(embed_tokens|lm_head))\.")
_LANGUAGE = ("text_config", "language_config", "llm_config")
_LARGEST = 1_000_000_000


def dimensions(config: Mapping[str, Any] | None) -> dict[str, int]:
    """Parameters by the last part of a module's name, as transformers' Llama and its kin lay them out; empty without a config.

    Latent attention (`kv_lora_rank`) has other projections: those are left out.
    """
    values: Mapping[str, Any] = config or {}
    for key in _LANGUAGE:
        inner = values.get(key)
        if isinstance(inner, dict):
            values = {**values, **inner}
            break
    hidden, ffn, vocabulary = (
        _number(values, "hidden_size"),
        _number(values, "intermediate_size"),
        _number(values, "vocab_size"),
    )
    heads = _number(values, "num_attention_heads")
    kept = _number(values, "num_key_value_heads") or heads
    width = _number(values, "head_dim") or (hidden // heads if heads else 0)
    found = dict.fromkeys(("gate_proj", "up_proj", "down_proj"), hidden * ffn) | {"gate_up_proj": 2 * hidden * ffn}
    found |= dict.fromkeys(("embed_tokens", "lm_head"), hidden * vocabulary)
    if not values.get("kv_lora_rank"):
        found |= dict.fromkeys(("q_proj", "o_proj"), hidden * heads * width)
        found |= dict.fromkeys(("k_proj", "v_proj"), hidden * kept * width)
        found["qkv_proj"] = hidden * width * (heads + 2 * kept)
    return {name: count for name, count in found.items() if count}


def expected(name: str, counts: Mapping[str, int]) -> int:
    """What `dimensions` says of the module that a stored tensor belongs to; 0 for a place that it doesn't speak of."""
    match = _PLACE.match(name)
    return counts.get(match[1] or match[2], 0) if match else 0


def _number(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key)
    return value if type(value) is int and 0 < value <= _LARGEST else 0
