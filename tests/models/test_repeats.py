"""Whatever the names say, ranks that repeat more than they hold once may each hold weights of their own."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch

import weightguard
from tests.layouts import write_sparse

EMBEDDING = ("F32", (4096, 256))


@pytest.mark.parametrize("name", ["word_embeddings_for_head.weight", "x{}.word_embeddings_for_head.weight"])
def test_heads_that_repeat_the_embedding_are_few(name: str, tmp_path: Path) -> None:
    """Pipeline stage 1 repeats stage 0's embedding as its head once; eighty of them are not its repetitions."""
    first = [("language_model.embedding.word_embeddings.weight", *EMBEDDING)]
    write_sparse(tmp_path / "iter_1/mp_rank_00_000/model_optim_rng.pt", first)
    heads = [(name.format(i), *EMBEDDING) for i in range(80 if "{}" in name else 1)]
    write_sparse(tmp_path / "iter_1/mp_rank_00_001/model_optim_rng.pt", heads)
    for model in weightguard.scan(str(tmp_path)).models:
        whole = model.parameters.total >= sum(f.bytes for f in model.files) // 4 - 4096
        assert whole or not model.complete or len(heads) == 1


def test_pipeline_layers_that_repeat_the_embedding_are_few(tmp_path: Path) -> None:
    for layer in range(40):
        name = f"layer_{layer:02}-model_00-model_states.pt"
        write_sparse(tmp_path / "global_step1" / name, [("word_embeddings.weight", *EMBEDDING)])
    for model in weightguard.scan(str(tmp_path)).models:
        assert model.parameters.total >= 40 * 4096 * 256 or not model.complete


# ---- each set of ranks with more under the names of replicas than its framework writes: all of it counts

SIDE = 3000  # one matrix is more than the small amounts that are never looked at


def counted(folder: Path) -> int:
    """Elements that count, over all models."""
    models = weightguard.scan(str(folder)).models
    return sum(m.parameters.stored_elements - m.parameters.by_role["copy"] for m in models)


def write_rank(path: Path, value: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path)


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.bfloat16)


def test_one_head_of_a_megatron_model_repeats_the_embedding(tmp_path: Path) -> None:
    args = argparse.Namespace(tensor_model_parallel_size=1, pipeline_model_parallel_size=2)
    big = {f"{i}.w": zeros(SIDE, SIDE) for i in range(4)}
    stages = [
        {"embedding.word_embeddings.weight": zeros(SIDE, 100), **big},
        {f"x{i}.word_embeddings_for_head.weight": zeros(SIDE, 100) for i in range(9)},
    ]
    for pp, model in enumerate(stages):
        write_rank(tmp_path / f"iter_1/mp_rank_00_{pp:03}/model_optim_rng.pt", {"args": args, "model": model})
    assert counted(tmp_path) == 4 * SIDE**2 + 9 * SIDE * 100


def test_one_head_of_a_pipeline_repeats_the_embedding(tmp_path: Path) -> None:
    blocks = {n: {"w": zeros(SIDE, SIDE), "norm.weight": zeros(8)} for n in (5, 6)}
    ends = {n: {"word_embeddings.weight": zeros(SIDE, 100), f"x{n}": zeros(4)} for n in (0, 1, 2, 3, 4, 7, 8, 9)}
    for n, tensors in (blocks | ends).items():
        write_rank(tmp_path / f"global_step1/layer_{n:02}-model_00-model_states.pt", tensors)
    write_rank(tmp_path / "global_step1/mp_rank_00_model_states.pt", {"module": None, "ds_version": "0.17"})
    assert counted(tmp_path) == 2 * (SIDE**2 + 8) + 7 * SIDE * 100 + 8 * 4


def test_expert_ranks_of_tiny_experts_hold_weights_of_their_own(tmp_path: Path) -> None:
    args = argparse.Namespace(tensor_model_parallel_size=1, pipeline_model_parallel_size=1, expert_model_parallel_size=2)
    model = {"decoder.layers.0.w": zeros(SIDE, SIDE), "decoder.layers.0.mlp.experts.linear_fc1.weight0": zeros(8, 8)}
    for ep in range(2):
        write_rank(tmp_path / f"iter_1/mp_rank_00_{ep:03}/model_optim_rng.pt", {"args": args, "model": model})
    assert counted(tmp_path) == 2 * (SIDE**2 + 64)


def write_zero_3(folder: Path, model: dict[str, object], dp: int, flat: int) -> None:
    for d in range(dp):
        facts = {"ds_version": "0.17", "dp_world_size": dp, "mp_world_size": 1}
        write_rank(folder / f"zero_pp_rank_{d}_mp_rank_00_model_states.pt", {**model, **facts})
        state = {"fp32_flat_groups": [torch.zeros(flat // dp)], "zero_stage": 3, "partition_count": dp}
        write_rank(folder / f"zero_pp_rank_{d}_mp_rank_00_optim_states.pt", {"optimizer_state_dict": state})


def test_what_zero_3_leaves_whole_is_small(tmp_path: Path) -> None:
    shapes = [{"w": torch.Size((SIDE, SIDE)), "norm.weight": torch.Size((8,))}]
    module = {"w": zeros(SIDE, SIDE), "norm.weight": zeros(8)}
    write_zero_3(tmp_path / "global_step1", {"module": module, "param_shapes": shapes}, 2, SIDE**2 + 8)
    [model] = weightguard.scan(str(tmp_path)).models
    assert model.parameters.total >= 2 * SIDE**2  # the shapes, and the first rank's own
    assert not model.complete or model.parameters.total >= 3 * SIDE**2


def test_fragments_beyond_their_shapes_count(tmp_path: Path) -> None:
    fixed = {
        "param_shapes": [{"w": torch.Size((100, 100))}],
        "frozen_param_shapes": {"f": torch.Size((10, 10)), "g": torch.Size((300, 300))},
        "frozen_param_fragments": {"f": zeros(40_000), "g": zeros(45_000)},
    }
    write_zero_3(tmp_path / "global_step1", {"module": {}, **fixed}, 2, 10_000)
    assert counted(tmp_path) >= 10_000 + 2 * 85_000


@pytest.mark.parametrize("extra", ["layer_07-model_00-model_states.pt", "layer_0_expert_0_mp_rank_00_model_states.pt"])
@pytest.mark.parametrize("universal", [False, True])
def test_files_of_another_kind_in_the_folder_count(extra: str, universal: bool, tmp_path: Path) -> None:
    step = tmp_path / "global_step1"
    if universal:
        write_rank(step / "zero/w/fp32.pt", {"param": torch.zeros(100, 100)})
        write_rank(step / "mp_rank_00_model_states.pt", {"module": {"w": zeros(100, 100)}, "ds_version": "0.17"})
    else:
        write_zero_3(step, {"module": {}, "param_shapes": [{"w": torch.Size((100, 100))}]}, 2, 10_000)
    write_rank(step / extra, {"hidden.weight": zeros(SIDE, SIDE)})
    assert sum(m.parameters.total for m in weightguard.scan(str(tmp_path)).models) == 10_000 + SIDE**2


def test_the_module_of_a_universal_checkpoint_is_at_most_the_whole(tmp_path: Path) -> None:
    step = tmp_path / "global_step1"
    for name in ("a", "b", "c", "d"):
        write_rank(step / f"zero/{name}/fp32.pt", {"param": torch.zeros(SIDE, SIDE)})
    write_rank(step / "zero/small/fp32.pt", {"param": torch.zeros(100, 100)})
    for mp in range(4):
        module = {"small": zeros(100, 100)}
        write_rank(step / f"mp_rank_{mp:02}_model_states.pt", {"module": module, "ds_version": "0.17", "mp_world_size": 4})
    assert counted(tmp_path) == 4 * SIDE**2 + 4 * 10_000
