"""An architecture from the tensors' names and shapes and, where there is one, the config that describes them: each checked
against the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from weightguard.architecture.attention import Widths, widths
from weightguard.architecture.columns import (
    IDLE,
    KERNEL,
    LOOKUP,
    MATRIX,
    N_KINDS,
    ROUTED,
    ROUTED_VECTOR,
    TOWER,
    TOWERS,
    VECTOR,
    Blocks,
    blocks_of,
    experts_stored,
    kinds_of,
)
from weightguard.architecture.config import CONTEXT, HIDDEN, KEY_VALUE_HEADS, Config
from weightguard.architecture.family import Attention, Family, any_attention
from weightguard.architecture.scan import Scan, scans
from weightguard.kernels.sums import sum_by_group
from weightguard.parameters.count import Parameters
from weightguard.parameters.ties import EMBEDDINGS, ends_with
from weightguard.roles import WEIGHT
from weightguard.tensors import Int64, TensorTable, UInt8
from weightguard.values import Finding

_QUERIES = (".q_proj.weight", ".q_b_proj.weight", ".attn_q.weight", ".attn_q_b.weight")
_TOWER = re.compile(r"vi(?:sion|sual)|audio|image|tower|encoder")  # of composed models: its widths are not the text model's
_SIDE = re.compile(r"(?:^|\.)(encoder|decoder)\.")
_SHARED = re.compile(r"\.shared_transf(?:ormer)?\.")
_CROSS = re.compile(r"\.cross_attn\.")
_PADDED = 1024  # rows that a vocabulary is padded by, at most
_CHECKED = (*EMBEDDINGS, *_QUERIES)
UNKNOWN = Family((), "any model, by its tensors' names and shapes", attention=any_attention)


@dataclass(frozen=True, eq=False)
class Architecture:
    """A model's shape, and its columns, one row a block and a last row for what stands outside the blocks.

    source: "config" where the config is of a known family and agrees with the tensors, "metadata" where the file's own
    hyperparameters do; else "shapes".
    dense, routed: arrays of int64, shape (blocks + 1,): parameters that multiply every token, and those of routed experts, each as
    often as a token passes it.
    experts, used: arrays of int64, shape (blocks + 1,): experts stored, and those that a token is sent to (1 and 1 if dense).
    qk, v: arrays of int64, shape (blocks + 1,): width of all heads' queries and values in softmax attention; 0 without.
    reach: array of int64, shape (blocks + 1,): the most that qk + v can be, whatever a config says of windows and linear layers.
    window: array of int64, shape (blocks + 1,): keys that the block sees, 0 for all.
    scan: operations a token of recurrent mixers, of each block and the rest.
    kept: array of bool, shape (blocks + 1,): False for multi-token prediction modules: trained, not used to answer.
    routed_values: array of int64, shape (blocks + 1,): `routed` and the experts' biases.
    kernels: parameters of three or more dimensions that may be applied at many places.
    query_seen: whether a tensor showed the queries' width.
    lookups, vectors, towers, idle: parameters that don't multiply a token: embeddings that are looked up; norms and biases;
    towers of other inputs; what no token passes.
    sides: 2 where a token passes an encoder or a decoder, and not both; else 1. causal: False where there is an encoder, whose
    tokens see all others.
    shared, crossing: parameters that names say several blocks share; those of blocks that attend to another input.
    """

    source: Literal["config", "metadata", "shapes"]
    model_type: str
    layers: int
    hidden_size: int
    attention: Attention | None
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
    qk: Int64
    v: Int64
    reach: Int64
    window: Int64
    scan: Scan
    kept: npt.NDArray[np.bool_]
    routed_values: Int64
    kernels: int
    query_seen: bool
    lookups: int
    vectors: int
    towers: int
    idle: int
    sides: int
    causal: bool
    shared: int
    crossing: int


def describe(
    table: TensorTable, parameters: Parameters, config: Config | None, family: Family | None, tied: bool, path: str
) -> tuple[Architecture | None, tuple[Finding, ...]]:
    """The architecture, and how the config contradicts the tensors; None for tensors without blocks or a width.

    A finding `part-missing` says that the config describes more than is there. A config of an unknown family gives numbers that
    no shape shows (experts a token, windows) to an architecture by shapes, and lowers no bound.
    """
    blocks = blocks_of(table)
    findings: list[Finding] = []
    known = config is not None and family is not None
    if config is not None and family is not None:
        wrong = _wrong(table, parameters, config, family, blocks, path)
        if wrong is not None:
            findings.append(wrong)
            known = False
            if wrong.id != "config-incomplete":
                config = None
    rules = family or UNKNOWN
    hidden = (config.number(*HIDDEN) if config is not None else None) or _hidden(table, parameters)
    if not len(blocks) or hidden is None:
        return None, tuple(findings)

    rows = len(blocks) + 1
    passed_by = rules.idle(config) if config is not None else ""
    lookups, idle = (re.compile(p) if p else None for p in (rules.lookups, passed_by))
    kinds = kinds_of(table, parameters.roles, blocks, parameters.ranks, lookups, idle)
    times = _times(table, config, rules)
    by_kind = _sums(parameters.logical, blocks.of, kinds, rows)
    passed = by_kind if times is None or by_kind is None else _sums(_often(parameters.logical, times), blocks.of, kinds, rows)
    if by_kind is None or passed is None:
        text = "a layer has more than 2^63 parameters"
        return None, (*findings, Finding("config-contradicts-weights", "high", text, path))

    stack = _main_stack(blocks, by_kind)
    stored = int(blocks.numbers[stack].max()) + 1
    # no more than are there: a config that isn't checked may say any number
    layers = min((rules.stored(config) if config is not None else None) or stored, stored)
    experts, used, problems = _experts(table, parameters, config, rules, blocks, path, known=known)
    findings += problems if known else []
    seen = widths(table, parameters, kinds, blocks, hidden, times)
    scan = scans(table, blocks, config)
    attention = rules.attention(config) if config is not None else None
    qk, v, window = _attention(config, rules, attention, seen, blocks, stack, layers, known=known)
    sides = _sides(blocks)
    kept = np.ones(rows, bool)
    if known:
        kept[:-1] = ~(stack & (blocks.numbers >= layers))
    return (
        Architecture(
            source=("config" if rules.model_types else "metadata") if known else "shapes",
            model_type=config.model_type if config is not None else "",
            layers=layers if known else stored,
            hidden_size=hidden,
            attention=attention,
            key_value_heads=(config.number(*KEY_VALUE_HEADS) or 0) if config is not None else 0,
            vocab_size=(config.number("vocab_size") or 0) if config is not None else 0,
            intermediate_size=(config.number("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size") or 4 * hidden)
            if config is not None
            else 0,
            experts_per_token=int(used.max()) if int(experts.max()) > 1 else 0,
            context=(config.number(*CONTEXT) or 0) if config is not None else 0,
            tied=tied,
            dense=passed[:, MATRIX] + passed[:, KERNEL],
            kernels=_kernels(table, parameters, kinds),
            query_seen=bool(seen.stated.any()),
            routed=passed[:, ROUTED].copy(),
            experts=experts,
            used=used,
            qk=qk,
            v=v,
            reach=_reach(qk + v, seen.reach, attention if known else None, blocks),
            window=window,
            scan=scan,
            kept=kept,
            routed_values=by_kind[:, ROUTED] + by_kind[:, ROUTED_VECTOR],
            lookups=int(by_kind[:, LOOKUP].sum()),
            vectors=int(by_kind[:, VECTOR].sum()),
            towers=int(by_kind[:, TOWER].sum()),
            idle=int(by_kind[:, IDLE].sum()),
            sides=2 if {"encoder", "decoder"} <= sides else 1,
            causal="encoder" not in sides,
            shared=_of_rows(table, parameters, _SHARED),
            crossing=int(by_kind[_crossing(table, blocks)][:, [MATRIX, ROUTED]].sum()),
        ),
        tuple(findings),
    )


def active(architecture: Architecture, total: int) -> int:
    """Parameters that act on one token, both embeddings included: routed experts count by the share that a token is sent to.

    Without a config that is believed, no shape shows the share: every parameter is active.
    """
    if architecture.source == "shapes":
        return total
    idle = sum(
        int(values) * int(e - k) // int(e)
        for values, e, k in zip(architecture.routed_values, architecture.experts, architecture.used, strict=True)
    )
    return total - idle


def _wrong(
    table: TensorTable, parameters: Parameters, config: Config, family: Family, blocks: Blocks, path: str
) -> Finding | None:
    """Why the config can't be what the tensors are, if it can't."""
    layers, hidden, attention = family.stored(config), config.number(*HIDDEN), family.attention(config)
    if layers is not None and layers > len(table):
        text = f"config.json says {layers} layers, and there are {len(table)} tensors"
        return Finding("part-missing", "high", text, path)
    if layers is None or hidden is None or (attention is None and not family.by_shapes):
        text = "config.json does not give the layers, widths and heads that its model_type needs; the bound is by tensors alone"
        return Finding("config-incomplete", "medium", text, path)
    stored = int(blocks.numbers.max()) + 1 if len(blocks) else 0
    if stored - layers > (config.number("num_nextn_predict_layers", "num_mtp_layers") or 0):
        text = f"config.json says {layers} layers, the weights have {stored}: the bound is by tensors alone"
        return Finding("config-contradicts-weights", "high", text, path)
    if stored < layers:
        return Finding("part-missing", "high", f"config.json says {layers} layers, the weights have {stored}", path)
    wrong, part = _contradictions(table, parameters, config, None if family.by_shapes else attention)
    if part:
        return Finding("part-missing", "high", f"config.json says {wrong}", path)
    if wrong:
        text = f"config.json says {wrong}: the bound is by tensors alone"
        return Finding("config-contradicts-weights", "high", text, path)
    return None


def _times(table: TensorTable, config: Config | None, family: Family) -> Int64 | None:
    """How often a token passes each row, array of int64, shape (n,); None for once each."""
    rules = [(re.compile(pattern), n) for pattern, n in family.times(config)] if config is not None else []
    if not rules:
        return None
    return np.array([next((n for p, n in rules if p.search(name)), 1) for name in table.names], np.int64)


def _often(logical: Int64, times: Int64) -> Int64:
    """logical x times, no larger than 2^62."""
    most = np.int64(1 << 62)
    return np.where(logical > most // np.maximum(times, 1), most, logical * np.minimum(times, most))


def _sums(logical: Int64, of: Int64, kinds: UInt8, rows: int) -> Int64 | None:
    """Parameters of each block and kind, array of int64, shape (rows, kinds); None where one passes 2^63."""
    sums = np.zeros(rows * N_KINDS, np.int64)
    if sum_by_group(logical, of * N_KINDS + kinds, sums) >= 0:
        return None
    return sums.reshape(rows, N_KINDS)


def _sides(blocks: Blocks) -> set[str]:
    """Whether there are lists of blocks of an encoder and of a decoder, of the same input."""
    return {match[1] for p in set(blocks.prefixes) if not TOWERS.search(p) and (match := _SIDE.search(p))}


def _of_rows(table: TensorTable, parameters: Parameters, pattern: re.Pattern[str]) -> int:
    return sum(int(parameters.logical[row]) for row, name in enumerate(table.names) if pattern.search(name))


def _crossing(table: TensorTable, blocks: Blocks) -> list[int]:
    """Blocks that attend to another input, and to their own by nothing else."""
    found = {int(blocks.of[row]) for row, name in enumerate(table.names) if _CROSS.search(name)}
    own = {int(blocks.of[row]) for row, name in enumerate(table.names) if ".self_attn." in name} if found else set()
    return sorted(found - own - {len(blocks)})


def _hidden(table: TensorTable, parameters: Parameters) -> int | None:
    """The model's width: that of its input embedding, or the commonest length of a norm."""
    for row, name in enumerate(table.names):
        if ends_with(name, EMBEDDINGS) and parameters.ranks[row] == 2:
            shape = table.shape(row)
            if len(shape) == 2 and shape[1] > 0:
                return shape[1]
    rows = np.flatnonzero((table.ranks == 1) & (parameters.roles == WEIGHT) & (table.elements > 1))
    if not len(rows):
        return None
    lengths, counts = np.unique(table.elements[rows], return_counts=True)
    return int(lengths[counts.argmax()])


def _main_stack(blocks: Blocks, by_kind: Int64) -> npt.NDArray[np.bool_]:
    """The blocks of the list that holds most weights, towers of other inputs apart: array of bool, shape (blocks,)."""
    sizes: dict[str, int] = {}
    for prefix, size in zip(blocks.prefixes, by_kind[:-1].sum(axis=1).tolist(), strict=True):
        sizes[prefix] = sizes.get(prefix, 0) + (0 if TOWERS.search(prefix) else size)
    largest = max(sizes, key=lambda p: sizes[p])
    return np.array([p == largest for p in blocks.prefixes], bool)


def _experts(
    table: TensorTable, parameters: Parameters, config: Config | None, family: Family, blocks: Blocks, path: str, *, known: bool
) -> tuple[Int64, Int64, list[Finding]]:
    """Experts stored and used of each block and the rest, shape (blocks + 1,), and how the config contradicts them.

    known: a number that nothing says is every expert; otherwise, where it bounds nothing, the commonest.
    """
    rows = len(blocks) + 1
    experts, used = np.ones(rows, np.int64), np.ones(rows, np.int64)
    routing = family.experts(config) if config is not None else None
    fewer: list[int] = []
    more: list[int] = []
    uneven: list[int] = []
    for block, (n, alike) in experts_stored(table, parameters.roles, blocks.of, parameters.logical).items():
        claimed, k = routing or (n, n if known else min(n, _COMMON.get(n, 8)))
        if not alike and k < n:
            uneven.append(block)
            k = n
        elif claimed > n:
            fewer.append(block)
            k = n
        elif claimed < n:
            more.append(block)
            k = n
        experts[block], used[block] = max(1, n), max(1, k)
    findings = []

    def layer(found: list[int]) -> int:
        return int(blocks.numbers[found[0]]) if found[0] < len(blocks) else 0

    if fewer:
        text = f"{len(fewer)} layers have fewer experts than config.json says, layer {layer(fewer)} first"
        findings.append(Finding("part-missing", "high", text, path))
    if more:
        text = (
            f"{len(more)} layers store more experts than config.json says, layer {layer(more)} first: all are taken as active"
        )
        findings.append(Finding("config-contradicts-weights", "high", text, path))
    if uneven:
        text = f"experts of one layer differ in size, in layer {layer(uneven)} first: every expert is taken as active there"
        findings.append(Finding("config-contradicts-weights", "high", text, path))
    return experts, used, findings


_COMMON = {2: 1, 3: 1, 4: 2, 8: 2, 16: 2, 32: 4}
"""Experts a token of mixtures of so many, where nothing says it: the commonest choice of published ones; 8 of all larger."""


def _attention(
    config: Config | None,
    family: Family,
    attention: Attention | None,
    seen: Widths,
    blocks: Blocks,
    stack: npt.NDArray[np.bool_],
    layers: int,
    *,
    known: bool,
) -> tuple[Int64, Int64, Int64]:
    """Query and value widths and the window of each block and the rest: the shapes', and those of a config of a known family."""
    rows = len(blocks) + 1
    qk, v, window = seen.qk.copy(), seen.v.copy(), np.zeros(rows, np.int64)
    gated = (qk >= 2 * v) & (v > 0) & seen.stated  # an output gate beside the queries, in one projection
    qk[gated] = v[gated]
    if config is None:
        return qk + seen.index, v, window
    inside = np.zeros(rows, bool)
    inside[:-1] = stack & (blocks.numbers < layers)
    numbers = np.append(blocks.numbers, 0)
    if known and attention is not None and not family.by_shapes:
        shown = inside & (qk > 0)
        whole = inside if not shown.any() else shown
        often = (
            np.maximum(seen.v[whole] // max(1, attention.heads * attention.v), 1) if family.times(config) else attention.passes
        )
        qk[whole], v[whole] = attention.heads * attention.qk * often, attention.heads * attention.v * often
    elif attention is not None:
        same = inside & (v == attention.heads * attention.v)  # the shapes agree: what is beside the queries is a gate
        qk[same] = attention.heads * attention.qk
    attends = np.array(family.softmax(config, layers), bool)
    windows = np.array(family.windows(config, layers), np.int64)
    if len(attends) == layers:
        quiet = inside & ~attends[np.minimum(numbers, layers - 1)]
        qk[quiet] = v[quiet] = 0
    if len(windows) == layers:
        window[inside] = windows[numbers[inside]]
    qk[-1] += min(family.compressed(config), 1 << 40)
    return qk + seen.index, v, window


def _reach(widths: Int64, shown: Int64, attention: Attention | None, blocks: Blocks) -> Int64:
    """The most that each block's attention can be: of shapes, whatever a config says; and of the config, whatever shapes show."""
    reach = np.maximum(widths, shown)
    if attention is not None:
        stated = min(attention.passes * attention.heads * (attention.qk + attention.v), 1 << 40)
        inside = np.array([not TOWERS.search(prefix) for prefix in blocks.prefixes] + [False])
        reach[inside] = np.maximum(reach[inside], stated)
    return reach


def _kernels(table: TensorTable, parameters: Parameters, kinds: UInt8) -> int:
    """Parameters in kernels, in towers of other inputs too; those of a mixer's convolution are applied once a token."""
    towers = (kinds == TOWER) | (kinds == IDLE) | (kinds == LOOKUP)
    rows = np.flatnonzero((kinds == KERNEL) | (towers & (parameters.ranks > 2)))
    return sum(parameters.logical[rows].tolist())


def _contradictions(
    table: TensorTable, parameters: Parameters, config: Config, attention: Attention | None
) -> tuple[str, bool]:
    """The first thing that the config says and a stored shape contradicts, "" for none; packed tensors show no shape.

    And whether the stored one is a fraction of it, as a rank of a tensor-parallel model has it.
    """
    hidden, vocabulary = config.number(*HIDDEN), config.number("vocab_size")
    widths = {hidden, config.number("word_embed_proj_dim")}
    if not any(ends_with(name, EMBEDDINGS) for name in table.names):
        return f"hidden size {hidden}, and no input embedding shows it", False
    for row, name in enumerate(table.names):
        if not ends_with(name, _CHECKED) or parameters.roles[row] != WEIGHT:
            continue
        if parameters.logical[row] not in (0, table.elements[row]) or TOWERS.search(name):
            continue
        shape = table.shape(row)
        if len(shape) != 2:
            continue
        if ends_with(name, EMBEDDINGS) and shape[1] not in widths:
            return f"hidden size {hidden}, {name} is {shape[1]} wide", False
        if ends_with(name, EMBEDDINGS) and vocabulary and shape[0] < vocabulary:
            return f"a vocabulary of {vocabulary}, {name} has {shape[0]} rows", 2 * shape[0] <= vocabulary + _PADDED
        if attention and name.endswith(_QUERIES) and shape[0] != attention.heads * attention.qk:
            rows = attention.heads * attention.qk
            part = 0 < shape[0] < rows and rows % shape[0] == 0 and _TOWER.search(name) is None
            return f"{attention.heads} heads of {attention.qk}, {name} has {shape[0]} rows", part
    return "", False
