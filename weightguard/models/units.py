"""Which folders of a store must be read together: a model may lie in several."""

from __future__ import annotations

import re
from collections.abc import Set

# ranks and steps of training runs (`models.megatron`, `models.deepspeed`, `models.sharded`), NeMo 2's weights and context
_PART = re.compile(
    r"(?:mp|tp|pp|ep|dp)_rank_.*|rank[_-]?\d+|iter_\d+|release|global_step.*|zero|weights|context|model_weights|variables"
    r"|pytorch_model_fsdp_\d+|optimizer(?:_\d+)?"
)


def unit_of(folder: str, pipelines: Set[str]) -> str:
    """The folder with which a folder is judged: itself, or one around it. pipelines: folders that hold a model_index.json."""
    unit = folder
    at = folder
    for _ in range(folder.count("/") + 1):
        parent, _, name = at.rpartition("/")
        if parent in pipelines or _PART.fullmatch(name) or parent.rpartition("/")[2] == "zero":
            unit = parent
        elif at not in pipelines and parent.rpartition("/")[0] not in pipelines:
            break
        if not parent:
            break
        at = parent
    return unit
