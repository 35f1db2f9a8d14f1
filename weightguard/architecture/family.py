"""What a family of decoders has to say beyond its tensors' shapes: which heads attend, over which keys, to how many experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weightguard.architecture.config import EXPERTS, EXPERTS_USED, HEADS, HIDDEN, LAYERS, Config, repeats

WINDOWED = frozenset({"sliding_attention", "chunked_attention", "local_attention"})  # transformers' layer_types


@dataclass(frozen=True)
class Attention:
    """Softmax attention of one layer: `heads` query heads, each `qk` wide in queries and keys and `v` wide in values.

    passes: how often the layer attends with them.
    """

    heads: int
    qk: int
    v: int
    passes: int = 1


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


def latent_attention(config: Config) -> Attention | None:
    """DeepSeek's: queries and keys are a part without and a part with rotation wide; values have a width of their own.

    `num_key_value_heads` says as many as there are heads, though what is cached is one latent vector.
    """
    heads, v = config.number(*HEADS), config.number("v_head_dim")
    plain, rotated = config.number("qk_nope_head_dim"), config.number("qk_rope_head_dim")
    return Attention(heads, plain + rotated, v) if heads and v and plain and rotated else None


def any_attention(config: Config) -> Attention | None:
    """Latent attention where the config has its keys, else multi-head."""
    return latent_attention(config) or multi_head(config)


def softmax_layers(config: Config, layers: int) -> Sequence[bool]:
    """Whether each layer attends by softmax, as `layer_types` says: a state space or linear attention has no term in the keys."""
    kinds = config.texts("layer_types") or config.texts("layers_block_type")
    if len(kinds) != layers:
        return [True] * layers
    return [("attention" in kind or kind in ("hybrid", "full", "sparse")) and "linear" not in kind for kind in kinds]


def every_layer(config: Config, layers: int) -> Sequence[int]:
    """`sliding_window` on all layers, where the class reads it so and no `layer_types` says otherwise."""
    if config.texts("layer_types"):
        return layer_types(config, layers)
    return [config.number("sliding_window") or 0] * layers


def routed(config: Config) -> tuple[int, int] | None:
    """(experts, experts a token is sent to) of a layer with experts; None for a dense model."""
    experts, used = config.number(*EXPERTS), config.number(*EXPERTS_USED)
    return (experts, min(used, experts)) if experts and used else None


def shared(config: Config) -> Sequence[tuple[str, int]]:
    """ALBERT's layers share weights: `num_hidden_layers` of `num_hidden_groups`."""
    times = repeats(config)
    return [(r"\.\d+\.", times)] if times > 1 else []


def all_stored(config: Config) -> int | None:
    """As many layers on disk as `num_hidden_layers` or its like says."""
    return config.number(*LAYERS) or len(config.texts("layers_block_type")) or None


def nothing(config: Config) -> str:
    """No tensor is idle."""
    return ""


def uncompressed(config: Config) -> int:
    """No attention over compressed keys."""
    return 0


@dataclass(frozen=True)
class Family:
    """`model_types` as in config.json; `reference` is the class that this describes; `tied` its default of tie_word_embeddings.

    softmax: which layers attend by softmax. times: (pattern of names, how often a token passes them), the first that fits.
    stored: layers on disk. lookups: a pattern of further names that are looked up; idle: of names that no text token passes.
    by_shapes: the widths of attention are the shapes', as gates or several widths of heads are not in the config's heads.
    compressed: width of queries and values of attention over compressed keys, beside that over a window, in keys that aren't.
    ties: False where the class keeps a head of its own whatever its config says.
    """

    model_types: tuple[str, ...]
    reference: str
    tied: bool = False
    attention: Callable[[Config], Attention | None] = multi_head
    windows: Callable[[Config, int], Sequence[int]] = layer_types
    experts: Callable[[Config], tuple[int, int] | None] = routed
    softmax: Callable[[Config, int], Sequence[bool]] = softmax_layers
    times: Callable[[Config], Sequence[tuple[str, int]]] = shared
    stored: Callable[[Config], int | None] = all_stored
    lookups: str = ""
    idle: Callable[[Config], str] = nothing
    ties: bool = True
    by_shapes: bool = False
    compressed: Callable[[Config], int] = uncompressed
