"""Parameters and forward operations of a live `torch.nn.Module`, on torch's meta device: no data moves, nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weightguard.errors import ConfigurationError


@dataclass(frozen=True)
class Live:
    """parameters: unique values, ties once; trainable: those that require a gradient; buffers: values stored beside them.

    forward_operations: 2 a multiply-accumulate, of the one pass over the inputs given.
    """

    parameters: int
    trainable: int
    buffers: int
    forward_operations: int


def count(module: Any, *args: Any, **kwargs: Any) -> Live:
    """Count one forward pass of `module` over inputs of these shapes. The module and the inputs stay as they are.

    Raises `ConfigurationError` where torch isn't installed, or where the module can't run on the meta device, as one that looks
    at values of its inputs.
    """
    try:
        import torch
        from torch.utils._pytree import tree_map
        from torch.utils.flop_counter import FlopCounterMode
    except ImportError as error:
        raise ConfigurationError("counting a live module needs torch: pip install torch") from error

    def shape_of(value: Any) -> Any:
        return torch.empty_like(value, device="meta") if isinstance(value, torch.Tensor) else value

    seen: dict[int, Any] = {}  # tied weights stay one

    def once(value: Any) -> Any:
        return seen.setdefault(id(value), shape_of(value))

    state = {
        n: once(p) for n, p in [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    }
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            torch.func.functional_call(module, state, tree_map(shape_of, args), tree_map(shape_of, kwargs), tie_weights=False)
    except (RuntimeError, NotImplementedError) as error:
        raise ConfigurationError(f"the module doesn't run on the meta device: {str(error).splitlines()[0][:200]}") from error
    parameters = list(module.parameters())
    return Live(
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
        sum(b.numel() for b in module.buffers()),
        int(counter.get_total_flops()),
    )
