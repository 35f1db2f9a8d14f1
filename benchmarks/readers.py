"""The contenders: each takes paths and returns how many values their tensors have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from weightguard.formats import identify
from weightguard.limits import LIMITS
from weightguard.stores.local import LocalFile


def weightguard(paths: Sequence[str]) -> int:
    """Each file recognised by content and read, every offset, shape and byte count checked."""
    total = 0
    for path in paths:
        with LocalFile(path, path) as source:
            container = identify(source, LIMITS)
        assert container is not None
        total += int(container.tensors.elements.sum())
    return total


def floor(paths: Sequence[str]) -> int:
    """The physical limit: open, read the header's bytes, close."""
    total = 0
    for path in paths:
        with LocalFile(path, path) as source:
            total += len(source.read(8, int.from_bytes(source.read(0, 8), "little")))
    return total


def safe_open(paths: Sequence[str]) -> int:
    """safetensors' own reader, iterated for what a count needs of each tensor: its dtype and shape."""
    from safetensors import safe_open as opened

    total = 0
    for path in paths:
        with opened(path, framework="np") as file:
            for name in file.keys():
                tensor = file.get_slice(name)
                assert tensor.get_dtype()
                total += math.prod(tensor.get_shape())
    return total


def torch_load(paths: Sequence[str]) -> int:
    """torch's own reader, without data; its import is not counted."""
    import torch

    total = 0
    for path in paths:
        loaded: dict[str, Any] = torch.load(path, weights_only=True, mmap=True, map_location="meta")
        total += sum(t.numel() for t in loaded.values())
    return total
