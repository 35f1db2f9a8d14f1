"""PyTorch Lightning: `.ckpt`. global_step counts steps of all optimizers of this run. Source: Lightning, `checkpoint_connector.py`."""

from __future__ import annotations

from collections.abc import Iterator

from weightguard.evidence.found import Found, Values, exactly, number, product

NAME = "PyTorch Lightning"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    if "pytorch-lightning_version" in values:
        yield from exactly("optimizer steps", number(values, "global_step"), "global_step", note="summed over optimizers")
        prefix = "hyper_parameters."
        steps, batch, length = (number(values, k) for k in ("global_step", f"{prefix}global_batch_size", f"{prefix}seq_length"))
        found = product(steps, batch, length)
        yield from exactly("training tokens", found, "global_step", f"{prefix}global_batch_size", f"{prefix}seq_length")
