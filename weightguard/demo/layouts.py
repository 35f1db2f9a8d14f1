"""Published layouts as data: the configuration, and the name, dtype and shape of every tensor, in storage order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Tensor = tuple[str, str, tuple[int, ...]]
"""(name, safetensors dtype, shape)."""


@dataclass(frozen=True)
class Layout:
    """A checkpoint without its data. `config` is the content of config.json."""

    config: Mapping[str, Any]
    tensors: tuple[Tensor, ...] = field(repr=False)


def llama(layers: int, hidden: int, heads: int, kv_heads: int, ffn: int, vocab: int) -> Layout:
    """A dense decoder as Llama 3 has it: grouped keys and values, gated feed-forward, untied embeddings, BF16."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": ffn,
        "vocab_size": vocab,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    keys = hidden // heads * kv_heads
    block = (
        ("self_attn.q_proj", (hidden, hidden)),
        ("self_attn.k_proj", (keys, hidden)),
        ("self_attn.v_proj", (keys, hidden)),
        ("self_attn.o_proj", (hidden, hidden)),
        ("mlp.gate_proj", (ffn, hidden)),
        ("mlp.up_proj", (ffn, hidden)),
        ("mlp.down_proj", (hidden, ffn)),
        ("input_layernorm", (hidden,)),
        ("post_attention_layernorm", (hidden,)),
    )
    names: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens", (vocab, hidden))]
    names += [(f"model.layers.{i}.{name}", shape) for i in range(layers) for name, shape in block]
    names += [("model.norm", (hidden,)), ("lm_head", (vocab, hidden))]
    return Layout(config, tuple((f"{name}.weight", "BF16", shape) for name, shape in names))


def deepseek_v3() -> Layout:
    """DeepSeek-V3: latent attention, 3 dense layers, then 58 with 256 routed experts and a shared one, without its MTP module."""
    hidden, heads, q_rank, kv_rank, nope, rope, v = 7168, 128, 1536, 512, 128, 64, 128
    ffn, expert_ffn, experts, vocab, layers, dense = 18432, 2048, 256, 129280, 61, 3
    config = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "num_hidden_layers": layers,
        "first_k_dense_replace": dense,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "q_lora_rank": q_rank,
        "kv_lora_rank": kv_rank,
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "v_head_dim": v,
        "intermediate_size": ffn,
        "moe_intermediate_size": expert_ffn,
        "n_routed_experts": experts,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "n_group": 8,
        "topk_group": 4,
        "vocab_size": vocab,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    attention: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("input_layernorm", (hidden,)),
        ("self_attn.q_a_proj", (q_rank, hidden)),
        ("self_attn.q_a_layernorm", (q_rank,)),
        ("self_attn.q_b_proj", (heads * (nope + rope), q_rank)),
        ("self_attn.kv_a_proj_with_mqa", (kv_rank + rope, hidden)),
        ("self_attn.kv_a_layernorm", (kv_rank,)),
        ("self_attn.kv_b_proj", (heads * (nope + v), kv_rank)),
        ("self_attn.o_proj", (hidden, heads * v)),
        ("post_attention_layernorm", (hidden,)),
    )
    tensors: list[Tensor] = [("model.embed_tokens.weight", "BF16", (vocab, hidden))]
    for i in range(layers):
        at = f"model.layers.{i}."
        tensors += [(f"{at}{name}.weight", "BF16", shape) for name, shape in attention]
        if i < dense:
            tensors += _gated(f"{at}mlp.", hidden, ffn)
            continue
        tensors.append((f"{at}mlp.gate.weight", "F32", (experts, hidden)))
        tensors.append((f"{at}mlp.gate.e_score_correction_bias", "F32", (experts,)))
        for expert in range(experts):
            tensors += _gated(f"{at}mlp.experts.{expert}.", hidden, expert_ffn)
        tensors += _gated(f"{at}mlp.shared_experts.", hidden, expert_ffn)
    tensors += [("model.norm.weight", "BF16", (hidden,)), ("lm_head.weight", "BF16", (vocab, hidden))]
    return Layout(config, tuple(tensors))


def _gated(prefix: str, hidden: int, ffn: int) -> list[Tensor]:
    return [
        (f"{prefix}gate_proj.weight", "BF16", (ffn, hidden)),
        (f"{prefix}up_proj.weight", "BF16", (ffn, hidden)),
        (f"{prefix}down_proj.weight", "BF16", (hidden, ffn)),
    ]


def gptq(layout: Layout, bits: int = 4, group: int = 128) -> Layout:
    """The same weights as GPTQ stores them: the layers' matrices packed into int32 words along their inputs, with the zero points
    and scales of each group of inputs; embeddings, norms and head stay as they are."""
    quantization = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": False, "sym": True}
    packed = (_gptq(t, 32 // bits, group) if ".layers." in t[0] and len(t[2]) == 2 else (t,) for t in layout.tensors)
    return Layout({**layout.config, "quantization_config": quantization}, tuple(t for ts in packed for t in ts))


def _gptq(tensor: Tensor, per_word: int, group: int) -> Iterable[Tensor]:
    stem, (out, inputs) = tensor[0].removesuffix(".weight"), tensor[2]
    groups = inputs // group
    return (
        (f"{stem}.qweight", "I32", (inputs // per_word, out)),
        (f"{stem}.qzeros", "I32", (groups, out // per_word)),
        (f"{stem}.scales", "F16", (groups, out)),
        (f"{stem}.g_idx", "I32", (inputs,)),
    )


def llama_8b() -> Layout:
    """8,030,261,248 parameters."""
    return llama(layers=32, hidden=4096, heads=32, kv_heads=8, ffn=14336, vocab=128256)


def llama_70b() -> Layout:
    """70,553,706,496 parameters."""
    return llama(layers=80, hidden=8192, heads=64, kv_heads=8, ffn=28672, vocab=128256)


def llama_405b() -> Layout:
    """405,853,388,800 parameters."""
    return llama(layers=126, hidden=16384, heads=128, kv_heads=8, ffn=53248, vocab=128256)
