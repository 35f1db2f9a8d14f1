"""One matrix of out x in, as each quantiser stores it: layouts by hand, after the libraries' code; those that a library could be run
for are held to it by `test_packing_real.py`."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

Row = tuple[str, str, tuple[int, ...]]
"""(name below the module, safetensors dtype, shape)."""

BYTES = {
    "F64": 8, "I64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E8M0": 1,
    "F8_E5M2": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """A quantiser's form of a matrix.

    rows: of out x in. config: its quantization_config. without: how many times the truth the shapes alone leave possible; None
    where that depends on the widths. shown: whether shapes show the bits, so that no claim can lower them.
    """

    rows: Callable[[int, int], Sequence[Row]]
    config: Mapping[str, Any] = field(default_factory=dict)
    without: int | None = 1
    shown: bool = True

    def model(self, matrices: Iterable[tuple[str, int, int]]) -> list[Row]:
        """The rows of several matrices, each (module, out, in)."""
        return [(f"{name}.{n}", d, s) for name, out, in_ in matrices for n, d, s in self.rows(out, in_)]


def write(folder: Path, rows: Sequence[Row], config: Mapping[str, Any] | None = None) -> Path:
    """A model folder whose one file has these rows over a hole."""
    header: dict[str, Any] = {}
    end = 0
    for name, dtype, shape in rows:
        begin, end = end, end + prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def up(a: int, b: int) -> int:
    return -(-a // b)


# ---- integer words


def gptq(bits: int, group: int = 128, *, zeros: bool = True, order: bool = True) -> Form:
    def rows(out: int, in_: int) -> list[Row]:
        found: list[Row] = [("qweight", "I32", (in_ * bits // 32, out)), ("scales", "F16", (in_ // group, out))]
        if zeros:
            found.append(("qzeros", "I32", (in_ // group, out * bits // 32)))
        return [*found, ("g_idx", "I32", (in_,))] if order else found

    return Form(rows, {"quant_method": "gptq", "bits": bits, "group_size": group}, 1 if zeros or order else bits // 2)


def awq(bits: int = 4, group: int = 128) -> Form:
    return Form(
        lambda out, in_: [
            ("qweight", "I32", (in_, out * bits // 32)),
            ("qzeros", "I32", (in_ // group, out * bits // 32)),
            ("scales", "F16", (in_ // group, out)),
        ],
        {"quant_method": "awq", "bits": bits, "group_size": group, "version": "gemm"},
    )


def awq_gemv(out: int, in_: int) -> list[Row]:
    width = up(in_ // 128, 8)
    return [("qweight", "I32", (out, in_ // 8)), ("qzeros", "I32", (out, width)), ("scales", "F16", (out, width * 8))]


def awq_gemv_fast(out: int, in_: int) -> list[Row]:
    width = up(in_ // 128, 8) * 8
    return [("qweight", "I16", (out // 4, in_)), ("qzeros", "F16", (width, out)), ("scales", "F16", (width, out))]


def awq_marlin(out: int, in_: int) -> list[Row]:
    return [("qweight", "I32", (in_ // 16, out * 2)), ("scales", "F16", (in_ // 128, out))]


def marlin(out: int, in_: int) -> list[Row]:
    return [("B", "I32", (in_ // 16, out * 2)), ("s", "F16", (in_ // 128, out)), ("workspace", "I32", (out // 128 * 16,))]


def qqq(out: int, in_: int) -> list[Row]:
    return [("B", "I32", (in_ // 16, out * 2)), ("s_channel", "F32", (1, out)), ("s_group", "F16", (in_ // 128, out))]


def sparse_marlin(bits: int) -> Form:
    return Form(
        lambda out, in_: [
            ("B_24", "I32", (in_ // 32, out * bits // 2)),
            ("B_meta", "I16", (in_ // 32, out * 2)),
            ("s", "F16", (in_ // 128, out)),
        ],
        {"quant_method": "gptq_marlin_24", "bits": bits},
    )


def marlin_24(bits: int) -> Form:
    return Form(
        lambda out, in_: [
            ("weight_packed", "I32", (in_ // 32, out * bits // 2)),
            ("scale_packed", "F16", (in_ // 128, out)),
            ("meta", "I16", (in_ // 32, out * 2)),
        ],
        pack_config(bits),
    )


def pack_config(bits: int, group: int | None = 128) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"weights": {"num_bits": bits, "group_size": group}}},
    }


def pack_quantized(bits: int, group: int | None = 128, *, old: bool = False, zeros: bool = False, order: bool = False) -> Form:
    def words(values: int) -> int:
        return up(values, 32 // bits) if old else up(values * bits, 32)

    def rows(out: int, in_: int) -> list[Row]:
        groups = in_ // group if group else 1
        found: list[Row] = [
            ("weight_packed", "I32", (out, words(in_))),
            ("weight_scale", "BF16", (out, groups)),
            ("weight_shape", "I64", (2,)),
        ]
        if zeros:
            found.append(("weight_zero_point", "I32", (words(out), groups)))
        return [*found, ("weight_g_idx", "I32", (in_,))] if order else found

    return Form(rows, pack_config(bits, group), 1 if order or zeros else None, shown=group is not None)


def quark(bits: int = 4, *, zeros: bool = False) -> Form:
    def rows(out: int, in_: int) -> list[Row]:
        found: list[Row] = [("weight", "I32", (in_, out * bits // 32)), ("weight_scale", "BF16", (in_ // 128, out))]
        return [*found, ("weight_zero_point", "I32", (in_ // 128, out * bits // 32))] if zeros else found

    config = {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": f"uint{bits}", "group_size": 128}}}
    return Form(rows, config)


def mlx(bits: int, group: int = 64, biases: str = "biases") -> Form:
    return Form(
        lambda out, in_: [
            ("weight", "U32", (out, in_ * bits // 32)),
            ("scales", "F16", (out, in_ // group)),
            (biases, "F16", (out, in_ // group)),
        ],
        {"bits": bits, "group_size": group},
        None,
    )


# ---- a row a group, packed along the rows


def hqq(bits: int, group: int = 64, axis: int = 1, meta: str = "", floats: str = "") -> Form:
    words = {3: 10}

    def rows(out: int, in_: int) -> list[Row]:
        groups = out * in_ // group
        many, length = (groups, group) if axis == 1 else (group, groups)
        if bits in words:
            packed: tuple[str, tuple[int, ...]] = ("I32", (up(many, words[bits]), length))
        elif floats:
            packed = (floats, (many * bits // 8, length // BYTES[floats]))
        else:
            packed = ("U8", (up(many * bits, 8), length))
        scale = (groups, 1) if axis == 1 else (1, groups)
        parts = (("shape", "I64", (2,)), ("nbits", "I32", ()), ("axis", "I32", ()), ("packing", "U8", (7,)))
        return [
            ("W_q", *packed),
            (f"{meta}scale", "F16", scale),
            (f"{meta}zero", "F16", scale),
            *((f"{meta}{n}", d, s) for n, d, s in parts),
        ]

    params = {"nbits": bits, "group_size": group, "axis": axis}
    config = {"quant_method": "hqq", "quant_config": {"weight_quant_params": params}}
    return Form(rows, config, 1 if axis == 1 else bits)


def quanto(bits: int) -> Form:
    return Form(
        lambda out, in_: [
            ("weight._data._data", "U8", (out * in_ // 128 * bits // 8, 128)),
            ("weight._scale", "F32", (out * in_ // 128, 1)),
            ("weight._shift", "F32", (out * in_ // 128, 1)),
            ("input_scale", "F32", ()),
            ("output_scale", "F32", ()),
        ],
        {"quant_method": "quanto", "weights": f"qint{bits}"},
    )


# ---- codebooks, lattices, trellises


def aqlm(books: int = 2, bits: int = 8, in_group: int = 8) -> Form:
    return Form(
        lambda out, in_: [
            ("codes", "I8" if bits <= 8 else "I16", (out, in_ // in_group, books)),
            ("codebooks", "F16", (books, 1 << bits, 1, in_group)),
            ("scales", "F16", (out, 1, 1, 1)),
        ],
        {
            "quant_method": "aqlm",
            "in_group_size": in_group,
            "out_group_size": 1,
            "num_codebooks": books,
            "nbits_per_codebook": bits,
        },
    )


def vptq(length: int = 8, bits: int = 8, residual: int = 0) -> Form:
    def rows(out: int, in_: int) -> list[Row]:
        found: list[Row] = [
            ("indices", "I32", (1, up(out, length), up(in_ * (bits + residual), 32))),
            ("centroids.weight", "F16", (1, length << bits)),
            ("weight_scale", "F16", (in_,)),
            ("weight_bias", "F16", (in_,)),
            ("perm", "I16", (in_,)),
        ]
        return [*found, ("res_centroids.weight", "F16", (1, length << residual))] if residual else found

    return Form(rows, {"quant_method": "vptq"})


def quip(out: int, in_: int) -> list[Row]:
    return [
        ("Qidxs", "I16", (out, in_ // 8)),
        ("SU", "F16", (in_,)),
        ("SV", "F16", (out,)),
        ("Wscale", "F32", ()),
        ("codebook_id", "I64", ()),
    ]


def quip_packed(out: int, in_: int) -> list[Row]:
    """Four bits: two indices of 16 bits for eight weights, in int64."""
    return [("Qidxs", "I64", (out, in_ // 16)), ("SU", "F16", (in_,)), ("SV", "F16", (out,)), ("Wscale", "F32", ())]


def qtip(bits: int) -> Form:
    return Form(
        lambda out, in_: [
            ("trellis", "I16", (out // 16 * (in_ // 16), 16 * bits)),
            ("SU", "F16", (in_,)),
            ("SV", "F32", (out,)),
            ("tlut", "F16", (1 << 9, 2)),
            ("rcp", "I64", ()),
        ],
        {},
    )


def exl3(bits: int) -> Form:
    return Form(
        lambda out, in_: [
            ("trellis", "I16", (in_ // 16, out // 16, 16 * bits)),
            ("suh", "F16", (in_,)),
            ("svh", "F16", (out,)),
            ("mcg", "I32", ()),
        ],
        {"quant_method": "exl3", "bits": float(bits)},
    )


def exl2(out: int, in_: int) -> list[Row]:
    """A quarter of the inputs at 6 bits, the others at 4; groups of 32."""
    high = in_ // 128 * 32
    return [
        ("q_weight", "I32", ((high * 6 + (in_ - high) * 4) // 32, out)),
        ("q_scale", "I32", (in_ // 32, out // 8)),
        ("q_scale_max", "F16", (in_ // 32,)),
        ("q_groups", "I16", (2 * in_ // 32,)),
        ("q_invperm", "I32", (in_,)),
    ]


def spqr(out: int, in_: int) -> list[Row]:
    return [
        ("dense_weights", "I64", (up(out, 16) * up(in_, 16) * 16,)),
        ("row_offsets", "I32", (out + 1,)),
        ("col_vals", "I32", (out * in_ // 50,)),
        ("in_perm", "I32", (in_ // 2,)),
    ]


def higgs(bits: int) -> Form:
    return Form(
        lambda out, in_: [
            ("weight", "I16", (out * bits // 16, in_)),
            ("scales", "F16", (out, in_ // 128)),
            ("tables", "F16", (1 << bits,)),
            ("tables2", "F16", (1 << bits, 1 << bits, 2)),
        ],
        {"quant_method": "higgs", "bits": bits},
    )


# ---- sparse


def bitmask(kept: str = "BF16") -> Form:
    return Form(
        lambda out, in_: [
            ("compressed", kept, (out * in_ // 3,)),
            ("bitmask", "U8", (out, in_ // 8)),
            ("shape", "I64", (2,)),
            ("row_offsets", "I64", (out,)),
        ],
        {"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-bitmask"}},
    )


def sparse_24(out: int, in_: int) -> list[Row]:
    """FP8 values, half of them left out."""
    return [
        ("compressed", "F8_E4M3", (out, in_ // 2)),
        ("bitmask", "U8", (out, in_ // 8)),
        ("shape", "I64", (2, 1)),
        ("weight_scale", "BF16", (out, 1)),
    ]


# ---- bytes and floats


def nf4(storage: str = "U8", kind: str = "nf4") -> Form:
    return Form(
        lambda out, in_: [
            ("weight", storage, (out * in_ // 2 // BYTES[storage], 1)),
            ("weight.absmax", "U8", (out * in_ // 64,)),
            ("weight.quant_map", "F32", (16,)),
            ("weight.nested_absmax", "F32", (up(out * in_ // 64, 256),)),
            ("weight.nested_quant_map", "F32", (256,)),
            (f"weight.quant_state.bitsandbytes__{kind}", "U8", (168,)),
        ],
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
    )


def fixed(*parts: Callable[[int, int], Row], **config: Any) -> Form:
    return Form(lambda out, in_: [part(out, in_) for part in parts], config)


def part(name: str, dtype: str, shape: Callable[[int, int], tuple[int, ...]]) -> Callable[[int, int], Row]:
    return lambda out, in_: (name, dtype, shape(out, in_))


def scalar(name: str) -> Callable[[int, int], Row]:
    return part(name, "F32", lambda o, i: ())


def full(name: str, dtype: str) -> Callable[[int, int], Row]:
    return part(name, dtype, lambda o, i: (o, i))


def halved(name: str, dtype: str = "U8") -> Callable[[int, int], Row]:
    return part(name, dtype, lambda o, i: (o, i // 2))


def by_row(name: str, dtype: str = "F32") -> Callable[[int, int], Row]:
    return part(name, dtype, lambda o, i: (o, 1))


def by_group(name: str, dtype: str, group: int) -> Callable[[int, int], Row]:
    return part(name, dtype, lambda o, i: (o, i // group))


def ao(kind: str, *parts: Callable[[int, int], Row]) -> Form:
    return fixed(*parts, quant_method="torchao", quant_type={"default": {"_type": kind}})


FORMS: dict[str, Form] = {
    **{f"gptq {b} bit": gptq(b) for b in (2, 3, 4, 8)},
    "gptq 4 bit, no order": gptq(4, order=False),
    "gptq 4 bit, no zeros": gptq(4, zeros=False),
    "gptq 4 bit, neither": gptq(4, zeros=False, order=False),
    "gptq 4 bit, groups of 32": gptq(4, 32),
    "awq gemm": awq(),
    "awq gemm, no zeros": Form(lambda o, i: awq().rows(o, i)[::2], {"quant_method": "awq", "bits": 4, "version": "gemm"}),
    "awq gemv": Form(awq_gemv, {"quant_method": "awq", "bits": 4, "version": "gemv"}),
    "awq gemv fast": Form(awq_gemv_fast, {"quant_method": "awq", "bits": 4, "version": "gemv_fast"}),
    "awq marlin": Form(awq_marlin, {"quant_method": "awq", "bits": 4, "version": "marlin"}),
    "marlin": Form(marlin, {"quant_method": "marlin"}),
    "qqq": Form(qqq, {"quant_method": "qqq", "bits": 4}),
    **{f"sparse-marlin {b} bit": sparse_marlin(b) for b in (4, 8)},
    **{f"marlin-24 {b} bit": marlin_24(b) for b in (4, 8)},
    **{f"pack-quantized {b} bit": pack_quantized(b) for b in range(2, 9)},
    **{f"pack-quantized {b} bit, old": pack_quantized(b, old=True) for b in range(2, 9)},
    "pack-quantized 4 bit by channel": pack_quantized(4, None),
    "pack-quantized 4 bit, ordered": pack_quantized(4, order=True),
    "pack-quantized 4 bit with zeros": pack_quantized(4, zeros=True),
    "quark int4": quark(),
    "quark uint4 with zeros": quark(zeros=True),
    **{f"mlx {b} bit": mlx(b) for b in (2, 3, 4, 5, 6, 8)},
    "mlx 4 bit, groups of 32": mlx(4, 32),
    "metal 4 bit": mlx(4, 64, "qbiases"),
    **{f"hqq {b} bit": hqq(b) for b in (1, 2, 3, 4, 8)},
    "hqq 4 bit, groups of 8": hqq(4, 8),
    "hqq 4 bit axis 0": hqq(4, axis=0),
    "hqq 4 bit as bfloat16": hqq(4, floats="BF16"),
    "hqq 4 bit, dict of meta": hqq(4, meta="meta."),
    **{f"quanto qint{b}": quanto(b) for b in (2, 4)},
    "aqlm 2x8": aqlm(),
    "aqlm 1x12": aqlm(1, 12),
    "vptq": vptq(),
    "vptq, residual": vptq(8, 9, 8),
    "quip#": Form(quip),
    "quip# in int64": Form(quip_packed),
    **{f"qtip {b} bit": qtip(b) for b in (2, 3, 4)},
    **{f"exl3 {b} bit": exl3(b) for b in (1, 3, 8)},
    "exl2": Form(exl2, {"quant_method": "exl2", "bits": 4.5}),
    "spqr": Form(spqr, {"quant_method": "spqr", "bits": 3, "beta1": 16, "beta2": 16}),
    **{f"higgs {b} bit": higgs(b) for b in (2, 3, 4)},
    "sparse-bitmask": bitmask(),
    "sparse-24-bitmask": Form(
        sparse_24, {"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-24-bitmask"}}
    ),
    **{f"bitsandbytes nf4 in {s}": nf4(s) for s in ("U8", "BF16", "F32")},
    "bitsandbytes fp4": nf4("U8", "fp4"),
    "bitsandbytes int8": fixed(
        full("weight", "I8"), part("SCB", "F32", lambda o, i: (o,)), part("weight_format", "U8", lambda o, i: ())
    ),
    "nvfp4, compressed-tensors": fixed(
        halved("weight_packed"),
        by_group("weight_scale", "F8_E4M3", 16),
        scalar("weight_global_scale"),
        scalar("input_global_scale"),
        quant_method="compressed-tensors",
    ),
    "mxfp4, compressed-tensors": fixed(halved("weight_packed"), by_group("weight_scale", "U8", 32)),
    "mxfp6, compressed-tensors": fixed(
        part("weight_packed", "U8", lambda o, i: (o, i * 3 // 4)), by_group("weight_scale", "U8", 32)
    ),
    "mxfp8, compressed-tensors": fixed(full("weight", "F8_E4M3"), by_group("weight_scale", "U8", 32)),
    "nvfp4, modelopt": fixed(
        halved("weight"), by_group("weight_scale", "F8_E4M3", 16), scalar("weight_scale_2"), scalar("input_scale")
    ),
    "int4, modelopt": fixed(
        part("weight", "U8", lambda o, i: (o // 2, i)),
        by_group("weight_scale", "BF16", 64),
        part("pre_quant_scale", "BF16", lambda o, i: (i,)),
    ),
    "fp8, modelopt": fixed(full("weight", "F8_E4M3"), *map(scalar, ("weight_scale", "input_scale", "k_scale", "v_scale"))),
    "mxfp4, quark": fixed(halved("weight"), by_group("weight_scale", "U8", 32), quant_method="quark"),
    "mxfp4, deepseek": fixed(halved("weight", "I8"), by_group("scale", "F8_E8M0", 32)),
    "mxfp4, fp-quant": fixed(
        halved("qweight"),
        by_group("scales", "U8", 32),
        scalar("weight_global_scale"),
        scalar("act_global_scale"),
        part("forward_hadamard_matrix", "BF16", lambda o, i: (32, 32)),
        part("backward_hadamard_matrix", "BF16", lambda o, i: (32, 32)),
        quant_method="fp_quant",
    ),
    "mxfp4, gpt-oss": fixed(
        part("w_blocks", "U8", lambda o, i: (o, i // 32, 16)), by_group("w_scales", "U8", 32), quant_method="mxfp4"
    ),
    "bitnet": fixed(
        part("weight", "U8", lambda o, i: (o // 4, i)), part("weight_scale", "BF16", lambda o, i: (1,)), quant_method="bitnet"
    ),
    "gemma 2 bit": Form(
        lambda o, i: [("weight", "U8", (o, i // 4)), ("weight_scale", "F32", (o, 1)), ("input_activation_scale", "F32", ())],
        {"quant_method": "gemma", "bits": 2},
        shown=False,
    ),
    "fp8 by block": fixed(
        full("weight", "F8_E4M3"), part("weight_scale_inv", "F32", lambda o, i: (up(o, 128), up(i, 128))), quant_method="fp8"
    ),
    "fp8 by tensor": fixed(full("weight", "F8_E4M3"), scalar("weight_scale"), scalar("input_scale")),
    "fp8, fbgemm": fixed(full("weight", "F8_E4M3"), by_row("weight_scale"), quant_method="fbgemm_fp8"),
    "fp8, mistral": fixed(full("weight", "F8_E4M3"), scalar("qscale_weight"), scalar("qscale_act")),
    "int8, eetq": fixed(
        part("weight", "I8", lambda o, i: (i, o)), part("weight_scales", "F16", lambda o, i: (o,)), quant_method="eetq"
    ),
    "int8, compressed-tensors": fixed(full("weight", "I8"), by_row("weight_scale"), by_row("weight_zero_point", "I8")),
    "int8, quanto": fixed(full("weight._data", "I8"), by_row("weight._scale"), scalar("input_scale"), scalar("output_scale")),
    "int8, torch": fixed(
        full("_packed_params._packed_params.0", "I8"), scalar("scale"), part("zero_point", "I64", lambda o, i: ())
    ),
    "torchao int8": ao("Int8WeightOnlyConfig", full("_weight_qdata", "I8"), by_row("_weight_scale", "BF16")),
    "torchao int8, older": ao("Int8WeightOnlyConfig", full("weight:qdata", "I8"), by_row("weight:scale", "BF16")),
    "torchao float8": ao("Float8WeightOnlyConfig", full("_weight_qdata", "F8_E4M3"), by_row("_weight_scale")),
    "torchao float8 2:4": ao(
        "Float8DynamicActivationFloat8SemiSparseWeightConfig",
        halved("_weight_qdata", "F8_E4M3"),
        part("_weight_sparse_metadata", "U8", lambda o, i: (o, i // 8)),
        by_row("_weight_scale"),
    ),
    "torchao int4": ao(
        "Int4WeightOnlyConfig",
        halved("_weight_qdata", "I8"),
        part("_weight_scale", "BF16", lambda o, i: (i // 64, o)),
        part("_weight_zero_point", "BF16", lambda o, i: (i // 64, o)),
    ),
    "torchao int4 in tiles": ao(
        "Int4WeightOnlyConfig",
        part("_weight_qdata", "I32", lambda o, i: (o // 8, i // 128, 32, 4)),
        part("_weight_scale_and_zero", "BF16", lambda o, i: (i // 128, o, 2)),
    ),
    "torchao int4 in tiles, pickled": ao(
        "Int4WeightOnlyConfig",
        part("weight.tensor_impl.packed_weight", "I32", lambda o, i: (o // 8, i // 128, 32, 4)),
        part("weight.tensor_impl.scale_and_zero", "BF16", lambda o, i: (i // 128, o, 2)),
    ),
    "torchao int8, pickled": ao(
        "Int8WeightOnlyConfig",
        full("weight.tensor_impl.int_data", "I8"),
        part("weight.tensor_impl.scale", "BF16", lambda o, i: (o,)),
        part("weight.tensor_impl.zero_point", "I64", lambda o, i: (o,)),
    ),
    "torchao nvfp4": ao(
        "NVFP4WeightOnlyConfig",
        halved("_weight_qdata"),
        by_group("_weight_scale", "F8_E4M3", 16),
        scalar("_weight_per_tensor_scale"),
    ),
    "torchao mxfp8": ao("MXConfig", full("_weight_qdata", "F8_E4M3"), by_group("_weight_scale", "F8_E8M0", 32)),
    "torchao mxfp4": ao("MXConfig", halved("_weight_qdata"), by_group("_weight_scale", "F8_E8M0", 32)),
}
