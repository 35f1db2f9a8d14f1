"""GGUF files by hand: every version and byte order, right and wrong."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path

Key = tuple[str | bytes, int, bytes]
"""(key, type of the value, the value as stored)."""
Info = tuple[str, tuple[int, ...], int]
"""(name, dimensions with the fastest first, ggml type)."""

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
# ggml type -> (elements a block, bytes a block), for those used here
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34), 12: (256, 144), 14: (256, 210), 24: (1, 1), 26: (1, 4), 30: (1, 2)}


class Form:
    """How numbers and lengths are stored."""

    def __init__(self, version: int = 3, order: str = "<") -> None:
        self.version, self.order = version, order
        self.length = "I" if version == 1 else "Q"

    def pack(self, form: str, *values: float) -> bytes:
        return struct.pack(self.order + form, *values)

    def text(self, value: str | bytes) -> bytes:
        data = value if isinstance(value, bytes) else value.encode()
        return self.pack(self.length, len(data)) + data

    def string(self, key: str, value: str | bytes) -> Key:
        return key, STRING, self.text(value)

    def strings(self, key: str, values: Sequence[str | bytes], count: int | None = None) -> Key:
        items = b"".join(self.text(v) for v in values)
        return key, ARRAY, self.pack("I" + self.length, STRING, len(values) if count is None else count) + items

    def numbers(self, key: str, kind: int, items: bytes, count: int) -> Key:
        return key, ARRAY, self.pack("I" + self.length, kind, count) + items

    def info(self, name: str | bytes, dims: Sequence[int], kind: int, offset: int) -> bytes:
        wide = "I" if self.version == 1 else "Q"
        return self.text(name) + self.pack(f"I{wide * len(dims)}IQ", len(dims), *dims, kind, offset)

    def head(self, keys: Iterable[Key], infos: Sequence[bytes], tensors: int | None = None, n_keys: int | None = None) -> bytes:
        keys = list(keys)
        counts = (len(infos) if tensors is None else tensors, len(keys) if n_keys is None else n_keys)
        entries = [self.text(key) + self.pack("I", kind) + value for key, kind, value in keys]
        return b"GGUF" + self.pack(f"I{self.length * 2}", self.version, *counts) + b"".join(entries) + b"".join(infos)


V3 = Form()


def span(info: Info) -> int:
    block, size = BLOCKS[info[2]]
    return prod(info[1]) // block * size


def header(tensors: Sequence[Info], keys: Iterable[Key] = (), form: Form = V3, alignment: int = 32) -> tuple[bytes, int]:
    """The header, padded, and how many bytes of data follow it."""
    infos, at = [], 0
    for tensor in tensors:
        infos.append(form.info(*tensor, at))
        at += -(-span(tensor) // alignment) * alignment
    head = form.head(keys, infos)
    return head + bytes(-len(head) % alignment), at


def gguf(tensors: Sequence[Info], keys: Iterable[Key] = (), form: Form = V3, alignment: int = 32) -> bytes:
    """A whole file; its tensors are zeros."""
    head, size = header(tensors, keys, form, alignment)
    return head + bytes(size)


def write_sparse(path: Path, tensors: Sequence[Info], keys: Iterable[Key] = ()) -> Path:
    """A file whose data is a hole: true sizes, no disk."""
    head, size = header(tensors, keys)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    return path


# ---- models as llama.cpp names their tensors


def llama(layers: int, hidden: int, keys: int, ffn: int, vocab: int, *, head: bool = True, rope: bool = True) -> list[Info]:
    """A dense decoder in the types of Q4_K_M: Q4_K, with Q6_K for the head, half of the values and of the projections down."""
    found: list[Info] = [("token_embd.weight", (hidden, vocab), 12)]
    found += [("rope_freqs.weight", (64,), 0)] if rope else []
    for i in range(layers):
        more = 14 if i % 2 else 12
        found += [
            (f"blk.{i}.attn_norm.weight", (hidden,), 0),
            (f"blk.{i}.attn_q.weight", (hidden, hidden), 12),
            (f"blk.{i}.attn_k.weight", (hidden, keys), 12),
            (f"blk.{i}.attn_v.weight", (hidden, keys), more),
            (f"blk.{i}.attn_output.weight", (hidden, hidden), 12),
            (f"blk.{i}.ffn_norm.weight", (hidden,), 0),
            (f"blk.{i}.ffn_gate.weight", (hidden, ffn), 12),
            (f"blk.{i}.ffn_up.weight", (hidden, ffn), 12),
            (f"blk.{i}.ffn_down.weight", (ffn, hidden), more),
        ]
    found += [("output_norm.weight", (hidden,), 0)]
    return [*found, ("output.weight", (hidden, vocab), 14)] if head else found


def mixture(layers: int, hidden: int, keys: int, ffn: int, vocab: int, experts: int) -> list[Info]:
    """The same with stacked experts, the number of experts as the slowest dimension, and a router."""
    found: list[Info] = []
    for name, dims, kind in llama(layers, hidden, keys, ffn, vocab, rope=False):
        stem = name.removesuffix(".weight")
        if stem.endswith(("ffn_gate", "ffn_up", "ffn_down")):
            found.append((f"{stem}_exps.weight", (*dims, experts), kind))
        else:
            found.append((name, dims, kind))
        if stem.endswith("ffn_norm"):
            found.append((f"{stem.removesuffix('_norm')}_gate_inp.weight", (hidden, experts), 0))
            found.append((f"{stem.removesuffix('ffn_norm')}exp_probs_b.bias", (experts,), 0))
    return found
