"""Files for tests: safetensors by hand, right and wrong, model folders, and commands to run on them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

Tensor = tuple[str, str, tuple[int, ...]]
"""(name, safetensors dtype, shape)."""

ROOT = Path(__file__).resolve().parent.parent
BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "U8": 1, "I8": 1, "BOOL": 1, "F8_E4M3": 1}


def raw(header: bytes, data: bytes = b"") -> bytes:
    """A safetensors file around any header at all."""
    return struct.pack("<Q", len(header)) + header + data


def entry(dtype: str, shape: Sequence[Any], begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def header_of(tensors: Iterable[Tensor], metadata: Mapping[str, str] | None = None) -> tuple[bytes, int]:
    """The JSON header of tensors end to end, and how many bytes of data they have."""
    entries: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name, dtype, shape in tensors:
        begin, end = end, end + prod(shape) * BYTES[dtype]
        entries[name] = entry(dtype, shape, begin, end)
    return json.dumps(entries).encode(), end


def write_sparse(path: Path, tensors: Iterable[Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """A file whose data is a hole: true sizes, no disk."""
    header, size = header_of(tensors, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(raw(header))
        file.truncate(8 + len(header) + size)
    return path


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    return path


def values_in(tensors: Iterable[Tensor]) -> int:
    return sum(prod(shape) for _, _, shape in tensors)


# ---- a small decoder in Llama's form


@dataclass(frozen=True)
class Small:
    """Layers, widths and vocabulary of a small decoder; `tensors` and `config` are in Llama's form."""

    layers: int = 2
    hidden: int = 32
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 48
    vocab: int = 80
    dtype: str = "F32"

    @property
    def config(self) -> dict[str, Any]:
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "num_hidden_layers": self.layers,
            "hidden_size": self.hidden,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.ffn,
            "vocab_size": self.vocab,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
        }

    def layer(self, i: int) -> list[Tensor]:
        h, f, kv = self.hidden, self.ffn, self.hidden // self.heads * self.kv_heads
        shapes: dict[str, tuple[int, ...]] = {
            "self_attn.q_proj": (h, h),
            "self_attn.k_proj": (kv, h),
            "self_attn.v_proj": (kv, h),
            "self_attn.o_proj": (h, h),
            "mlp.gate_proj": (f, h),
            "mlp.up_proj": (f, h),
            "mlp.down_proj": (h, f),
            "input_layernorm": (h,),
            "post_attention_layernorm": (h,),
        }
        return [(f"model.layers.{i}.{name}.weight", self.dtype, shape) for name, shape in shapes.items()]

    @property
    def tensors(self) -> list[Tensor]:
        embedding = (self.vocab, self.hidden)
        layers = [t for i in range(self.layers) for t in self.layer(i)]
        norm: Tensor = ("model.norm.weight", self.dtype, (self.hidden,))
        return [
            ("model.embed_tokens.weight", self.dtype, embedding),
            *layers,
            norm,
            ("lm_head.weight", self.dtype, embedding),
        ]


SMALL = Small()
ADAPTER: list[Tensor] = [
    (f"base_model.model.model.layers.{i}.self_attn.{m}.lora_{ab}.weight", "F32", (8, 32) if ab == "A" else (32, 8))
    for i in range(2)
    for m in ("q_proj", "v_proj")
    for ab in "AB"
]


def write_small(folder: Path, small: Small = SMALL, name: str = "model.safetensors") -> Path:
    """A whole small model: config and one file."""
    write_json(folder / "config.json", small.config)
    write_sparse(folder / name, small.tensors, {"format": "pt"})
    return folder


def split(tensors: Sequence[Tensor], parts: int) -> list[list[Tensor]]:
    """Tensors in `parts` runs, in order."""
    each = -(-len(tensors) // parts)
    return [list(tensors[i : i + each]) for i in range(0, len(tensors), each)]


def write_shards(folder: Path, small: Small = SMALL, parts: int = 3, index: bool = True) -> list[Path]:
    """The same in shards, with or without their index."""
    write_json(folder / "config.json", small.config)
    shards = split(small.tensors, parts)
    names = [f"model-{i + 1:05}-of-{parts:05}.safetensors" for i in range(parts)]
    paths = [write_sparse(folder / n, s) for n, s in zip(names, shards, strict=True)]
    if index:
        weight_map = {t[0]: n for n, s in zip(names, shards, strict=True) for t in s}
        write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": 1}, "weight_map": weight_map})
    return paths


DECLARATION = """\
schema = "weightguard/declaration/1"
[model]
name = "m"
run = "pretrain"
whole = true
{model}
[[run]]
id = "pretrain"
kind = "pre-training"
starts_from = []
{run}
data_complete = true
"""


def declaration(operations: str = "3e24", model: str = "") -> str:
    return DECLARATION.format(model=model, run=f"operations = {operations}")


PUBLISHED = 'published = {url = "https://example.org/m", date = 2024-07-23, licence = "apache-2.0", unrestricted = true}'

# the smallest PNG: one grey pixel
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


# ---- commands


def run(*arguments: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`weightguard ARGUMENTS` as users run it, in a process of its own, in the folder `cwd`."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("WEIGHTGUARD_", "HF_"))}
    clean["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return subprocess.run(
        [sys.executable, "-m", "weightguard", *map(str, arguments)],
        cwd=cwd,
        env=clean | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def scan_json(*arguments: str | Path, cwd: Path) -> tuple[int, dict[str, Any]]:
    """Exit status and report of `weightguard scan --format json ARGUMENTS`."""
    done = run("scan", "--format", "json", *arguments, cwd=cwd)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode != 2, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report
