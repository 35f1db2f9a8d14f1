"""Technical Note 3 over a declaration of 100,000 runs, deep and shared: building the graph, and working out what counts.

python -m benchmarks.lineage [--runs N] [--generators N]
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from fractions import Fraction

from weightguard.evidence.declaration import DataSource, Declaration, Generator, Run, Start
from weightguard.operations.graph import of_declaration
from weightguard.rules.us_ear_4e091.technical_note_3 import technical_note_3
from weightguard.values import UNBOUNDED, Interval


def declared(runs: int, generators: int, chain: int, seed: int = 4091) -> Declaration:
    """Chains of `chain` runs, most of which start from two earlier ones and train on data of earlier generators."""
    random_ = random.Random(seed)

    def point(low: int, high: int) -> Interval:
        value = Fraction(random_.randrange(low, high))
        return Interval(value, value, value)

    cuts = sorted(random_.randrange(runs // 100, runs - 1) for _ in range(generators))
    makers = {
        f"g{n}": Generator(f"g{n}", random_.random() < 0.3, point(10**18, 10**20), (f"r{at}",)) for n, at in enumerate(cuts)
    }
    found = {}
    ready = 0
    for n in range(runs):
        while ready < generators and cuts[ready] < n:
            ready += 1
        starts = [n - 1] if n % chain else []
        if n % chain > 1 and random_.random() < 0.7:
            starts.append(random_.randrange(n // chain * chain, n - 1))
        data: tuple[DataSource, ...] = ()
        if ready and random_.random() < 0.5:
            data = (DataSource(Fraction(random_.randrange(5, 60), 100), False, f"g{random_.randrange(ready)}"),)
        links = tuple(Start(f"r{s}", None, False, None) for s in dict.fromkeys(starts))
        found[f"r{n}"] = Run(f"r{n}", "training", links, point(10**18, 10**21), (), None, data, True, n)
    return Declaration("w.toml", None, f"r{runs - 1}", True, None, None, {}, None, found, makers)


def measure(runs: int, generators: int, chain: int) -> dict[str, float]:
    """Seconds to build the columns and to work both readings out, and the most memory of this process in MB."""
    declaration = declared(runs, generators, chain)
    first = time.perf_counter()
    graph = of_declaration(declaration, lambda run, own: run.operations or UNBOUNDED)
    second = time.perf_counter()
    technical_note_3([graph])
    third = time.perf_counter()
    return {
        "models, variants merged": len(graph.makers),
        "columns, s": second - first,
        "both readings, s": third - second,
        "together, s": third - first,
        "peak of the process, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--generators", type=int, default=400)
    args = parser.parse_args()
    measure(1000, 10, 100)  # kernels compiled
    for chain in (args.runs, max(2, args.runs // 10), max(2, args.runs // 200)):
        print(f"{args.runs} runs in chains of {chain}, {args.generators} generators")
        for name, value in measure(args.runs, args.generators, chain).items():
            print(f"  {name}: {value:.2f}")


if __name__ == "__main__":
    main()
