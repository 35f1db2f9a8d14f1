"""How wide each block's softmax attention is, as the shapes of its projections show: heads need not be known.

A query of all heads is as wide as the query projection's output, what the heads give back as wide as the output projection's
input; one token and one key cost 2 operations for each of both.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weightguard.architecture.columns import IDLE, LOOKUP, MATRIX, TOWER, Blocks
from weightguard.parameters.count import Parameters
from weightguard.tensors import Int64, TensorTable, UInt8

_END = r"(?:\.(?:weight|qweight|weight_packed|linear\.weight|base_layer\.weight))?$"
_QUERY = re.compile(
    r"(?:^|\.)(?:q_proj|Wq|project_q|q_proj\.linear|query|query_proj|q_b_proj|q_up_proj|wq_b|wq_du|wq|q|q_lin|to_q|attn_q|attn_q_b|linear_q|q_attn|query_layer)"
    + _END
)
_FUSED = re.compile(
    r"(?:^|\.)(?:qkv_proj|gqkv_proj|query_key_value|Wqkv|c_attn|qkv|in_proj|in_proj_weight|W_pack|attn_qkv|linear_qkv|to_qkv|qkv_linear|qg_proj"
    r"|mixed_qkv|att_proj)" + _END
)
_OUT = re.compile(
    r"(?:^|\.)(?:o_proj|out_proj|dense|c_proj|Wo|wo|o|o_proj\.linear|attention_out|out_lin|attn_output|attn_out|linear_proj|linear_out|to_out\.0|proj|out|project_out"
    r"|final_proj|o_b_proj|wo_b|wo_a|wo_ud)" + _END
)
_MODULE = re.compile(r"attn|attention|Attention|(?:^|\.)blk\.\d+\.attn|temporal_block|mixer|^(?:q|o|wq|wo)\b|rel_attn|self_att")
_PROJECTIONS = (MATRIX, LOOKUP, IDLE, TOWER)
_NOT_SELF = re.compile(r"encoder_attn|encoder_decoder|cross_?attn|cross_?attention|crossattention|EncDec|indexer|(?:^|\.)idx_")
_INDEX = re.compile(r"indexer\.(?:wq_b|wq_du|wq|q_proj|q_b_proj)" + _END)
_LINEAR = re.compile(
    r"(?:A_log|dt_bias|conv1d\.\w+|in_proj_ba\.\w+|ssm_\w+(?:\.\w+)?|[qkv]_conv1d\.\w+|time_decay|time_mix_\w+|slope_rate"
    r"|output_gate\.weight)$"
)


@dataclass(frozen=True, eq=False)
class Widths:
    """Softmax attention of each block and a last row for what stands outside: arrays of int64, shape (blocks + 1,).

    qk, v: width of the queries and of the values of all heads, as often as a token passes them; 0 without attention.
    index: width of an indexer's queries, which score every key before a few are attended to.
    stated: whether a query projection of its own showed `qk`, array of bool. mixed: whether what stands there may be linear
    attention, which has no term in the keys, array of bool. reach: qk + v as if none were, and of attention to other inputs.
    """

    qk: Int64
    v: Int64
    index: Int64
    stated: npt.NDArray[np.bool_]
    mixed: npt.NDArray[np.bool_]
    reach: Int64


def widths(
    table: TensorTable, parameters: Parameters, kinds: UInt8, blocks: Blocks, hidden: int, times: Int64 | None
) -> Widths:
    """From the names and shapes of the projections. `hidden`: the model's width, for packed tensors, whose shape shows none.

    times: array of int64, shape (n,): how often a token passes each row; None for once.
    """
    rows = len(blocks) + 1
    queries: dict[int, dict[str, int]] = defaultdict(dict)
    fused: dict[int, dict[str, int]] = defaultdict(dict)
    outs: dict[int, dict[str, int]] = defaultdict(dict)
    linear: dict[int, set[str]] = defaultdict(set)
    crossing = np.zeros(rows, np.int64)
    often, index = np.ones(rows, np.int64), np.zeros(rows, np.int64)
    for row, name in enumerate(table.names):
        block = int(blocks.of[row])
        module = name.removesuffix(".weight").rpartition(".")[0]
        if _LINEAR.search(name):
            linear[block].add(name[: name.rfind(".", 0, name.rfind("."))] if name.endswith((".weight", ".bias")) else module)
        if kinds[row] not in _PROJECTIONS or parameters.ranks[row] < 2:
            continue
        below = name[len(blocks.prefixes[block]) :] if block < len(blocks) else name
        if not _MODULE.search(below) or _NOT_SELF.search(below):
            if _INDEX.search(below):
                index[block] += _width(table, parameters, row, hidden, 0)
            elif _QUERY.search(below):
                crossing[block] += 2 * _width(table, parameters, row, hidden, 0)
            continue
        if kinds[row] in (IDLE, TOWER):
            crossing[block] += (
                2 * _width(table, parameters, row, hidden, 0) if _QUERY.search(below) or _FUSED.search(below) else 0
            )
            continue
        if times is not None:
            often[block] = max(often[block], int(times[row]))
        if _QUERY.search(below):
            queries[block][module] = _width(table, parameters, row, hidden, 0)
        elif _FUSED.search(below):
            fused[block][module] = _width(table, parameters, row, hidden, 0)
        elif _OUT.search(below):
            outs[block][module] = _width(table, parameters, row, hidden, 1)
    qk, v = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    stated, mixed, reach = np.zeros(rows, bool), np.zeros(rows, bool), index + crossing
    for block in queries.keys() | fused.keys():
        found = queries[block] or fused[block]
        for module, width in found.items():
            out = outs[block].get(module) or max(outs[block].values(), default=0)
            own = module in queries[block]
            value = out or (width if own else width // 3)
            reach[block] += (width if own else value) + value
            if module in linear[block] or any(m.startswith(module + ".") for m in linear[block]):
                mixed[block] = True
                continue
            qk[block] += width if own else value
            v[block] += value
            stated[block] |= own
    return Widths(qk * often, v * often, index, stated, mixed, reach * often)


def _width(table: TensorTable, parameters: Parameters, row: int, hidden: int, axis: int) -> int:
    """The output (axis 0) or input (axis 1) width of a projection; of a packed one, by the model's width."""
    shape = table.shape(row)
    if len(shape) == 2 and parameters.logical[row] == table.elements[row]:
        return shape[axis]
    return int(parameters.logical[row]) // hidden if hidden else 0
