"""A real run of transformers' Trainer: what its state says and what the weights say are one number, its traps undone."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

import weightguard

pytest.importorskip("accelerate")
transformers = pytest.importorskip("transformers")

VOCABULARY, WIDTH, LAYERS, LENGTH, BATCH, STEPS = 64, 32, 2, 16, 4, 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of three steps on a processor, with tokens counted."""
    folder = tmp_path_factory.mktemp("run")
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4
    )
    data: list[dict[str, Any]] = [{"input_ids": list(range(LENGTH)), "labels": list(range(LENGTH))}] * (BATCH * STEPS)
    args = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        include_num_input_tokens_seen="all",
        save_steps=STEPS,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    transformers.Trainer(
        model=transformers.LlamaForCausalLM(config),
        args=args,
        train_dataset=data,
        data_collator=lambda rows: {key: torch.tensor([row[key] for row in rows]) for key in rows[0]},
    ).train()
    return folder / f"checkpoint-{STEPS}"


def test_the_trainers_figure_is_ours_once_its_traps_are_undone(run: Path) -> None:
    """total_flos is 6 x tokens x (parameters - embedding): norms are in it, attention is not."""
    [model] = [m for m in weightguard.scan(str(run)).models if m.architecture is not None]
    found = {(c.source, c.quantity): c for c in model.training_operations.evidence}
    tokens = found["transformers Trainer", "training tokens"].high
    assert tokens == STEPS * BATCH * LENGTH
    assert found["transformers Trainer", "optimizer steps"].high == STEPS
    assert model.forward_operations is not None
    norms = (2 * LAYERS + 1) * WIDTH
    ours = 3 * model.forward_operations.matmul * tokens
    assert found["transformers Trainer", "training operations"].high - 6 * norms * tokens == ours
    # and what it leaves out, attention, is in our best figure, by the causal formula at the config's context
    interval = model.training_operations.interval
    assert interval.best is not None and interval.best > ours


def test_the_state_is_what_the_trainer_wrote(run: Path) -> None:
    state = json.loads((run / "trainer_state.json").read_text())
    embedding = VOCABULARY * WIDTH
    [model] = [m for m in weightguard.scan(str(run)).models if m.architecture is not None]
    assert Fraction(state["total_flos"]) == 6 * STEPS * BATCH * LENGTH * (model.parameters.total - embedding)
