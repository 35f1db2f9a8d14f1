"""A folder of 10,000 mixed files: reading it and scanning it, against opening the files and reading the same bytes.

`python -m benchmarks.folder [FILES]`; `benchmarks.table` prints its row.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import defaultdict
from pathlib import Path

import weightguard
from benchmarks import corpus
from weightguard.limits import LIMITS
from weightguard.policy import built_in
from weightguard.reading import read_all
from weightguard.stores.folder import collect
from weightguard.stores.local import LocalFile

KINDS = 10  # files of each model's folder


def make(folder: Path, files: int) -> None:
    """Models of ten files each: weights as safetensors, torch zip, legacy torch and GGUF, and what lies beside them."""
    import torch

    warnings.filterwarnings("ignore")
    for i in range(files // KINDS):
        at = folder / f"{i // 100:02}" / f"model-{i:04}"
        at.mkdir(parents=True)
        width = 8 * (1 + i % 50)
        state = {f"layers.{n}.weight": torch.zeros(width, 8) for n in range(12)}
        corpus.safetensors_file(str(at / "model.safetensors"), 291 if i % 10 == 0 else 12)
        torch.save(state, at / "pytorch_model.bin")
        torch.save(state, at / "legacy.pt", _use_new_zipfile_serialization=False)
        corpus.gguf_file(str(at / "model.gguf"), tokens=200 + i, merges=100)
        config = {"model_type": "llama", "hidden_size": width, "num_hidden_layers": 12, "num_attention_heads": 4}
        (at / "config.json").write_text(json.dumps(config))
        (at / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {f"t{n}": n for n in range(2000)}}}))
        (at / "README.md").write_text(f"# Model {i}\n\n" + "What it is, and what for.\n" * 40)
        (at / "train.py").write_text("import torch\n" * 60)
        (at / "log.txt").write_text("".join(f"step {n} loss {n / 7:.4f}\n" for n in range(300)))
        (at / "curve.png").write_bytes(_png(64 + i % 64))


def _png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + bytes(3 * side)) * side)
    size = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def reading(folder: str) -> None:
    """The reading stage of a scan: the walk, and every file read."""
    found = read_all(collect([folder], LIMITS), built_in().unexplained_bytes, None)
    assert not found.unread, found.unread[:3]


def bytes_read(folder: str) -> dict[str, list[tuple[int, int]]]:
    """(offset, length) of what the reading stage reads of each file, each byte once."""
    reads: dict[str, list[tuple[int, int]]] = defaultdict(list)
    original = LocalFile.read

    def read(self: LocalFile, offset: int, length: int) -> bytes:
        reads[os.readlink(f"/proc/self/fd/{self._fd}")].append((offset, length))
        return original(self, offset, length)

    LocalFile.read = read  # type: ignore[method-assign]
    try:
        reading(folder)
    finally:
        LocalFile.read = original  # type: ignore[method-assign]
    once: dict[str, list[tuple[int, int]]] = {}
    for path, ranges in reads.items():
        merged = once[path] = []
        for offset, length in sorted(ranges):
            last, end = (merged[-1][0], sum(merged[-1])) if merged else (0, -1)
            if offset <= end:
                merged[-1] = last, max(end, offset + length) - last
            else:
                merged.append((offset, length))
    return once


def floor(ranges: dict[str, list[tuple[int, int]]]) -> None:
    """The physical limit: open, read those bytes, close."""
    for path, places in ranges.items():
        fd = os.open(path, os.O_RDONLY)
        for offset, length in places:
            os.pread(fd, length, offset)
        os.close(fd)


def seconds(work: object, *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)  # type: ignore[operator]
    return time.perf_counter() - start


def measure(files: int, rounds: int = 3) -> tuple[float, float, float]:
    """Seconds of the floor, the reading stage and the whole scan of a folder of `files` files, the best of some rounds."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), files)
        ranges = bytes_read(folder)
        taken = [(seconds(floor, ranges), seconds(reading, folder), seconds(weightguard.scan, folder)) for _ in range(rounds)]
    a, b, c = (min(t) for t in zip(*taken, strict=True))
    return a, b, c


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    least, read, whole = measure(files)
    for what, taken in (("opening and reading the same bytes", least), ("reading stage", read), ("whole scan", whole)):
        print(f"{what}: {taken:.2f} s, {files / taken:,.0f} files a second, {taken / least:.1f}x the floor")


if __name__ == "__main__":
    main()
