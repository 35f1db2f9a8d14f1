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
# Fourier bases of speech models (torch-stft).
_BUFFERS: Final = frozenset(
    """running_mean running_var num_batches_tracked inv_freq original_inv_freq masked_bias position_ids token_type_ids
    relative_position_index relative_coords_table attn_mask causal_mask cos_cached sin_cached rope_freqs
    e_score_correction_bias final_logits_bias _extra_state n_averaged num_updates forward_basis_buffer inverse_basis_buffer""".split()
)
SMALL_INTEGERS: Final = 64 << 10
"""Bytes of integers (index tables, step counters, random states) that need no rule to explain them."""
_FEW_BUFFERS: Final = 1 << 22
_ROTARY = re.compile(r"(?:^|\.)(?:rotary_emb|rope)\.(?:freqs|inv_freq|cos|sin|cos_cached|sin_cached)$")
_ROTARY_LAST: Final = frozenset({"freqs", "inv_freq", "cos", "sin", "cos_cached", "sin_cached"})
_CAUSAL_MASK = re.compile(
    r"(?:^|\.)(?:attn|attention|self_attention)\.(?:attention\.)?(?:bias|mask)$"
)  # GPT-2, GPT-J, GPT-NeoX

# Optimizer state: torch.optim's slots, and where trainers keep them.
_SLOTS: Final = frozenset(
    """exp_avg exp_avg_sq max_exp_avg_sq exp_inf exp_avg_sq_row exp_avg_sq_col momentum_buffer square_avg grad_avg acc_delta
    prev old_dirs old_stps ro prev_flat_grad fp32_flat_groups single_partition_of_fp32_groups""".split()
)
_OPTIMIZER = re.compile(r"(?:^|\.)(?:optimizers?|optim|optimizer_states?|optimizer_state_dict|lr_schedulers?|scheduler)\.")
_OPTIMIZER_STATE = re.compile(r"^state\.\d+\.")

_COPY = re.compile(r"(?:^|\.)(?:ema|ema_model|model_ema|ema_state_dict|state_dict_ema|swa_model|averaged_model|module_ema)\.")
_WRAPPERS = re.compile(r"^(?:(?:module|model|state_dict|network|net|ema_model|_orig_mod|_fsdp_wrapped_module)\.)+")


def roles_by_name(table: TensorTable) -> UInt8:
    """A role for each row: array of uint8, shape (n,). Ties and packing are found later, by rows of role `WEIGHT` or `OTHER`."""
    roles = np.zeros(len(table), np.uint8)
    ranks = table.ranks.tolist()
    for row, (name, dtype) in enumerate(zip(table.names, table.dtypes.tolist(), strict=True)):
        last = name[name.rfind(".") + 1 :]
        if _of_optimizer(name, last):
            roles[row] = OPTIMIZER
        elif (
            last in _BUFFERS
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
    return len(table) > 0 and all(_of_optimizer(name, name[name.rfind(".") + 1 :]) for name in table.names)


def is_small_state(table: TensorTable) -> bool:
    """Whether a file holds nothing but a few integers: random number states, step counters."""
    floating = np.isin(table.dtypes, sorted(FLOATING))
    bits = sum((table.elements * DTYPE_BITS[table.dtypes]).tolist())
    return not floating.any() and bits <= SMALL_INTEGERS * 8


def _of_optimizer(name: str, last: str) -> bool:
    if last in _SLOTS:
        return True
    maybe = "optim" in name or "scheduler" in name or name.startswith("state.")  # cheaper than a search of every name
    return maybe and bool(_OPTIMIZER.search(name) or _OPTIMIZER_STATE.match(name))


def _mark_copies(table: TensorTable, roles: UInt8) -> None:
    """A moving average is a copy only where the weight that it averages is there too."""
    averaged = [
        row for row, name in enumerate(table.names) if ("ema" in name or "av" in name or "swa" in name) and _COPY.search(name)
    ]
    if not averaged:
        return
    inside = set(averaged)
    originals = {
        (_bare(name), table.shape(row)) for row, name in enumerate(table.names) if row not in inside and roles[row] == WEIGHT
    }
    for row in averaged:
        original = (_bare(_COPY.sub("", table.names[row], count=1)), table.shape(row))
        if roles[row] == WEIGHT and original in originals:
            originals.remove(original)  # one average a weight: a second is weights of its own
            roles[row] = COPY


def _bare(name: str) -> str:
    """A name without the wrappers that trainers put before it."""
    return _WRAPPERS.sub("", name, count=1)
