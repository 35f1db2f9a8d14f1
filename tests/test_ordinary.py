"""Ordinary folders pass: what `save_pretrained` and `torch.save` write, with the counts of the classes themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import weightguard
from weightguard.reports import text

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 100}
MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=100, n_positions=64)
    ),
    "mixtral": lambda: transformers.MixtralForCausalLM(
        transformers.MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=4)
    ),
    "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SMALL)),
    "albert": lambda: transformers.AlbertForMaskedLM(transformers.AlbertConfig(**SMALL, embedding_size=16)),
    "t5": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=100)
    ),
    "mamba": lambda: transformers.MambaForCausalLM(
        transformers.MambaConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, state_size=4)
    ),
    "resnet": lambda: transformers.ResNetForImageClassification(
        transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    ),
}


def parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", ["safetensors", "shards", "state dict", "checkpoint"])
def test_a_small_model_passes_with_the_count_of_its_class(tmp_path: Path, name: str, form: str) -> None:
    model = MODELS[name]()
    if form == "state dict":
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    else:
        model.save_pretrained(tmp_path, max_shard_size="20KB" if form == "shards" else "5GB")
    if form == "checkpoint":
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        sum(p.sum() for p in model.parameters() if p.requires_grad).backward()
        optimizer.step()
        torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
        torch.save({"cpu": torch.get_rng_state(), "python": (3, (1, 2), None)}, tmp_path / "rng_state.pth")
        (tmp_path / "trainer_state.json").write_text('{"total_flos": 1234.0, "global_step": 1}')
    report = weightguard.scan(str(tmp_path))
    assert report.decision == "allow", text.render(report)
    assert not report.unread
    (found,) = report.models
    # a bare file has no config that says which of its tensors are one: a tie is seen by its storage
    assert found.parameters.total == parameters(model)
    assert found.complete
