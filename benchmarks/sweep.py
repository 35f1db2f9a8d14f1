"""A sweep over an S3 server beside listing it and fetching the same ranges with bare obstore, in one run.

AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY name a server (SeaweedFS here); the bucket must be there.

    python -m benchmarks.sweep BUCKET [OBJECTS] [--engine ray|dask]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
from obstore.store import from_url

from tests.layouts import SMALL, header_of, raw, split

SHARDS = 5
EACH = 10  # objects of one model: shards, index, config, card, tokenizer, its merges
AT_ONCE = 64


def objects(count: int) -> Iterator[tuple[str, bytes]]:
    """Small models in folders, as a hub has them."""
    shards = []
    for part in split(SMALL.tensors, SHARDS):
        header, size = header_of(part, {"format": "pt"})
        shards.append((part, raw(header, bytes(size))))
    names = [f"model-{i + 1:05}-of-{SHARDS:05}.safetensors" for i in range(SHARDS)]
    index = {"metadata": {}, "weight_map": {t[0]: name for name, (part, _) in zip(names, shards, strict=True) for t in part}}
    files = {
        "config.json": json.dumps(SMALL.config).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        "README.md": b"---\nlicense: mit\n---\n# A model\n",
        "tokenizer.json": json.dumps({"model": {"vocab": {str(i): i for i in range(200)}}}).encode(),
        "merges.txt": b"a b\n" * 200,
        **{name: content for name, (_, content) in zip(names, shards, strict=True)},
    }
    for at in range(count // EACH):
        for name, content in files.items():
            yield f"sweep/team-{at % 50:02}/model-{at:06}/{name}", content


def fill(store: Any, count: int) -> None:
    there = sum(len(page) for page in obstore.list(store, "sweep", chunk_size=1000))
    if there == count // EACH * EACH:
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda item: obstore.put(store, *item), objects(count)))


def bare(store: Any) -> tuple[int, float]:
    """List, and fetch of each object what a sweep fetches: its first 64 KiB, and no more."""
    started = time.perf_counter()
    found = [meta for page in obstore.list(store, "sweep", chunk_size=1000) for meta in page]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sent = pool.map(lambda m: len(obstore.get_range(store, m["path"], start=0, end=min(m["size"], 65536))), found)
        assert sum(sent) > 0
    return len(found), time.perf_counter() - started


def held(process: int) -> int:
    """KiB of memory of a process and those that it started, pages that they share counted once (PSS)."""
    total = 0
    pending = [process]
    while pending:
        pid = pending.pop()
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
            for task in Path(f"/proc/{pid}/task").iterdir():
                pending += map(int, (task / "children").read_text(encoding="utf-8").split())
        except (OSError, ValueError, StopIteration):
            pass
    return total


def swept(bucket: str, folder: Path, engine: str, *more: str) -> tuple[str, float, int]:
    """The words of a sweep, its seconds, and the most memory (MB) that its processes held."""
    argv = [
        sys.executable,
        "-m",
        "weightguard",
        "sweep",
        f"s3://{bucket}/sweep",
        "-o",
        str(folder),
        "--engine",
        engine,
        "-q",
        *more,
    ]
    started = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = 0
    while process.poll() is None:
        time.sleep(0.2)
        peak = max(peak, held(process.pid))
    spent = time.perf_counter() - started
    out = process.stdout.read() if process.stdout else ""
    if process.returncode != 0:
        raise SystemExit(out)
    return out.splitlines()[0], spent, peak // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bucket")
    parser.add_argument("objects", type=int, nargs="?", default=100_000)
    parser.add_argument("--engine", default="embedded")
    args = parser.parse_args()
    store = from_url(f"s3://{args.bucket}", client_options={"allow_http": True})
    fill(store, args.objects)
    count, plain = bare(store)
    print(f"bare obstore: {count:,} objects listed and fetched in {plain:.1f} s, {count / plain:,.0f} a second")
    folder = Path(tempfile.mkdtemp())
    try:
        words, first, peak = swept(args.bucket, folder, args.engine)
        print(f"sweep: {words}; the process {first:.1f} s, {peak} MB: {plain / first:.2f} of the bare rate")
        _, again, _ = swept(args.bucket, folder, args.engine)
        print(f"nothing changed: {again:.2f} s, {first / again:.1f} times faster")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
