"""Whatever the names say, ranks that repeat more than they hold once may each hold weights of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

import weightguard
from tests.layouts import write_sparse

EMBEDDING = ("F32", (4096, 256))


@pytest.mark.parametrize("name", ["word_embeddings_for_head.weight", "x{}.word_embeddings_for_head.weight"])
def test_heads_that_repeat_the_embedding_are_few(name: str, tmp_path: Path) -> None:
    """Pipeline stage 1 repeats stage 0's embedding as its head once; eighty of them are not its repetitions."""
    first = [("language_model.embedding.word_embeddings.weight", *EMBEDDING)]
    write_sparse(tmp_path / "iter_1/mp_rank_00_000/model_optim_rng.pt", first)
    heads = [(name.format(i), *EMBEDDING) for i in range(80 if "{}" in name else 1)]
    write_sparse(tmp_path / "iter_1/mp_rank_00_001/model_optim_rng.pt", heads)
    for model in weightguard.scan(str(tmp_path)).models:
        whole = model.parameters.total >= sum(f.bytes for f in model.files) // 4 - 4096
        assert whole or not model.complete or len(heads) == 1


def test_pipeline_layers_that_repeat_the_embedding_are_few(tmp_path: Path) -> None:
    for layer in range(40):
        name = f"layer_{layer:02}-model_00-model_states.pt"
        write_sparse(tmp_path / "global_step1" / name, [("word_embeddings.weight", *EMBEDDING)])
    for model in weightguard.scan(str(tmp_path)).models:
        assert model.parameters.total >= 40 * 4096 * 256 or not model.complete
