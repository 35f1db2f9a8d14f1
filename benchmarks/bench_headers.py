"""Reading headers: weightguard against the formats' own readers, and the floor. Run with `pytest benchmarks/bench_*.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import corpus, readers

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

Reader = Callable[[Sequence[str]], int]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = tmp_path_factory.mktemp("large") / "model.safetensors"
    corpus.safetensors_file(str(path), 100_000)
    return [str(path)]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return corpus.safetensors_files(str(tmp_path_factory.mktemp("many")), 300)


@pytest.fixture(scope="module")
def zips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return corpus.torch_zips(str(tmp_path_factory.mktemp("zips")), 50)


@pytest.fixture(scope="module")
def large_zip(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return corpus.torch_zips(str(tmp_path_factory.mktemp("zip")), 1, 100_000)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = tmp_path_factory.mktemp("vocabulary") / "model.gguf"
    corpus.gguf_file(str(path))
    return [str(path)]


@pytest.mark.parametrize("reader", [readers.weightguard, readers.safe_open, readers.one_pass, readers.floor])
def bench_one_header_of_100_000_tensors(benchmark: BenchmarkFixture, large: list[str], reader: Reader) -> None:
    assert benchmark.pedantic(reader, args=(large,), rounds=7, warmup_rounds=2) > 0


@pytest.mark.parametrize("reader", [readers.weightguard, readers.safe_open, readers.floor])
def bench_300_files_of_291_tensors(benchmark: BenchmarkFixture, many: list[str], reader: Reader) -> None:
    assert benchmark.pedantic(reader, args=(many,), rounds=7, warmup_rounds=2) > 0


@pytest.mark.parametrize("reader", [readers.weightguard, readers.torch_load])
def bench_50_torch_zips_of_291_tensors(benchmark: BenchmarkFixture, zips: list[str], reader: Reader) -> None:
    assert benchmark.pedantic(reader, args=(zips,), rounds=5, warmup_rounds=1) == 50 * 291 * 32


@pytest.mark.parametrize("reader", [readers.weightguard, readers.torch_load])
def bench_one_torch_zip_of_100_000_tensors(benchmark: BenchmarkFixture, large_zip: list[str], reader: Reader) -> None:
    assert benchmark.pedantic(reader, args=(large_zip,), rounds=3, warmup_rounds=1) == 100_000 * 32


def bench_a_gguf_header_of_8_mb(benchmark: BenchmarkFixture, vocabulary: list[str]) -> None:
    assert benchmark.pedantic(readers.weightguard, args=(vocabulary,), rounds=7, warmup_rounds=corpus.WARM) == 8_030_261_248


def bench_a_gguf_header_of_8_mb_by_the_library(benchmark: BenchmarkFixture, vocabulary: list[str]) -> None:
    assert benchmark.pedantic(readers.gguf_reader, args=(vocabulary,), rounds=2) == 8_030_261_248


def bench_all_readers_count_the_same(large: list[str], many: list[str], tmp_path: Path) -> None:
    assert readers.weightguard(large) == readers.safe_open(large)
    assert readers.weightguard(many[:3]) == readers.safe_open(many[:3])
