"""Composer and LLM Foundry: `state.timestamp`, and the devices that the run knew.

total_wct is wall-clock time: times devices, peak and a share of it, an estimate.

Source: Composer, `core/time.py`, `utils/collect_env.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from weightguard.evidence.devices import operations_of_hours
from weightguard.evidence.found import Found, Values, exactly, key_like, number, positive

NAME = "Composer"


def read(values: Values) -> Iterator[Found]:
    """Tokens, operations, samples and steps that this framework's keys claim."""
    stamp = next((key[: -len("token")] for key in values if key.endswith("timestamp.Timestamp.token")), "")
    if not stamp:
        return
    yield from exactly(
        "training tokens", number(values, f"{stamp}token"), f"{stamp}token", note="0 where the dataset counts none"
    )
    yield from exactly("training samples", number(values, f"{stamp}sample"), f"{stamp}sample")
    days, seconds = (positive(values.get(f"{stamp}total_wct.{n}")) or Fraction(0) for n in (0, 1))
    device, devices = key_like(values, "composer_env_info.gpu_model"), key_like(values, "composer_env_info.num_gpus")
    nodes = number(values, key_like(values, "composer_env_info.num_nodes")) or Fraction(1)
    count = number(values, devices)
    if count and isinstance(values.get(device), str) and days * 86400 + seconds > 0:
        found = operations_of_hours(str(values[device]), count * nodes * (days * 86400 + seconds) / 3600)
        if found is not None:
            yield Found("training operations", found[0], found[1], (device, devices, f"{stamp}total_wct.0"), "wall-clock time")
