"""Truth about decoder families from transformers' own classes, on torch's meta device: no weights, no network.

The class says how many parameters it has; torch's FlopCounterMode counts the operations of its forward pass at two lengths,
so that what grows with the length is attention. The file that weightguard then reads has the names and shapes of the Hub.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan, prod
from pathlib import Path
from typing import Any

from tests.layouts import write_json, write_sparse

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

SHORT, LONG = 256, 512
SAMPLE = ("llama", "mixtral", "deepseek_v3", "gpt_oss", "gemma2", "gpt2")
FAMILIES = tuple(
    """bloom codegen cohere deepseek_v2 deepseek_v3 falcon gemma gemma2 gemma3_text glm4 gpt2 gpt_bigcode gpt_neox gpt_oss gptj
    granite llama llama4_text mistral mixtral olmo olmo2 olmoe opt phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe smollm3
    stablelm starcoder2""".split()
)
DTYPES = {"bfloat16": "BF16", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "bool": "BOOL", "uint8": "U8"}
WINDOWED = {"sliding_attention", "chunked_attention", "hybrid_sliding", "local", "local_attention"}  # of layer_types
AUTOS = {
    "causal": ("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"),
    "masked": ("AutoModelForMaskedLM", "MODEL_FOR_MASKED_LM_MAPPING_NAMES"),
    "seq2seq": ("AutoModelForSeq2SeqLM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"),
    "image": ("AutoModelForImageClassification", "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES"),
}


@dataclass(frozen=True)
class Truth:
    """What the class says. Operations are forward, a token; `attention` is a token and key, of layers without a window.

    frozen: those of `parameters` that the class never trains. Both operations are NaN where the class doesn't run on meta.
    """

    model_type: str
    folder: Path
    parameters: int
    matmul: float
    attention: float
    frozen: int = 0


def every(auto: str) -> list[str]:
    """The model types that transformers has a class of this kind for."""
    from transformers.models.auto import modeling_auto

    return sorted(getattr(modeling_auto, AUTOS[auto][1]))


def make(model_type: str, folder: Path, auto: str = "causal", **changes: Any) -> Truth:
    """Write config.json and model.safetensors (a hole) into `folder`; `changes` to the class's default configuration."""
    import torch
    import transformers

    warnings.filterwarnings("ignore")
    config = transformers.AutoConfig.for_model(model_type, **changes)
    with torch.device("meta"):
        class_ = getattr(transformers, AUTOS[auto][0])
        model = class_.from_config(config, attn_implementation="eager", dtype=torch.bfloat16).eval()
    _write(model, config, folder)
    parameters = sum(p.numel() for p in model.parameters())  # tied ones are one object
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    matmul, attention = _forward(model, config) if auto == "causal" else (nan, nan)
    return Truth(model_type, folder, parameters, matmul, attention, frozen)


def _forward(model: Any, config: Any) -> tuple[float, float]:
    """(a token, a token and key of layers without a window), from passes of two lengths; NaN if it doesn't run."""
    try:
        counts = {length: _operations(model, length) for length in (SHORT, LONG)}
    except AssertionError:
        return nan, nan

    def slope(module: str) -> float:
        """Operations a token of a module that each further key costs."""
        return (counts[LONG].get(module, 0) / LONG - counts[SHORT].get(module, 0) / SHORT) / (LONG - SHORT)

    everywhere = slope("")
    windowed = sum(slope(name) for name in _windowed_layers(model, config))
    matmul = counts[SHORT][""] / SHORT - everywhere * SHORT - _masked_experts(model, config, counts[SHORT][""] / SHORT)
    return matmul, everywhere - windowed


def _write(model: Any, config: Any, folder: Path) -> None:
    from transformers.core_model_loading import revert_weight_conversion

    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first.setdefault(id(parameter), name)
    kept = set(first.values())
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    state = {name: value for name, value in model.state_dict().items() if name in kept or name not in parameters}
    tensors = [
        (name, DTYPES[str(value.dtype).removeprefix("torch.")], tuple(value.shape))
        for name, value in revert_weight_conversion(model, state).items()
    ]
    write_json(folder / "config.json", {**config.to_dict(), "architectures": [type(model).__name__]})
    write_sparse(folder / "model.safetensors", tensors, {"format": "pt"})


def _operations(model: Any, length: int) -> Mapping[str, float]:
    """Operations of one forward pass over `length` tokens, of each module by name; "" is the whole."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode, flop_registry

    def grouped(a: Any, b: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        """Shapes of rows in groups and of a matrix a group: every row meets one matrix."""
        return int(2 * prod(a) * b[-1])

    product = torch.ops.aten._grouped_mm
    custom = {} if product in flop_registry else {product: grouped}
    tokens = torch.zeros(1, length, dtype=torch.long, device="meta")
    mask = torch.zeros(1, 1, length, length, dtype=torch.bfloat16, device="meta")
    places = torch.arange(length, device="meta")[None]
    problems = []
    for extra in ({"attention_mask": mask, "position_ids": places}, {"attention_mask": mask}, {"position_ids": places}, {}):
        try:
            with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=custom) as counter:
                model(input_ids=tokens, use_cache=False, **extra)
        except (
            TypeError,
            ValueError,
            RuntimeError,
            NotImplementedError,
            AttributeError,
            KeyError,
            IndexError,
        ) as error:  # not every class takes every argument
            problems.append(f"{type(error).__name__}: {error}")
            continue
        counts = {name.partition(".")[2]: sum(c.values()) for name, c in counter.get_flop_counts().items() if name != "Global"}
        return {**counts, "": counter.get_total_flops()}
    raise AssertionError(f"{type(model).__name__} doesn't run on meta: {problems}")


def _windowed_layers(model: Any, config: Any) -> list[str]:
    """Names of the layers, or their attention, whose keys are limited: as the module says, else by `layer_types`, else all where
    the class knows a window and has one.
    """
    import sys

    said = [name for name, module in model.named_modules() if re.search(r"\.\d+(?:\.|$)", name) and _limits_keys(module)]
    outermost = [name for name in said if not any(name.startswith(f"{other}.") for other in said)]
    if outermost:
        return outermost
    layers: dict[str, list[str]] = defaultdict(list)
    for name, _ in model.named_modules():
        if (match := re.fullmatch(r"(.*\.(?:layers|h))\.\d+", name)) is not None:
            layers[match[1]].append(name)
    if not layers:
        return []
    names = max(layers.values(), key=len)
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if isinstance(kinds, list) and kinds:
        return [name for name, kind in zip(names, kinds, strict=False) if kind in WINDOWED] if len(kinds) == len(names) else []
    source = Path(sys.modules[type(model).__module__].__file__ or "").read_text(encoding="utf-8")
    uses = "create_sliding_window_causal_mask" in source and isinstance(getattr(config, "sliding_window", None), int)
    return names if uses and getattr(config, "use_sliding_window", True) else []


def _limits_keys(module: Any) -> bool:
    for key in ("is_sliding", "is_local_attention"):
        if isinstance(getattr(module, key, None), bool):
            return bool(getattr(module, key))
    for key in ("layer_type", "attention_type"):
        if isinstance(getattr(module, key, None), str):
            return getattr(module, key) in WINDOWED
    window = getattr(module, "sliding_window", None)
    return type(window) is int and window > 0


def _masked_experts(model: Any, config: Any, forward: float) -> float:
    """Operations a token of experts that the class multiplies by and masks afterwards, which no token needs."""
    read = {**config.to_dict(), **config.get_text_config().to_dict()}
    experts = _first(read, ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"))
    used = _first(read, ("num_experts_per_tok", "moe_topk", "moe_top_k", "moe_k", "top_k_experts"))
    if not experts > used > 0:
        return 0
    routed = sum(p.numel() for n, p in model.named_parameters() if ".experts." in n and p.ndim == 3)
    dense = sum(p.numel() for n, p in model.named_parameters() if ".experts." not in n and p.ndim == 2)
    if forward < 2 * (routed + dense) * 0.75:
        return 0  # the class multiplied by the experts that it used
    return float(2 * routed * (experts - used) / experts)


def _first(values: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    return next((value for key in keys if type(value := values.get(key)) is int and value > 0), 0)
