"""What each tensor does for a token: its block, and whether it multiplies, is looked up, or is one of many experts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from weightguard.parameters.ties import EMBEDDINGS, HEADS, is_named
from weightguard.roles import TIED, WEIGHT
from weightguard.tensors import Int64, TensorTable, UInt8

VECTOR, MATRIX, ROUTED, ROUTED_VECTOR, LOOKUP, KERNEL, TOWER, IDLE, NOTHING = range(9)
N_KINDS: Final = 9

# Lists of repeated blocks, by the names that the common libraries give them; the first number in a name is the layer.
_LAYER = re.compile(
    r"(?:^|\.)(?:layers?|h|blk|blocks?|transformer_blocks|resblocks|decoder_layers|encoder_layers)\.(\d{1,6})\.(?=[^.]+\.)"
)
_LIST = re.compile(r"\.(\d{1,6})\.(?=[^.]+\.)")  # any list, where no list of blocks has a known name
_EXPERT = re.compile(r"\.experts\.(?:(\d{1,6})\.)?|\.ffn_\w+_exps\.|\.block_sparse_moe\.(?:in|out)put_linear\.")  # or one stack
_POSITIONS = (
    "wpe.weight",
    "embed_positions.weight",
    "position_embeddings.weight",
    "token_type_embeddings.weight",
    "position_embd.weight",
    "token_types.weight",
)
_LOOKED_UP = re.compile(r"emb(?:ed|eddings?|s)?(?:_\w+)?(?:\.weight)?$")
_MULTIPLIED = re.compile(r"proj|patch|linear|dense|conv|fc|norm|mlp|gate")
TOWERS = re.compile(r"(?:^|[._])(?:vi(?:sion|sual)|vit|audio|image|speech|img|sam|pixel)")
"""Modules of a composed model that text tokens don't pass: their own inputs do."""
_CROSS = re.compile(
    r"\.(?:encoder_attn|encoder_decoder_attention|crossattention|cross_attn|EncDecAttention|encoder_attention)\."
)
_ENCODER = re.compile(r"(?:^|\.)encoder\.")
_CONVOLVED = 16  # the longest kernel of a mixer's convolution over tokens


@dataclass(frozen=True, eq=False)
class Blocks:
    """The numbered blocks of a checkpoint. `of`: array of int64, shape (n,), each row's block; `len(numbers)` for outside.

    prefixes, numbers: of each block, in the order of prefix and number: the name before its number, and the number.
    """

    of: Int64
    prefixes: tuple[str, ...]
    numbers: Int64

    def __len__(self) -> int:
        return len(self.prefixes)


def blocks_of(table: TensorTable) -> Blocks:
    """The block that each row stands in, by the first number of a list of blocks in its name."""
    matches = [_LAYER.search(name) for name in table.names]
    if not any(matches):
        matches = [_LIST.search(name) for name in table.names]
    found = sorted({(name[: m.start(1)], int(m[1])) for name, m in zip(table.names, matches, strict=True) if m})
    index = {key: n for n, key in enumerate(found)}
    of = [index[name[: m.start(1)], int(m[1])] if m else len(found) for name, m in zip(table.names, matches, strict=True)]
    return Blocks(np.array(of, np.int64), tuple(p for p, _ in found), np.array([n for _, n in found], np.int64))


def is_expert(name: str) -> bool:
    """Whether a tensor belongs to one of many experts, by the names that the common libraries give them."""
    return (".experts." in name or "_exps." in name or "_sparse_moe." in name) and _EXPERT.search(name) is not None


def stacks_of(table: TensorTable) -> dict[str, dict[int, set[str]]]:
    """Each list of blocks, by the name before its number: layer -> the names below it."""
    stacks: dict[str, dict[int, set[str]]] = {}
    for name in table.names:
        if (match := _LAYER.search(name)) is not None:
            below = stacks.setdefault(name[: match.start(1)], {}).setdefault(int(match[1]), set())
            below.add(name[match.end() :])
    return stacks


def kinds_of(
    table: TensorTable,
    roles: UInt8,
    blocks: Blocks,
    ranks: Int64,
    lookups: re.Pattern[str] | None,
    idle: re.Pattern[str] | None,
) -> UInt8:
    """What each row does, codes of this module: array of uint8, shape (n,).

    A row of two or more dimensions multiplies, unless it is a bias (of stacked experts) or an embedding; the input embedding
    multiplies too where it is the output head. lookups, idle: a family's further names of what is looked up, or not passed.
    """
    kinds = np.full(len(table), NOTHING, np.uint8)
    inside = (blocks.of < len(blocks)).tolist()
    outside = [row for row, within in enumerate(inside) if not within and roles[row] in (WEIGHT, TIED)]
    has_head = any(is_named(table.names[row], HEADS) and roles[row] == WEIGHT for row in outside)
    towers = len({TOWERS.search(prefix) is None for prefix in set(blocks.prefixes)}) > 1  # beside a language model
    no_encoder = not any(_ENCODER.search(p) for p in set(blocks.prefixes))
    for row, (name, rank, role) in enumerate(zip(table.names, ranks.tolist(), roles.tolist(), strict=True)):
        if role != WEIGHT:
            continue
        expert = is_expert(name)
        if rank < 2 or name.endswith("bias"):
            kinds[row] = ROUTED_VECTOR if expert else VECTOR
        elif towers and (TOWERS.search(name) or name.startswith("multi_modal_projector.")):
            kinds[row] = TOWER
        elif (idle and idle.search(name)) or (no_encoder and _CROSS.search(name)):
            kinds[row] = IDLE
        elif (lookups and lookups.search(name)) or (not inside[row] and _is_lookup(name)):
            kinds[row] = LOOKUP
        elif expert:
            kinds[row] = ROUTED
        else:
            shape = table.shape(row)
            convolved = inside[row] and rank == 3 and 0 < min(shape[-1:] or (0,)) <= _CONVOLVED
            kinds[row] = MATRIX if rank == 2 or convolved else KERNEL
    if not has_head:
        _embedding_as_head(table, roles, kinds, inside)
    return kinds


def _embedding_as_head(table: TensorTable, roles: UInt8, kinds: UInt8, inside: list[bool]) -> None:
    """Without an output head of its own, the input embedding multiplies too: the one of a known name, else the largest."""
    looked_up = [row for row in np.flatnonzero(kinds == LOOKUP).tolist() if not inside[row]]
    named = [row for row in looked_up if is_named(table.names[row], EMBEDDINGS)]
    largest = max(looked_up, key=lambda row: int(table.elements[row]), default=None)
    for row in named or ([] if largest is None else [largest]):
        kinds[row] = MATRIX


def _is_lookup(name: str) -> bool:
    if is_named(name, HEADS):
        return False
    if is_named(name, EMBEDDINGS) or name.endswith(_POSITIONS):
        return True
    return _LOOKED_UP.search(name) is not None and _MULTIPLIED.search(name.removesuffix(".weight").rpartition(".")[2]) is None


def experts_stored(table: TensorTable, roles: UInt8, layers: Int64, logical: Int64) -> dict[int, tuple[int, bool]]:
    """How many routed experts each block stores, by the numbers in their names or the first dimension of their stack; and whether
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
