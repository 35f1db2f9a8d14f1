"""Adapters: small tensors that change a base model, and are a part of it.

Sources: PEFT, `src/peft/tuners/*/layer.py` and `utils/save_and_load.py`; kohya-ss/sd-scripts, `networks/lora.py`; LyCORIS,
`lycoris/modules/*.py`; diffusers, `loaders/lora_conversion_utils.py`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from weightguard.models.copies import united
from weightguard.models.files import Group
from weightguard.tensors import TensorTable
from weightguard.values import Finding

_PARTS = (
    "lora_[ABEab]", "lora_embedding_[AB]", "lora_magnitude_vector", "lora_bias", "lora[._](?:up|down|mid)", "dora_scale",
    "hada_[wt][12](?:_[ab])?", "lokr_[wt][12](?:_[ab])?", "ia3_l", "vera_lambda_[bd]", "prompt_embeddings", "prompt_encoder",
    "adaption_(?:prompt|gate)", "hra_u", "string_to_param", "emb_params",
)  # fmt: skip
# What PEFT's other methods begin their tensors' names with (`prefix` in tuners/*/model.py)
_PREFIXES = (
    "adamss beft boft c3a deft delora fourierft frod glora gralora hira lily miss oft osf peanut poly psoft pvera_lambda randlora "
    "road shira supertuning tinylora trainable_tokens unilora vblora waveft bone"
).split()
_PART = re.compile(rf"(?:^|[._])(?:{'|'.join(_PARTS)})(?=[._]|$)|(?:^|\.)(?:{'|'.join(_PREFIXES)})_[A-Za-z]\w*(?=[.]|$)")
_WORDS = (
    *("lora", "hada_", "lokr_", "ia3_l", "vera_l", "prompt_e", "dora_", "adaption_", "hra_u", "emb_params", "to_param"),
    *(f"{p}_" for p in _PREFIXES),
)
NO_BASE = "an adapter without its base model"
_LOOKED_AT = 64  # names by which a model is told from an adapter, before all are looked at
_SCALE = re.compile(r"(?:^|[._])(?:alpha|scale|rank|num_vectors)$")
_BEFORE = re.compile(
    r"^(?:base_model_model_|lora_(?:unet|te\d?|transformer|prior_unet)_|transformer_|unet_|text_encoder\d?_|model_)+"
)
_DOWN = ("lora_A", "lora.down", "lora_down", "lora_embedding_A")
_PAIR = re.compile(r"^(?P<module>.+?)[._](?P<half>lora_A|lora_B|lora_embedding_[AB]|lora[._](?:down|up))(?:[._].*)?$")


def is_adapter(table: TensorTable) -> bool:
    """Whether most tensors have names that only adapters have, whatever lies beside."""
    step = max(1, len(table) // _LOOKED_AT)
    some = "\n".join(table.names[::step])
    if not any(word in some for word in _WORDS):  # most models have no such name at all
        return False
    parts = [n for n in table.names if any(w in n for w in _WORDS) and _PART.search(n)]
    scales = sum(_SCALE.search(n) is not None for n in table.names)
    return bool(parts) and len(parts) * 2 > len(table) - scales


def with_base(bases: list[Group], adapters: list[Group]) -> tuple[list[Group], list[Group]]:
    """Adapters beside one base model that they fit are counted with it: bases, and the adapters that are without theirs."""
    if len(bases) != 1:
        return bases, adapters
    base = bases[0]
    rest = []
    for adapter in adapters:
        wrong = misfit([f.table for f in adapter.files], base.table()[0])
        if wrong:
            rest.append(adapter)
        else:
            text = f"an adapter of {base.path}: counted with it"
            base = united(base, adapter, Finding("adapter-with-base", "info", text, adapter.path))
    return [base], rest


def misfit(adapter: Iterable[TensorTable], base: TensorTable) -> str:
    """The first tensor of an adapter that changes nothing in the base; "" if all fit.

    A pair of low rank fits a weight of as many outputs and inputs: the other way round too, as GPT-2 and embeddings have them.
    """
    shapes: dict[str, list[tuple[int, ...]]] = defaultdict(list)  # of a pipeline, two components may have one name
    for row, name in enumerate(base.names):
        shapes[_key(name.removesuffix(".weight"))].append(base.shape(row))
    widths = {n for found in shapes.values() for shape in found for n in shape}
    for table in adapter:
        for row, name in enumerate(table.names):
            if not _PART.search(name):
                continue
            shape = table.shape(row)
            match = _PAIR.match(name)
            if match is None:  # a vector or a table of some width of the base
                if shape and not widths & set(shape):
                    return name
                continue
            if len(shape) < 2 or not any(_fits(match["half"], shape, t) for t in shapes.get(_key(match["module"]), ())):
                return name
    return ""


def _fits(half: str, shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether one half of a pair has an end of the width of a weight."""
    width = shape[1] if half in _DOWN else shape[0]
    return len(target) > 1 and width in target[:2]


def _key(name: str) -> str:
    """A module's name, as all writers of adapters can be made to agree on it."""
    return _BEFORE.sub("", name.replace(".", "_"))
