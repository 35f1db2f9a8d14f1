"""Forward operations of one image: each weight as often as there are places that it is applied at.

Sources: Dosovitskiy et al. 2021, section 3.1 (patches as tokens); He et al. 2016, table 1, and Liu et al. 2022, table 9 (stages that
halve the resolution); Liu et al. 2021, equation 2 (windows); Peebles and Xie 2023, section 3.2 (one modulation an image); diffusers,
`UNet2DConditionModel` (levels). What decides is the bound a token, which these numbers leave alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from weightguard.architecture.columns import blocks_of
from weightguard.architecture.config import Config
from weightguard.architecture.describe import Architecture
from weightguard.operations.forward import FORMULA, Forward
from weightguard.parameters.count import Parameters
from weightguard.parameters.ties import EMBEDDINGS, ends_with
from weightguard.roles import WEIGHT
from weightguard.tensors import TensorTable
from weightguard.values import Term

Places = Callable[[str], int]
PATCHED = frozenset(
    "vit vit_msn beit data2vec-vision dinov2 dinov2_with_registers ijepa clip_vision_model siglip_vision_model".split()
)
STAGED = frozenset("swin swinv2 donut-swin convnext convnextv2 resnet".split())
DIFFUSERS = frozenset({"UNet2DConditionModel", "DiTTransformer2DModel"})
"""Kinds whose numbers are held against the class itself (tests/operations/test_image.py); others are bounded, not estimated."""
_ONCE = re.compile(
    r"adaLN|norm_out|norm1\.(?:linear|emb)|time_emb|timestep|t_embedder|y_embedder|class_embed|classifier|head|pooler|cls_|pos_?emb|position"
)
_REDUCING = re.compile(
    r"\.stages\.[1-9]\.layers\.0\.layer\.0\."
)  # of a ResNet: before the stride, at the side of the stage before
_STAGE = re.compile(r"(?:^|\.)(?:stages|stage|layers|blocks)\.(\d)\.")
_LEVEL = re.compile(r"(?:^|\.)(down_blocks|up_blocks)\.(\d)\.")
_TEXT_KEYS = re.compile(r"attn2\.(?:to_k|to_v)\.|text_|encoder_hid")
_CAPTION = 77  # tokens of CLIP's text encoder
_MOST = 1 << 14  # a side of an image, in pixels or latents


def of_image(forward: Forward, a: Architecture | None, table: TensorTable, parameters: Parameters, config: Config) -> Forward:
    """The forward operations of one image, where a config is an image model's; `forward` as it is otherwise.

    Only `unit`, `matmul`, `matmul_range` and `terms` are of an image.
    """
    if any(ends_with(name, EMBEDDINGS) for name in table.names):
        return forward
    kind = config.values.get("_class_name")
    places: Places | None = None
    if kind == "UNet2DConditionModel":
        places = _unet(config)
    elif kind in DIFFUSERS or config.model_type in PATCHED:
        places = _patches(config, table)
    elif config.model_type in STAGED:
        places = _stages(config)
    if places is None:
        return forward
    weights = [row for row in np.flatnonzero(parameters.roles == WEIGHT).tolist() if parameters.ranks[row] >= 2]
    products = sum(2 * int(parameters.logical[row]) * places(table.names[row]) for row in weights)
    attention = _attention(a, table, places, config) if a is not None else 0
    total = products + attention
    most = max((places(table.names[row]) for row in weights), default=1)
    terms = (
        Term("weights", Fraction(products), "operations/image", "2 x weights x places of an image", FORMULA),
        Term("attention", Fraction(attention), "operations/image", "2 x (queries + values) x places x keys", FORMULA),
    )
    high = 2 * sum(int(parameters.logical[row]) for row in weights) * most + 2 * attention
    return replace(
        forward,
        unit="image",
        matmul=total,
        attention=0,
        windowed=0,
        matmul_range=(total * 9 // 10, max(high, total)),
        terms=tuple(t for t in terms if t.value),
    )


def _attention(a: Architecture, table: TensorTable, places: Places, config: Config) -> int:
    """Each block's places attend to each other, or to those of a window."""
    blocks = blocks_of(table)
    window = config.number("window_size")
    captioned = config.values.get("_class_name") == "UNet2DConditionModel"  # half of the attentions are to a caption
    names: dict[int, str] = {}
    for row, name in enumerate(table.names):
        names.setdefault(int(blocks.of[row]), name)
    total = 0
    for block, name in names.items():
        tokens = places(name)
        keys = (tokens + _CAPTION) // 2 if captioned else min(window * window, tokens) if window else tokens
        total += 2 * int(a.qk[block] + a.v[block]) * tokens * keys
    return total


def _side(config: Config, *keys: str) -> int | None:
    for key in keys:
        value = config.values.get(key)
        size = config.number(key) if not isinstance(value, list) else Config({"v": value[0] if value else None}).number("v")
        if size is not None:
            return min(size, _MOST)
    return None


def _patches(config: Config, table: TensorTable) -> Places | None:
    """Patches of one size, all of them in every block; what is of the whole image acts once."""
    image, patch = _side(config, "image_size", "sample_size"), _side(config, "patch_size")
    if image is None or patch is None or patch > image:
        return None
    tokens = (image // patch) ** 2
    more = sum(name.endswith(("cls_token", "class_embedding", "distillation_token", "mask_token")) for name in table.names[:64])
    more = min(more, 2) if any(name.endswith(("cls_token", "class_embedding")) for name in table.names) else 0
    kernel = re.compile(r"patch_embed|pos_embed\.proj|x_embedder|\.projection\.weight")
    return lambda name: tokens if kernel.search(name) else 1 if _ONCE.search(name) else tokens + min(more, 1)


def _stages(config: Config) -> Places | None:
    """Stages that each halve the resolution, from a quarter of the image's side on."""
    image = _side(config, "image_size") or 224
    if not config.values.get("depths"):
        return None
    first = _side(config, "patch_size") or 4

    def places(name: str) -> int:
        if _ONCE.search(name):
            return 1
        stage = _STAGE.search(name)
        if stage is None:
            stem = 2 if first == 4 and "embedder" in name and "patch" not in name else first
            return (image // stem) ** 2
        level = int(stage[1]) + ("downsample.reduction" in name) - (_REDUCING.search(name) is not None)
        return max(1, image // (first << level)) ** 2

    return places


def _unet(config: Config) -> Places | None:
    """Levels of a UNet, each at half the side of the one before; keys and values of a caption are of its tokens."""
    sample, channels = _side(config, "sample_size"), config.values.get("block_out_channels")
    if sample is None or not isinstance(channels, (list, tuple)) or not 0 < len(channels) <= 16:
        return None
    last = len(channels) - 1

    def places(name: str) -> int:
        if "time_emb" in name or "add_embedding" in name:
            return 1
        if _TEXT_KEYS.search(name):
            return _CAPTION
        match = _LEVEL.search(name)
        if match is None:
            return max(1, sample >> (last if name.startswith("mid_block") else 0)) ** 2
        level = int(match[2]) if match[1] == "down_blocks" else last - int(match[2])
        level += 1 if "downsamplers" in name else -1 if "upsamplers" in name else 0
        return max(1, sample >> min(max(level, 0), last)) ** 2

    return places
