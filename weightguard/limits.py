"""Every bound on what a file may make weightguard do, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Upper bounds, checked before the work or the allocation that they bound."""

    header_bytes: int = 100_000_000  # safetensors' own cap on its JSON header
    tensors: int = 1_000_000  # rows of one tensor table
    text_bytes: int = 64 << 20  # UTF-8 files read whole to see that they are text
    sidecar_bytes: int = 16 << 20  # config, index, card, declaration
    pickle_bytes: int = 256 << 20  # one pickle stream
    pickle_opcodes: int = 20_000_000
    pickle_memo: int = 5_000_000
    pickle_depth: int = 256  # nesting of the containers that are walked for tensors
    member_bytes: int = 256 << 20  # one archive member after decompression
    archive_members: int = 500_000
    archive_depth: int = 4  # archives within archives
    unpacked_bytes: int = 64 << 30  # of all that is compressed below one file of a target
    unpacked_ratio: int = 100  # bytes unpacked for each compressed one, beyond the first 64 MiB: weights hardly compress
    unknown_bytes: int = 256 << 20  # of all the small files of no known kind in one scan
    ranged_bytes: int = 1 << 30  # of one object of a store: headers and tables, never the whole
    files: int = 2_000_000  # files of one scan
    folder_depth: int = 64
    reads_at_once: int = 64  # objects of a store that are read at the same time


LIMITS = Limits()
