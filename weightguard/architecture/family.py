"""What a family of decoders has to say beyond its tensors' shapes: which heads attend, over which keys, to how many experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weightguard.architecture.config import EXPERTS, EXPERTS_USED, HEADS, HIDDEN, Config

WINDOWED = frozenset({"sliding_attention", "chunked_attention", "local_attention"})  # transformers' layer_types


@dataclass(frozen=True)
class Attention:
    """Softmax attention of one layer: `heads` query heads, each `qk` wide in queries and keys and `v` wide in values."""

    heads: int
    qk: int
    v: int


def multi_head(config: Config) -> Attention | None:
    """`head_dim`, or the hidden size split over the heads; grouped key and value heads change nothing here."""
    heads, hidden = config.number(*HEADS), config.number(*HIDDEN)
    width = config.number("head_dim") or (hidden // heads if heads and hidden else None)
    return Attention(heads, width, width) if heads and width else None


def layer_types(config: Config, layers: int) -> Sequence[int]:
    """The window of each layer in keys, 0 for all: `layer_types`, with `sliding_window` or `attention_chunk_size`."""
    kinds = config.texts("layer_types")
    window = config.number("sliding_window", "attention_chunk_size")
    if len(kinds) != layers or window is None:
        return [0] * layers
    return [window if kind in WINDOWED else 0 for kind in kinds]


def every_layer(config: Config, layers: int) -> Sequence[int]:
    """`sliding_window` on all layers, where the class reads it so and no `layer_types` says otherwise."""
    if config.texts("layer_types"):
        return layer_types(config, layers)
    return [config.number("sliding_window") or 0] * layers


def routed(config: Config) -> tuple[int, int] | None:
    """(experts, experts a token is sent to) of a layer with experts; None for a dense model."""
    experts, used = config.number(*EXPERTS), config.number(*EXPERTS_USED)
    return (experts, min(used, experts)) if experts and used else None


@dataclass(frozen=True)
class Family:
    """`model_types` as in config.json; `reference` is the class that this describes; `tied` its default of tie_word_embeddings."""

    model_types: tuple[str, ...]
    reference: str
    tied: bool = False
    attention: Callable[[Config], Attention | None] = multi_head
    windows: Callable[[Config, int], Sequence[int]] = layer_types
    experts: Callable[[Config], tuple[int, int] | None] = routed
