"""Models that pass a layer several times: Dory's recurrent layers, HRM's two modules, Zamba's shared block, Inkling's loop."""

from collections.abc import Sequence

from weightguard.architecture.config import HEADS, Config
from weightguard.architecture.family import Attention, Family, every_layer


def dory_stored(config: Config) -> int | None:
    """Attention and feed-forward count as layers of their own in `num_hidden_layers`, and lie in one block on disk."""
    layers = config.number("num_hidden_layers")
    return layers // 2 if layers else None


def dory_loops(config: Config) -> Sequence[tuple[str, int]]:
    """`n_recurrent_layers` after `n_input_layers` are passed `n_recurrent_loops` times."""
    first, looped, loops = (config.number(k) or 0 for k in ("n_input_layers", "n_recurrent_layers", "n_recurrent_loops"))
    return _between(first // 2, (first + looped) // 2, loops)


def dory_windows(config: Config, layers: int) -> Sequence[int]:
    kinds = [kind for kind in config.texts("layer_types") if kind != "mlp"]
    window = config.number("sliding_window") or 0
    return [window if kind == "sliding_attention" else 0 for kind in kinds] if len(kinds) == layers else [0] * layers


def hrm_cycles(config: Config) -> Sequence[tuple[str, int]]:
    """`H_cycles` of the high module, and `L_cycles` of the low one in each."""
    high, low = config.number("H_cycles") or 1, config.number("L_cycles") or 1
    return [(r"\.H_module\.", high), (r"\.L_module\.", high * low)]


def zamba_shared(config: Config) -> Sequence[tuple[str, int]]:
    """One shared transformer block, in every hybrid layer, over the layer's input beside the embedding."""
    hybrid = sum(kind == "hybrid" for kind in config.texts("layers_block_type")) or len(
        config.values.get("hybrid_layer_ids") or ()
    )
    return [(r"adapter_list", 1), (r"\.shared_transf(?:ormer)?\.", max(1, min(hybrid, 1_000_000)))]


def zamba_attention(config: Config) -> Attention | None:
    heads, width = config.number(*HEADS), config.number("attention_head_dim")
    return Attention(heads, width, width) if heads and width else None


def only_hybrid(config: Config, layers: int) -> Sequence[bool]:
    kinds = config.texts("layers_block_type")
    return [kind == "hybrid" for kind in kinds] if len(kinds) == layers else [True] * layers


def inkling_passes(config: Config) -> Sequence[tuple[str, int]]:
    """Layers from `loop_layer_index_start` to before `loop_layer_index_end` are passed `loop_num_passes` times."""
    first, end, passes = (config.number(k) or 0 for k in ("loop_layer_index_start", "loop_layer_index_end", "loop_num_passes"))
    return _between(first, end, passes)


def inkling_windows(config: Config, layers: int) -> Sequence[int]:
    kinds, window = config.texts("layer_types"), config.number("sliding_window_size", "sliding_window") or 0
    return [window if kind == "hybrid_sliding" else 0 for kind in kinds] if len(kinds) == layers else [0] * layers


def _between(first: int, end: int, times: int) -> Sequence[tuple[str, int]]:
    if not 0 <= first < end <= 10_000 or times < 2:
        return []
    return [(rf"\.layers\.(?:{'|'.join(map(str, range(first, end)))})\.", times)]


FAMILIES = (
    Family(
        ("dory",),
        "transformers DoryForCausalLM",
        stored=dory_stored,
        times=dory_loops,
        windows=dory_windows,
        softmax=lambda c, n: [True] * n,
    ),
    Family(
        ("hrm_text",),
        "transformers HrmTextForCausalLM",
        stored=lambda c: c.number("num_layers_per_stack"),
        times=hrm_cycles,
        windows=every_layer,
    ),
    Family(
        ("zamba", "zamba2"),
        "transformers ZambaForCausalLM, Zamba2ForCausalLM",
        tied=True,
        attention=zamba_attention,
        softmax=only_hybrid,
        times=zamba_shared,
    ),
    Family(("inkling_text", "inkling2_text"), "transformers InklingForCausalLM", windows=inkling_windows),
    Family(("inkling2_loop_text",), "transformers Inkling2LoopForCausalLM", windows=inkling_windows, times=inkling_passes),
)
