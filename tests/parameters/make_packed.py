"""Makes the fixtures of `test_packing_real.py`: what the quantisers' own libraries store for 2 layers of 512 x 256.

Run in an environment of its own, CPU only (no library here is a test dependency):

    pip install torch==2.13.0 transformers bitsandbytes compressed-tensors torchao hqq safetensors
    pip install --no-deps optimum-quanto aqlm vptq sinq amd-quark onnxslim
    pip install ninja scipy datasets sentence-transformers onnx
    python tests/parameters/make_packed.py

Once more with compressed-tensors==0.9.4, for what releases before 0.13 wrote, as `make_packed.py old`; and once more with the
unpacked sources of autoawq 0.2.9, gptqmodel 7.7.0 and auto-round 0.16.1 on PYTHONPATH, as `make_packed.py sources`.

`data/packed*.json`: for each scheme the library and its version, what config.json says, and name, dtype and shape of each stored
tensor as safetensors would store it (the headers only). `data/*.pt`: whole small files whose form is a pickle.
"""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import importlib.metadata
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

DATA = Path(__file__).parent / "data"
OUT, IN, LAYERS = 512, 256, 2
Made = tuple[dict[str, torch.Tensor], "dict[str, Any] | None"]


def weight() -> torch.Tensor:
    return torch.randn(OUT, IN, generator=torch.Generator().manual_seed(1))


def linear() -> torch.nn.Linear:
    layer = torch.nn.Linear(IN, OUT, bias=False)
    layer.weight.data = weight()
    return layer


def tensors_of(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {k: v.detach().contiguous() for k, v in state.items() if isinstance(v, torch.Tensor)}


def bnb_4bit(kind: str, nested: bool, storage: torch.dtype) -> Callable[[], Made]:
    def make() -> Made:
        import bitsandbytes as bnb

        layer = bnb.nn.Linear4bit(IN, OUT, bias=False, quant_type=kind, compress_statistics=nested, quant_storage=storage)
        layer.weight = bnb.nn.Params4bit(
            weight(), requires_grad=False, quant_type=kind, compress_statistics=nested, quant_storage=storage
        )
        layer.weight._quantize("cpu")
        return tensors_of(layer.state_dict()), {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "bnb_4bit_quant_type": kind,
        }

    return make


def bnb_8bit() -> Made:
    import bitsandbytes as bnb

    layer = bnb.nn.Linear8bitLt(IN, OUT, bias=False, has_fp16_weights=False)
    layer.weight = bnb.nn.Int8Params(weight(), has_fp16_weights=False, requires_grad=False)
    layer.weight._quantize("cpu")
    state = layer.state_dict()
    return tensors_of(state), {"quant_method": "bitsandbytes", "load_in_8bit": True}


def hqq(bits: int, axis: int, group: int | None = 64, viewed: bool = False) -> Callable[[], Made]:
    def make() -> Made:
        from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

        config = BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis, view_as_float=viewed)
        layer = HQQLinear(linear(), config, compute_dtype=torch.float32, device="cpu", del_orig=False)
        layer.encoded_state_dict = True
        params = {k: v for k, v in config["weight_quant_params"].items() if isinstance(v, (int, bool, type(None)))}
        return tensors_of(layer.state_dict()), {"quant_method": "hqq", "quant_config": {"weight_quant_params": params}}

    return make


def compressed(num_bits: int, form: str, group: int | None, symmetric: bool = True, kind: str = "int") -> Callable[[], Made]:
    def make() -> Made:
        from compressed_tensors.compressors import BaseCompressor
        from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

        more: dict[str, Any] = {}
        if form == "nvfp4-pack-quantized":
            more = {"strategy": "tensor_group", "scale_dtype": torch.float8_e4m3fn}
        elif form.startswith("mx"):
            more = {"scale_dtype": torch.uint8}
        args = QuantizationArgs(
            num_bits=num_bits,
            type=kind,
            symmetric=symmetric,
            group_size=group,
            **({"strategy": "channel"} if not group else {}),
            **more,
        )
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        columns = IN // group if group else 1
        state = {"weight": weight(), "weight_scale": torch.full((OUT, columns), 0.5)}
        if not symmetric:
            state["weight_zero_point"] = torch.zeros((OUT, columns), dtype=torch.int8)
        if form == "nvfp4-pack-quantized":
            state["weight_global_scale"] = torch.ones(1)
        out = BaseCompressor.load_from_registry(form).compress(state, scheme)
        config = {
            "quant_method": "compressed-tensors",
            "format": form,
            "config_groups": {"group_0": {"weights": json.loads(args.model_dump_json())}},
        }
        return tensors_of(out), config

    return make


def torchao(config: Callable[[], Any]) -> Callable[[], Made]:
    def make() -> Made:
        from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
        from torchao.quantization import quantize_

        model = torch.nn.Sequential(linear()).to(torch.bfloat16)
        quantize_(model, config())
        flat, _ = flatten_tensor_state_dict(model.state_dict())
        return {k.removeprefix("0."): v for k, v in tensors_of(flat).items()}, {"quant_method": "torchao"}

    return make


def ao(name: str, **arguments: Any) -> Callable[[], Any]:
    def config() -> Any:
        import torchao.prototype.mx_formats as mx
        import torchao.quantization as q

        return getattr(q if hasattr(q, name) else mx, name)(**arguments)

    return config


def ao_int4_plain() -> Made:
    """The plain layout, made of its parts: quantising to it needs a kernel of a GPU."""
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import Int4Tensor

    packed = Int4Tensor(
        qdata=torch.zeros(OUT, IN // 2, dtype=torch.int8),
        scale=torch.zeros(IN // 128, OUT, dtype=torch.bfloat16),
        zero_point=torch.zeros(IN // 128, OUT, dtype=torch.bfloat16),
        block_size=[1, 128],
        shape=torch.Size((OUT, IN)),
    )
    flat, _ = flatten_tensor_state_dict({"0.weight": packed})
    return {k.removeprefix("0."): v for k, v in tensors_of(flat).items()}, {"quant_method": "torchao"}


def ao_tile_packed() -> Made:
    """Tile-packed int4, made of its parts: [n / 8, k / (16 x inner), 32, inner / 2] int32."""
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import Int4TilePackedTo4dTensor

    packed = Int4TilePackedTo4dTensor(
        qdata=torch.zeros(OUT // 8, IN // 128, 32, 4, dtype=torch.int32),
        scale_and_zero=torch.zeros(IN // 128, OUT, 2, dtype=torch.bfloat16),
        block_size=[1, 128],
        shape=torch.Size((OUT, IN)),
    )
    flat, _ = flatten_tensor_state_dict({"0.weight": packed})
    return {k.removeprefix("0."): v for k, v in tensors_of(flat).items()}, {"quant_method": "torchao"}


def quanto(kind: str) -> Callable[[], Made]:
    def make() -> Made:
        from optimum.quanto import freeze, qfloat8, qint2, qint4, qint8, quantize

        kinds = {"qint8": qint8, "qint4": qint4, "qint2": qint2, "qfloat8": qfloat8}
        model = torch.nn.Sequential(linear())
        quantize(model, weights=kinds[kind])
        freeze(model)
        return {k.removeprefix("0."): v for k, v in tensors_of(model.state_dict()).items()}, {
            "quant_method": "quanto",
            "weights": kind,
        }

    return make


def aqlm(books: int, bits: int, in_group: int) -> Callable[[], Made]:
    def make() -> Made:
        from aqlm import QuantizedLinear

        layer = QuantizedLinear(
            IN, OUT, in_group_size=in_group, out_group_size=1, num_codebooks=books, nbits_per_codebook=bits, bias=False
        )
        config = {
            "quant_method": "aqlm",
            "in_group_size": in_group,
            "out_group_size": 1,
            "num_codebooks": books,
            "nbits_per_codebook": bits,
        }
        return tensors_of(layer.state_dict()), config

    return make


def vptq(packed: bool, centroids: int, residual: int, length: int, columns: int = IN) -> Callable[[], Made]:
    def make() -> Made:
        from vptq.layers.vqlinear import VQuantLinear

        arguments = {
            "vector_lens": [-1, length],
            "num_centroids": [-1, centroids],
            "num_res_centroids": [-1, residual],
            "group_num": IN // columns,
            "group_size": columns,
            "outlier_size": 0,
            "indices_as_float": False,
            "enable_norm": True,
            "enable_perm": True,
            "is_indice_packed": packed,
        }
        layer = VQuantLinear(IN, OUT, bias=False, enable_proxy_error=False, device="cpu", dtype=torch.float16, **arguments)
        layers = {f"model.layers.{i}.proj": arguments for i in range(LAYERS)}
        return tensors_of(layer.state_dict()), {"quant_method": "vptq", "config_for_layers": layers}

    return make


def flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(f"{name}.{key}", inner)
    elif isinstance(value, (list, tuple)):
        for key, inner in enumerate(value):
            yield from flat(f"{name}.{key}", inner)
    else:
        yield name, value


def sinq(bits: int) -> Callable[[], Made]:
    def make() -> Made:
        from sinq.sinqlinear_hf import SINQLinear, sinq_base_quant_config

        config = sinq_base_quant_config(nbits=bits, group_size=64, quant_zero=False, quant_scale=False, axis=1, method="sinq")
        layer = SINQLinear(linear_layer=linear(), quant_config=config, compute_dtype=torch.float32, device="cpu")
        state = layer.state_dict()
        meta = dict(flat("meta", state["meta"]))  # as its save_weights_safetensors names them
        return tensors_of(state) | tensors_of(meta), {"quant_method": "sinq", "nbits": bits, "group_size": 64}

    return make


def hf_module(make_layer: Callable[[], torch.nn.Module], config: dict[str, Any]) -> Callable[[], Made]:
    return lambda: (tensors_of(make_layer().state_dict()), config)


def bitnet() -> torch.nn.Module:
    from transformers.integrations.bitnet import BitLinear

    return BitLinear(IN, OUT, bias=False, dtype=torch.bfloat16)


def eetq() -> torch.nn.Module:
    from transformers.integrations.eetq import EetqLinear

    return EetqLinear(IN, OUT, dtype=torch.int8, bias=False)


def higgs(bits: int) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        from transformers.integrations.higgs import HiggsLinear

        return HiggsLinear(IN, OUT, num_bits=bits, bias=False, dtype=torch.float16, group_size=256)

    return make


def metal(bits: int) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        from transformers.integrations.metal_quantization import MetalLinear

        return MetalLinear(IN, OUT, bias=False, bits=bits, group_size=64)

    return make


def gemma(bits: int) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        from transformers.integrations.gemma_quant import QuantizedLinear

        return QuantizedLinear(IN, OUT, bias=False, num_bits=bits)

    return make


def fbgemm() -> torch.nn.Module:
    from transformers.integrations.fbgemm_fp8 import FbgemmFp8Linear

    return FbgemmFp8Linear(IN, OUT, bias=False)


def finegrained() -> torch.nn.Module:
    from transformers.integrations.finegrained_fp8 import FP8Linear

    return FP8Linear(IN, OUT, block_size=(128, 128))


def quark(dtype: str, scheme: str) -> Callable[[], Made]:
    def make() -> Made:
        from quark.torch.utils.pack import create_pack_method

        pack = create_pack_method(qscheme=scheme, dtype=dtype)
        values = torch.zeros(OUT, IN, dtype=torch.int32)
        groups = (IN // 128, OUT) if scheme == "per_group" else (OUT,)
        return (
            {"weight": pack.pack(values, True), "weight_scale": torch.zeros(groups, dtype=torch.bfloat16)},
            {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": dtype, "qscheme": scheme}}},
        )

    return make


def two_of_four() -> torch.Tensor:
    values = weight().view(-1, 4)
    return values.scatter(1, values.abs().argsort(1)[:, :2], 0).view(OUT, IN)


def old_sparse(form: str) -> Callable[[], Made]:
    def make() -> Made:
        from compressed_tensors.compressors import BaseCompressor
        from compressed_tensors.config import SparsityCompressionConfig

        config = SparsityCompressionConfig(format=form, sparsity_structure="2:4")
        compressor = BaseCompressor.load_from_registry(form, config=config)
        state = compressor.compress_weight("x", two_of_four())
        return tensors_of({k.removeprefix("x."): v for k, v in state.items()}), {
            "quant_method": "compressed-tensors",
            "sparsity_config": {"format": form},
        }

    return make


def old_packed(bits: int) -> Callable[[], Made]:
    def make() -> Made:
        from compressed_tensors.compressors.quantized_compressors.pack_quantized import pack_to_int32

        state = {
            "weight_packed": pack_to_int32(torch.zeros(OUT, IN, dtype=torch.int8), bits),
            "weight_scale": torch.zeros(OUT, IN // 128),
            "weight_shape": torch.tensor([OUT, IN]),
        }
        weights = {"num_bits": bits, "group_size": 128, "strategy": "group"}
        return state, {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}

    return make


def old_marlin(bits: int) -> Callable[[], Made]:
    def make() -> Made:
        from compressed_tensors.compressors import BaseCompressor
        from compressed_tensors.quantization import QuantizationArgs

        args = QuantizationArgs(num_bits=bits, group_size=128, strategy="group")
        state = {
            "x.weight": two_of_four().half(),
            "x.weight_scale": torch.full((OUT, IN // 128), 0.5).half(),
            "x.weight_zero_point": torch.zeros((OUT, IN // 128), dtype=torch.int8),
        }
        out = BaseCompressor.load_from_registry("marlin-24").compress(state, {"x": args})
        config = {
            "quant_method": "compressed-tensors",
            "config_groups": {"group_0": {"weights": {"num_bits": bits, "group_size": 128}}},
        }
        return tensors_of({k.removeprefix("x."): v for k, v in out.items()}), config

    return make


def gptqmodel(bits: int, words: torch.dtype = torch.int32) -> Callable[[], Made]:
    def make() -> Made:
        from gptqmodel.nn_modules.qlinear.torch import TorchLinear

        layer = TorchLinear(bits, 128, True, True, IN, OUT, bias=False, pack_dtype=words, register_buffers=True)
        return tensors_of(layer.state_dict()), {"quant_method": "gptq", "bits": bits, "group_size": 128}

    return make


def auto_round(bits: int) -> Callable[[], Made]:
    def make() -> Made:
        from auto_round_extension.torch.qlinear_torch import QuantLinear

        config = {"quant_method": "auto-round", "bits": bits, "group_size": 128, "packing_format": "auto_round:auto_gptq"}
        return tensors_of(QuantLinear(bits, 128, IN, OUT, False).state_dict()), config

    return make


def autoawq(form: str) -> Callable[[], Made]:
    def make() -> Made:
        from awq.modules.linear import gemm, gemv, gemv_fast, marlin

        classes = {
            "gemm": gemm.WQLinear_GEMM,
            "gemv": gemv.WQLinear_GEMV,
            "gemv_fast": gemv_fast.WQLinear_GEMVFast,
            "marlin": marlin.WQLinear_Marlin,
        }
        layer = classes[form](4, 128, IN, OUT, False, "cpu")
        return tensors_of(layer.state_dict()), {"quant_method": "awq", "bits": 4, "group_size": 128, "version": form}

    return make


SOURCES: dict[str, tuple[str, Callable[[], Made]]] = {
    **{f"gptqmodel {b} bit": ("gptqmodel 7.7.0", gptqmodel(b)) for b in (2, 3, 4, 8)},
    "gptqmodel 4 bit in int16": ("gptqmodel 7.7.0", gptqmodel(4, torch.int16)),
    **{f"auto-round {b} bit": ("auto-round 0.16.1", auto_round(b)) for b in (2, 4, 8)},
    **{f"autoawq {f}": ("autoawq 0.2.9", autoawq(f)) for f in ("gemm", "gemv", "gemv_fast", "marlin")},
}
OLD: dict[str, tuple[str, Callable[[], Made]]] = {
    **{f"old compressed-tensors {b} bit": ("compressed-tensors", old_packed(b)) for b in (2, 3, 4, 5, 6, 7, 8)},
    **{f"{f}": ("compressed-tensors", old_sparse(f)) for f in ("sparse-bitmask", "sparse-24-bitmask")},
    **{f"marlin-24 {b} bit": ("compressed-tensors", old_marlin(b)) for b in (4, 8)},
}

CASES: dict[str, tuple[str, Callable[[], Made]]] = {
    **{
        f"bitsandbytes {k}{' nested' if n else ''} in {str(s)[6:]}": ("bitsandbytes", bnb_4bit(k, n, s))
        for k, n, s in (
            ("nf4", False, torch.uint8),
            ("nf4", True, torch.uint8),
            ("fp4", False, torch.uint8),
            ("nf4", True, torch.bfloat16),
            ("nf4", False, torch.float32),
        )
    },
    "bitsandbytes int8": ("bitsandbytes", bnb_8bit),
    **{f"hqq {b} bit": ("hqq", hqq(b, 1)) for b in (8, 4, 3, 2, 1)},
    "hqq 4 bit by channel": ("hqq", hqq(4, 1, None)),
    "hqq 4 bit as floats": ("hqq", hqq(4, 1, 64, True)),
    "hqq 4 bit axis 0": ("hqq", hqq(4, 0)),
    "hqq 2 bit axis 0": ("hqq", hqq(2, 0)),
    **{
        f"compressed-tensors {b} bit": ("compressed-tensors", compressed(b, "pack-quantized", 128))
        for b in (2, 3, 4, 5, 6, 7, 8)
    },
    "compressed-tensors 4 bit by channel": ("compressed-tensors", compressed(4, "pack-quantized", None)),
    "compressed-tensors 4 bit with zeros": ("compressed-tensors", compressed(4, "pack-quantized", 128, False)),
    "compressed-tensors nvfp4": ("compressed-tensors", compressed(4, "nvfp4-pack-quantized", 16, kind="float")),
    "compressed-tensors mxfp4": ("compressed-tensors", compressed(4, "mxfp4-pack-quantized", 32, kind="float")),
    "compressed-tensors mxfp6": ("compressed-tensors", compressed(6, "mxfp6-pack-quantized", 32, kind="float")),
    "compressed-tensors mxfp8": ("compressed-tensors", compressed(8, "mxfp8-quantized", 32, kind="float")),
    "compressed-tensors fp8": ("compressed-tensors", compressed(8, "float-quantized", None, kind="float")),
    "compressed-tensors int8": ("compressed-tensors", compressed(8, "int-quantized", None)),
    "torchao int8": ("torchao", torchao(ao("Int8WeightOnlyConfig", version=2))),
    "torchao float8": ("torchao", torchao(ao("Float8WeightOnlyConfig"))),
    "torchao intx": ("torchao", torchao(ao("IntxWeightOnlyConfig"))),
    "torchao int4": ("torchao", ao_int4_plain),
    "torchao int4 in tiles": ("torchao", ao_tile_packed),
    "torchao nvfp4": ("torchao", torchao(ao("NVFP4WeightOnlyConfig"))),
    **{f"quanto {k}": ("optimum-quanto", quanto(k)) for k in ("qint8", "qint4", "qint2", "qfloat8")},
    "aqlm 2x8": ("aqlm", aqlm(2, 8, 8)),
    "aqlm 1x12": ("aqlm", aqlm(1, 12, 8)),
    "vptq": ("vptq", vptq(False, 256, 0, 8)),
    "vptq packed": ("vptq", vptq(True, 256, 0, 8)),
    "vptq packed, residual": ("vptq", vptq(True, 512, 256, 8)),
    "vptq packed, two codebooks": ("vptq", vptq(True, 256, 256, 4, IN // 2)),
    "sinq 4 bit": ("sinq", sinq(4)),
    "sinq 3 bit": ("sinq", sinq(3)),
    "bitnet": ("transformers", hf_module(bitnet, {"quant_method": "bitnet"})),
    "eetq": ("transformers", hf_module(eetq, {"quant_method": "eetq"})),
    "fbgemm fp8": ("transformers", hf_module(fbgemm, {"quant_method": "fbgemm_fp8"})),
    "fp8 by block": ("transformers", hf_module(finegrained, {"quant_method": "fp8", "weight_block_size": [128, 128]})),
    **{f"higgs {b} bit": ("transformers", hf_module(higgs(b), {"quant_method": "higgs", "bits": b})) for b in (2, 3, 4)},
    **{f"metal {b} bit": ("transformers", hf_module(metal(b), {"quant_method": "metal", "bits": b})) for b in (2, 4, 8)},
    **{f"gemma {b} bit": ("transformers", hf_module(gemma(b), {"quant_method": "gemma", "bits": b})) for b in (2, 4, 8)},
    "quark int4 by group": ("amd-quark", quark("int4", "per_group")),
    "quark int4 by channel": ("amd-quark", quark("int4", "per_channel")),
    "quark int8": ("amd-quark", quark("int8", "per_channel")),
}


def header(state: dict[str, torch.Tensor]) -> list[tuple[str, str, list[int]]]:
    """(name, dtype, shape) of each layer's tensors, as the safetensors library writes them."""
    data = save({f"model.layers.{i}.proj.{name}": t.clone() for i in range(LAYERS) for name, t in state.items()})
    entries = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return [(n, e["dtype"], e["shape"]) for n, e in entries.items() if n != "__metadata__"]


def pickled() -> None:
    """Files of torch.save: HQQ's dicts, torchao's subclasses, torch's own quantised modules."""
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, quantize_

    small = torch.nn.Linear(256, 128, bias=False)
    layer = HQQLinear(
        small, BaseQuantizeConfig(nbits=4, group_size=64), compute_dtype=torch.float16, device="cpu", del_orig=False
    )
    layer.encoded_state_dict = False
    torch.save({"model.layers.0.proj": layer.state_dict()}, DATA / "hqq.pt")
    for name, config in (("torchao_int8", Int8WeightOnlyConfig(version=2)), ("torchao_intx", IntxWeightOnlyConfig())):
        model = torch.nn.Sequential(torch.nn.Linear(256, 128, bias=False)).to(torch.bfloat16)
        quantize_(model, config)
        torch.save(model.state_dict(), DATA / f"{name}.pt")
    dynamic = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(256, 128)), dtype=torch.qint8)
    torch.save(dynamic.state_dict(), DATA / "torch_qint8.pt")


def write(cases: dict[str, tuple[str, Callable[[], Made]]], name: str) -> None:
    found: dict[str, Any] = {}
    for case, (library, make) in cases.items():
        try:
            state, config = make()
            version = library if " " in library else f"{library} {importlib.metadata.version(library)}"
            found[case] = {"library": version, "config": config, "tensors": header(state)}
        except Exception:
            print("not made:", case)
            traceback.print_exc(limit=-2)
    text = ",\n".join(f"{json.dumps(case)}: {json.dumps(value)}" for case, value in found.items())
    (DATA / name).write_text("{\n" + text + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    if sys.argv[1:] == ["old"]:
        write(OLD, "packed_old.json")
    elif sys.argv[1:] == ["sources"]:
        write(SOURCES, "packed_sources.json")
    else:
        write(CASES, "packed.json")
        pickled()
