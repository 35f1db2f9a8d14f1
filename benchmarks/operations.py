"""Monte Carlo over 10,000 models' configs, 4,096 samples each: the kernel, and the same arithmetic in NumPy, on one core and two.

python -m benchmarks.operations [--models N]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from typing import Any

from weightguard.operations.distribution import SAMPLES, Columns, columns, simulate, simulate_plainly
from weightguard.operations.planning import forward_of

SHAPES = ((16, 2048, 16), (32, 4096, 32), (40, 5120, 40), (80, 8192, 64))


def configs(n: int) -> list[dict[str, Any]]:
    """Decoders of 16 to 80 layers."""
    found = []
    for i in range(n):
        layers, hidden, heads = SHAPES[i % len(SHAPES)]
        found.append(
            {
                "hidden_size": hidden,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "intermediate_size": 3 * hidden + 64 * (i % 7),
                "vocab_size": 32000 + i % 100,
                "sliding_window": 4096,
            }
        )
    return found


def models(n: int) -> Columns:
    """Columns of n models; those of one shape are evaluated once and repeated, which changes nothing of what is measured."""
    kinds = [forward_of(config) for config in configs(min(n, 64))]
    return columns([(kinds[i % len(kinds)], (1e12 * (1 + i % 5), 4e12 * (1 + i % 5)), 4096) for i in range(n)])


def measure(n: int, in_numpy: int) -> dict[str, float]:
    """Seconds of the kernel on one thread and two, of NumPy for as many models, and how far the memory grew in MB."""
    c = models(n)
    for _ in range(3):
        simulate(models(64), threads=2)  # compiled
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    one = _seconds(lambda: simulate(c))
    two = _seconds(lambda: simulate(c, threads=2))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    numpy = _seconds(lambda: [simulate_plainly(c, model) for model in range(in_numpy)]) * n / in_numpy
    return {
        "models": n,
        "layers": len(c.matmul),
        "samples": SAMPLES,
        "kernel, one thread, s": one,
        "NumPy, one thread, s": numpy,
        "NumPy / kernel": numpy / one,
        "one thread / two": one / two,
        "memory grown, MB": grown,
    }


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operations", description=__doc__)
    parser.add_argument("--models", type=int, default=10_000)
    args = parser.parse_args()
    print(json.dumps({k: round(v, 3) for k, v in measure(args.models, max(1, args.models // 50)).items()}, indent=2))


if __name__ == "__main__":
    main()
