"""An architecture from a config and the tensors that it describes, each checked against the other."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from weightguard.architecture.columns import (
    KERNEL,
    LOOKUP,
    MATRIX,
    N_KINDS,
    ROUTED,
    ROUTED_VECTOR,
    VECTOR,
    experts_stored,
    kinds_of,
    layers_of,
)
from weightguard.architecture.config import CONTEXT, HIDDEN, KEY_VALUE_HEADS, LAYERS, Config
from weightguard.architecture.family import Attention, Family
from weightguard.kernels.sums import sum_by_group
from weightguard.parameters.count import Parameters
from weightguard.parameters.ties import EMBEDDINGS
from weightguard.roles import WEIGHT
from weightguard.tensors import Int64, TensorTable
from weightguard.values import Finding

_QUERIES = (".q_proj.weight", ".q_b_proj.weight", ".attn_q.weight", ".attn_q_b.weight")
_TOWER = re.compile(r"vi(?:sion|sual)|audio|image|tower|encoder")  # of composed models: its widths are not the text model's
_PADDED = 1024  # rows that a vocabulary is padded by, at most
_CHECKED = (*EMBEDDINGS, *_QUERIES)


@dataclass(frozen=True, eq=False)
class Architecture:
    """A decoder's shape, and its columns, one row a layer and a last row for what stands outside the layers.

    dense, routed: arrays of int64, shape (layers + 1,): parameters that multiply every token, and those of routed experts.
    experts, used: arrays of int64, shape (layers + 1,): experts stored, and those that a token is sent to (1 and 1 if dense).
    heads, qk, v: arrays of int64, shape (layers + 1,): query heads and their widths; 0 outside the layers.
    window: array of int64, shape (layers + 1,): keys that the layer sees, 0 for all.
    routed_values: array of int64, shape (layers + 1,): `routed` and the experts' biases.
    kernels: those of `dense` in tensors of three or more dimensions. query_seen: whether a tensor showed the queries' width.
    lookups, vectors: parameters that multiply nothing: embeddings that are looked up; norms and biases.
    extra: number of layers, the last before the outside row, that are multi-token prediction modules.
    """

    model_type: str
    layers: int
    hidden_size: int
    attention: Attention
    key_value_heads: int
    vocab_size: int
    intermediate_size: int
    experts_per_token: int
    context: int
    tied: bool
    dense: Int64
    routed: Int64
    experts: Int64
    used: Int64
    heads: Int64
    qk: Int64
    v: Int64
    window: Int64
    routed_values: Int64
    kernels: int
    query_seen: bool
    lookups: int
    vectors: int
    extra: int


def describe(
    table: TensorTable, parameters: Parameters, config: Config, family: Family, tied: bool, path: str
) -> tuple[Architecture | None, tuple[Finding, ...]]:
    """The architecture, and how the config contradicts the tensors; None where the config can't be what the tensors are.

    A finding `part-missing` says that the config describes more than is there.
    """
    layers, hidden, attention = config.number(*LAYERS), config.number(*HIDDEN), family.attention(config)
    if layers is not None and layers > len(table):
        text = f"config.json says {layers} layers, and there are {len(table)} tensors"
        return None, (Finding("part-missing", "high", text, path),)
    if layers is None or hidden is None or attention is None:
        text = "config.json does not give the layers, widths and heads that its model_type needs; the bound is by tensors alone"
        return None, (Finding("config-incomplete", "medium", text, path),)
    at = layers_of(table)
    stored = int(at.max()) + 1 if len(at) else 0
    extra = stored - layers
    if extra > (config.number("num_nextn_predict_layers", "num_mtp_layers") or 0):
        text = f"config.json says {layers} layers, the weights have {stored}: the bound is by tensors alone"
        return None, (Finding("config-contradicts-weights", "high", text, path),)
    if stored < layers:
        text = f"config.json says {layers} layers, the weights have {stored}"
        return None, (Finding("part-missing", "high", text, path),)
    wrong, part = _contradictions(table, parameters, config, attention)
    if part:
        return None, (Finding("part-missing", "high", f"config.json says {wrong}", path),)
    if wrong:
        text = f"config.json says {wrong}: the bound is by tensors alone"
        return None, (Finding("config-contradicts-weights", "high", text, path),)

    rows = max(stored, layers) + 1
    kinds = kinds_of(table, parameters.roles, at, parameters.ranks)
    groups = np.where(at < 0, rows - 1, at) * N_KINDS + kinds
    sums = np.zeros(rows * N_KINDS, np.int64)
    if sum_by_group(parameters.logical, groups, sums) >= 0:
        text = "a layer has more than 2^63 parameters"
        return None, (Finding("config-contradicts-weights", "high", text, path),)
    by_kind = sums.reshape(rows, N_KINDS)

    findings: list[Finding] = []
    routing = family.experts(config)
    experts, used = np.ones(rows, np.int64), np.ones(rows, np.int64)
    fewer: list[int] = []
    more: list[int] = []
    uneven: list[int] = []
    for layer, (n, alike) in experts_stored(table, parameters.roles, at, parameters.logical).items():
        claimed, k = routing or (n, n)
        if not alike and k < n:
            uneven.append(layer)
            k = n
        elif claimed > n:
            fewer.append(layer)
            k = n
        elif claimed < n:
            more.append(layer)
            k = n
        experts[layer], used[layer] = n, k
    if fewer:
        text = f"{len(fewer)} layers have fewer experts than config.json says, layer {fewer[0]} first"
        findings.append(Finding("part-missing", "high", text, path))
    if more:
        text = f"{len(more)} layers store more experts than config.json says, layer {more[0]} first: every expert is taken as active"
        findings.append(Finding("config-contradicts-weights", "high", text, path))
    if uneven:
        text = f"experts of one layer differ in size, in layer {uneven[0]} first: every expert is taken as active there"
        findings.append(Finding("config-contradicts-weights", "high", text, path))
    window = np.zeros(rows, np.int64)
    window[:layers] = family.windows(config, layers)
    inside = np.zeros(rows, np.int64)
    inside[:-1] = 1
    return (
        Architecture(
            model_type=config.model_type,
            layers=layers,
            hidden_size=hidden,
            attention=attention,
            key_value_heads=config.number(*KEY_VALUE_HEADS) or attention.heads,
            vocab_size=config.number("vocab_size") or 0,
            intermediate_size=config.number("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size") or 4 * hidden,
            experts_per_token=int(used.max()) if int(experts.max()) > 1 else 0,
            context=config.number(*CONTEXT) or 0,
            tied=tied,
            dense=by_kind[:, MATRIX] + by_kind[:, KERNEL],
            kernels=int(by_kind[:, KERNEL].sum()),
            query_seen=any(name.endswith(_QUERIES) for name in table.names),
            routed=by_kind[:, ROUTED].copy(),
            experts=experts,
            used=used,
            heads=inside * attention.heads,
            qk=inside * attention.qk,
            v=inside * attention.v,
            window=window,
            routed_values=by_kind[:, ROUTED] + by_kind[:, ROUTED_VECTOR],
            lookups=int(by_kind[:, LOOKUP].sum()),
            vectors=int(by_kind[:, VECTOR].sum()),
            extra=max(0, extra),
        ),
        tuple(findings),
    )


def active(architecture: Architecture, total: int) -> int:
    """Parameters that act on one token, both embeddings included: routed experts count by the share that a token is sent to."""
    idle = sum(
        int(values) * int(e - k) // int(e)
        for values, e, k in zip(architecture.routed_values, architecture.experts, architecture.used, strict=True)
    )
    return total - idle


def _contradictions(table: TensorTable, parameters: Parameters, config: Config, attention: Attention) -> tuple[str, bool]:
    """The first thing that the config says and a stored shape contradicts, "" for none; packed tensors show no shape.

    And whether the stored one is a fraction of it, as a rank of a tensor-parallel model has it.
    """
    hidden, vocabulary = config.number(*HIDDEN), config.number("vocab_size")
    widths = {hidden, config.number("word_embed_proj_dim")}
    if not any(name.endswith(EMBEDDINGS) for name in table.names):
        return f"hidden size {hidden}, and no input embedding shows it", False
    for row, name in enumerate(table.names):
        if not name.endswith(_CHECKED) or parameters.roles[row] != WEIGHT:
            continue
        if parameters.logical[row] not in (0, table.elements[row]):
            continue
        shape = table.shape(row)
        if len(shape) != 2:
            continue
        if name.endswith(EMBEDDINGS) and shape[1] not in widths:
            return f"hidden size {hidden}, {name} is {shape[1]} wide", False
        if name.endswith(EMBEDDINGS) and vocabulary and shape[0] < vocabulary:
            return f"a vocabulary of {vocabulary}, {name} has {shape[0]} rows", 2 * shape[0] <= vocabulary + _PADDED
        if name.endswith(_QUERIES) and shape[0] != attention.heads * attention.qk:
            rows = attention.heads * attention.qk
            part = 0 < shape[0] < rows and rows % shape[0] == 0 and _TOWER.search(name) is None
            return f"{attention.heads} heads of {attention.qk}, {name} has {shape[0]} rows", part
    return "", False
