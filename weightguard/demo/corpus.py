"""The cases of the demo: how each is written, and the verdict that it must get."""

from __future__ import annotations

import os
from dataclasses import dataclass

from weightguard.demo.hostile import write_hostile
from weightguard.demo.layouts import deepseek_v3, gptq, llama_8b, llama_405b
from weightguard.demo.trained import Trained, train
from weightguard.demo.write import write_model, write_safetensors

_GB = 10**9


@dataclass(frozen=True)
class Case:
    """A scan of `target`, with `declaration` (a file name, or "") given, and what it must come to.

    `outcome` is "decision: what decided", as `found` in cli/demo.py says it. `parameters`: the exact count of the one model.
    """

    title: str
    target: str
    outcome: str
    parameters: int
    declaration: str = ""


CASES = (
    Case("405B dense, no statement", "dense-405b", "block: undetermined", 405_853_388_800),
    Case("  declared 1.2e26 operations", "dense-405b", "block: controlled", 405_853_388_800, "operations.toml"),
    Case("  declared 15.6e12 tokens", "dense-405b", "allow: below 1e26", 405_853_388_800, "tokens.toml"),
    Case("  declared as published", "dense-405b", "allow: § 734.7", 405_853_388_800, "published.toml"),
    Case("671B mixture of experts", "moe-671b", "allow: below 1e26", 671_026_404_352),
    Case("405B in 4 bits (GPTQ)", "gptq-405b", "block: undetermined", 405_853_388_800),
    Case("8B, shard 2 of 4 missing", "cut-8b", "block: incomplete", 5_530_365_952),
    Case("a pickle that calls a shell", "hostile", "block: posix.system", 16),
    Case("a model trained just now", "trained", "allow: below 1e26", 6_214),
)

_DECLARATION = """\
schema = "weightguard/declaration/1"

[model]
name = "demo-405b"
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
_PUBLISHED = """\
published = {url = "https://example.org/demo-405b", date = 2024-07-23, licence = "apache-2.0", unrestricted = true}
"""
_DECLARATIONS = {
    "operations.toml": _DECLARATION.format(model="", run="operations = 1.2e26"),
    # Llama 3.1 405B: 15.6e12 tokens at a context of 8192, 3.8e25 operations (arXiv:2407.21783, section 3)
    "tokens.toml": _DECLARATION.format(model="", run="tokens = 15.6e12\ncontext = 8192"),
    "published.toml": _DECLARATION.format(model=_PUBLISHED, run="operations = 1.2e26"),
}


def write(folder: str) -> Trained:
    """All cases into `folder`; returns the model that was trained for one of them.

    Raises `ConfigurationError` where its file system takes no sparse files of their size.
    """

    def inside(*names: str) -> str:
        return os.path.join(folder, *names)

    dense = llama_405b()
    write_model(inside("dense-405b"), dense, 50 * _GB)
    write_model(inside("moe-671b"), deepseek_v3(), 50 * _GB)
    write_model(inside("gptq-405b"), gptq(dense))
    shards = write_model(inside("cut-8b"), llama_8b(), 5 * _GB)
    os.unlink(inside("cut-8b", shards[1]))
    for name in ("hostile", "trained"):
        os.makedirs(inside(name))
    write_hostile(inside("hostile", "pytorch_model.bin"))
    trained = train()
    write_safetensors(inside("trained", "model.safetensors"), trained.tensors, trained.data)
    for name, text in _DECLARATIONS.items():
        with open(inside(name), "w", encoding="utf-8") as file:
            file.write(text)
    return trained
