"""Writes layouts as safetensors: true headers at true sizes over data that is a hole, so that 800 GB take a few kilobytes."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from math import prod

from weightguard.demo.layouts import Layout, Tensor
from weightguard.errors import ConfigurationError

_BYTES = {"F64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "U8": 1, "F8_E4M3": 1}
_NO_HOLES = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EOPNOTSUPP, errno.EINVAL)


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor's data."""
    return prod(tensor[2]) * _BYTES[tensor[1]]


def header(tensors: Sequence[Tensor]) -> bytes:
    """The length and the JSON header that stand before the tensors' data."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        begin, end = end, end + size_of(tensor)
        entries[tensor[0]] = {"dtype": tensor[1], "shape": tensor[2], "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_safetensors(path: str, tensors: Sequence[Tensor], data: bytes | None = None) -> None:
    """One file. `data`: the tensors' bytes end to end; None leaves a hole of their length.

    Raises `ConfigurationError` where the file system refuses a file of that size.
    """
    head = header(tensors)
    size = len(head) + sum(map(size_of, tensors))
    with open(path, "wb") as file:
        file.write(head)
        if data is not None:
            file.write(data)
            return
        try:
            file.truncate(size)
        except OSError as error:
            if error.errno not in _NO_HOLES:
                raise
            raise ConfigurationError(
                f"no sparse file of {size / 1e9:.0f} GB can be written here ({error.strerror}):"
                " name a folder on another file system with --keep or TMPDIR"
            ) from error


def write_model(folder: str, layout: Layout, shard_bytes: int | None = None) -> list[str]:
    """A model folder: config.json, and one file or, with `shard_bytes` of data each at most, shards with their index.

    Returns the names of the weight files.
    """
    os.makedirs(folder, exist_ok=True)
    _write_json(os.path.join(folder, "config.json"), layout.config)
    shards = _shards(layout.tensors, shard_bytes) if shard_bytes else [list(layout.tensors)]
    if len(shards) == 1:
        names = ["model.safetensors"]
    else:
        names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
        index = {
            "metadata": {"total_size": sum(map(size_of, layout.tensors))},
            "weight_map": {t[0]: name for name, shard in zip(names, shards, strict=True) for t in shard},
        }
        _write_json(os.path.join(folder, "model.safetensors.index.json"), index)
    for name, shard in zip(names, shards, strict=True):
        write_safetensors(os.path.join(folder, name), shard)
    return names


def _shards(tensors: Sequence[Tensor], limit: int) -> list[list[Tensor]]:
    shards: list[list[Tensor]] = []
    room = 0
    for tensor in tensors:
        size = size_of(tensor)
        if size > room:
            shards.append([])
            room = limit
        shards[-1].append(tensor)
        room -= size
    return shards


def _write_json(path: str, value: object) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
