"""Forward operations for one token: from an architecture, or from the tensors alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from weightguard.architecture.columns import stacks_of
from weightguard.architecture.describe import Architecture
from weightguard.errors import Unreadable
from weightguard.kernels.forward import forward_by_layer, operations_at_context
from weightguard.parameters.count import Parameters
from weightguard.roles import WEIGHT
from weightguard.tensors import Int64, TensorTable
from weightguard.values import Term

FORMULA = "4E091 Technical Note 2: 2 operations a multiply-accumulate"
SCAN = "Dao and Gu 2024, section 6; Yang et al. 2024, section 3.3; Gu and Dao 2023, appendix D"
_MARGIN = 50
"""Matrix products that no weight shows, such as relative positions and what a chunked scan pads: a fiftieth, measured."""
_QUERY = re.compile(r"\.(?:q_proj|query|q_b_proj|wq|q|q_lin|to_q|attn_q|attn_q_b)\.weight$")
_LONGEST_VECTOR = 1 << 22
_EXPERT_STACK = re.compile(r"(?:^|[._])experts?[._]|\.ffn_\w+_exps\.")


@dataclass(frozen=True, eq=False)
class Forward:
    """Forward operations a token. `matmul` and `attention` (a key) are the contract's two numbers.

    matmul_range: what `matmul` can be. windowed: the part of attention in layers with a window, which `attention` leaves out.
    layer_matmul, layer_attention, window: arrays of int64, shape (layers,), with the routed experts that the config names.
    bound_matmul, bound_attention: arrays of int64, shape (layers,): the most that each layer can take.
    causal: whether a token sees those before it only.
    """

    unit: str
    matmul: int
    attention: int
    windowed: int
    matmul_range: tuple[int, int]
    layer_matmul: Int64
    layer_attention: Int64
    window: Int64
    bound_matmul: Int64
    bound_attention: Int64
    terms: tuple[Term, ...]
    assumptions: tuple[str, ...]
    causal: bool = True


def per_token(matmul: Int64, attention: Int64, window: Int64, context: int, *, causal: bool) -> Fraction | None:
    """Mean forward operations a token over `context` tokens, all layers; None if they pass 2^63."""
    twice = np.zeros(len(matmul), np.int64)
    if operations_at_context(matmul, attention, window, context, causal, twice) >= 0:
        return None
    return Fraction(sum(twice.tolist()), 2)


def from_architecture(a: Architecture, parameters: Parameters, kernel_positions: int, *, all_experts: bool) -> Forward:
    """By the blocks of an architecture whose config is known; `all_experts` bounds a mixture with every expert active."""
    passed, reached = _by_block(a, a.used)
    most, _ = _by_block(a, a.experts)
    matmul, attention = -(-passed // a.sides), -(-reached // a.sides)
    total = sum((matmul - a.scan.elementwise)[a.kept].tolist())
    upper = most if all_experts else passed
    bound_matmul = upper.copy()
    # What an architecture looks up, adds or passes by is bounded as if it multiplied: a name alone never makes a weight idle.
    idle = 2 * (a.lookups + a.vectors + a.towers + a.idle + parameters.possible + parameters.unused)
    idle += 2 * a.kernels * (kernel_positions - 1)
    if idle >= 1 << 61:
        raise Unreadable("limit", "more than 2^61 operations a token")
    bound_matmul[-1] += idle
    bound_attention = 2 * np.minimum(a.reach, 1 << 59)
    # fused or renamed: where no shape shows the heads, they are at least as wide as the hidden size
    unseen = (bound_attention[:-1] == 0) | (not a.query_seen)
    bound_attention[:-1][unseen] = np.maximum(bound_attention[:-1][unseen], 4 * a.hidden_size)
    full, windowed = _attention(a, attention)
    return Forward(
        unit="token",
        matmul=total,
        attention=full,
        windowed=windowed,
        matmul_range=(total, sum(upper[a.kept].tolist()) + idle),
        layer_matmul=matmul,
        layer_attention=attention,
        window=a.window,
        bound_matmul=bound_matmul,
        bound_attention=bound_attention,
        terms=_terms(a, total, full, windowed),
        assumptions=() if not int(a.experts.max()) > 1 else (experts_condition(a, all_experts=all_experts),),
        causal=a.causal,
    )


def with_shapes(bound: Forward, a: Architecture) -> Forward:
    """`bound`, by tensors alone, with the two numbers and their range that names and shapes show; it bounds as before."""
    passed, reached = _by_block(a, a.used)
    matmul, attention = -(-passed // a.sides), -(-reached // a.sides)
    least, _ = _by_block(a, np.minimum(a.experts, 1))
    most, _ = _by_block(a, a.experts)
    total = sum((matmul - a.scan.elementwise).tolist())
    full, windowed = _attention(a, attention)
    # tensors that names say are shared may be passed in every block; what crosses to another input may not be passed at all
    more = 2 * (a.lookups + a.vectors + a.towers + a.idle + a.shared * len(a.dense))
    low = max(0, sum((least // a.sides - a.scan.elementwise).tolist()) - 2 * a.crossing)
    return replace(
        bound,
        matmul=total,
        attention=full,
        windowed=windowed,
        matmul_range=(low - low // _MARGIN, sum(most.tolist()) + sum(most.tolist()) // _MARGIN + more),
        layer_matmul=matmul,
        layer_attention=attention,
        window=a.window,
        terms=_terms(a, total, full, windowed),
        causal=a.causal,
    )


def _by_block(a: Architecture, used: Int64) -> tuple[Int64, Int64]:
    """Operations a token by matrix products, and a token and key by softmax attention, of each block."""
    rows = len(a.dense)
    matmul, attention = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    wrong = forward_by_layer(a.dense, a.routed, used, a.experts, np.ones(rows, np.int64), a.qk, a.v, matmul, attention)
    if wrong >= 0 or max(int(matmul.max()), int(a.scan.products.max()), int(a.scan.elementwise.max())) > 1 << 60:
        raise Unreadable("limit", "a layer takes more than 2^60 operations a token")
    return matmul + a.scan.products + a.scan.elementwise, attention


def _attention(a: Architecture, attention: Int64) -> tuple[int, int]:
    windowed = int(attention[a.kept & (a.window > 0)].sum())
    return int(attention[a.kept].sum()) - windowed, windowed


def _terms(a: Architecture, total: int, full: int, windowed: int) -> tuple[Term, ...]:
    dense = 2 * sum(a.dense[a.kept].tolist()) // a.sides
    products, elementwise = (sum(x[a.kept].tolist()) for x in (a.scan.products, a.scan.elementwise))
    heads = f"2 x {a.attention.heads} heads x ({a.attention.qk} + {a.attention.v})" if a.attention else "2 x (queries + values)"
    terms = (
        Term(
            "layers and head",
            Fraction(dense),
            "operations/token",
            "2 x weights that multiply" + (", of an encoder or a decoder: half of both" if a.sides > 1 else ""),
            FORMULA,
        ),
        Term(
            "routed experts",
            Fraction(total - dense - products),
            "operations/token",
            f"2 x weights x {a.experts_per_token} of {int(a.experts.max())}",
            FORMULA,
        ),
        Term("recurrent mixers", Fraction(products), "operations/token", "products of state, keys and values, by chunks", SCAN),
        Term("selective scan", Fraction(elementwise), "operations/token", "9 x values of the state, element by element", SCAN),
        Term("attention", Fraction(full), "operations/token/key", f"{heads} a layer", FORMULA),
        Term("windowed attention", Fraction(windowed), "operations/token/key", "the same, up to the window", FORMULA),
    )
    return tuple(t for t in terms if t.value)


def experts_condition(a: Architecture, *, all_experts: bool) -> str:
    if all_experts:
        return f"every one of {int(a.experts.max())} experts is taken as active"
    whose = "config.json" if a.source == "config" else "the file"
    return f"a token was sent to {a.experts_per_token} of {int(a.experts.max())} experts in training, as {whose} says"


def from_tensors(table: TensorTable, parameters: Parameters, kernel_positions: int, repeats: int) -> Forward:
    """4E091 Technical Note 2 s.2, 4E091 Technical Note 2 s.3, 4E091 Technical Note 2 s.4, 4E091 Technical Note 2 s.5: 2 operations
    a weight and pass, as in the note's layer of N = I * O parameters; pooling and kernels at every place they apply to.

    Without an architecture: every matrix and vector once a token, a kernel of three or more dimensions `kernel_positions` times.

    Each numbered block may attend with queries as wide as its query projection, or, where none has a known name, as its widest
    matrix. `repeats`: how often the config says that layers share weights.
    """
    weights = np.flatnonzero(parameters.roles == WEIGHT).tolist()
    ranks = table.ranks.tolist()
    matrices = kernels = 0
    for row in weights:
        logical = int(parameters.logical[row])
        rank = int(parameters.ranks[row])
        stack = rank > 2 and _EXPERT_STACK.search(table.names[row])
        if stack or rank == 2 or (rank < 2 and logical <= _LONGEST_VECTOR):
            matrices += logical
        else:  # and a vector so long that it is weights of unknown shape, flattened
            kernels += logical
    width = _attention_width(table, weights, ranks)
    matmul = (2 * matrices + 2 * kernels * kernel_positions) * repeats + 2 * (parameters.possible + parameters.unused)
    attention = 4 * width * repeats
    if max(matmul, attention) >= 1 << 62:
        raise Unreadable("limit", "more than 2^62 operations a token")
    terms = [
        Term("matrices", Fraction(2 * matrices * repeats), "operations/token", f"2 x weights x {repeats}", FORMULA),
        Term(
            "kernels",
            Fraction(2 * kernels * kernel_positions * repeats),
            "operations/token",
            f"2 x weights x {kernel_positions} positions x {repeats}",
            "policy, kernel_positions and maximum_training_pixels",
        ),
        Term("attention at most", Fraction(attention), "operations/token/key", "4 x query width of each block", FORMULA),
    ]
    shared = f", layers shared {repeats} times as config.json says" if repeats > 1 else ""
    if not width:
        shared += "; and no attention between tokens, as no tensor is named as its query or stands in a numbered layer"
    one = np.ones(1, np.int64)
    best = 2 * sum(int(parameters.logical[row]) for row in weights if parameters.ranks[row] >= 2)
    return Forward(
        unit="token",
        matmul=min(best, matmul),
        attention=0,
        windowed=0,
        matmul_range=(0, matmul),
        layer_matmul=one * matmul,
        layer_attention=one * attention,
        window=one * 0,
        bound_matmul=one * matmul,
        bound_attention=one * attention,
        terms=tuple(t for t in terms if t.value),
        assumptions=(f"no weight is applied more often: a matrix once a token, a kernel {kernel_positions} times{shared}",),
    )


def _attention_width(table: TensorTable, weights: list[int], ranks: list[int]) -> int:
    """The sum over all numbered blocks of the width of their queries, or of their widest matrix, and over queries outside of them."""
    rows = {table.names[row]: row for row in weights if ranks[row] >= 2}
    stacks: Mapping[str, Mapping[int, set[str]]] = stacks_of(table)
    total = 0
    for prefix, blocks in stacks.items():
        for layer, below in blocks.items():
            shapes = {n: table.shape(rows[f"{prefix}{layer}.{n}"]) for n in below if f"{prefix}{layer}.{n}" in rows}
            queries = [shape[0] for n, shape in shapes.items() if _QUERY.search("." + n)]
            widest = max((max(shape) for shape in shapes.values()), default=0)
            total += max(queries) if queries else widest
    inside = tuple(stacks)
    outside = (row for name, row in rows.items() if not name.startswith(inside) and _QUERY.search("." + name))
    return total + sum(table.shape(row)[0] for row in outside)
