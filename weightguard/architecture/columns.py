"""What each tensor does for a token: its layer, and whether it multiplies, is looked up, or is one of many experts."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from weightguard.parameters.ties import EMBEDDINGS, HEADS, is_named
from weightguard.roles import TIED, WEIGHT
from weightguard.tensors import Int64, TensorTable, UInt8

VECTOR, MATRIX, ROUTED, ROUTED_VECTOR, LOOKUP, KERNEL, NOTHING = range(7)
N_KINDS: Final = 7

# Lists of repeated blocks, by the names that the common libraries give them; the first number in a name is the layer.
_LAYER = re.compile(
    r"(?:^|\.)(?:layers?|h|blk|blocks?|transformer_blocks|resblocks|decoder_layers|encoder_layers)\.(\d{1,6})\.(?=[^.]+\.)"
)
_EXPERT = re.compile(r"\.experts\.(?:(\d{1,6})\.)?|\.ffn_\w+_exps\.")  # llama.cpp stacks them
_POSITIONS = (
    "wpe.weight",
    "embed_positions.weight",
    "position_embeddings.weight",
    "token_type_embeddings.weight",
    "position_embd.weight",
    "token_types.weight",
)


def layers_of(table: TensorTable) -> Int64:
    """The layer each row stands in, -1 outside: array of int64, shape (n,)."""
    return np.array([int(m[1]) if (m := _LAYER.search(name)) else -1 for name in table.names], np.int64)


def is_expert(name: str) -> bool:
    """Whether a tensor belongs to one of many experts, by the names that the common libraries give them."""
    return (".experts." in name or "_exps." in name) and _EXPERT.search(name) is not None


def stacks_of(table: TensorTable) -> dict[str, dict[int, set[str]]]:
    """Each list of blocks, by the name before its number: layer -> the names below it."""
    stacks: dict[str, dict[int, set[str]]] = {}
    for name in table.names:
        if (match := _LAYER.search(name)) is not None:
            below = stacks.setdefault(name[: match.start(1)], {}).setdefault(int(match[1]), set())
            below.add(name[match.end() :])
    return stacks


def kinds_of(table: TensorTable, roles: UInt8, layers: Int64, ranks: Int64) -> UInt8:
    """What each row does, codes of this module: array of uint8, shape (n,).

    A row of two or more dimensions multiplies, unless it is a bias (of stacked experts) or an embedding; the input embedding
    multiplies too where it is the output head.
    """
    kinds = np.full(len(table), NOTHING, np.uint8)
    outside = [row for row in np.flatnonzero(layers < 0).tolist() if roles[row] in (WEIGHT, TIED)]
    has_head = any(is_named(table.names[row], HEADS) and roles[row] == WEIGHT for row in outside)
    for row, (name, rank, role) in enumerate(zip(table.names, ranks.tolist(), roles.tolist(), strict=True)):
        if role != WEIGHT:
            continue
        expert = is_expert(name)
        if rank < 2 or name.endswith("bias"):
            kinds[row] = ROUTED_VECTOR if expert else VECTOR
        elif layers[row] < 0 and name.endswith(_POSITIONS):
            kinds[row] = LOOKUP
        elif layers[row] < 0 and is_named(name, EMBEDDINGS):
            kinds[row] = LOOKUP if has_head else MATRIX
        elif expert:
            kinds[row] = ROUTED
        else:
            kinds[row] = MATRIX if rank == 2 else KERNEL
    return kinds


def experts_stored(table: TensorTable, roles: UInt8, layers: Int64, logical: Int64) -> dict[int, tuple[int, bool]]:
    """How many routed experts each layer stores, by the numbers in their names or the first dimension of their stack; and whether
    they are alike: all of one size, and nothing among them that is neither numbered nor stacked.
    """
    numbers: dict[int, dict[int, int]] = {}
    stacked: dict[int, list[int]] = {}
    for row, name in enumerate(table.names):
        if roles[row] != WEIGHT or not is_expert(name) or (match := _EXPERT.search(name)) is None:
            continue
        layer = int(layers[row])
        if match[1] is not None:
            sizes = numbers.setdefault(layer, {})
            sizes[int(match[1])] = sizes.get(int(match[1]), 0) + int(logical[row])
        else:
            shape = table.shape(row)
            stacked.setdefault(layer, []).append(shape[0] if len(shape) > 1 else 1)
    found = {}
    for layer in numbers.keys() | stacked.keys():
        sizes, firsts = numbers.get(layer, {}), stacked.get(layer, [])
        n = len(sizes) or max(firsts)
        found[layer] = n, len(set(sizes.values())) <= 1 and all(first == n for first in firsts)
    return dict(sorted(found.items()))
