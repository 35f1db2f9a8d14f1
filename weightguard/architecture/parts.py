"""Signs that weights are a part of a model: layers that are not there, a cut layer, an adapter without its base."""

from __future__ import annotations

import re
from collections import Counter
from itertools import count

from weightguard.architecture.columns import stacks_of
from weightguard.architecture.config import Config, repeats
from weightguard.parameters.count import Parameters
from weightguard.tensors import TensorTable

_ADAPTER_NAMES = (
    "lora_[ABab]", "lora_embedding_[AB]", "lora[._](?:up|down)", "hada_w[12]_[ab]", "lokr_w[12]", "ia3_l", "oft_[rs]", "boft_",
    "vera_lambda", "prompt_embeddings", "prompt_encoder",
)  # fmt: skip
_ADAPTER = re.compile(rf"(?:^|[._])(?:{'|'.join(_ADAPTER_NAMES)})")
_ADAPTER_WORDS = ("lora", "hada_w", "lokr_w", "ia3_l", "oft_", "vera_l", "prompt_e")
_NORM = re.compile(r"norm|ln_|_ln\.|(?:^|\.)ln|head|pooler|predictions|classifier", re.IGNORECASE)
_FEW_VALUES = 1 << 20  # steps, rates and the like, beside the smallest models
_LARGE = 1_000_000_000  # elements from which any numbered list counts as layers
_FEWEST_NAMES = 6
"""Tensors of a block that make it a transformer's or a mixer's layer: a list of small modules may have gaps by design."""


def missing_parts(table: TensorTable, config: Config | None, layers: int | None, *, known: bool = False) -> list[str]:
    """One line for each sign; empty for weights that look whole. `layers`: how many the config claims.
    known: the tensors agree with a config of a known family, whose last layer may have less than the others by design.

    "Missing layers are seen by numbers that don't start at 0, have gaps, or are fewer than the config says".
    """
    found = []
    adapters = sum(_ADAPTER.search(name) is not None for name in table.names if any(w in name for w in _ADAPTER_WORDS))
    if adapters * 2 > len(table):
        found.append("an adapter without its base model")
    small = sum(table.elements.tolist()) < _LARGE
    fewest = _FEWEST_NAMES if small else 1
    stacks = {p: blocks for p, blocks in stacks_of(table).items() if max(map(len, blocks.values())) >= fewest}
    prefixes = tuple(stacks)
    outside = (
        (name, rank) for name, rank in zip(table.names, table.ranks.tolist(), strict=True) if not name.startswith(prefixes)
    )
    # by its name, or by its shape where modules are but numbered (torch.nn.Sequential)
    has_norm = any(_NORM.search(name) or (rank == 1 and name.endswith(".weight")) for name, rank in outside)
    for prefix, blocks in sorted(stacks.items()):
        absent = max(blocks) + 1 - len(blocks)
        if absent:
            first = next(n for n in count() if n not in blocks)
            found.append(f"{prefix}* has no number {first}" + (f" and {absent - 1} more" if absent > 1 else ""))
        last = blocks[max(blocks)]
        if sum(len(last) < len(b) for b in blocks.values()) < 2 or ((small or known) and has_norm):
            continue  # stages of a vision model end with less by design
        common, times = Counter(map(frozenset, blocks.values())).most_common(1)[0]
        if times > 1 and last < common:
            found.append(f"{prefix}{max(blocks)} is cut: it has {len(last)} of {len(common)} tensors")
    if config is None and stacks and not has_norm:
        found.append("no norm or head outside of the layers, as a shard in the middle has none")
    if layers and stacks and config is not None and repeats(config) == 1:
        most = max(len(blocks) for blocks in stacks.values())
        if most < layers:
            found.append(f"config.json says {layers} layers, the weights have {most}")
    return found


def too_much_state(parameters: Parameters) -> list[str]:
    """Optimizers keep up to four values a weight, each in a slot of its own: more is the state of weights that are not here."""
    most = max(parameters.total + parameters.total // 50, _FEW_VALUES)
    if any(values > most for values in parameters.slots.values()) or sum(parameters.slots.values()) > 4 * most:
        return ["optimizer state of more weights than are here"]
    return []
