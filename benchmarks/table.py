"""The table in the README: ratios of two contenders in turn in one run, the median of the pairs. `python -m benchmarks.table`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from benchmarks import corpus, readers

PAIRS = 9


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(ours: Callable[[], object], theirs: Callable[[], object], pairs: int = PAIRS) -> tuple[float, float, float]:
    """(median of ours in ms, of theirs in ms, median of theirs / ours), after a warm-up of both."""
    ours(), theirs()
    ours(), theirs()
    taken = [(seconds(ours), seconds(theirs)) for _ in range(pairs)]
    a, b = (statistics.median(t) * 1000 for t in zip(*taken, strict=True))
    return a, b, statistics.median(theirs / ours for ours, theirs in taken)


def process(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def main() -> None:
    print("| what | weightguard | against | |\n|---|---:|---:|---:|")

    def row(what: str, found: tuple[float, float, float], name: str, *, faster: bool = True) -> None:
        a, b, r = found
        words = f"{r:.1f}x faster" if faster else f"{1 / r:.1f}x its time"
        print(f"| {what} | {a:.1f} ms | {name}: {b:.1f} ms | {words} |", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        large = f"{folder}/large.safetensors"
        corpus.safetensors_file(large, 100_000)
        row(
            "one header of 100,000 tensors",
            ratio(lambda: readers.weightguard([large]), lambda: readers.safe_open([large])),
            "`safe_open`, iterated",
        )
        row(
            "the same, against the floor",
            ratio(lambda: readers.weightguard([large]), lambda: readers.floor([large])),
            "reading the bytes",
            faster=False,
        )
        many = corpus.safetensors_files(folder, 300)
        row(
            "300 files of 291 tensors",
            ratio(lambda: readers.weightguard(many), lambda: readers.safe_open(many)),
            "`safe_open`, iterated",
        )
    with tempfile.TemporaryDirectory() as folder:
        zips = corpus.torch_zips(folder, 50)
        row(
            "50 PyTorch zips of 291 tensors",
            ratio(lambda: readers.weightguard(zips), lambda: readers.torch_load(zips), pairs=5),
            "`torch.load`, meta, mmap",
        )
    with tempfile.TemporaryDirectory() as folder:
        corpus.safetensors_file(f"{folder}/model.safetensors", 3)
        numpy = process("-c", "import numpy")
        version, scan = process("-m", "weightguard", "--version"), process("-m", "weightguard", "scan", folder)
        row("`weightguard --version`, whole process", ratio(version, numpy), "`import numpy`", faster=False)
        row("scan of one small file, whole process", ratio(scan, numpy), "`import numpy`", faster=False)


if __name__ == "__main__":
    main()
