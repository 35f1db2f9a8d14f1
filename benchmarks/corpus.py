"""Files to measure with: headers at true size over sparse data, and small PyTorch checkpoints written by torch itself."""

from __future__ import annotations

import json
import os
import struct
import warnings

TENSORS = 291  # of Llama 2 7B


def safetensors_file(path: str, tensors: int) -> None:
    """A sparse safetensors file of `tensors` matrices in layers of nine."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    size = 0
    for i in range(tensors):
        end = size + 2 * 4096 * 1024
        name = f"model.layers.{i // 9}.mlp.experts.{i % 9}.down_proj.weight"
        header[name] = {"dtype": "BF16", "shape": [4096, 1024], "data_offsets": [size, end]}
        size = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)


def safetensors_files(folder: str, files: int, tensors: int = TENSORS) -> list[str]:
    paths = [os.path.join(folder, f"{i:04}.safetensors") for i in range(files)]
    for path in paths:
        safetensors_file(path, tensors)
    return paths


def torch_zips(folder: str, files: int, tensors: int = TENSORS) -> list[str]:
    """State dicts of `tensors` matrices of 4 x 8, saved by torch."""
    import torch

    warnings.filterwarnings("ignore")
    paths = []
    for i in range(files):
        path = os.path.join(folder, f"{i:04}.pt")
        torch.save({f"model.layers.{n // 9}.w{n % 9}.weight": torch.zeros(4, 8) for n in range(tensors)}, path)
        paths.append(path)
    return paths
