"""Checkpoints of training runs that lie in files of many ranks, often in many folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.models.deepspeed import deepspeed
from weightguard.models.files import Folder, Group
from weightguard.models.megatron import megatron
from weightguard.models.sharded import sharded

Found = tuple[str, Group, Mapping[str, Any] | None]
"""Path of the folder that stands for the set, its group, and a config that describes it."""


def training_sets(folders: Mapping[str, Folder]) -> Iterator[Found]:
    """The sets of all folders, each file in at most one."""
    taken: set[str] = set()
    for finder in (megatron, deepspeed, sharded):
        for path, group, config in finder(folders):
            files = {f.path for f in (*group.files, *group.beside)}
            if taken.isdisjoint(files):
                taken |= files
                yield path, group, config
