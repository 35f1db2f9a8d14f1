"""Operations of a training that is planned: the formulas of a scan, for a config that has no weights yet.

    from weightguard.operations import Phase, plan, tokens_until
    plan(config, phases=[Phase(tokens=15.6e12, context=8192)]).operations
    tokens_until(config, operations=1e26, context=8192)

Sources: 4E091 Technical Note 2 (2 operations a multiply-accumulate, a backward pass of twice the forward one); for attention,
Hoffmann et al. 2022, appendix F, with the keys that a causal mask leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, isfinite
from typing import Any

from weightguard.architecture import families
from weightguard.architecture.config import Config, language_model
from weightguard.architecture.describe import Architecture, active, describe
from weightguard.architecture.planned import all_weights, tensors
from weightguard.errors import ConfigurationError, Unreadable
from weightguard.operations.forward import Forward, from_architecture, from_tensors, per_token, with_shapes
from weightguard.operations.runs import HIGH, LOW
from weightguard.values import ZERO, Interval

Number = int | float | Decimal | Fraction
_CONTEXT = 2048
_SHORTER = 4  # documents packed into a sequence and masked from each other may be so much shorter than it


@dataclass(frozen=True)
class Phase:
    """A stretch of training or generation at one context length.

    tokens: processed in one pass over the data, padding included; epochs: passes. context: tokens of a sequence.
    trainable: share of the weights that get a gradient, 0 to 1: a forward pass and the gradient of the activations are taken in any
    case. adapter: parameters trained beside frozen weights (LoRA), 6 operations a token each.
    generated: tokens are produced and not trained on (roll-outs, synthetic data): one forward pass.
    others: forward passes of further models of this size on each token: reference, reward, an online teacher of the same size.
    teacher: config of an online teacher, whose forward pass counts; training it does not.
    """

    tokens: Number
    context: int = _CONTEXT
    epochs: Number = 1
    trainable: Number = 1
    adapter: int = 0
    generated: bool = False
    others: Number = 0
    teacher: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Plan:
    """What a config comes to. Operations of a token are forward; `operations` are of all phases.

    parameters_active: those that act on one token, both embeddings included. recomputed: operations that full activation
    recomputation would add; they are not counted (the EU's guidelines say so; 4E091 counts what is required).
    """

    parameters_total: int
    parameters_active: int
    forward_matmul: int
    attention_per_key: int
    operations: Interval
    recomputed: Fraction


def plan(
    config: Mapping[str, Any], *, tokens: Number | None = None, context: int = _CONTEXT, phases: Sequence[Phase] = ()
) -> Plan:
    """The operations of a plan: one phase of `tokens` at `context`, or `phases`.

    Raises `ConfigurationError` for a config without the keys that its form needs, naming the key, and for absurd phases.
    """
    shape, forward, total = _weighed(config)
    stages = [*([Phase(tokens, context)] if tokens is not None else []), *phases]
    operations, recomputed = ZERO, Fraction(0)
    for stage in stages:
        operations += _of_phase(forward, stage, shape.sides if shape else 1)
        recomputed += Fraction(0) if stage.generated else _mean(forward, stage.context, causal=True) * _tokens(stage)
    return Plan(total, active(shape, total) if shape else total, forward.matmul, forward.attention, operations, recomputed)


def tokens_until(config: Mapping[str, Any], operations: Number = 10**26, context: int = _CONTEXT) -> int:
    """The fewest tokens of full training at `context` whose best figure reaches `operations`."""
    _, forward, _ = _weighed(config)
    return ceil(_exact(operations, "operations") / (3 * _mean(forward, context, causal=True)))


def forward_of(config: Mapping[str, Any]) -> Forward:
    """Forward operations of a config, by its layers."""
    return _weighed(config)[1]


def _weighed(values: Mapping[str, Any]) -> tuple[Architecture | None, Forward, int]:
    """Shape, forward operations and parameters. Raises `ConfigurationError`."""
    try:
        return _counted(values)
    except Unreadable as error:  # numbers that no tensor can have
        raise ConfigurationError(f"config: {error.detail}") from error


def _counted(values: Mapping[str, Any]) -> tuple[Architecture | None, Forward, int]:
    table = tensors(values)
    weights = all_weights(table)
    config = language_model(values)
    family = families.find(config) or families.find(Config(values))
    tied = "lm_head.weight" not in table.names
    shape, _ = describe(table, weights, config, family, tied, "config")
    if shape is None or shape.source != "config":  # named as a plan, not as the class names them
        shape, _ = describe(table, weights, config, None, tied, "config")
    if shape is not None and shape.source == "config":
        return shape, from_architecture(shape, weights, 1, all_experts=False), weights.total
    bound = from_tensors(table, weights, 1, 1)
    if shape is None:
        return None, bound, weights.total
    return shape, with_shapes(bound, shape), weights.total


def _of_phase(forward: Forward, stage: Phase, sides: int) -> Interval:
    """3F a token of full training; F less for what has no gradient; F for a generated token; all as an interval of packing.

    sides: 2 where a token is counted once and may pass an encoder and a decoder: `high` takes both.
    """
    share = _exact(stage.trainable, "trainable", most=1)
    passes = (Fraction(1) if stage.generated else 2 + share) + _exact(stage.others, "others")
    tokens = _tokens(stage)
    more = Fraction(0 if stage.generated else 6 * stage.adapter)
    mean = _mean(forward, stage.context, causal=True) * passes + more
    most = _mean(forward, stage.context, causal=False) * passes + more
    if stage.teacher is not None:
        _, teacher, _ = _weighed(stage.teacher)
        mean += _mean(teacher, stage.context, causal=True)
        most += _mean(teacher, stage.context, causal=False)
    least = _mean(forward, max(1, stage.context // _SHORTER), causal=True) * passes + more
    return Interval(LOW * least * tokens, mean * tokens, max(HIGH * most, mean) * tokens * sides)


def _mean(forward: Forward, context: int, *, causal: bool) -> Fraction:
    if type(context) is not int or not 0 < context <= 1 << 31:
        raise ConfigurationError("phase: context must be a whole number of tokens, from 1 to 2^31")
    ops = per_token(forward.layer_matmul, forward.layer_attention, forward.window, context, causal=causal and forward.causal)
    if ops is None or ops == 0:
        raise ConfigurationError("config: operations a token pass 2^63, or are none")
    return ops


def _tokens(stage: Phase) -> Fraction:
    return _exact(stage.tokens, "tokens") * _exact(stage.epochs, "epochs")


def _exact(value: Number, name: str, most: int | None = None) -> Fraction:
    if (
        isinstance(value, bool)
        or (isinstance(value, float) and not isfinite(value))
        or value < 0
        or (most is not None and value > most)
    ):
        raise ConfigurationError(f"phase: {name} must be a number from 0" + (f" to {most}" if most is not None else " on"))
    return Fraction(value)
