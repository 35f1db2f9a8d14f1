"""A small Llama of transformers, written as training frameworks write it: cut over ranks by the rules of their parallel layers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

LAYERS, HIDDEN, HEADS, FFN, VOCAB = 4, 32, 4, 48, 80
State = dict[str, torch.Tensor]

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": HIDDEN,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "vocab_size": VOCAB,
    "tie_word_embeddings": False,
}


@cache
def llama() -> transformers.LlamaForCausalLM:
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{k: v for k, v in CONFIG.items() if k != "architectures"}))


def total() -> int:
    """The module's own count of its parameters."""
    return sum(p.numel() for p in llama().parameters())


def state() -> State:
    return {name: tensor.detach().clone() for name, tensor in llama().state_dict().items()}


def save(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path)
    return path


# ---- Megatron-LM


def megatron_names(sd: Mapping[str, torch.Tensor]) -> State:
    """The same weights under the names of megatron.core's GPTModel: queries, keys and values fused, gate and up fused."""
    out: State = {
        "embedding.word_embeddings.weight": sd["model.embed_tokens.weight"],
        "decoder.final_layernorm.weight": sd["model.norm.weight"],
        "output_layer.weight": sd["lm_head.weight"],
    }
    for i in range(LAYERS):
        a, b = f"model.layers.{i}.", f"decoder.layers.{i}."
        out[b + "input_layernorm.weight"] = sd[a + "input_layernorm.weight"]
        out[b + "self_attention.linear_qkv.weight"] = torch.cat([sd[a + f"self_attn.{x}_proj.weight"] for x in "qkv"])
        out[b + "self_attention.linear_proj.weight"] = sd[a + "self_attn.o_proj.weight"]
        out[b + "pre_mlp_layernorm.weight"] = sd[a + "post_attention_layernorm.weight"]
        out[b + "mlp.linear_fc1.weight"] = torch.cat([sd[a + f"mlp.{x}_proj.weight"] for x in ("gate", "up")])
        out[b + "mlp.linear_fc2.weight"] = sd[a + "mlp.down_proj.weight"]
    return out


def tensor_rank(sd: Mapping[str, torch.Tensor], rank: int, size: int) -> State:
    """Column-parallel layers and embeddings cut along rows, row-parallel ones along columns, norms whole."""
    out = {}
    for name, tensor in sd.items():
        if "norm" in name or "router" in name:
            out[name] = tensor
        elif name.endswith(("linear_proj.weight", "linear_fc2.weight")):
            out[name] = tensor.chunk(size, 1)[rank].clone()
        else:
            out[name] = tensor.chunk(size, 0)[rank].clone()
    return out


def stage(sd: Mapping[str, torch.Tensor], layers: Sequence[int], *, first: bool, last: bool) -> State:
    """Some layers, numbered from 0; the embedding on the first stage, norm and head on the last."""
    out = {}
    for name, tensor in sd.items():
        if ".layers." in name:
            number = int(name.split(".")[2])
            if number in layers:
                out[name.replace(f".{number}.", f".{layers.index(number)}.", 1)] = tensor
        elif (first and name.startswith("embedding")) or (last and not name.startswith("embedding")):
            out[name] = tensor
    return out


def moments(sd: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Adam's state, and the fp32 masters that mixed precision keeps."""
    tensors = list(sd.values())
    return {
        "optimizer": {"state": {i: {"exp_avg": t.clone(), "exp_avg_sq": t.clone()} for i, t in enumerate(tensors)}},
        "fp32_from_fp16_params": [[t.float() for t in tensors]],
    }


def arguments(tp: int, pp: int, ep: int = 1, **more: Any) -> argparse.Namespace:
    sizes = {"tensor_model_parallel_size": tp, "pipeline_model_parallel_size": pp, "expert_model_parallel_size": ep}
    shape = {"num_layers": LAYERS, "hidden_size": HIDDEN, "num_attention_heads": HEADS, "ffn_hidden_size": FFN}
    return argparse.Namespace(**sizes, **shape, padded_vocab_size=VOCAB, seq_length=64, consumed_train_samples=640, **more)


def write_megatron(root: Path, tp: int, pp: int, *, chunks: int = 1, optimizer: bool = False, **more: Any) -> list[Path]:
    """iter_0000100/mp_rank_TT[_PPP]/model_optim_rng.pt, as save_checkpoint writes them; the files in order."""
    whole = megatron_names(state())
    each = LAYERS // (pp * chunks)
    paths = []
    for p in range(pp):
        for t in range(tp):
            models = {}
            for c in range(chunks):
                at = c * pp + p
                layers = list(range(at * each, (at + 1) * each))
                part = stage(whole, layers, first=at == 0, last=at == pp * chunks - 1)
                models["model" if chunks == 1 else f"model{c}"] = tensor_rank(part, t, tp)
            value: dict[str, Any] = {"args": arguments(tp, pp, **more), "checkpoint_version": 3.0, "iteration": 100, **models}
            if optimizer:
                value["optimizer"] = moments({k: v for m in models.values() for k, v in m.items()})
            value["rng_state"] = [{"torch_rng_state": torch.get_rng_state()}]
            name = f"mp_rank_{t:02}" if pp == 1 else f"mp_rank_{t:02}_{p:03}"
            paths.append(save(root / "iter_0000100" / name / "model_optim_rng.pt", value))
    (root / "latest_checkpointed_iteration.txt").write_text("100")
    return paths


# ---- DeepSpeed


def facts(dp: int, mp: int = 1) -> dict[str, Any]:
    return {
        "lr_scheduler": None,
        "skipped_steps": 0,
        "global_steps": 7,
        "global_samples": 56,
        "dp_world_size": dp,
        "mp_world_size": mp,
        "ds_config": {"train_batch_size": 8, "zero_optimization": {"stage": 3}},
        "ds_version": "0.17.5",
    }


def flat_parts(sd: Mapping[str, torch.Tensor], ranks: int, align: int = 1) -> list[torch.Tensor]:
    """All tensors end to end, padded, in equal parts (ZeRO 1 and 2)."""
    flat = torch.cat([t.float().flatten() for t in sd.values()])
    flat = torch.nn.functional.pad(flat, (0, -len(flat) % (ranks * align)))
    return [p.clone() for p in flat.chunk(ranks)]


def partitioned(sd: Mapping[str, torch.Tensor], ranks: int) -> list[torch.Tensor]:
    """A part of each tensor on each rank, each tensor padded (ZeRO 3)."""
    parts: list[list[torch.Tensor]] = [[] for _ in range(ranks)]
    for t in sd.values():
        flat = torch.nn.functional.pad(t.float().flatten(), (0, -t.numel() % ranks))
        for rank, part in enumerate(flat.chunk(ranks)):
            parts[rank].append(part)
    return [torch.cat(p) for p in parts]


def write_zero_2(folder: Path, dp: int, *, mp: int = 1) -> list[Path]:
    """ZeRO 1 and 2: the module whole in 16 bit, fp32 masters and moments in parts."""
    whole = megatron_names(state()) if mp > 1 else state()
    paths = []
    for m in range(mp):
        module = {k: v.bfloat16() for k, v in (tensor_rank(whole, m, mp) if mp > 1 else whole).items()}
        shapes = {k: v.shape for k, v in module.items()}
        value = {"module": module, "buffer_names": [], "optimizer": None, "param_shapes": [shapes], **facts(dp, mp)}
        paths.append(save(folder / f"mp_rank_{m:02}_model_states.pt", value))
        for d, part in enumerate(flat_parts(module, dp, 2)):
            states = {
                "loss_scaler": None,
                "base_optimizer_state": {"state": {0: {"exp_avg": part.clone(), "exp_avg_sq": part.clone()}}},
                "single_partition_of_fp32_groups": [part],
                "zero_stage": 2,
                "group_paddings": [0],
                "partition_count": [dp],
            }
            value = {"optimizer_state_dict": states, "ds_config": {}, "ds_version": "0.17.5"}
            paths.append(save(folder / f"bf16_zero_pp_rank_{d}_mp_rank_{m:02}_optim_states.pt", value))
    (folder.parent / "latest").write_text(folder.name)
    return paths


def write_zero_3(folder: Path, dp: int, *, frozen: Sequence[str] = ()) -> list[Path]:
    """ZeRO 3: empty places in the module, shapes, and the weights in the flat groups of all ranks."""
    whole = state()
    trained = {k: v for k, v in whole.items() if k not in frozen}
    shapes = {k: v.shape for k, v in trained.items()}
    flats = partitioned(trained, dp)
    cold = {k: torch.nn.functional.pad(whole[k].flatten(), (0, -whole[k].numel() % dp)).chunk(dp) for k in frozen}
    paths = []
    for d in range(dp):
        value = {
            "module": {k: torch.zeros(0, dtype=torch.bfloat16) for k in whole},
            "buffer_names": [],
            "optimizer": None,
            "param_shapes": [shapes],
            "frozen_param_shapes": {k: whole[k].shape for k in frozen} or None,
            "frozen_param_fragments": {k: parts[d].clone() for k, parts in cold.items()} or None,
            **facts(dp),
        }
        paths.append(save(folder / f"zero_pp_rank_{d}_mp_rank_00_model_states.pt", value))
        inner = {"state": {0: {"exp_avg": flats[d].clone(), "exp_avg_sq": flats[d].clone(), "step": 7}}, "param_groups": []}
        states = {"zero_stage": 3, "partition_count": dp, "optimizer_state_dict": inner, "fp32_flat_groups": [flats[d]]}
        value = {"optimizer_state_dict": states, "ds_config": {}, "ds_version": "0.17.5"}
        paths.append(save(folder / f"zero_pp_rank_{d}_mp_rank_00_optim_states.pt", value))
    (folder.parent / "latest").write_text(folder.name)
    return paths


def write_pipeline(folder: Path, mp: int) -> list[Path]:
    """layer_XX-model_YY-model_states.pt: an embedding, a function without weights, blocks, a norm, a head."""
    whole = megatron_names(state())
    paths = []
    numbered = {1: {"word_embeddings.weight": whole["embedding.word_embeddings.weight"]}}
    for i in range(LAYERS):
        prefix = f"decoder.layers.{i}."
        numbered[3 + i] = {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}
    numbered[4 + LAYERS] = {"norm.weight": whole["decoder.final_layernorm.weight"]}
    numbered[5 + LAYERS] = {"final_linear.weight": whole["output_layer.weight"]}
    for number, tensors in numbered.items():
        for m in range(mp):
            name = f"layer_{number:02}-model_{m:02}-model_states.pt"
            paths.append(save(folder / name, tensor_rank(tensors, m, mp)))
    for m in range(mp):
        value = {
            "module": None,
            "param_shapes": None,
            "args": arguments(mp, 1, untie_embeddings_and_output_weights=True),
            **facts(1, mp),
        }
        paths.append(save(folder / f"mp_rank_{m:02}_model_states.pt", value))
    return paths


def write_universal(folder: Path) -> list[Path]:
    """zero/NAME/fp32.pt and the moments beside it."""
    paths = []
    for name, tensor in state().items():
        for kind in ("fp32", "exp_avg", "exp_avg_sq"):
            paths.append(save(folder / "zero" / name / f"{kind}.pt", {"param": tensor.float()}))
    module = {k: v.bfloat16() for k, v in state().items()}
    value = {"module": module, "param_shapes": [{k: v.shape for k, v in module.items()}], **facts(1)}
    paths.append(save(folder / "mp_rank_00_model_states.pt", value))
    return paths
