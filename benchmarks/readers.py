"""The contenders: each takes paths and returns how many values their tensors have."""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt

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


def one_pass(paths: Sequence[str]) -> int:
    """The floor, and one compiled loop that reads each byte of the header once: it follows the strings, as every reader of JSON
    must, and counts the signs between them.
    """
    total = 0
    for path in paths:
        with LocalFile(path, path) as source:
            header = source.read(8, int.from_bytes(source.read(0, 8), "little"))
        total += _follow_strings()(np.frombuffer(header, np.uint8))
    return total


@cache
def _follow_strings() -> Callable[[npt.NDArray[np.uint8]], int]:
    from numba import njit

    def follow(data: npt.NDArray[np.uint8]) -> int:
        inside = escaped = False
        signs = 0
        for i in range(len(data)):
            c = data[i]
            if inside:
                if escaped:
                    escaped = False
                elif c == 92:
                    escaped = True
                elif c == 34:
                    inside = False
            elif c == 34:
                inside = True
            else:
                signs += 1
        return signs

    return cast("Callable[[npt.NDArray[np.uint8]], int]", njit(follow))


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


def genops(pickle: bytes) -> int:
    """The standard library's list of a pickle's opcodes, iterated."""
    return sum(1 for _ in pickletools.genops(pickle))


def gguf_reader(paths: Sequence[str]) -> int:
    """llama.cpp's own reader in Python, the gguf package, iterated for what a count needs of each tensor."""
    from gguf import GGUFReader

    return sum(int(tensor.n_elements) for path in paths for tensor in GGUFReader(path).tensors)


def torch_load(paths: Sequence[str]) -> int:
    """torch's own reader, without data; its import is not counted."""
    import torch

    total = 0
    for path in paths:
        loaded: dict[str, Any] = torch.load(path, weights_only=True, mmap=True, map_location="meta")
        total += sum(t.numel() for t in loaded.values())
    return total
