"""One small file a family: its `FAMILIES` tuple says what the tensors' shapes don't. To add one, add a file; nothing else."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module

from weightguard.architecture.config import Config
from weightguard.architecture.family import Family


def find(config: Config) -> Family | None:
    """The family of a config's `model_type`, or None."""
    return _by_model_type().get(config.model_type)


@cache
def _by_model_type() -> dict[str, Family]:
    names = sorted(n[:-3] for n in os.listdir(os.path.dirname(__file__)) if n.endswith(".py") and n != "__init__.py")
    families: dict[str, Family] = {}
    for name in names:
        for family in import_module(f"{__name__}.{name}").FAMILIES:
            families.update(dict.fromkeys(family.model_types, family))
    return families
