"""The most operations that whole weights, trained as they stand, can have taken."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from weightguard.operations.forward import Forward, per_token
from weightguard.values import UNBOUNDED, Interval, Operations, Term

BACKWARD = 3
"""Training takes three times the forward operations: Technical Note 2, "Each forward pass ... 2N FLOP. Each backward pass ... 4N"."""


@dataclass(frozen=True)
class Bounds:
    """The policy's values that bound training; their sources: `weightguard rules show bounds`."""

    maximum_training_tokens: Fraction
    bound_context: int
    post_training_factor: Fraction


def from_weights(forward: Forward, config_context: int, bounds: Bounds) -> Operations:
    """[0, high]: `high` at the policy's largest token count, every key of the context attended to, times post-training."""
    context = min(config_context, bounds.bound_context) if config_context else bounds.bound_context
    full = forward.window * 0  # a window is a claim: the bound lets every layer see all keys
    ops = per_token(forward.bound_matmul, forward.bound_attention, full, context, causal=False)
    if ops is None:
        return Operations(UNBOUNDED, "weights", assumptions=("operations a token pass 2^63: nothing bounds them",))
    tokens, factor = bounds.maximum_training_tokens, bounds.post_training_factor
    high = BACKWARD * ops * tokens * factor
    terms = (
        Term(
            "forward",
            ops,
            "operations/token",
            f"matrix products + attention over {context} keys",
            "the forward operations above",
        ),
        Term("forward and backward", BACKWARD * ops, "operations/token", "3 x forward", "4E091 Technical Note 2"),
        Term("tokens at most", tokens, "tokens", "policy maximum_training_tokens", "weightguard rules show bounds"),
        Term("post-training at most", factor, "times", "policy post_training_factor", "weightguard rules show bounds"),
        Term("bound", high, "operations", "product of the above", "whole weights, trained as they stand"),
    )
    return Operations(Interval(Fraction(0), None, high), "weights", terms, assumptions=forward.assumptions)


def least(forward: Forward | None, parameters: int) -> Fraction:
    """Operations below which nobody trains all of these weights: a thousandth of a token a parameter."""
    return Fraction(BACKWARD * forward.matmul * parameters, 1000) if forward else Fraction(0)
