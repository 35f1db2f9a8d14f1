"""A `config.json`, read with suspicion: a claim of whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Where composed models keep the config of their language model (transformers' composite configs).
_LANGUAGE = ("text_config", "language_config", "llm_config", "thinker_config", "text_model_config")
_NESTING = 3
_LARGEST = 1_000_000_000

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
HIDDEN = ("hidden_size", "n_embd", "d_model")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads", "attention_heads")
KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads")
CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_seq_len")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
EXPERTS_USED = ("num_experts_per_tok", "moe_top_k", "moe_topk", "moe_k", "top_k_experts", "num_experts_per_token")


@dataclass(frozen=True)
class Config:
    """One config, or the language model's part of a composed one."""

    values: Mapping[str, Any]

    @property
    def model_type(self) -> str:
        value = self.values.get("model_type")
        return value if isinstance(value, str) else ""

    def number(self, *keys: str) -> int | None:
        """The first of these keys that holds an integer from 1 to 10^9; None otherwise ("auto", null, 0, -1, true, 1e99)."""
        for key in keys:
            value = self.values.get(key)
            if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
                value = int(value)
            if type(value) is int and 0 < value <= _LARGEST:
                return value
        return None

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        return value if isinstance(value, bool) else default

    def texts(self, key: str) -> list[str]:
        """A list of strings; empty if it is anything else."""
        value = self.values.get(key)
        return list(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else []


def language_model(values: Mapping[str, Any]) -> Config:
    """The config itself, or the part of it that describes the language model."""
    for _ in range(_NESTING):
        key = next((k for k in _LANGUAGE if isinstance(values.get(k), dict)), None)
        if key is None:
            break
        values = {**{k: v for k, v in values.items() if k not in _LANGUAGE}, **values[key]}
    return Config(values)


def claimed_layers(values: Mapping[str, Any]) -> int | None:
    """The most layers that any level of a config claims."""
    found = []
    level: Any = values
    for _ in range(_NESTING + 1):
        if not isinstance(level, Mapping):
            break
        found.append(Config(level).number(*LAYERS) or 0)
        level = next((level[k] for k in _LANGUAGE if isinstance(level.get(k), dict)), None)
    return max(found) or None


def repeats(config: Config) -> int:
    """How often each layer's weights are applied to a token: ALBERT's `num_hidden_layers` share `num_hidden_groups`."""
    layers, groups = config.number(*LAYERS), config.number("num_hidden_groups")
    return -(-layers // groups) if layers and groups else 1
