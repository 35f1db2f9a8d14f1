"""Makes the fixtures of `test_coreml.py`: what coremltools itself writes, and how many weights went in.

Run in an environment of its own, on Linux or macOS: pip install coremltools==9.0 "numpy<2.4"; python make_coreml.py

`data/coreml/NAME/`: model.mlmodel, and for ML programs weights/weight.bin, as they lie in an .mlpackage. `data/coreml.json`: the
number of weights of each before it was written.
"""

# mypy: ignore-errors

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder, quantization_utils

DATA = Path(__file__).parent / "data"
INTO = DATA / "coreml"
RANDOM = np.random.default_rng(1)
WEIGHTS = 64 * 32 + 64 + 16 * 64 + 16


def values(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def program(precision=ct.precision.FLOAT32, target=ct.target.iOS16):
    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 32))], opset_version=target)
    def made(x):
        x = mb.relu(x=mb.linear(x=x, weight=values(64, 32), bias=values(64), name="first"))
        return mb.linear(x=x, weight=values(16, 64), bias=values(16), name="second")

    return ct.convert(made, convert_to="mlprogram", compute_precision=precision, minimum_deployment_target=target)


def keep(name: str, model) -> None:
    with tempfile.TemporaryDirectory() as folder:
        suffix = ".mlpackage" if model.get_spec().WhichOneof("Type") == "mlProgram" else ".mlmodel"
        path = Path(folder) / f"m{suffix}"
        model.save(str(path))
        (INTO / name).mkdir(parents=True)
        if suffix == ".mlmodel":
            shutil.copy(path, INTO / name / "model.mlmodel")
        else:
            inside = path / "Data" / "com.apple.CoreML"
            shutil.copy(inside / "model.mlmodel", INTO / name / "model.mlmodel")
            shutil.copytree(inside / "weights", INTO / name / "weights")


def programs() -> None:
    keep("program32", program())
    keep("program16", program(ct.precision.FLOAT16))
    small = {"weight_threshold": 512}
    linear = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(mode="linear_symmetric", **small))
    keep("int8", cto.linear_quantize_weights(program(), linear))
    palette = cto.OptimizationConfig(cto.OpPalettizerConfig(mode="uniform", nbits=4, **small))
    keep("palette4", cto.palettize_weights(program(), palette))
    pruned = cto.OptimizationConfig(cto.OpMagnitudePrunerConfig(target_sparsity=0.75, **small))
    keep("sparse", cto.prune_weights(program(), pruned))
    blocks = cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=32, **small)
    keep("int4", cto.linear_quantize_weights(program(target=ct.target.iOS18), cto.OptimizationConfig(blocks)))
    keep(
        "palette3",
        cto.palettize_weights(
            program(target=ct.target.iOS18), cto.OptimizationConfig(cto.OpPalettizerConfig(mode="uniform", nbits=3, **small))
        ),
    )


def network():
    builder = NeuralNetworkBuilder([("x", datatypes.Array(32))], [("y", datatypes.Array(16))], disable_rank5_shape_mapping=True)
    builder.add_inner_product("first", values(64, 32), values(64), 32, 64, True, "x", "h")
    builder.add_activation("relu", "RELU", "h", "r")
    builder.add_inner_product("second", values(16, 64), values(16), 64, 16, True, "r", "y")
    return ct.models.MLModel(builder.spec)


def networks() -> None:
    keep("network32", network())
    for bits, mode in ((16, "linear"), (8, "linear"), (4, "linear"), (2, "linear_lut")):
        made = quantization_utils.quantize_weights(network(), bits, quantization_mode=mode)
        keep(f"network{bits}", made if isinstance(made, ct.models.MLModel) else ct.models.MLModel(made))


def main() -> None:
    shutil.rmtree(INTO, ignore_errors=True)
    programs()
    networks()
    made = {path.name: WEIGHTS for path in sorted(INTO.iterdir())}
    (DATA / "coreml.json").write_text(
        json.dumps({"coremltools": ct.__version__, "weights": made}, indent=1) + "\n", encoding="utf-8"
    )


main()
