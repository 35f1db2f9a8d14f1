"""What frameworks leave in checkpoints: written by the library where it is installed, else to its layout, which the name says."""

from __future__ import annotations

import argparse
import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import weightguard
from weightguard.evidence.devices import operations_of_hours
from weightguard.evidence.found import flat
from weightguard.evidence.trainers import claims_of
from weightguard.values import Claim

WEIGHTS = {"layer.weight": torch.zeros(8, 8)}


def claims(folder: Path) -> dict[tuple[str, str], Claim]:
    """The claims of the one model of a folder, by source and quantity."""
    [model] = weightguard.scan(str(folder)).models
    return {(c.source, c.quantity): c for c in model.training_operations.evidence}


def saved(tmp_path: Path, name: str, value: Any) -> dict[tuple[str, str], Claim]:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, tmp_path / name)
    return claims(tmp_path)


def only(found: dict[tuple[str, str], Claim], source: str, quantity: str) -> Fraction:
    claim = found[source, quantity]
    assert claim.low == claim.high and claim.trust == "claimed"
    return claim.high


def test_megatron_by_its_layout(tmp_path: Path) -> None:
    """Layout of `save_checkpoint`: args is a Namespace."""
    args = argparse.Namespace(consumed_train_samples=1_000_000, seq_length=4096, world_size=64, iteration=500)
    state = {"args": args, "checkpoint_version": 3.0, "iteration": 500, "num_floating_point_operations_so_far": 1.5e21}
    found = saved(tmp_path, "model_optim_rng.pt", {**state, "model": WEIGHTS})
    assert only(found, "Megatron-LM", "training tokens") == 4_096_000_000
    assert only(found, "Megatron-LM", "training operations") == Fraction(1.5e21)
    assert "halved" in found["Megatron-LM", "training operations"].where
    assert "args.seq_length = 4096" in found["Megatron-LM", "training tokens"].where


def test_deepspeed_by_its_layout(tmp_path: Path) -> None:
    state = {"module": WEIGHTS, "global_steps": 100, "global_samples": 51_200, "dp_world_size": 8, "ds_version": "0.17"}
    found = saved(tmp_path, "model.pt", {**state, "ds_config": {"train_batch_size": 512}})
    assert only(found, "DeepSpeed", "training samples") == 51_200
    assert only(found, "DeepSpeed", "optimizer steps") == 100


def test_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
            return self.layer(batch).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    trainer = lightning.Trainer(
        max_steps=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.zeros(12, 4), batch_size=4))  # type: ignore[arg-type]
    trainer.save_checkpoint(tmp_path / "m" / "last.ckpt")
    assert only(claims(tmp_path / "m"), "PyTorch Lightning", "optimizer steps") == 3


def test_torchtitan_by_its_layout_in_a_real_distributed_checkpoint(tmp_path: Path) -> None:
    import torch.distributed.checkpoint as dcp

    state = {"model": {"layer.weight": torch.zeros(8, 8)}, "train_state": {"step": 20, "ntokens_seen": 163_840}}
    dcp.save(state, checkpoint_id=str(tmp_path / "step-20"), no_dist=True)
    found = claims(tmp_path / "step-20")
    assert only(found, "torchtitan", "training tokens") == 163_840
    assert "one rank's" in found["torchtitan", "training tokens"].where


def test_olmo_core_by_its_layout(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "model.pt")
    state = {"global_step": 9, "global_train_tokens_seen": 10**9, "global_train_petaflops": 5000.0, "world_size": 4}
    found = saved(tmp_path, "rank0.pt", {**state, "data_loader": {"tokens_processed": 10**9}})
    assert only(found, "OLMo", "training tokens") == 10**9
    assert only(found, "OLMo", "training operations") == 5 * 10**18


def test_composer_by_its_layout(tmp_path: Path) -> None:
    stamp = {"iteration": 0, "epoch": 1, "batch": 50, "sample": 6400, "token": 13_107_200}
    stamp |= {"total_wct": datetime.timedelta(days=1, hours=12)}  # type: ignore[dict-item]
    info = {"gpu_model": "NVIDIA H100 80GB HBM3", "num_gpus": 8, "num_nodes": 2}
    state = {"model": WEIGHTS, "timestamp": {"Timestamp": stamp}, "metadata": {"composer_env_info": info}}
    found = saved(tmp_path, "ep1-rank0.pt", {"state": state, "rng": []})
    assert only(found, "Composer", "training tokens") == 13_107_200
    hours = operations_of_hours("NVIDIA H100 80GB HBM3", Fraction(16 * 36))
    assert hours is not None
    claim = found["Composer", "training operations"]
    assert (claim.low, claim.high) == hours


def test_fairseq_by_its_layout(tmp_path: Path) -> None:
    cfg = {
        "dataset": {"max_tokens": 4096},
        "optimization": {"update_freq": [2]},
        "distributed_training": {"distributed_world_size": 8},
    }
    history = [{"criterion_name": "c", "optimizer_name": "Adam", "lr_scheduler_state": {}, "num_updates": 1000}]
    found = saved(tmp_path, "checkpoint_last.pt", {"cfg": cfg, "model": WEIGHTS, "optimizer_history": history})
    assert only(found, "fairseq", "training tokens") == 1000 * 4096 * 8 * 2


def test_nanogpt_by_its_layout(tmp_path: Path) -> None:
    config = {"batch_size": 12, "gradient_accumulation_steps": 40, "block_size": 1024}
    found = saved(tmp_path, "ckpt.pt", {"model": WEIGHTS, "iter_num": 600, "config": config, "best_val_loss": 2.9})
    assert only(found, "nanoGPT", "training tokens") == 600 * 40 * 12 * 1024


def test_litgpt_by_its_layout(tmp_path: Path) -> None:
    (tmp_path / "hyperparameters.yaml").write_text("train:\n  max_tokens: 3000000000000\n  micro_batch_size: 4\n")
    found = saved(tmp_path, "lit_model.pth", {"model": WEIGHTS, "iter_num": 16, "step_count": 4})
    assert only(found, "litgpt", "training tokens") == 3 * 10**12
    assert only(found, "litgpt", "optimizer steps") == 4


def test_nemo_by_its_layout(tmp_path: Path) -> None:
    (tmp_path / "model_config.yaml").write_text("trainer:\n  max_steps: 100\nglobal_batch_size: 8\nencoder_seq_length: 2048\n")
    found = saved(tmp_path, "model.pt", WEIGHTS)
    assert only(found, "NeMo", "training tokens") == 100 * 8 * 2048


def test_training_arguments_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=100, report_to=[]
    )
    torch.save(WEIGHTS, tmp_path / "pytorch_model.bin")
    found = saved(tmp_path, "training_args.bin", args)
    assert only(found, "transformers Trainer", "training samples") == 800
    assert "of one device" in found["transformers Trainer", "training samples"].where


@pytest.mark.parametrize("value", [0, -1, 2**2000, float("nan"), float("inf"), "7", True, None, [1], {"a": 1}])
def test_a_number_that_is_none_claims_nothing(value: object) -> None:
    keys = ("num_floating_point_operations_so_far", "global_train_tokens_seen", "ntokens_seen", "total_flos", "global_steps")
    values = flat(
        {**dict.fromkeys(keys, value), "ds_version": "1", "args": {"consumed_train_samples": value, "seq_length": value}}
    )
    assert claims_of(values, "x") == []


@given(st.dictionaries(st.text(max_size=20), st.floats() | st.integers() | st.text(max_size=5) | st.booleans(), max_size=8))
def test_no_values_make_it_fail(values: dict[str, Any]) -> None:
    claims_of(values, "x")


def test_claims_that_disagree_are_a_finding_and_the_larger_stands(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("Trained on 1T tokens.")
    (tmp_path / "trainer_state.json").write_text('{"total_flos": 1e25}')
    torch.save({"layers.0.q_proj.weight": torch.zeros(64, 64), "norm.weight": torch.zeros(64)}, tmp_path / "pytorch_model.bin")
    [model] = weightguard.scan(str(tmp_path)).models
    assert [f.severity for f in model.findings if f.id == "claims-disagree"] == ["medium"]
    assert model.training_operations.interval.best == 10**25
