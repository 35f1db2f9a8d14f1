"""Every architecture of transformers: parameters and forward operations, with the config and by names and shapes alone.

python -m benchmarks.architectures [--only TYPE,TYPE]        needs torch and transformers (the `test` extra); about five minutes
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from pathlib import Path
from statistics import median

import weightguard
from tests import oracle
from weightguard.report import ModelReport

EXPLAINED = {
    "cpmant": "prepends 32 prompt positions to every sequence, which its own counts include: 12 % of a sequence of 256",
    "deepseek_v4": "attends over a window and over compressed keys; its eager class multiplies by every key and masks",
}
"""Classes whose forward operations are further off than 1 %, each with why."""
_NEGLIGIBLE = 1e-6
"""Attention a key, as a share of the rest, below which a class's count is noise: what it adds at 4,096 keys is below 1 %."""
_SECONDS = 90


@dataclass(frozen=True)
class Row:
    """One class. Ratios are ours over the class's; `low` and `high` are `matmul_range`'s; NaN where the class doesn't run.

    exact, bare_exact: whether the parameters agree with the config and without it.
    """

    auto: str
    model_type: str
    exact: bool
    bare_exact: bool
    matmul: float
    attention_agrees: bool
    bare: float
    low: float
    high: float

    @property
    def within(self) -> float:
        """How far the forward operations are off, attention too."""
        return abs(self.matmul - 1) if self.attention_agrees else inf


def measure(autos: Sequence[str] = tuple(oracle.AUTOS), only: Sequence[str] = ()) -> Iterator[Row]:
    """A row for each class that transformers can make on the meta device."""
    for auto in autos:
        for model_type in oracle.every(auto):
            if only and model_type not in only:
                continue
            with tempfile.TemporaryDirectory(prefix="weightguard-architectures-") as folder:
                try:
                    truth = _in_time(model_type, Path(folder) / "m", auto)
                except Exception as error:  # a class that its own defaults can't make has no truth
                    print(f"{auto} {model_type}: not made: {str(error).splitlines()[0][:80]}", file=sys.stderr)
                    continue
                yield _row(auto, truth)


def _in_time(model_type: str, folder: Path, auto: str) -> oracle.Truth:
    def stop(*_: object) -> None:
        raise TimeoutError(f"no truth in {_SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        return oracle.make(model_type, folder, auto)
    finally:
        signal.alarm(0)


def _row(auto: str, truth: oracle.Truth) -> Row:
    known = _only(truth.folder)
    (truth.folder / "config.json").unlink()
    bare = _only(truth.folder)
    exact = {truth.parameters, truth.parameters - truth.frozen}
    forward, by_shapes = known.forward_operations, bare.forward_operations
    if isnan(truth.matmul) or forward is None or by_shapes is None:
        same, bare_same = known.parameters.total in exact, bare.parameters.total in exact
        return Row(auto, truth.model_type, same, bare_same, nan, False, nan, nan, nan)
    off = abs(forward.attention - truth.attention)
    agrees = off <= 0.01 * abs(truth.attention) or off <= _NEGLIGIBLE * truth.matmul
    low, high = by_shapes.matmul_range
    return Row(
        auto,
        truth.model_type,
        known.parameters.total in exact,
        bare.parameters.total in exact,
        forward.matmul / truth.matmul,
        agrees,
        by_shapes.matmul / truth.matmul,
        low / truth.matmul,
        high / truth.matmul,
    )


def _only(folder: Path) -> ModelReport:
    [model] = weightguard.scan(str(folder)).models
    return model


@dataclass(frozen=True)
class Summary:
    """Shares of the classes with truth, and the median of high / low."""

    classes: int
    exact: int
    with_forward: int
    within_1: float
    within_5: float
    bare_exact: int
    bare_within_10: float
    in_range: float
    median_range: float


def summary(rows: Sequence[Row]) -> Summary:
    """What the README quotes."""
    forward = [row for row in rows if not isnan(row.matmul)]
    n = max(1, len(forward))
    return Summary(
        len(rows),
        sum(row.exact for row in rows),
        len(forward),
        sum(row.within <= 0.01 for row in forward) / n,
        sum(row.within <= 0.05 for row in forward) / n,
        sum(row.bare_exact for row in rows),
        sum(abs(row.bare - 1) <= 0.1 for row in forward) / n,
        sum(row.low <= 1 <= row.high for row in forward) / n,
        median([row.high / row.low if row.low else inf for row in forward]) if forward else inf,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.architectures", description=__doc__)
    parser.add_argument("--only", default="", help="model types, with commas")
    parser.add_argument("--autos", default=",".join(oracle.AUTOS), help="kinds of class, with commas")
    args = parser.parse_args()
    rows = []
    for row in measure(args.autos.split(","), [t for t in args.only.split(",") if t]):
        rows.append(row)
        wrong = not row.exact or (not isnan(row.matmul) and row.within > 0.01)
        if wrong or args.only:
            why = EXPLAINED.get(row.model_type, "")
            print(
                f"{row.auto:8} {row.model_type:28} parameters {'exact' if row.exact else 'WRONG'}, products {row.matmul:.3f},"
                f" attention {'agrees' if row.attention_agrees else 'differs'}, by shapes {row.bare:.3f}"
                f" in {row.low:.3f} to {row.high:.3f} {why}"
            )
    print(json.dumps(summary(rows).__dict__, indent=2))


if __name__ == "__main__":
    main()
