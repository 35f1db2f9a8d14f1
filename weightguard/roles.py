"""What each stored tensor is, by its name, shape and dtype: the list "Not parameters" of checkpoints.

Only names that the common libraries write are taken as something else than a weight: an unknown floating-point tensor is a
weight, so that a count is never too low.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from weightguard.tensors import DTYPE_BITS, FLOATING, TensorTable, UInt8

ROLES: Final = ("weight", "tied", "buffer", "optimizer", "copy", "quantization", "other")
WEIGHT, TIED, BUFFER, OPTIMIZER, COPY, QUANTIZATION, OTHER = range(len(ROLES))

# Buffers that modules register by these names: torch.nn.modules.batchnorm; transformers' rotary embeddings, position ids, masks;
# Swin's relative_position_index; DeepSeek's e_score_correction_bias (updated by rule, not by gradient); Transformer Engine; the
# Fourier bases of speech models (torch-stft). llama.cpp writes them as NAME.weight or NAME.bias. Keras: BatchNormalization's.
_BUFFERS: Final = frozenset(
    """running_mean running_var num_batches_tracked inv_freq original_inv_freq masked_bias position_ids token_type_ids
    relative_position_index relative_coords_table attn_mask causal_mask cos_cached sin_cached rope_freqs
    e_score_correction_bias final_logits_bias _extra_state n_averaged num_updates forward_basis_buffer inverse_basis_buffer
    moving_mean moving_variance expert_bias balancing_biases layer_scalar global_mean global_invstd slope_rate diagonal_decay
    key_decay query_decay fc_scaling_factor act_scaling_factor weight_scaling_factor x_min x_max""".split()
)
SMALL_INTEGERS: Final = 64 << 10
"""Bytes of integers (index tables, step counters, random states) that need no rule to explain them."""
_FEW_BUFFERS: Final = 1 << 22
_BUFFER_ENDS: Final = ("act_fn.beta", "act_fn.eps", "LayerNorm.shift", ".ffn.gate.bias", ".mlp.gate.bias")
"""xIELU's constants; routers' correction biases, which a rule sets and no gradient, as DeepSeek and Inkling name them."""
_GGUF_BUFFERS: Final = frozenset("rope_freqs rope_factors_long rope_factors_short attn_rot_embd exp_probs_b".split())
_ROTARY = re.compile(r"(?:^|\.)(?:rotary_emb|rope)\.(?:freqs|inv_freq|cos|sin|cos_cached|sin_cached)$")
_ROTARY_LAST: Final = frozenset({"freqs", "inv_freq", "cos", "sin", "cos_cached", "sin_cached"})
_CAUSAL_MASK = re.compile(
    r"(?:^|\.)(?:attn|attention|self_attention)\.(?:attention\.)?(?:bias|mask)$"
)  # GPT-2, GPT-J, GPT-NeoX

# Optimizer state: torch.optim's slots, and where trainers keep them.
_SLOTS: Final = frozenset(
    """exp_avg exp_avg_sq max_exp_avg_sq exp_inf exp_avg_sq_row exp_avg_sq_col momentum_buffer square_avg grad_avg acc_delta
    prev old_dirs old_stps ro prev_flat_grad fp32_flat_groups single_partition_of_fp32_groups
    Adam Adam_1 adam_m adam_v Momentum RMSProp RMSProp_1 Adagrad beta1_power beta2_power""".split()  # the last line: TensorFlow 1
)
_OPTIMIZER = re.compile(
    r"(?:^|\.)(?:optimizers?|optim|optimizer_states?|optimizer_state_dict|optimizer_weights|lr_schedulers?|scheduler|OPTIMIZER_SLOT)\."
    r"(?!_trainable_variables\.)"  # where Keras 3 names the weights themselves by the optimizer
)
_METRICS = re.compile(r"(?:^|\.)keras_api\.metrics\.")  # sums that Keras keeps of what it reports
_OPTIMIZER_STATE = re.compile(r"^state\.\d+\.")

# Moving averages and teachers, which train by copying: Lightning's and timm's names, DINO's and MoCo's
_COPY = re.compile(
    r"(?:^|\.)(?:ema|ema_model|model_ema|ema_state_dict|state_dict_ema|swa_model|averaged_model|module_ema|ema_weights|ema_params"
    r"|average_model_state|averaging_state|averaging_model|teacher|encoder_k|target_network|target_encoder)\."
)
_INTEGER = re.compile(r"_integer$")  # of I-BERT: what a weight rounds to
_WRAPPERS: Final = frozenset(
    """module model state_dict network net ema_model _orig_mod _fsdp_wrapped_module student encoder_q online_network
    context_encoder""".split()
)
_TRAINER: Final = ("callbacks.", "loops.", "lr_schedulers.")  # of Lightning, beside state_dict


def roles_by_name(table: TensorTable) -> UInt8:
    """A role for each row: array of uint8, shape (n,). Ties and packing are found later, by rows of role `WEIGHT` or `OTHER`."""
    roles = np.zeros(len(table), np.uint8)
    ranks = table.ranks.tolist()
    llama_cpp = "token_embd.weight" in table.names
    for row, (stored, dtype) in enumerate(zip(table.names, table.dtypes.tolist(), strict=True)):
        name = _dotted(stored)
        last = name[name.rfind(".") + 1 :]
        if _of_optimizer(name, last):
            roles[row] = OPTIMIZER
        elif (
            last in _BUFFERS
            or name.endswith(_BUFFER_ENDS)
            or (llama_cpp and name[: -len(last) - 1].rpartition(".")[2] in _GGUF_BUFFERS)
            or (ranks[row] == 0 and name.startswith(_TRAINER))
            or ("keras_api" in name and _METRICS.search(name))
            or (last in _ROTARY_LAST and _ROTARY.search(name))
            or (ranks[row] == 4 and _CAUSAL_MASK.search(name) and table.shape(row)[:2] == (1, 1))
        ):
            roles[row] = BUFFER
        elif dtype not in FLOATING:
            roles[row] = OTHER
    _weigh_buffers(table, roles)
    _mark_copies(table, roles)
    return roles


def _weigh_buffers(table: TensorTable, roles: UInt8) -> None:
    """Buffers are small beside the weights: where they are not, a name hides weights, and all of them count."""
    floating = np.isin(table.dtypes, sorted(FLOATING))
    integers = (roles == BUFFER) & ~floating
    if sum((table.elements * DTYPE_BITS[table.dtypes])[integers].tolist()) > 8 * max(SMALL_INTEGERS, 4 * _FEW_BUFFERS):
        roles[integers] = OTHER
    buffers, weights = (roles == BUFFER) & floating, (roles == WEIGHT) & floating
    if sum(table.elements[buffers].tolist()) > max(sum(table.elements[weights].tolist()) // 4, _FEW_BUFFERS):
        roles[buffers] = WEIGHT


def is_optimizer_only(table: TensorTable) -> bool:
    """Whether a file holds optimizer state and nothing else."""
    return len(table) > 0 and all(_of_optimizer(n, n[n.rfind(".") + 1 :]) for n in map(_dotted, table.names))


def is_small_state(table: TensorTable) -> bool:
    """Whether a file holds nothing but a few integers: random number states, step counters."""
    floating = np.isin(table.dtypes, sorted(FLOATING))
    bits = sum((table.elements * DTYPE_BITS[table.dtypes]).tolist())
    return not floating.any() and bits <= SMALL_INTEGERS * 8


def _dotted(name: str) -> str:
    """A name with dots between its parts; TensorFlow, Keras and ONNX write slashes, and TensorFlow 1 an output's number at the end."""
    return name.removesuffix(":0").replace("/", ".") if "/" in name else name


def _of_optimizer(name: str, last: str) -> bool:
    if last in _SLOTS:
        return True
    # cheaper than a search of every name
    maybe = "optim" in name or "OPTIM" in name or "scheduler" in name or name.startswith("state.")
    return maybe and bool(_OPTIMIZER.search(name) or _OPTIMIZER_STATE.match(name))


def _mark_copies(table: TensorTable, roles: UInt8) -> None:
    """A moving average is a copy only where the weight that it averages is there too."""
    averaged = [
        row
        for row, name in enumerate(table.names)
        if (
            name.endswith("_integer")
            or "ema" in name
            or "av" in name
            or "swa" in name
            or "tea" in name
            or "encoder_k" in name
            or "target_" in name
        )
        and (name.endswith("_integer") or _COPY.search(name))
    ]
    if not averaged:
        return
    inside = set(averaged)
    originals: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for row, name in enumerate(table.names):
        if row not in inside and roles[row] == WEIGHT:
            for bare in _bare(name):
                originals.setdefault((bare, table.shape(row)), []).append(row)
    taken: set[int] = set()  # one average a weight: a second is weights of its own
    for row in averaged:
        name, shape = table.names[row], table.shape(row)
        match = _COPY.search(name) or _INTEGER.search(name)
        if roles[row] != WEIGHT or match is None:
            continue
        before, after = name[: match.start()], name[match.end() :]
        trainers = before.startswith(_TRAINER) or set(before.split(".")) <= _WRAPPERS | {""}
        for bare in _bare(after if trainers else f"{before}.{after}"):
            known = (r for r in originals.get((bare, shape), ()) if r not in taken and _holds(table, row, r))
            original = next(known, None)
            if original is not None:
                taken.add(original)
                roles[row] = COPY
                break


def _holds(table: TensorTable, average: int, original: int) -> bool:
    """Averages are kept in 32 bits or as their weights are: in more, an element could be several weights."""
    return int(DTYPE_BITS[table.dtypes[average]]) <= max(32, int(DTYPE_BITS[table.dtypes[original]]))


def _bare(name: str) -> list[str]:
    """A name without each of the wrappers that trainers put before it, and without its dots, which some averages leave out."""
    parts = name.split(".")
    found = ["".join(parts)]
    for at, part in enumerate(parts[:-1], 1):
        if part not in _WRAPPERS:
            break
        found.append("".join(parts[at:]))
    return found
