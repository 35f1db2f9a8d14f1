"""Quantised and packed weights: one file a scheme, each turning stored words into logical parameters by its format's rule."""

from __future__ import annotations

from typing import Any

from weightguard.tensors import Int64, TensorTable, UInt8
from weightguard.values import Finding


def unpack(table: TensorTable, roles: UInt8, logical: Int64, config: Any) -> tuple[str | None, tuple[Finding, ...]]:
    """Sets `logical` of packed rows and the role of their scales, in place; returns the schemes' names and findings."""
    return None, ()
