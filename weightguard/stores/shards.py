"""File names in a checkpoint's index, for a store that has no listing."""

from __future__ import annotations

import json


def named_in(index: bytes) -> list[str]:
    """The files of this folder that an index (`weight_map`) names; none where it is no index."""
    try:
        named = json.loads(index)["weight_map"].values()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return sorted({n for n in named if isinstance(n, str) and n and "/" not in n and n != ".."})[:10_000]
