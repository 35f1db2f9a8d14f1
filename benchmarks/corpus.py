"""Files to measure with: headers at true size over sparse data, and small PyTorch checkpoints written by torch itself."""

from __future__ import annotations

import json
import math
import os
import struct
import warnings

TENSORS = 291  # of Llama 2 7B
WARM = 20  # GGUF headers of 8 MB after which their kernel runs compiled


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


def gguf_file(path: str, tokens: int = 128_256, merges: int = 280_147) -> None:
    """A sparse GGUF file with the tensors of Llama 3 8B, 291 of them, and a vocabulary of its size: a header of 8 MB."""
    shapes: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (4096, tokens)), ("output.weight", (4096, tokens))]
    shapes.append(("output_norm.weight", (4096,)))
    block: tuple[tuple[str, tuple[int, ...]], ...] = (
        *(("attn_q", (4096, 4096)), ("attn_k", (4096, 1024)), ("attn_v", (4096, 1024)), ("attn_output", (4096, 4096))),
        *(("ffn_gate", (4096, 14336)), ("ffn_up", (4096, 14336)), ("ffn_down", (14336, 4096))),
        *(("attn_norm", (4096,)), ("ffn_norm", (4096,))),
    )
    shapes += [(f"blk.{i}.{name}.weight", dims) for i in range(32) for name, dims in block]

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    def strings(key: str, values: list[str]) -> bytes:
        return text(key) + struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(text, values))

    words = [f"t{i * 7919 % 1_000_003}" for i in range(tokens)]
    pairs = [f"{words[i % tokens]} {words[i * 31 % tokens][:3]}" for i in range(merges)]
    header = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("llama.block_count") + struct.pack("<II", 4, 32),
        strings("tokenizer.ggml.tokens", words),
        text("tokenizer.ggml.token_type") + struct.pack("<IIQ", 9, 5, tokens) + struct.pack("<i", 1) * tokens,
        strings("tokenizer.ggml.merges", pairs),
    ]
    infos = []
    size = 0
    for name, dims in shapes:
        infos.append(text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 12 if len(dims) > 1 else 0, size))
        size += math.prod(dims) // 256 * 144 if len(dims) > 1 else 4 * dims[0]
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(infos), len(header)) + b"".join(header) + b"".join(infos)
    head += bytes(-len(head) % 32)
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
