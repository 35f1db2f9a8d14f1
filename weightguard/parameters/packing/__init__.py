"""Quantised and packed weights: one file a scheme, each turning stored words into logical parameters by its format's rule.

To add a scheme: one module here that satisfies `scheme.Scheme`, and its line in `SCHEMES`. Integer tensors that no scheme
explains stay `other`, and the bound on operations takes each of their bits for a weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from weightguard.parameters.packing._dimensions import dimensions, expected
from weightguard.parameters.packing.scheme import FEWEST_BITS, Packed, Scheme, Stored, larger
from weightguard.roles import OTHER, QUANTIZATION, WEIGHT
from weightguard.tensors import DTYPE_CODES, Int64, TensorTable, UInt8
from weightguard.values import Finding

SCHEMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("gptq", ("qweight",)),
    ("marlin", ("B", "B_24", "meta")),
    ("grouped", ("W_q", "_data")),
    ("torchao", ("qdata", "_qdata", ":qdata", "int_data", "_data", "packed_weight", "float8_data")),
    ("aqlm", ("codes",)),
    ("vptq", ("indices",)),
    ("quip", ("Qidxs",)),
    ("trellis", ("trellis",)),
    ("exl2", ("q_weight",)),
    ("spqr", ("dense_weights",)),
    ("higgs", ("tables",)),
    ("sparse", ("compressed",)),
    ("compressed_tensors", ("weight_packed",)),
    ("bitsandbytes", ("absmax", "SCB")),
    ("four_bit_floats", ()),
    ("byte_weights", ("_scale",)),
    ("quark", ("weight_scale", "scale")),
    ("mlx", ("scales",)),
    ("scaled", ()),
)
"""In the order in which they are asked: a module of this package, and how the name of some row of it ends (none: it is always
asked), so that only the schemes of what is met are loaded. The first that explains a row has it."""

_PLAIN = frozenset(DTYPE_CODES[n] for n in ("F16", "BF16", "F32", "F64", "C64", "C128"))
_MOST = 1 << 62
_FEW = 4096  # values or bytes of scales beside the smallest matrices
# Scales of activations and of cached keys and values, which stand beside no packed weight (compressed-tensors, ModelOpt, Quark)
_ACTIVATIONS = (
    "k_scale v_scale q_scale kv_scale prob_scale k_zero_point v_zero_point input_scale output_scale input_zero_point"
    " output_zero_point input_global_scale"
).split()


def unpack(
    table: TensorTable, roles: UInt8, logical: Int64, ranks: Int64, model_config: Mapping[str, Any] | None, path: str
) -> tuple[str | None, tuple[Finding, ...]]:
    """Sets `logical` of packed rows, the role of their scales, and `ranks` of rows that hold a matrix in another shape, in place.

    roles: array of uint8, shape (n,). logical, ranks: arrays of int64, shape (n,). model_config: config.json, a claim.
    Returns the names of the schemes met, or None, and findings.
    """
    config = _quantization(model_config)
    if set(table.dtypes.tolist()) <= _PLAIN and config is None:
        return None, ()
    # what the container itself says of a row needs no scheme
    free = (table.logical < 0) & ((roles == WEIGHT) | (roles == OTHER))
    stored = Stored(table, {name: row for row, name in enumerate(table.names) if free[row]})
    claimed: Mapping[str, Any] = config if isinstance(config, dict) else {}
    sizes = dimensions(model_config)
    met: dict[str, None] = {}
    done: set[int] = set()
    overscaled: list[str] = []
    contradicted: list[tuple[str, int, int]] = []
    for module, ends in SCHEMES:
        if ends and not stored.has(*ends):
            continue
        scheme = cast(Scheme, import_module(f"{__name__}.{module}"))
        for packed in scheme.find(stored, claimed):
            if packed.row in done:
                continue
            done.add(packed.row)
            count, other = _settled(stored, packed, expected(table.names[packed.row], sizes))
            if other is not None:
                contradicted.append((table.names[packed.row], count, other))
            roles[packed.row], logical[packed.row] = WEIGHT, count
            if not packed.kept:
                ranks[packed.row] = 2
            beside = [r for r in (*packed.beside, *packed.tables) if r not in done]
            large = _too_large(stored, packed, count, beside)
            if large:
                overscaled.append(table.names[min(large)])
            for row in beside:
                if row not in large:
                    roles[row], logical[row] = QUANTIZATION, 0
                    done.add(row)
            met[_name(scheme, packed, table)] = None
    if claimed or met:
        _set_activations(stored, roles, logical, done, met)
    findings = _findings(overscaled, contradicted, path)
    method = claimed.get("quant_method")
    if claimed and not met:
        said = f" {method!r}" if isinstance(method, str) else ""
        text = f"config.json says that the weights are quantised{said}, and no scheme known here explains them"
        findings.append(Finding("unknown-quantization", "medium", text, path))
    return ("+".join(met) or None), tuple(findings)


def _settled(stored: Stored, packed: Packed, by_config: int) -> tuple[int, int | None]:
    """A row's parameters, and the lower count of a reading that contradicts them.

    No format here has more than 8 bits a weight in integers: where a reading leaves more, it is none, and the fewest bits hold. A
    matrix has no fewer parameters than its config's widths give.
    """
    bits = stored.bits(packed.row) if stored.is_integer(packed.row) and not packed.kept else 0
    readings = [packed.logical, max(by_config, packed.logical)]
    if packed.logical < bits // 8:
        readings.append(bits // FEWEST_BITS)
    count, other = larger(*readings)
    if packed.other is not None:
        other = min(packed.other, other if other is not None else packed.other)
    return min(count, _MOST), other if other is not None and other < count else None


def _too_large(stored: Stored, packed: Packed, count: int, beside: list[int]) -> set[int]:
    """The rows beside that are more than scales of so many weights can be: values if they are floats, bytes if they are integers."""
    tables, found, total = packed.tables, set(), 0
    for row in beside:
        bits = stored.bits(row)
        size = bits // 8 if stored.is_integer(row) else max(stored.elements(row), bits // 32)
        total += size
        if size > max(count // (4 if row in tables else 8), _FEW):
            found.add(row)
    if total > count // 2 + _FEW:  # each within its bound, and together more than half of what they scale
        found.update(row for row in beside if stored.elements(row) > 64)
    return found


def _set_activations(stored: Stored, roles: UInt8, logical: Int64, done: set[int], met: dict[str, None]) -> None:
    for part in _ACTIVATIONS:
        for _, row in stored.ending(part):
            if row not in done and stored.bits(row) <= 8 * _FEW:
                roles[row], logical[row] = QUANTIZATION, 0
                if part[0] in "kv" and not met:
                    met["kv-cache"] = None


def _findings(overscaled: list[str], contradicted: list[tuple[str, int, int]], path: str) -> list[Finding]:
    findings = []
    if overscaled:
        text = f"{len(overscaled)} tensors have more scales than weights, {overscaled[0]} first: all are counted as weights"
        findings.append(Finding("scales-exceed-weights", "high", text, path))
    if contradicted:
        name, count, other = contradicted[0]
        text = f"{name} holds {count} parameters by one reading of its shapes and config.json and {other} by another"
        more = f", as {len(contradicted) - 1} more tensors contradict themselves" if len(contradicted) > 1 else ""
        findings.append(Finding("packing-contradiction", "medium", f"{text}{more}: the larger counts", path))
    return findings


def _quantization(config: Mapping[str, Any] | None) -> object:
    """`quantization_config` (transformers), or `quantization` (MLX); or that of a composed model's language model."""
    values = config or {}
    for level in (values, values.get("text_config"), values.get("language_config")):
        if isinstance(level, Mapping):
            for key in ("quantization_config", "quantization", "compression_config"):
                if level.get(key) is not None:
                    return level[key]
    return None


def _name(scheme: Scheme, packed: Packed, table: TensorTable) -> str:
    if scheme.NAME != "scaled":
        return scheme.NAME
    return "int8" if table.dtypes[packed.row] == DTYPE_CODES["I8"] else "fp8"
