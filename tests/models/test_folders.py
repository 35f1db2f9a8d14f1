"""Adapters, pipelines, sharded states, archives of NeMo, Lightning: what lies in a folder, or in several, and is one model."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import weightguard
from tests.layouts import ADAPTER, SMALL, Small, Tensor, declaration, values_in, write_json, write_small, write_sparse
from tests.models import layouts
from tests.models.layouts import CONFIG, save, state, total
from weightguard.report import ModelReport, Report

TOTAL = values_in(SMALL.tensors)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one(*targets: str) -> ModelReport:
    [model] = weightguard.scan(*targets).models
    return model


def assert_part(report: Report) -> None:
    assert report.decision == "block" and report.models
    for model in report.models:
        assert not model.complete and model.missing and model.training_operations.interval.high is None


# ---- adapters

R, H = 4, 32


def pairs(module: str, down: str, up: str, width: int = H, out: int = H) -> list[Tensor]:
    return [(f"{module}{down}", "F32", (R, width)), (f"{module}{up}", "F32", (out, R))]


ADAPTERS: dict[str, list[Tensor]] = {
    "peft": ADAPTER,
    "peft of a named adapter": pairs(
        "base_model.model.model.layers.0.mlp.down_proj.", "lora_A.x.weight", "lora_B.x.weight", 48
    ),
    "dora": [
        *pairs("base_model.model.model.layers.0.self_attn.o_proj.", "lora_A.weight", "lora_B.weight"),
        ("base_model.model.model.layers.0.self_attn.o_proj.lora_magnitude_vector", "F32", (32,)),
    ],
    "ia3": [(f"base_model.model.model.layers.{i}.mlp.down_proj.ia3_l", "F32", (1, 48)) for i in range(2)],
    "prompt": [("prompt_embeddings", "F32", (8, 32))],
    "kohya": [
        *pairs("lora_te_model_layers_0_self_attn_q_proj.", "lora_down.weight", "lora_up.weight"),
        ("lora_te_model_layers_0_self_attn_q_proj.alpha", "F32", ()),
    ],
    "diffusers": pairs("model.layers.1.self_attn.o_proj.", "lora.down.weight", "lora.up.weight"),
    "an embedding": [
        ("base_model.model.model.embed_tokens.lora_embedding_A", "F32", (4, 80)),
        ("base_model.model.model.embed_tokens.lora_embedding_B", "F32", (32, 4)),
    ],
}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("configured", [True, False], ids=["with adapter_config.json", "by its names alone"])
def test_an_adapter_without_its_base_is_a_part(here: Path, name: str, configured: bool) -> None:
    write_sparse(here / "a" / "adapter_model.safetensors", ADAPTERS[name])
    if configured:
        write_json(here / "a" / "adapter_config.json", {"peft_type": "LORA"})
    assert_part(weightguard.scan("a"))
    assert one("a").parameters.total == values_in(ADAPTERS[name])


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("configured", [True, False], ids=["with config.json", "without"])
def test_an_adapter_beside_its_base_counts_with_it(here: Path, name: str, configured: bool) -> None:
    write_small(here / "a")
    if not configured:
        (here / "a" / "config.json").unlink()
    write_sparse(here / "a" / "adapter_model.safetensors", ADAPTERS[name])
    write_json(here / "a" / "adapter_config.json", {"peft_type": "LORA"})
    model = one("a")
    assert model.complete and model.decision == "allow"
    assert model.parameters.total == TOTAL + values_in(ADAPTERS[name])
    assert "adapter-with-base" in {f.id for f in model.findings}


WRONG: dict[str, list[Tensor]] = {
    "another width": pairs("base_model.model.model.layers.0.self_attn.q_proj.", "lora_A.weight", "lora_B.weight", 64, 64),
    "a layer that the base lacks": pairs("base_model.model.model.layers.9.self_attn.q_proj.", "lora_A.weight", "lora_B.weight"),
    "a module that the base lacks": pairs("base_model.model.model.layers.0.attention.query.", "lora_A.weight", "lora_B.weight"),
    "a prompt of another width": [("prompt_embeddings", "F32", (8, 33))],
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("configured", [True, False], ids=["with config.json", "without"])
def test_an_adapter_of_another_base_is_a_part(here: Path, name: str, configured: bool) -> None:
    write_small(here / "a")
    if not configured:
        (here / "a" / "config.json").unlink()
    write_sparse(here / "a" / "adapter_model.safetensors", WRONG[name])
    models = weightguard.scan("a").models
    assert any(not m.complete for m in models)


def test_two_bases_leave_an_adapter_a_part(here: Path) -> None:
    write_sparse(here / "a" / "one.safetensors", SMALL.tensors)
    write_sparse(here / "a" / "two.safetensors", Small(vocab=90).tensors)
    write_sparse(here / "a" / "adapter_model.safetensors", ADAPTER)
    assert sorted(m.complete for m in weightguard.scan("a").models) == [False, True, True]


PEFT: dict[str, dict[str, Any]] = {
    "LoraConfig": {"r": 4, "target_modules": ["q_proj", "down_proj"]},
    "IA3Config": {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
    "LoHaConfig": {"r": 4, "target_modules": ["q_proj"]},
    "LoKrConfig": {"r": 4, "target_modules": ["q_proj"]},
    "OFTConfig": {"r": 0, "oft_block_size": 4, "target_modules": ["q_proj"]},
    "VeraConfig": {"r": 4, "target_modules": ["q_proj"]},
    "PromptTuningConfig": {"num_virtual_tokens": 4},
    "PrefixTuningConfig": {"num_virtual_tokens": 4},
}


@pytest.mark.parametrize("method", PEFT)
@pytest.mark.parametrize("safe", [True, False])
def test_what_peft_writes_is_a_part(here: Path, method: str, safe: bool) -> None:
    peft = pytest.importorskip("peft")
    layouts.llama.cache_clear()
    try:
        model = peft.get_peft_model(layouts.llama(), getattr(peft, method)(task_type="CAUSAL_LM", **PEFT[method]))
        model.save_pretrained(here / "a", safe_serialization=safe)
    finally:
        layouts.llama.cache_clear()
    assert_part(weightguard.scan("a"))
    (here / "a" / "adapter_config.json").unlink()
    assert_part(weightguard.scan("a"))


# ---- pipelines of diffusers


def write_pipeline(folder: Path, **more: list[Any]) -> int:
    """Three components, each a decoder of another width; their parameters in all."""
    widths = {"unet": 32, "text_encoder": 16, "vae": 64}
    for name, hidden in widths.items():
        write_small(folder / name, Small(hidden=hidden), "diffusion_pytorch_model.safetensors")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizerFast"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "image_encoder": [None, None],
        "force_zeros": True,
        **more,
    }
    write_json(folder / "model_index.json", index)
    write_json(folder / "scheduler" / "scheduler_config.json", {})
    return sum(values_in(Small(hidden=h).tensors) for h in widths.values())


def test_a_pipeline_is_one_model_of_all_its_components(here: Path) -> None:
    expected = write_pipeline(here / "p")
    model = one("p")
    assert (model.path, model.name, model.complete, model.decision) == ("p", "p", True, "allow")
    assert model.parameters.total == expected
    assert len(model.files) == 3


def test_a_pipeline_in_the_current_folder(here: Path) -> None:
    expected = write_pipeline(here)
    model = one(".")
    assert model.parameters.total == expected and model.complete


def test_variants_of_a_component_count_once(here: Path) -> None:
    expected = write_pipeline(here / "p")
    tensors = Small(hidden=32, dtype="F16").tensors
    for name in ("diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.non_ema.safetensors"):
        write_sparse(here / "p" / "unet" / name, tensors)
    layout = {n: torch.zeros(s, dtype=torch.float16) for n, _, s in tensors}
    save(here / "p" / "unet" / "diffusion_pytorch_model.bin", layout)
    model = one("p")
    assert model.parameters.total == expected and model.complete
    assert model.parameters.by_role["copy"] == 3 * values_in(tensors)
    assert "duplicate-weights" in {f.id for f in model.findings}


@pytest.mark.parametrize("lost", ["unet", "text_encoder", "vae"])
def test_a_pipeline_without_a_component_is_a_part(here: Path, lost: str) -> None:
    write_pipeline(here / "p")
    (here / "p" / lost / "diffusion_pytorch_model.safetensors").unlink()
    assert_part(weightguard.scan("p"))
    shutil.rmtree(here / "p" / lost)
    assert_part(weightguard.scan("p"))


def test_a_component_whose_shard_is_missing_makes_a_part(here: Path) -> None:
    write_pipeline(here / "p")
    path = here / "p" / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    assert_part(weightguard.scan("p"))


def test_a_component_alone_is_the_model_that_it_is(here: Path) -> None:
    write_pipeline(here / "p")
    assert one("p/unet").parameters.total == values_in(Small(hidden=32).tensors)


def test_a_file_beside_the_components_is_a_model_of_its_own(here: Path) -> None:
    expected = write_pipeline(here / "p")
    write_sparse(here / "p" / "v1-5-pruned.safetensors", [("w.weight", "F32", (10, 10))])
    assert {m.path: m.parameters.total for m in weightguard.scan("p").models} == {
        "p": expected,
        "p/v1-5-pruned.safetensors": 100,
    }


def test_a_declaration_beside_the_index_speaks_for_the_pipeline(here: Path) -> None:
    write_pipeline(here / "p")
    (here / "p" / "weightguard.toml").write_text(declaration("1.2e26"))
    assert one("p").verdicts[0].status == "controlled"


def test_a_declaration_of_a_component_is_not_lost(here: Path) -> None:
    write_pipeline(here / "p")
    (here / "p" / "unet" / "weightguard.toml").write_text(declaration("1.2e26"))
    assert one("p").decision == "block"
    (here / "p" / "weightguard.toml").write_text(declaration("1e20"))
    assert one("p").decision == "block"


@pytest.mark.parametrize("name", ["../outside", "/etc", "..", ".", "", "unet/../unet", "a\\b"])
def test_an_index_that_names_folders_elsewhere_takes_nothing_there(here: Path, name: str) -> None:
    expected = write_pipeline(here / "p", **{name: ["diffusers", "UNet2DConditionModel"]})
    write_small(here / "outside")
    model = one("p")
    assert model.parameters.total == expected


@pytest.mark.parametrize("text", ["", "[]", "{", '{"unet": 1}', '{"unet": ["a"]}', "[" * 99999])
def test_a_broken_index_leaves_the_components_models_of_their_own(here: Path, text: str) -> None:
    write_pipeline(here / "p")
    (here / "p" / "model_index.json").write_text(text)
    assert len(weightguard.scan("p").models) == 3


def test_what_diffusers_writes(here: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    unet = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    pipe = diffusers.DDIMPipeline(unet, diffusers.DDIMScheduler())
    pipe.save_pretrained(here / "p")
    pipe.to(torch.float16).save_pretrained(here / "p", variant="fp16")
    model = one("p")
    assert model.complete and model.parameters.total == sum(p.numel() for p in unet.parameters())


# ---- copies


def test_metas_own_files_beside_the_shards_count_once(here: Path) -> None:
    """`consolidated` beside `model-*`: other names, and under tensor parallelism other pieces."""
    write_json(here / "m" / "config.json", CONFIG)
    save_file(state(), here / "m" / "model.safetensors")
    names = {"embed_tokens": "tok_embeddings", "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk",
             "self_attn.v_proj": "attention.wv", "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1",
             "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm",
             "post_attention_layernorm": "ffn_norm", "lm_head": "output"}  # fmt: skip
    meta = {}
    for name, tensor in state().items():
        plain = name.removeprefix("model.")
        for theirs, its in names.items():
            plain = plain.replace(theirs, its)
        meta[plain] = tensor
    for rank in range(2):
        part = {}
        for name, tensor in meta.items():
            columns = name.endswith(("wo.weight", "w2.weight"))
            part[name] = tensor if tensor.ndim == 1 else tensor.chunk(2, 1 if columns else 0)[rank].clone()
        save(here / "m" / f"consolidated.{rank:02}.pth", part)
    model = one("m")
    assert model.complete and model.parameters.total == total() and "duplicate-weights" in {f.id for f in model.findings}
    (here / "m" / "model.safetensors").unlink()
    (here / "m" / "config.json").unlink()
    model = one("m")
    assert model.complete and model.parameters.total == total()
    (here / "m" / "consolidated.01.pth").unlink()
    assert_part(weightguard.scan("m"))


def test_tensor_parallel_files_of_unknown_number_are_a_part(here: Path) -> None:
    """vLLM's sharded state: every rank has the same names and shapes, and nothing says how many there are."""
    write_json(here / "m" / "config.json", CONFIG)
    for rank in range(2):
        part = layouts.tensor_rank(layouts.megatron_names(state()), rank, 2)
        save_file(part, here / "m" / f"model-rank-{rank}-part-0.safetensors")
    report = weightguard.scan("m")
    assert_part(report)
    assert sum(m.parameters.total for m in report.models) == total()


@pytest.mark.parametrize("average", ["ema", "model_ema", "teacher", "average_model_state", "swa_model"])
@pytest.mark.parametrize("dots", [True, False], ids=["by their names", "without the dots of their names"])
def test_averages_and_teachers_are_copies(here: Path, average: str, dots: bool) -> None:
    name = "student" if average == "teacher" else "model"
    weights = {f"{name}.{n}": t for n, t in state().items()}
    again = {f"{average}.{n if dots else n.replace('.', '')}": t for n, t in state().items()}
    save(here / "m" / "x.ckpt", {"state_dict": weights | again})
    model = one("m")
    assert model.parameters.total == total() == model.parameters.by_role["copy"]


def test_averages_that_a_callback_keeps_are_copies(here: Path) -> None:
    weights = {f"model.{n}": t for n, t in state().items()}
    save(here / "m" / "x.ckpt", {"state_dict": weights, "callbacks": {"EMA": {"ema_weights": state()}}})
    model = one("m")
    assert model.parameters.total == total() == model.parameters.by_role["copy"]


def test_a_second_average_and_one_of_another_shape_count(here: Path) -> None:
    """One weight has one average: what is called so beyond that is weights."""
    weights = {f"model.{n}": t for n, t in state().items()}
    twice = {f"{a}.{n}": t for a in ("ema", "swa_model") for n, t in state().items()}
    save(here / "m" / "x.ckpt", {"state_dict": weights | twice})
    assert one("m").parameters.total == 2 * total()
    save(here / "m" / "x.ckpt", {"state_dict": weights | {"ema.model.norm.weight": torch.zeros(99, 99)}})
    assert one("m").parameters.total == total() + 99 * 99


def test_a_discriminator_counts(here: Path) -> None:
    weights = state() | {f"discriminator.{n}": t for n, t in state().items()}
    save(here / "m" / "x.ckpt", {"state_dict": weights})
    assert one("m").parameters.total == 2 * total()


# ---- FSDP


def test_accelerates_folders_of_weights_and_optimizer_are_one_model(here: Path) -> None:
    import torch.distributed.checkpoint as dcp

    sd = state()
    dcp.save({"model": sd}, checkpoint_id=str(here / "c" / "pytorch_model_fsdp_0"), no_dist=True)
    moments = {f"state.{n}.exp_avg": t for n, t in sd.items()}
    dcp.save({"optimizer": moments}, checkpoint_id=str(here / "c" / "optimizer_0"), no_dist=True)
    model = one("c")
    assert model.complete and model.parameters.total == total() == model.parameters.by_role["optimizer"]
    shutil.rmtree(here / "c" / "pytorch_model_fsdp_0")
    assert_part(weightguard.scan("c"))


def test_flat_parameters_of_unknown_ranks_are_a_part(here: Path) -> None:
    flat = torch.cat([t.flatten() for t in state().values()])
    for rank, part in enumerate(flat.chunk(2)):
        save(here / "c" / f"pytorch_model_fsdp_rank{rank}.bin", {"_fsdp_wrapped_module._flat_param": part.clone()})
    report = weightguard.scan("c")
    assert_part(report)
    assert report.models[0].parameters.total == total()


@pytest.mark.full
def test_what_fsdp_writes(here: Path) -> None:
    """Two processes of torch: local, sharded and DTensor states, a file a rank; and two checkpoints by dcp."""
    torch.multiprocessing.spawn(_train, args=(str(here),), nprocs=2)  # type: ignore[no-untyped-call]
    for name in ("LOCAL_STATE_DICT", "SHARDED_STATE_DICT", "dtensor", "dcp"):
        report = weightguard.scan(name)
        [model] = report.models
        assert model.complete and model.parameters.total == total(), name
        if name != "dcp":
            (here / name / "rank1.pt").unlink()
            assert_part(weightguard.scan(name))


def _train(rank: int, folder: str) -> None:
    import os

    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_model_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType, fully_shard

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29643"}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    wrapped = FullyShardedDataParallel(layouts.llama(), device_id=torch.device("cpu"), use_orig_params=True)
    for kind in (StateDictType.LOCAL_STATE_DICT, StateDictType.SHARDED_STATE_DICT):
        with FullyShardedDataParallel.state_dict_type(wrapped, kind):
            save(Path(folder) / kind.name / f"rank{rank}.pt", wrapped.state_dict())
    layouts.llama.cache_clear()
    model = layouts.llama()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    save(Path(folder) / "dtensor" / f"rank{rank}.pt", model.state_dict())
    dcp.save(get_model_state_dict(model), checkpoint_id=f"{folder}/dcp")
    dist.destroy_process_group()


# ---- NeMo and Lightning

LIGHTNING: dict[str, Any] = {
    "epoch": 1,
    "global_step": 10,
    "pytorch-lightning_version": "2.5.0",
    "loops": {"fit_loop": {"state_dict": {}}},
    "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5), "best_model_path": "x"}},
    "lr_schedulers": [{"last_epoch": 1}],
    "hparams_name": "kwargs",
    "hyper_parameters": {"lr": 1e-4, "hidden": 32},
}


def lightning() -> dict[str, Any]:
    sd = {f"model.{n}": t for n, t in state().items()}
    adam = {"state": {i: {"step": torch.tensor(3.0), "exp_avg": t, "exp_avg_sq": t.clone()} for i, t in enumerate(sd.values())}}
    return {
        "state_dict": sd,
        "optimizer_states": [{**adam, "param_groups": [{"lr": 1e-4, "params": list(range(len(sd)))}]}],
        **LIGHTNING,
    }


def test_a_checkpoint_of_lightning(here: Path) -> None:
    save(here / "m" / "last.ckpt", lightning())
    model = one("m")
    assert model.complete and model.parameters.total == total() and model.decision == "allow"
    assert model.parameters.by_role["optimizer"] >= 2 * total()


def nemo(path: Path, files: dict[str, object], config: str, *, packed: bool = False) -> Path:
    folder = path.parent / "inside"
    for name, value in files.items():
        save(folder / name, value)
    (folder / "model_config.yaml").write_text(config)
    with tarfile.open(path, "w:gz") if packed else tarfile.open(path, "w") as tar:
        tar.add(folder, ".")
    shutil.rmtree(folder)
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_nemo_1_with_one_file(here: Path, packed: bool) -> None:
    config = "tensor_model_parallel_size: 1\npipeline_model_parallel_size: 1\n"
    nemo(here / "x.nemo", {"model_weights.ckpt": state()}, config, packed=packed)
    model = one("x.nemo")
    assert model.complete and model.parameters.total == total() and model.decision == "allow"


def test_nemo_1_whose_config_says_more_ranks_is_a_part(here: Path) -> None:
    nemo(here / "x.nemo", {"model_weights.ckpt": state()}, "tensor_model_parallel_size: 4\n")
    assert_part(weightguard.scan("x.nemo"))


@pytest.mark.parametrize("lost", [None, 0, 1])
def test_nemo_1_of_several_ranks(here: Path, lost: int | None) -> None:
    whole = {f"model.{n}": t for n, t in layouts.megatron_names(state()).items()}
    files: dict[str, object] = {
        f"mp_rank_{t:02}/model_weights.ckpt": layouts.tensor_rank(whole, t, 2) for t in range(2) if t != lost
    }
    nemo(here / "x.nemo", files, "name: x\ntensor_model_parallel_size: 2\npipeline_model_parallel_size: 1\n")
    if lost is None:
        model = one("x.nemo")
        assert model.complete and model.parameters.total == total() and model.decision == "allow"
    else:
        assert_part(weightguard.scan("x.nemo"))


def test_nemo_1_with_a_distributed_checkpoint_inside(here: Path) -> None:
    import torch.distributed.checkpoint as dcp

    dcp.save(layouts.megatron_names(state()), checkpoint_id=str(here / "i" / "model_weights"), no_dist=True)
    save(here / "i" / "model_weights" / "common.pt", {"iteration": 5})
    write_json(here / "i" / "model_weights" / "metadata.json", {"sharded_backend": "torch_dist"})
    (here / "i" / "model_config.yaml").write_text("tensor_model_parallel_size: 8\n")
    with tarfile.open(here / "x.nemo", "w") as tar:
        tar.add(here / "i", ".")
    shutil.rmtree(here / "i")
    report = weightguard.scan("x.nemo")
    assert not report.unread
    [model] = report.models
    assert model.complete and model.parameters.total == total()


def test_nemo_2(here: Path) -> None:
    import torch.distributed.checkpoint as dcp

    sd = {f"module.{n}": t for n, t in layouts.megatron_names(state()).items()}
    dcp.save(sd, checkpoint_id=str(here / "n" / "weights"), no_dist=True)
    save(here / "n" / "weights" / "common.pt", {"iteration": 5, "pytorch-lightning_version": "2.5"})
    write_json(here / "n" / "weights" / "metadata.json", {"sharded_backend": "torch_dist", "sharded_backend_version": 1})
    write_json(here / "n" / "context" / "io.json", {})
    (here / "n" / "context" / "model.yaml").write_text("a: 1\n")
    report = weightguard.scan("n")
    assert not report.unread
    [model] = report.models
    assert model.complete and model.parameters.total == total() and model.decision == "allow"


def test_json_of_pipelines_is_text(here: Path) -> None:
    """model_index.json alone holds no weights."""
    write_json(here / "p" / "model_index.json", {"unet": ["diffusers", "X"]})
    report = weightguard.scan("p")
    assert not report.models and json.loads((here / "p" / "model_index.json").read_text())


def test_a_component_that_lacks_layers_of_its_config_makes_a_part(here: Path) -> None:
    write_pipeline(here / "p")
    write_json(here / "p" / "unet" / "config.json", {**Small(hidden=32).config, "num_hidden_layers": 9})
    assert_part(weightguard.scan("p"))


@pytest.mark.parametrize(
    ("module", "down", "up"),
    [
        ("lora_unet_model_layers_0_self_attn_q_proj", ".lora_down.weight", ".lora_up.weight"),
        ("unet.model.layers.0.self_attn.q_proj", ".lora.down.weight", ".lora.up.weight"),
        ("unet.model.layers.1.self_attn.o_proj", ".lora_A.weight", ".lora_B.weight"),
    ],
)
def test_an_adapter_beside_a_pipeline_counts_with_the_component_that_it_fits(
    here: Path, module: str, down: str, up: str
) -> None:
    expected = write_pipeline(here / "p")
    write_sparse(here / "p" / "pytorch_lora_weights.safetensors", pairs(module, down, up))
    model = one("p")
    assert model.complete and model.decision == "allow"
    assert model.parameters.total == expected + 2 * R * H
    write_sparse(here / "p" / "pytorch_lora_weights.safetensors", pairs(module, down, up, 77, 77))
    assert sorted(m.complete for m in weightguard.scan("p").models) == [False, True]


def test_gguf_beside_safetensors_has_other_names_and_stays_a_model_of_its_own(here: Path) -> None:
    gguf = pytest.importorskip("gguf")
    write_small(here / "m")
    writer = gguf.GGUFWriter(here / "m" / "x.gguf", "llama")
    writer.add_tensor("token_embd.weight", torch.zeros(80, 32).numpy())
    writer.add_tensor("output_norm.weight", torch.zeros(32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert len(weightguard.scan("m").models) == 2
