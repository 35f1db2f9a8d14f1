"""The table in the README: ratios of two contenders in turn in one run, the median of the pairs. `python -m benchmarks.table`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable

from benchmarks import corpus, readers
from benchmarks import folder as mixed

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
    """A whole process, whose modules are compiled as an installation's are: pip compiles, a checkout keeps what it has run."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)


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
            ratio(lambda: readers.weightguard([large]), lambda: readers.one_pass([large])),
            "reading the bytes, and one compiled pass that follows the strings",
            faster=False,
        )
        many = corpus.safetensors_files(folder, 300)
        row(
            "300 files of 291 tensors",
            ratio(lambda: readers.weightguard(many), lambda: readers.safe_open(many)),
            "`safe_open`, iterated",
        )
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.gguf"
        corpus.gguf_file(path)
        readers.weightguard([path] * corpus.WARM)
        row(
            "one GGUF header: 128,256 tokens, 280,147 merges, 291 tensors",
            ratio(lambda: readers.weightguard([path]), lambda: readers.gguf_reader([path]), pairs=3),
            "`gguf.GGUFReader`",
        )
    with tempfile.TemporaryDirectory() as folder:
        zips = corpus.torch_zips(folder, 50)
        row(
            "50 PyTorch zips of 291 tensors",
            ratio(lambda: readers.weightguard(zips), lambda: readers.torch_load(zips), pairs=5),
            "`torch.load`, meta, mmap",
        )
    with tempfile.TemporaryDirectory() as folder:
        path = corpus.torch_zips(folder, 1, 100_000)[0]
        row(
            "one PyTorch zip of 100,000 tensors",
            ratio(lambda: readers.weightguard([path]), lambda: readers.torch_load([path]), pairs=3),
            "`torch.load`, meta, mmap",
        )
        with zipfile.ZipFile(path) as archive:
            pickle = archive.read(next(n for n in archive.namelist() if n.endswith("/data.pkl")))
        row(
            "the same",
            ratio(lambda: readers.weightguard([path]), lambda: readers.genops(pickle), pairs=5),
            "`pickletools.genops` over its pickle alone",
        )
    files = 10_000
    least, read, whole = mixed.measure(files)
    print(
        f"| a folder of {files:,} mixed files, read | {read:.1f} s | opening and reading the same bytes: {least:.1f} s | ",
        end="",
    )
    print(f"{files / read:,.0f} files a second |")
    print(f"| the same, scanned and judged | {whole:.1f} s | | {files / whole:,.0f} files a second |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        corpus.safetensors_file(f"{folder}/model.safetensors", 3)
        numpy = process("-c", "import numpy")
        version, scan = process("-m", "weightguard", "--version"), process("-m", "weightguard", "scan", folder)
        row("`weightguard --version`, whole process", ratio(version, numpy), "`import numpy`", faster=False)
        row("scan of one small file, whole process", ratio(scan, numpy), "`import numpy`", faster=False)


if __name__ == "__main__":
    main()
