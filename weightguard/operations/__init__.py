"""Operations: forward for a token, the bound on training that the weights give, and what claims and declarations make of it.

For people who plan runs, loaded when asked for:

    from weightguard.operations import Phase, plan, tokens_until, count
    tokens_until(config, operations=1e26, context=8192)     # a config.json as a mapping
    plan(config, tokens=15e12, context=8192).operations     # an interval: low, best, high
    count(module, inputs)                                   # a live torch.nn.Module, on the meta device
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightguard.operations.live import Live, count
    from weightguard.operations.planning import Phase, Plan, plan, tokens_until

__all__ = ["Live", "Phase", "Plan", "count", "plan", "tokens_until"]


def __getattr__(name: str) -> Any:
    if name in ("Live", "count"):
        from weightguard.operations import live

        return getattr(live, name)
    if name in ("Phase", "Plan", "plan", "tokens_until"):
        from weightguard.operations import planning

        return getattr(planning, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
