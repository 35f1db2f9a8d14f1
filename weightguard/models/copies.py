"""The same weights twice in a folder, and weights of one model under several names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from weightguard.models.files import Group, WeightFile
from weightguard.models.groups import is_gguf
from weightguard.tensors import DTYPE_BITS, FLOATING, concatenate
from weightguard.values import Finding

_MOST_VARIANTS = 2  # copies in one container and precision
_VARIANT = re.compile(r"consolidated|non_ema|(?<![a-z])ema(?![a-z])|fp16|fp32|bf16|-of-(?=\d)")
_MOST_COPIES = 64  # files that repeat a model in another precision or container, shards included

# Names of Meta's and Mistral's own checkpoints (`consolidated.*`) and what transformers calls them: the conversion scripts
# convert_llama_weights_to_hf.py and convert_mistral_weights_to_hf.py
_META = re.compile(
    r"(?P<layer>layers\.\d{1,6}\.)(?P<module>(?:attention|feed_forward)\.w[1-3kqvo]|(?:attention|ffn)_norm)\.weight"
)
_META_MODULES = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_META_OUTSIDE = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def merge_copies(groups: list[Group]) -> list[Group]:
    """Groups with the same names and shapes are one model, stored again; the one with more tensors is the model."""
    merged: list[Group] = []
    known: list[Counter[tuple[str, tuple[int, ...]]]] = []
    for group in sorted(groups, key=lambda g: (-sum(len(f.table) for f in g.files), g.path)):
        shapes = _shapes(group)
        for at, other in enumerate(merged):
            alike = shapes and len(shapes) * 10 >= len(known[at]) * 9 and not shapes - known[at]
            if alike and not group.missing and len(other.copies) < _MOST_COPIES and _is_another_form(group, other):
                text = f"the same names and shapes as {other.path}: counted once"
                found = Finding("duplicate-weights", "info", text, group.path)
                merged[at] = replace(other, copies=(*other.copies, *group.files), findings=(*other.findings, found))
                break
        else:
            merged.append(group)
            known.append(shapes)
    return merged


def merge_parts(groups: list[Group]) -> list[Group]:
    """Groups beside one config that share no name are parts of the model that it describes, however they are named or indexed."""
    merged: list[Group] = []
    names: list[set[str]] = []
    for group in sorted(groups, key=lambda g: g.path):
        own = {n for f in group.files for n in f.table.names}
        for at, other in enumerate(merged):
            if names[at].isdisjoint(own) and not is_gguf(group) and not is_gguf(other):
                text = f"beside one config.json and without a name in common with {other.path}: counted with it"
                merged[at] = united(other, group, Finding("merged-parts", "info", text, group.path))
                names[at] |= own
                break
        else:
            merged.append(group)
            names.append(own)
    return merged


def united(one: Group, other: Group, why: Finding) -> Group:
    """Two groups as one model, whose path is the first one's."""
    joined = None
    if one.joined is not None or other.joined is not None:
        (first, repeated), (second, again) = one.front(), other.front()
        joined = concatenate([first, second]), np.concatenate([repeated, again + len(first)])
    return replace(
        one,
        files=(*one.files, *other.files),
        joined=joined,
        copies=(*one.copies, *other.copies),
        beside=(*one.beside, *other.beside),
        missing=(*one.missing, *other.missing),
        findings=(*one.findings, *other.findings, why),
    )


def _is_another_form(group: Group, other: Group) -> bool:
    """Whether a group could be the weights of another in a further precision, container or named variant: one copy a form.

    Of packed words the same shape may stand for more weights, and of 64 bits an element for several.
    """
    if not (_is_floating(group) and _is_floating(other)):
        return False
    own, first = _form(group.files), _form(other.files)
    forms = [first, *(_form([f]) for f in other.copies)]
    if own in forms or sum(f[:2] == own[:2] for f in forms) > _MOST_VARIANTS:
        return False
    return own[1] == first[1] or max(int(DTYPE_BITS[d]) for d in own[1]) <= 32


def _form(files: Sequence[WeightFile]) -> tuple[frozenset[str], frozenset[int], frozenset[str]]:
    """Containers, dtypes, and what the names say that the files are: a variant (diffusers), one file for all, a shard."""
    said = frozenset(match[0] for f in files for match in [_VARIANT.search(f.name)] if match)
    return frozenset(f.container.format for f in files), frozenset(d for f in files for d in f.table.dtypes.tolist()), said


def _is_floating(group: Group) -> bool:
    return all(set(f.table.dtypes.tolist()) <= FLOATING for f in group.files)


def _shapes(group: Group) -> Counter[tuple[str, tuple[int, ...]]]:
    """Names, as transformers has them, and shapes."""
    table, repeated = group.table()
    skipped = set(repeated.tolist())
    is_meta = "tok_embeddings.weight" in table.names
    names = [_translated(n) for n in table.names] if is_meta else table.names
    return Counter(
        (name, shape)
        for row, (name, shape) in enumerate(zip(names, table.shapes(), strict=True))
        if row not in skipped and not (is_meta and name == "rope.freqs")
    )


def _translated(name: str) -> str:
    match = _META.fullmatch(name)
    if match is None:
        return _META_OUTSIDE.get(name, name)
    return f"model.{match['layer']}{_META_MODULES.get(match['module'], match['module'])}.weight"
