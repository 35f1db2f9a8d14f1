"""A GGUF's hyperparameters as the config that they stand for. Source: llama.cpp, `gguf-py/gguf/constants.py` (Keys.LLM).

They are written by whoever made the file: claims, as a config's are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from weightguard.architecture.family import Family

FAMILY: Final = Family((), "llama.cpp, by the file's own hyperparameters", by_shapes=True)
_KEYS: Final = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "context_length": "max_position_embeddings",
    "vocab_size": "vocab_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "nextn_predict_layers": "num_nextn_predict_layers",
    "ssm.state_size": "ssm_state_size",
    "ssm.group_count": "n_groups",
}


def config_of(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """A config by the keys of `general.architecture`; None where the file names none. Windows lower no bound and are left out."""
    name = values.get("general.architecture")
    if not isinstance(name, str) or not name:
        return None
    found = {key: values[f"{name}.{own}"] for own, key in _KEYS.items() if f"{name}.{own}" in values}
    if "num_hidden_layers" in found and isinstance(found.get("num_nextn_predict_layers"), int):
        layers, extra = found["num_hidden_layers"], found["num_nextn_predict_layers"]
        if isinstance(layers, int) and layers > extra >= 0:
            found["num_hidden_layers"] = layers - extra  # block_count has them, a config's number of layers hasn't
    return {"model_type": name, **found}
