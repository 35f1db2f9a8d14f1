"""Checkpoints of many ranks: a real module's own count, whatever the layout; and every set that lacks a part is a part."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import weightguard
from tests.layouts import run, write_json
from tests.models import layouts
from tests.models.layouts import CONFIG, LAYERS, megatron_names, save, state, tensor_rank, total
from weightguard.report import ModelReport, Report


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one(*targets: str) -> ModelReport:
    report = weightguard.scan(*targets)
    assert not report.unread, report.unread
    [model] = report.models
    return model


def assert_whole(model: ModelReport, *, copies: int | None = None, optimizer: int | None = None) -> None:
    assert model.complete and not model.missing, model.missing
    assert model.parameters.total == total()
    assert model.parameters.by_role["weight"] == total()
    assert sum(model.parameters.by_role.values()) == model.parameters.stored_elements
    if copies is not None:
        assert model.parameters.by_role["copy"] == copies
    if optimizer is not None:
        assert model.parameters.by_role["optimizer"] == optimizer
    assert model.decision == "allow"


def assert_part(report: Report) -> None:
    """ "`complete` false, counts of what was read, `high` null, `undetermined`, `block`", for every model of the target."""
    assert report.decision == "block"
    assert report.models or report.unread
    for model in report.models:
        assert not model.complete and model.missing
        assert model.training_operations.interval.high is None
        assert [v.status for v in model.verdicts] == ["undetermined"] and model.decision == "block"


NORMS = (2 * LAYERS + 1) * layouts.HIDDEN

# name -> (writer, elements that are replicas, elements of optimizer state or None where partitions are padded)
SETS: dict[str, tuple[Callable[[Path], list[Path]], int, int | None]] = {
    "megatron tp 1": (lambda p: layouts.write_megatron(p, 1, 1), 0, 0),
    "megatron tp 2": (lambda p: layouts.write_megatron(p, 2, 1), NORMS, 0),
    "megatron tp 4 pp 2": (lambda p: layouts.write_megatron(p, 4, 2), 3 * NORMS, 0),
    "megatron pp 4": (lambda p: layouts.write_megatron(p, 1, 4), 0, 0),
    "megatron tp 2 pp 2 with its optimizer": (
        lambda p: layouts.write_megatron(p, 2, 2, optimizer=True),
        NORMS,
        3 * (total() + NORMS),
    ),
    "megatron interleaved": (lambda p: layouts.write_megatron(p, 2, 2, chunks=2), NORMS, 0),
    "deepspeed zero 2": (lambda p: layouts.write_zero_2(p / "global_step7", 3), 0, 3 * total()),
    "deepspeed zero 2 tp 2": (lambda p: layouts.write_zero_2(p / "global_step7", 2, mp=2), NORMS, 3 * (total() + NORMS)),
    "deepspeed zero 3": (lambda p: layouts.write_zero_3(p / "global_step7", 4), 0, 2 * total()),
    "deepspeed zero 3 of five": (lambda p: layouts.write_zero_3(p / "global_step7", 5), 0, None),
    "deepspeed zero 3 frozen": (
        lambda p: layouts.write_zero_3(p / "global_step7", 3, frozen=["model.embed_tokens.weight", "model.norm.weight"]),
        0,
        None,
    ),
    "deepspeed pipeline": (lambda p: layouts.write_pipeline(p / "global_step7", 1), 0, 0),
    "deepspeed pipeline tp 2": (lambda p: layouts.write_pipeline(p / "global_step7", 2), NORMS, 0),
    "deepspeed universal": (lambda p: layouts.write_universal(p / "global_step7_universal"), total(), 2 * total()),
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_ranks_is_one_model_of_the_modules_own_count(here: Path, name: str) -> None:
    write, copies, optimizer = SETS[name]
    write(here / "m")
    assert_whole(one("m"), copies=copies, optimizer=optimizer)


@pytest.mark.parametrize("name", SETS)
def test_a_set_that_lacks_any_one_file_of_weights_is_a_part(here: Path, name: str) -> None:
    paths = SETS[name][0](here / "m")
    lone = len(paths) == 1
    step = max(1, len(paths) // 6)
    for path in paths if len(paths) < 12 else paths[::step]:
        if path.name.startswith("exp_avg"):
            continue
        path.rename(here / "aside")
        report = weightguard.scan("m")
        if lone:
            assert not report.models
        elif name == "deepspeed universal" and path.name.startswith("mp_rank"):
            assert_whole(report.models[0])  # each parameter is there, whole
        else:
            assert_part(report)
        (here / "aside").rename(path)


@pytest.mark.parametrize("name", SETS)
def test_a_file_cut_short_makes_a_part_and_is_unread(here: Path, name: str) -> None:
    paths = SETS[name][0](here / "m")
    for path in (paths[0], paths[-1]):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        report = weightguard.scan("m")
        assert report.decision == "block" and report.unread
        assert all(not m.complete for m in report.models)
        path.write_bytes(content)


@pytest.mark.parametrize("name", [n for n in SETS if "tp" in n or "zero" in n])
def test_a_file_of_a_set_alone_is_a_part(here: Path, name: str) -> None:
    paths = SETS[name][0](here / "m")
    if len(paths) == 1:
        pytest.skip("it is the whole set")
    shutil.copytree(here / "m", here / "all")
    for path in (paths[0], paths[len(paths) // 2], paths[-1]):
        alone = here / "alone" / path.relative_to(here / "m")
        alone.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, alone)
        if name == "deepspeed zero 2" and "model_states" in path.name:  # holds the module whole
            assert_whole(one("alone"))
        else:
            assert_part(weightguard.scan("alone"))
        shutil.rmtree(here / "alone")


def test_a_file_target_of_deepspeed_stands_for_its_set(here: Path) -> None:
    for path in layouts.write_zero_3(here / "m" / "global_step7", 3):
        assert_whole(one(str(path.relative_to(here))))


def test_a_rank_of_megatron_given_alone_is_a_part(here: Path) -> None:
    for path in layouts.write_megatron(here / "m", 2, 1):
        assert_part(weightguard.scan(str(path.relative_to(here))))


def test_the_rank_folder_as_target_is_a_part(here: Path) -> None:
    layouts.write_megatron(here / "m", 2, 1)
    assert_part(weightguard.scan("m/iter_0000100/mp_rank_00"))


# ---- Megatron


def test_ranks_of_two_models_are_no_model(here: Path) -> None:
    layouts.write_megatron(here / "a", 2, 1)
    [_, second] = layouts.write_megatron(here / "b", 2, 1, seed=1)
    value = torch.load(second, weights_only=False)
    value["args"].num_layers = 7
    save(here / "a" / "iter_0000100" / "mp_rank_01" / "model_optim_rng.pt", value)
    assert_part(weightguard.scan("a"))


def test_ranks_of_other_widths_are_no_model(here: Path) -> None:
    [_, second] = layouts.write_megatron(here / "m", 2, 1)
    value = torch.load(second, weights_only=False)
    value["model"] = {k: v[:, :-1] if v.ndim == 2 else v for k, v in value["model"].items()}
    save(second, value)
    assert_part(weightguard.scan("m"))


def test_a_rank_that_lacks_tensors_is_a_part(here: Path) -> None:
    [_, second] = layouts.write_megatron(here / "m", 2, 1)
    value = torch.load(second, weights_only=False)
    del value["model"]["decoder.layers.2.mlp.linear_fc1.weight"]
    save(second, value)
    assert_part(weightguard.scan("m"))


def test_a_rank_twice_in_place_of_another_is_a_part_or_counted(here: Path) -> None:
    """Renaming a rank's folder to another's can't be seen in its header; the count doesn't become smaller."""
    layouts.write_megatron(here / "m", 2, 1)
    folder = here / "m" / "iter_0000100"
    shutil.rmtree(folder / "mp_rank_01")
    shutil.copytree(folder / "mp_rank_00", folder / "mp_rank_01")
    assert one("m").parameters.total == total()


def test_a_rank_in_two_folders_is_no_model(here: Path) -> None:
    layouts.write_megatron(here / "m", 2, 1)
    folder = here / "m" / "iter_0000100"
    shutil.copytree(folder / "mp_rank_00", folder / "mp_rank_00_000")
    report = weightguard.scan("m")
    assert_part(report)
    assert report.models[0].parameters.total >= total()


def test_renamed_rank_folders_are_no_whole_models(here: Path) -> None:
    layouts.write_megatron(here / "m", 2, 2)
    for number, folder in enumerate(sorted((here / "m" / "iter_0000100").iterdir())):
        folder.rename(folder.parent / f"mp_rank_{number + 5:02}")
    assert_part(weightguard.scan("m"))


def test_without_a_word_about_the_number_of_ranks_a_set_is_a_part(here: Path) -> None:
    for path in layouts.write_megatron(here / "m", 2, 1):
        save(path, {"model": torch.load(path, weights_only=False)["model"]})
    assert_part(weightguard.scan("m"))


@pytest.mark.parametrize("untied", [True, False])
def test_the_head_of_a_tied_model_is_counted_once_over_stages(here: Path, untied: bool) -> None:
    paths = layouts.write_megatron(here / "m", 2, 2, untie_embeddings_and_output_weights=untied)
    for path in paths[2:]:  # the last stage keeps the embedding again
        value = torch.load(path, weights_only=False)
        assert "output_layer.weight" in value["model"]
    expected = total() if untied else total() - layouts.VOCAB * layouts.HIDDEN
    model = one("m")
    assert model.complete and model.parameters.total == expected


@pytest.mark.parametrize("tp", [1, 2])
@pytest.mark.parametrize("grouped", [False, True])
def test_expert_ranks_hold_their_experts_and_the_rest_again(here: Path, tp: int, grouped: bool) -> None:
    """Two expert ranks of two experts each: names are local, dense tensors are on both."""
    h, f, ep, local = 16, 24, 2, 2
    dense: dict[str, torch.Tensor] = {
        "embedding.word_embeddings.weight": torch.rand(40, h),
        "decoder.final_layernorm.weight": torch.rand(h),
        "output_layer.weight": torch.rand(40, h),
    }
    experts: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
    for i in range(2):
        p = f"decoder.layers.{i}."
        dense |= {
            p + "input_layernorm.weight": torch.rand(h),
            p + "self_attention.linear_qkv.weight": torch.rand(3 * h, h),
            p + "self_attention.linear_proj.weight": torch.rand(h, h),
            p + "pre_mlp_layernorm.weight": torch.rand(h),
            p + "mlp.router.weight": torch.rand(ep * local, h),
        }
        for e in range(ep):
            for n in range(local):
                names = ("linear_fc1", "linear_fc2")
                shapes = ((f, h), (h, f))
                for name, shape in zip(names, shapes, strict=True):
                    key = p + (f"mlp.experts.{name}.weight{n}" if grouped else f"mlp.experts.local_experts.{n}.{name}.weight")
                    experts.setdefault((e, 0), {})[key] = torch.rand(shape)
    truth = sum(t.numel() for t in dense.values()) + sum(t.numel() for d in experts.values() for t in d.values())
    for e in range(ep):
        for t in range(tp):
            held = tensor_rank(dense, t, tp)
            for name, tensor in experts[e, 0].items():
                held[name] = tensor.chunk(tp, 1 if "fc2" in name else 0)[t].clone()
            value = {"args": layouts.arguments(tp, 1, ep, num_experts=ep * local), "model": held}
            save(here / "m" / "iter_0000001" / f"mp_rank_{t:02}_{e:03}" / "model_optim_rng.pt", value)
    model = one("m")
    assert model.complete and model.parameters.total == truth
    assert model.parameters.by_role["copy"] > 0
    shutil.rmtree(here / "m" / "iter_0000001" / f"mp_rank_{tp - 1:02}_001")
    assert_part(weightguard.scan("m"))


def test_expert_ranks_without_experts_are_not_believed_to_be_replicas(here: Path) -> None:
    for e in range(2):
        value = {"args": layouts.arguments(1, 1, 2), "model": megatron_names(state())}
        save(here / "m" / "iter_0000001" / f"mp_rank_00_{e:03}" / "model_optim_rng.pt", value)
    assert_part(weightguard.scan("m"))


def test_large_matrices_under_the_names_of_replicas_are_not_believed(here: Path) -> None:
    for t in range(4):
        model = tensor_rank(megatron_names(state()), t, 4)
        model["decoder.router.weight"] = torch.zeros(3000, 3000)
        save(
            here / "m" / "iter_0000001" / f"mp_rank_{t:02}" / "model_optim_rng.pt",
            {"args": layouts.arguments(4, 1), "model": model},
        )
    assert_part(weightguard.scan("m"))


def test_a_distributed_optimizer_beside_the_model_is_optimizer_state(here: Path) -> None:
    [path] = layouts.write_megatron(here / "m", 1, 1)
    flat = torch.zeros(total())
    buffers = {0: {(torch.float32, torch.float32): [{"param": flat, "exp_avg": flat.clone(), "exp_avg_sq": flat.clone()}]}}
    save(path.parent / "distrib_optim.pt", buffers)
    assert_whole(one("m"), optimizer=3 * total())


def test_weights_called_distributed_optimizer_are_too_much_state(here: Path) -> None:
    [path] = layouts.write_megatron(here / "m", 1, 1)
    save(path.parent / "distrib_optim.pt", {"w": torch.zeros(3_000_000)})
    assert_part(weightguard.scan("m"))


def test_a_thousand_ranks_take_seconds(here: Path) -> None:
    import time

    whole = {"decoder.layers.0.mlp.linear_fc1.weight": torch.zeros(1000, 8), "decoder.final_layernorm.weight": torch.ones(8)}
    for t in range(1000):
        part = tensor_rank(whole, t, 1000)
        save(
            here / "m" / "iter_0000001" / f"mp_rank_{t:02}" / "model_optim_rng.pt",
            {"args": layouts.arguments(1000, 1), "model": part},
        )
    began = time.perf_counter()
    model = one("m")
    assert model.parameters.total == 8008 and model.parameters.by_role["copy"] == 999 * 8
    assert time.perf_counter() - began < 30
    shutil.rmtree(here / "m" / "iter_0000001" / "mp_rank_777")
    assert_part(weightguard.scan("m"))


# ---- DeepSpeed


def test_a_config_around_the_step_describes_it(here: Path) -> None:
    layouts.write_zero_3(here / "m" / "global_step7", 2)
    write_json(here / "m" / "config.json", CONFIG)
    model = one("m")
    assert_whole(model)
    assert model.architecture is not None and model.architecture.layers == LAYERS


def test_flat_groups_larger_than_the_shapes_count_in_full(here: Path) -> None:
    paths = layouts.write_zero_3(here / "m" / "global_step7", 2)
    states = next(p for p in paths if "optim" in p.name)
    value = torch.load(states, weights_only=False)
    value["optimizer_state_dict"]["fp32_flat_groups"].append(torch.zeros(1_000_000))
    save(states, value)
    report = weightguard.scan("m")
    assert report.models[0].parameters.total >= total() + 990_000
    assert "flat-groups-larger" in {f.id for f in report.models[0].findings}


def test_shapes_of_a_larger_model_than_the_flat_groups_are_a_part(here: Path) -> None:
    for path in layouts.write_zero_3(here / "m" / "global_step7", 2):
        value = torch.load(path, weights_only=False)
        if "param_shapes" in value:
            value["param_shapes"][0]["more"] = torch.Size([1000, 1000])
            save(path, value)
    assert_part(weightguard.scan("m"))


def test_weights_in_the_module_of_zero_3_count(here: Path) -> None:
    [path, *_] = layouts.write_zero_3(here / "m" / "global_step7", 2)
    value = torch.load(path, weights_only=False)
    value["module"]["hidden.weight"] = torch.zeros(500, 500)
    save(path, value)
    assert weightguard.scan("m").models[0].parameters.total == total() + 250_000


def test_steps_of_two_runs_in_one_folder_are_no_model(here: Path) -> None:
    paths = layouts.write_zero_3(here / "m" / "global_step7", 2)
    value = torch.load(paths[0], weights_only=False)
    value["global_steps"] = 9
    save(paths[0], value)
    assert_part(weightguard.scan("m"))


def test_a_stated_world_is_larger_than_the_files(here: Path) -> None:
    for path in layouts.write_zero_2(here / "m" / "global_step7", 2):
        value: dict[str, Any] = torch.load(path, weights_only=False)
        if "dp_world_size" in value:
            value["dp_world_size"] = 3
            save(path, value)
    assert_part(weightguard.scan("m"))


def test_a_thousand_data_parallel_ranks(here: Path) -> None:
    layouts.write_zero_2(here / "m" / "global_step7", 250)
    assert_whole(one("m"))


def test_two_steps_are_two_models(here: Path) -> None:
    layouts.write_zero_2(here / "m" / "global_step7", 2)
    layouts.write_zero_3(here / "m" / "global_step9", 2)
    models = {m.path: m.parameters.total for m in weightguard.scan("m").models}
    assert models == {"m/global_step7": total(), "m/global_step9": total()}


def test_a_universal_checkpoint_without_a_parameter_is_a_part(here: Path) -> None:
    layouts.write_universal(here / "m" / "global_step7_universal")
    shutil.rmtree(here / "m" / "global_step7_universal" / "zero" / "model.norm.weight")
    assert_part(weightguard.scan("m"))


def test_the_exit_status_of_a_part_blocks(here: Path) -> None:
    layouts.write_zero_3(here / "m" / "global_step7", 3)[-1].unlink()
    assert run("scan", "m", cwd=here).returncode == 1


NONSENSE: list[Any] = [
    None,
    True,
    -1,
    0,
    2**70,
    10**400,
    1.5,
    float("nan"),
    "2",
    b"2",
    [],
    {},
    [2],
    torch.tensor(2),
    "a\nb",
    "\ud800",
]
KEYS = ["args.tensor_model_parallel_size", "args.pipeline_model_parallel_size", "args.expert_model_parallel_size", "args", "model",
        "args.num_layers", "args.untie_embeddings_and_output_weights", "iteration", "checkpoint_version"]  # fmt: skip


def test_nonsense_in_the_files_of_ranks_is_no_fault_of_ours_and_counts_no_less(here: Path) -> None:
    paths = layouts.write_megatron(here / "m", 2, 1)
    original = paths[1].read_bytes()
    for key in KEYS:
        for value in NONSENSE:
            content = torch.load(paths[1], weights_only=False)
            if key.startswith("args."):
                setattr(content["args"], key[5:], value)
            else:
                content[key] = value
            save(paths[1], content)
            report = weightguard.scan("m")
            assert not [u for u in report.unread if u.reason == "internal"], (key, value, report.unread)
            assert all(not m.complete or m.parameters.total >= total() for m in report.models), (key, value)
            paths[1].write_bytes(original)


@pytest.mark.parametrize(
    "key",
    ["param_shapes", "frozen_param_shapes", "frozen_param_fragments", "module", "dp_world_size", "mp_world_size", "ds_version"],
)
def test_nonsense_in_the_files_of_zero_3(here: Path, key: str) -> None:
    paths = layouts.write_zero_3(here / "m" / "global_step7", 2)
    original = paths[0].read_bytes()
    nonsense = [*NONSENSE, torch.Size([2**40, 2**40]), [{"a": torch.Size([])}], {"": torch.Size([0])}, [[torch.Size([3])]]]
    for value in nonsense:
        content = torch.load(paths[0], weights_only=False)
        content[key] = value
        save(paths[0], content)
        report = weightguard.scan("m")
        assert not [u for u in report.unread if u.reason == "internal"], (value, report.unread)
        assert all(not m.complete or m.parameters.total >= total() for m in report.models), value
        assert not [f for m in report.models for f in m.findings if f.id == "not-judged"], value
        paths[0].write_bytes(original)


@pytest.mark.parametrize(
    "name",
    ["", ".", "model.", "model.decoder.layers.999999.a.b", "model.decoder.layers.9999999999.a.b", "model9.decoder.layers.0.x.y",
     "model.x.experts.local_experts.999999.w", "model.a.experts.linear_fc1.weight9", "optimizer", "model.output_layer.weight"],
)  # fmt: skip
def test_odd_names_of_tensors_in_ranks_are_counted(here: Path, name: str) -> None:
    paths = layouts.write_megatron(here / "m", 2, 2)
    for path in paths:
        content = torch.load(path, weights_only=False)
        content[name] = torch.zeros(100, 100)
        save(path, content)
    report = weightguard.scan("m")
    assert not report.unread and report.models[0].parameters.total >= total() + 4 * 10_000 - 32 * 80


def test_vectors_on_every_rank_of_zero_3_are_not_believed_to_be_alike(here: Path) -> None:
    """What ZeRO 3 leaves in the module are buffers: few. More under one name on every rank may be other weights on each."""
    for path in layouts.write_zero_3(here / "m" / "global_step7", 4):
        value = torch.load(path, weights_only=False)
        if "module" in value:
            value["module"]["hidden"] = torch.zeros(2_000_000)
            save(path, value)
    assert_part(weightguard.scan("m"))


def test_a_universal_checkpoint_at_scale_has_its_own_optimizer_state(here: Path) -> None:
    for name in ("embed.weight", "layers.0.weight", "norm.weight"):
        for kind in ("fp32", "exp_avg", "exp_avg_sq"):
            save(here / "m" / "zero" / name / f"{kind}.pt", {"param": torch.zeros(700, 1000)})
    model = one("m")
    assert model.complete, model.missing
    assert model.parameters.total == 2_100_000 and model.parameters.by_role["optimizer"] == 4_200_000
