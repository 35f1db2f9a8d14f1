"""The tensors that a config will have, before there are any: so that a plan is counted by the same rules as a checkpoint.

Names and shapes are those of transformers' decoders of the Llama form, of GPT-2's (without gates), of mixtures of experts, of
latent attention, of state-space and linear layers, and of T5's encoder and decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from weightguard.architecture.config import EXPERTS, HEADS, HIDDEN, KEY_VALUE_HEADS, Config, language_model
from weightguard.errors import ConfigurationError
from weightguard.parameters.count import Parameters
from weightguard.roles import WEIGHT
from weightguard.tensors import DTYPE_CODES, TensorTable, from_rows

Rows = list[tuple[str, tuple[int, ...]]]

PLAIN: Final = frozenset(
    """gpt2 gpt_bigcode gptj codegen gpt_neo gpt_neox bloom opt falcon phi starcoder2 nemotron mpt persimmon t5 biogpt xglm
    arcee apertus nemotron_h""".split()
)
"""Families whose feed-forward has no gate, unless the config says `gated`."""
_MOST_LAYERS = 10_000


def tensors(values: Mapping[str, Any]) -> TensorTable:
    """The tensor table of a config. Raises `ConfigurationError` naming the key that is missing or absurd."""
    config = language_model(values)
    hidden, vocabulary = _need(config, *HIDDEN), _need(config, "vocab_size")
    rows: Rows = [("model.embed_tokens.weight", (vocabulary, hidden)), ("model.norm.weight", (hidden,))]
    if config.number("num_decoder_layers"):
        for side, n in (("encoder", _layers(config)), ("decoder", config.number("num_decoder_layers") or 0)):
            for layer in range(n):
                at = f"{side}.block.{layer}."
                rows += _attention(config, hidden, f"{at}layer.0.self_attn.")
                rows += _attention(config, hidden, f"{at}layer.1.EncDecAttention.") if side == "decoder" else []
                rows += _feed_forward(config, hidden, _dense_width(config, hidden), f"{at}layer.2.mlp.")
                rows += [(f"{at}layer_norm.weight", (hidden,))]
    else:
        kinds = config.texts("layer_types") or config.texts("layers_block_type")
        for layer in range(_layers(config) + (config.number("num_nextn_predict_layers") or 0)):
            rows += _layer(config, hidden, layer, kinds[layer] if layer < len(kinds) else "full_attention")
    if not _tied(config):
        rows.append(("lm_head.weight", (vocabulary, hidden)))
    names, shapes = [name for name, _ in rows], [shape for _, shape in rows]
    return from_rows(names, [DTYPE_CODES["BF16"]] * len(rows), shapes, [0] * len(rows))


def all_weights(table: TensorTable) -> Parameters:
    """Every tensor of a plan is a weight."""
    total = sum(table.elements.tolist())
    roles = np.full(len(table), WEIGHT, np.uint8)
    return Parameters(
        total, total, {"weight": total}, {"BF16": total}, None, roles, table.elements.copy(), table.ranks.copy(), 0, 0, {}, ()
    )


def _layer(config: Config, hidden: int, layer: int, kind: str) -> Rows:
    at = f"model.layers.{layer}."
    rows: Rows = [(f"{at}input_layernorm.weight", (hidden,)), (f"{at}post_attention_layernorm.weight", (hidden,))]
    if kind in ("mamba", "mamba2") or (kind == "linear_attention" and config.number(*_STATE)):
        rows += _state_space(config, hidden, f"{at}mamba.")
    elif kind == "linear_attention":
        rows += _linear_attention(config, hidden, f"{at}linear_attn.")
    elif kind not in ("mlp", "moe"):
        rows += _attention(config, hidden, f"{at}self_attn.")
    experts = config.number(*EXPERTS)
    if kind in ("mamba", "attention") and config.texts("layers_block_type"):
        return rows  # each layer is one of mixer, feed-forward or mixture
    if experts and kind != "mlp" and _is_mixture(config, layer):
        rows += _mixture(config, hidden, experts, f"{at}mlp.")
    elif kind not in ("mamba", "mamba2") or config.number("intermediate_size"):
        rows += _feed_forward(config, hidden, _dense_width(config, hidden), f"{at}mlp.")
    if layer >= _layers(config):  # a multi-token prediction module joins two states
        rows.append((f"{at}eh_proj.weight", (hidden, 2 * hidden)))
    return rows


def _attention(config: Config, hidden: int, at: str) -> Rows:
    heads = _need(config, *HEADS)
    latent = config.number("kv_lora_rank")
    if latent:
        plain, rotated, v = (_need(config, key) for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
        low = config.number("q_lora_rank")
        queries: Rows = (
            [(f"{at}q_a_proj.weight", (low, hidden)), (f"{at}q_b_proj.weight", (heads * (plain + rotated), low))]
            if low
            else [(f"{at}q_proj.weight", (heads * (plain + rotated), hidden))]
        )
        return [
            *queries,
            (f"{at}kv_a_proj_with_mqa.weight", (latent + rotated, hidden)),
            (f"{at}kv_b_proj.weight", (heads * (plain + v), latent)),
            (f"{at}o_proj.weight", (hidden, heads * v)),
        ]
    width = config.number("head_dim", "d_kv") or hidden // heads
    shared = config.number(*KEY_VALUE_HEADS) or heads
    gate = 2 if config.flag("attn_output_gate", False) else 1
    return [
        (f"{at}q_proj.weight", (gate * heads * width, hidden)),
        (f"{at}k_proj.weight", (shared * width, hidden)),
        (f"{at}v_proj.weight", (shared * width, hidden)),
        (f"{at}o_proj.weight", (hidden, heads * width)),
    ]


_STATE = ("mamba_d_state", "ssm_state_size", "state_size")


def _state_space(config: Config, hidden: int, at: str) -> Rows:
    state, inner = _need(config, *_STATE), (config.number("mamba_expand", "expand") or 2) * hidden
    heads = config.number("mamba_n_heads", "mamba_num_heads", "num_ssm_heads")
    kernel = config.number("mamba_d_conv", "conv_kernel") or 4
    if heads is None:  # Mamba 1
        rank = config.number("mamba_dt_rank", "time_step_rank") or -(-hidden // 16)
        return [
            (f"{at}in_proj.weight", (2 * inner, hidden)),
            (f"{at}conv1d.weight", (inner, 1, kernel)),
            (f"{at}x_proj.weight", (rank + 2 * state, inner)),
            (f"{at}dt_proj.weight", (inner, rank)),
            (f"{at}A_log", (inner, state)),
            (f"{at}D", (inner,)),
            (f"{at}out_proj.weight", (hidden, inner)),
        ]
    inner = heads * (config.number("mamba_d_head", "mamba_head_dim") or inner // heads)
    both = 2 * state * (config.number("mamba_n_groups", "n_groups") or 1)
    return [
        (f"{at}in_proj.weight", (2 * inner + both + heads, hidden)),
        (f"{at}conv1d.weight", (inner + both, 1, kernel)),
        (f"{at}A_log", (heads,)),
        (f"{at}D", (heads,)),
        (f"{at}dt_bias", (heads,)),
        (f"{at}norm.weight", (inner,)),
        (f"{at}out_proj.weight", (hidden, inner)),
    ]


def _linear_attention(config: Config, hidden: int, at: str) -> Rows:
    value_heads = config.number("linear_num_value_heads", "linear_num_heads") or _need(config, *HEADS)
    key_heads = config.number("linear_num_key_heads") or value_heads
    plain = hidden // _need(config, *HEADS)
    value = value_heads * (config.number("linear_value_head_dim", "linear_head_dim", "head_dim") or plain)
    key = key_heads * (config.number("linear_key_head_dim", "linear_head_dim", "head_dim") or plain)
    kernel = config.number("linear_conv_kernel_dim") or 4
    return [
        (f"{at}in_proj_qkvz.weight", (2 * key + 2 * value, hidden)),
        (f"{at}in_proj_ba.weight", (2 * value_heads, hidden)),
        (f"{at}conv1d.weight", (2 * key + value, 1, kernel)),
        (f"{at}A_log", (value_heads,)),
        (f"{at}dt_bias", (value_heads,)),
        (f"{at}out_proj.weight", (hidden, value)),
    ]


def _feed_forward(config: Config, hidden: int, width: int, at: str) -> Rows:
    if not _gated(config):
        return [(f"{at}fc1.weight", (width, hidden)), (f"{at}fc2.weight", (hidden, width))]
    return [
        (f"{at}gate_proj.weight", (width, hidden)),
        (f"{at}up_proj.weight", (width, hidden)),
        (f"{at}down_proj.weight", (hidden, width)),
    ]


def _mixture(config: Config, hidden: int, experts: int, at: str) -> Rows:
    width = (
        config.number("moe_intermediate_size", "expert_ffn_hidden_size", "ffn_hidden_size", "intermediate_size") or 4 * hidden
    )
    inside = config.number("moe_latent_size") or hidden
    rows: Rows = [
        (f"{at}gate.weight", (experts, hidden)),
        (f"{at}experts.gate_up_proj", (experts, (2 if config.flag("experts_gated", _gated(config)) else 1) * width, inside)),
        (f"{at}experts.down_proj", (experts, inside, width)),
    ]
    if inside != hidden:
        rows += [(f"{at}latent_down.weight", (inside, hidden)), (f"{at}latent_up.weight", (hidden, inside))]
    shared = config.number("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size")
    shared = shared or (config.number("n_shared_experts", "num_shared_experts", "moe_num_shared_experts") or 0) * width
    return rows + (_feed_forward(config, hidden, shared, f"{at}shared_experts.") if shared else [])


def _is_mixture(config: Config, layer: int) -> bool:
    """Whether a layer has experts: all but the dense first ones, every `step`th, or as listed."""
    first = config.number("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index") or 0
    listed = config.values.get("mlp_only_layers")
    if layer < first or (isinstance(listed, list) and layer in listed):
        return False
    step = config.number("interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_freq", "expert_layer_period") or 1
    return (layer + 1) % step == 0


def _dense_width(config: Config, hidden: int) -> int:
    width = config.number("intermediate_size_mlp", "dense_intermediate_size", "intermediate_size", "d_ff", "ffn_dim", "n_inner")
    return width or 4 * hidden


def _gated(config: Config) -> bool:
    if config.model_type == "t5" and "gated" in str(config.values.get("feed_forward_proj", "")):
        return True
    return config.flag("gated", config.model_type not in PLAIN)


def _tied(config: Config) -> bool:
    from weightguard.architecture import families

    family = families.find(config)
    return config.flag("tie_word_embeddings", family.tied if family else False)


def _layers(config: Config) -> int:
    layers = config.number("num_hidden_layers", "n_layer", "n_layers", "num_layers") or len(config.texts("layers_block_type"))
    if not 0 < layers <= _MOST_LAYERS:
        raise ConfigurationError(f"config: num_hidden_layers must be from 1 to {_MOST_LAYERS}")
    return layers


def _need(config: Config, *keys: str) -> int:
    value = config.number(*keys)
    if value is None:
        raise ConfigurationError(f"config: {keys[0]} is missing, or no whole number above 0")
    return value
