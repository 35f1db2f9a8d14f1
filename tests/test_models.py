"""What belongs to what: which files make one model, and what makes a model incomplete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import weightguard
from tests.layouts import (
    SMALL,
    Small,
    Tensor,
    declaration,
    run,
    split,
    values_in,
    write_json,
    write_shards,
    write_small,
    write_sparse,
)
from weightguard.demo.layouts import llama_8b
from weightguard.demo.write import write_model
from weightguard.report import ModelReport, Report

TOTAL = values_in(SMALL.tensors)
OPTIMIZER: list[Tensor] = [
    (f"state.{i}.{slot}", "F32", shape) for i, (_, _, shape) in enumerate(SMALL.tensors) for slot in ("exp_avg", "exp_avg_sq")
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scan(*targets: str) -> Report:
    return weightguard.scan(*targets)


def one(*targets: str) -> ModelReport:
    report = scan(*targets)
    assert len(report.models) == 1, [m.path for m in report.models]
    return report.models[0]


def names(model: ModelReport) -> list[str]:
    return sorted(f.path.rpartition("/")[2] for f in model.files)


def findings(model: ModelReport) -> set[str]:
    return {f.id for f in model.findings}


def whole(model: ModelReport) -> bool:
    """Complete, counted in full, and cleared by its size."""
    assert model.complete is (not model.missing)
    return model.complete and model.parameters.total == TOTAL and model.decision == "allow"


def assert_part(model: ModelReport) -> None:
    """ "`complete` false, counts of what was read, `high` null, `undetermined` (or `controlled`), `block`"."""
    assert not model.complete and model.missing
    assert model.training_operations.interval.high is None
    assert [v.status for v in model.verdicts] == ["undetermined"] and model.decision == "block"


# ---- shards


@pytest.mark.parametrize("index", [True, False], ids=["with an index", "without an index"])
def test_shards_are_one_model(here: Path, index: bool) -> None:
    write_shards(here / "m", parts=3, index=index)
    model = one("m")
    assert whole(model) and len(model.files) == 3
    assert model.path == ("m/model.safetensors.index.json" if index else "m")


@pytest.mark.parametrize("index", [True, False], ids=["with an index", "without an index"])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_shard_makes_a_part(here: Path, index: bool, lost: int) -> None:
    paths = write_shards(here / "m", parts=3, index=index)
    paths[lost].unlink()
    model = one("m")
    assert_part(model)
    assert paths[lost].name in " ".join(model.missing) or f"shards {lost + 1} of 3" in " ".join(model.missing)
    assert model.parameters.total == TOTAL - values_in(split(SMALL.tensors, 3)[lost])


def test_a_shard_that_cannot_be_read_makes_a_part_and_is_unread_too(here: Path) -> None:
    paths = write_shards(here / "m")
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    report = scan("m")
    [model] = report.models
    assert_part(model)
    assert "could not be read" in " ".join(model.missing)
    assert [(u.path, u.reason) for u in report.unread] == [(f"m/{paths[1].name}", "truncated")]


def test_a_shard_that_the_names_promise_is_missed_though_the_index_hides_it(here: Path) -> None:
    """`-of-00003` in the names of the others says that there is a third, whatever the index leaves out."""
    small = Small(layers=4)
    shards = {1: [*small.tensors[:1], *small.layer(0), *small.layer(1)], 2: [*small.layer(2), *small.layer(3)]}
    weight_map: dict[str, str] = {}
    for number, tensors in shards.items():  # the third would hold the norm and the head, or four more layers
        name = f"model-{number:05}-of-00003.safetensors"
        write_sparse(here / "m" / name, tensors)
        weight_map |= {t[0]: name for t in tensors}
    write_json(here / "m" / "model.safetensors.index.json", {"weight_map": weight_map})
    assert_part(one("m"))


def test_a_shard_that_the_index_does_not_name_is_counted_with_a_finding(here: Path) -> None:
    paths = write_shards(here / "m")
    path = here / "m" / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] = {k: v for k, v in index["weight_map"].items() if v != paths[2].name}
    write_json(path, index)
    model = one("m")
    assert whole(model) and "surplus-shard" in findings(model)


def test_tensors_that_the_index_names_and_no_shard_holds_make_a_part(here: Path) -> None:
    paths = write_shards(here / "m")
    first = split(SMALL.tensors, 3)[0]
    write_sparse(paths[0], first[:-1])
    model = one("m")
    assert_part(model)
    assert first[-1][0] in " ".join(model.missing)


def test_an_index_that_names_a_file_outside_the_folder_reads_nothing_there(here: Path) -> None:
    write_sparse(here / "outside.safetensors", SMALL.tensors[5:])
    write_sparse(here / "m" / "inside.safetensors", SMALL.tensors[:5])
    weight_map = {t[0]: "inside.safetensors" if i < 5 else "../outside.safetensors" for i, t in enumerate(SMALL.tensors)}
    write_json(here / "m" / "model.safetensors.index.json", {"weight_map": weight_map})
    for target in ("m", "m/inside.safetensors", "m/model.safetensors.index.json"):
        model = one(target)
        assert_part(model)
        assert "outside the folder" in " ".join(model.missing)
        assert names(model) == ["inside.safetensors"]
        assert model.parameters.total == values_in(SMALL.tensors[:5])


@pytest.mark.parametrize("name", ["/etc/passwd", "..", ".", "", "sub/x.safetensors", "a\\..\\b", "x\0y", "config.json"])
def test_an_index_that_names_nonsense_makes_a_part_or_nothing(here: Path, name: str) -> None:
    write_small(here / "m")
    weight_map = {t[0]: "model.safetensors" for t in SMALL.tensors} | {"extra": name}
    write_json(here / "m" / "model.safetensors.index.json", {"weight_map": weight_map})
    model = one("m")
    assert_part(model)
    assert model.parameters.total == TOTAL


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"weight_map": []}', '{"weight_map": {"a": 1}}', '{"weight_map": {}}', "[" * 99999]
)
def test_a_broken_index_leaves_the_names_to_say_what_belongs_together(here: Path, text: str) -> None:
    paths = write_shards(here / "m")
    (here / "m" / "model.safetensors.index.json").write_text(text)
    assert whole(one("m"))
    paths[0].unlink()
    assert_part(one("m"))


def test_an_index_hides_no_weights_beside_it(here: Path) -> None:
    """A large file that the index doesn't name is a model of its own, and blocks."""
    from weightguard.demo.layouts import llama_405b

    write_small(here / "m")
    write_json(here / "m" / "model.safetensors.index.json", {"weight_map": {t[0]: "model.safetensors" for t in SMALL.tensors}})
    write_sparse(here / "m" / "extra.safetensors", list(llama_405b().tensors))
    decisions = {m.path: m.decision for m in scan("m").models}
    assert decisions == {"m/model.safetensors.index.json": "allow", "m/extra.safetensors": "block"}


@pytest.mark.parametrize(
    "pattern",
    ["consolidated.{i:02}.safetensors", "model_rank_{i:02}.safetensors", "pytorch_model-{n:05}-of-00003.bin"],
)
def test_other_numbered_sets_are_one_model_and_miss_their_parts(here: Path, pattern: str) -> None:
    paths = [write_sparse(here / "m" / pattern.format(i=i, n=i + 1), shard) for i, shard in enumerate(split(SMALL.tensors, 3))]
    assert whole(one("m"))
    paths[0].unlink()
    assert_part(one("m"))


# ---- targets


@pytest.mark.parametrize("index", [True, False], ids=["with an index", "without an index"])
def test_a_shard_stands_for_its_set(here: Path, index: bool) -> None:
    paths = write_shards(here / "m", index=index)
    for path in paths:
        model = one(f"m/{path.name}")
        assert whole(model) and model.architecture is not None
        assert names(model) == [p.name for p in paths]
    assert one("m/" + paths[0].name).path == one("m").path


def test_an_index_stands_for_its_set(here: Path) -> None:
    write_shards(here / "m")
    assert whole(one("m/model.safetensors.index.json"))


def test_a_shard_of_a_set_that_lacks_another_is_a_part(here: Path) -> None:
    paths = write_shards(here / "m")
    paths[0].unlink()
    assert_part(one(f"m/{paths[1].name}"))


def test_a_shard_alone_is_a_part(here: Path) -> None:
    paths = write_shards(here / "m")
    (here / "alone").mkdir()
    for path in paths:
        path.rename(here / "alone" / path.name)
        assert_part(one(f"alone/{path.name}"))
        (here / "alone" / path.name).unlink()


def test_a_file_target_brings_the_sidecars_of_its_folder(here: Path) -> None:
    write_small(here / "m")
    (here / "m" / "weightguard.toml").write_text(declaration("1.2e26"))
    model = one("m/model.safetensors")
    assert model.architecture is not None
    assert model.verdicts[0].status == "controlled"


def test_a_file_target_brings_no_other_model(here: Path) -> None:
    write_small(here / "m")
    write_sparse(here / "m" / "other.safetensors", [("w", "F32", (3, 3))])
    assert one("m/model.safetensors").path == "m/model.safetensors"
    assert scan("m/model.safetensors").files == 2, "the file and its config"


@pytest.mark.parametrize(
    "targets",
    [
        ("m", "m"),
        ("m", "./m/"),
        ("m", "m/model-00001-of-00003.safetensors"),
        ("m/model-00001-of-00003.safetensors", "m"),
        ("m/model-00001-of-00003.safetensors", "m/model-00003-of-00003.safetensors"),
        ("m/model.safetensors.index.json", "m/model-00002-of-00003.safetensors"),
        (".", "m"),
        ("m", "."),
        ("m", "link"),
    ],
)
def test_a_model_reached_by_two_targets_is_reported_once(here: Path, targets: tuple[str, ...]) -> None:
    write_shards(here / "m")
    if "link" in targets:
        (here / "link").symlink_to("m")
    report = scan(*targets)
    [model] = report.models
    assert whole(model)
    assert report.files == 5 and not report.unread


def test_five_thousand_file_names_give_one_verdict_a_model(here: Path) -> None:
    small = Small(layers=1)
    for i in range(50):
        write_shards(here / f"m{i:02}", small=small, parts=3)
    files = sorted(str(p.relative_to(here)) for p in here.glob("m*/*.safetensors"))
    done = run("scan", "--quiet", "--", *(files * 34)[:5000], cwd=here)
    assert done.returncode == 0, done.stderr
    assert "allowed 50 of 50 models" in done.stderr


def test_two_models_in_subfolders_are_judged_apart(here: Path) -> None:
    """A declaration speaks for the model whose folder it lies in, and for no other."""
    write_small(here / "top" / "a")
    write_shards(here / "top" / "b")
    (here / "top" / "a" / "weightguard.toml").write_text(declaration("1.2e26"))
    status = {m.path: m.verdicts[0].status for m in scan("top").models}
    assert status == {"top/a/model.safetensors": "controlled", "top/b/model.safetensors.index.json": "not_controlled"}


def test_a_declaration_above_a_model_does_not_speak_for_it(here: Path) -> None:
    write_small(here / "top" / "a")
    (here / "top" / "weightguard.toml").write_text(declaration("1.2e26"))
    assert [m.verdicts[0].status for m in scan("top").models] == ["not_controlled"]


# ---- one folder, several files


def test_two_models_in_a_folder_are_two(here: Path) -> None:
    write_sparse(here / "m" / "a.safetensors", [("x.weight", "F32", (3, 5))])
    write_sparse(here / "m" / "b.safetensors", [("y.weight", "F32", (4, 7)), ("y.bias", "F32", (4,))])
    assert {m.path: m.parameters.total for m in scan("m").models} == {"m/a.safetensors": 15, "m/b.safetensors": 32}


def test_half_precision_beside_full_is_counted_once_with_a_finding(here: Path) -> None:
    write_small(here / "m")
    write_sparse(here / "m" / "model.fp16.safetensors", Small(dtype="F16").tensors)
    model = one("m")
    assert whole(model) and "duplicate-weights" in findings(model)
    assert names(model) == ["model.fp16.safetensors", "model.safetensors"]
    assert model.parameters.by_role["copy"] == TOTAL == model.parameters.by_role["weight"]
    assert model.parameters.stored_elements == 2 * TOTAL


def test_a_consolidated_file_beside_the_shards_is_counted_once(here: Path) -> None:
    write_shards(here / "m")
    write_sparse(here / "m" / "consolidated.safetensors", SMALL.tensors)
    model = one("m")
    assert whole(model) and "duplicate-weights" in findings(model) and len(model.files) == 4


def test_other_names_or_shapes_are_another_model(here: Path) -> None:
    write_small(here / "m")
    write_sparse(here / "m" / "other.safetensors", Small(vocab=81).tensors)
    models = scan("m").models
    assert len(models) == 2 and all("duplicate-weights" not in findings(m) for m in models)


def test_a_copy_of_few_of_the_tensors_is_another_model(here: Path) -> None:
    """Else a large model could be passed off as a copy of a few tensors, or the other way round."""
    write_small(here / "m")
    write_sparse(here / "m" / "some.safetensors", SMALL.tensors[:3])
    assert len(scan("m").models) == 2


def test_a_missing_shard_is_not_excused_by_a_copy_of_the_rest(here: Path) -> None:
    write_shards(here / "m")[1].unlink()
    write_sparse(here / "m" / "other.safetensors", split(SMALL.tensors, 3)[0])
    assert any(not m.complete for m in scan("m").models)


def test_an_optimizer_file_beside_its_weights_is_of_the_same_model(here: Path) -> None:
    write_small(here / "m")
    write_sparse(here / "m" / "optimizer.safetensors", OPTIMIZER)
    model = one("m")
    assert whole(model)
    assert model.parameters.by_role["optimizer"] == 2 * TOTAL
    assert names(model) == ["model.safetensors", "optimizer.safetensors"]


def test_optimizer_state_alone_is_a_part(here: Path) -> None:
    write_sparse(here / "m" / "optimizer.safetensors", OPTIMIZER)
    model = one("m")
    assert_part(model)
    assert model.parameters.total == 0


def test_state_of_a_larger_model_than_the_weights_is_a_part(here: Path) -> None:
    """Moments of a model of which only a few tensors are shown."""
    write_sparse(here / "m" / "model.safetensors", [("w", "F32", (2, 2))])
    write_sparse(here / "m" / "optimizer.safetensors", [("state.0.exp_avg", "F32", (1 << 12, 1 << 12))])
    assert any(m.decision == "block" for m in scan("m").models)


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_the_files_changes_nothing(here: Path, order: int) -> None:
    """Tensors belong to a model by name: shards cut the other way round count the same."""
    tensors = SMALL.tensors[::order]
    weight_map: dict[str, str] = {}
    for i, shard in enumerate(split(tensors, 4)):
        weight_map |= {t[0]: f"part{i}.safetensors" for t in shard}
        write_sparse(here / "m" / f"part{i}.safetensors", shard)
    write_json(here / "m" / "config.json", SMALL.config)
    write_json(here / "m" / "model.safetensors.index.json", {"weight_map": weight_map})
    model = one("m")
    assert whole(model) and model.forward_operations is not None
    matrices = TOTAL - 80 * 32 - 5 * 32
    assert model.forward_operations.matmul == 2 * matrices


# ---- tied pairs


@pytest.mark.parametrize(("tied", "total"), [(True, TOTAL - 80 * 32), (False, TOTAL), (None, TOTAL)])
def test_a_tied_pair_stored_twice_counts_once_where_the_config_ties_it(here: Path, tied: bool | None, total: int) -> None:
    """Llama's class does not tie unless its config says so."""
    write_small(here / "m")
    config = {k: v for k, v in SMALL.config.items() if k != "tie_word_embeddings"}
    write_json(here / "m" / "config.json", config if tied is None else {**config, "tie_word_embeddings": tied})
    model = one("m")
    assert model.parameters.total == total
    assert model.parameters.by_role["tied"] == TOTAL - total
    assert model.parameters.stored_elements == TOTAL


def test_a_head_of_another_shape_than_the_embedding_is_not_tied(here: Path) -> None:
    tensors = [
        ("lm_head.weight", "F32", (90, 32)) if name == "lm_head.weight" else (name, d, s) for name, d, s in SMALL.tensors
    ]
    write_sparse(here / "m" / "model.safetensors", tensors)
    write_json(here / "m" / "config.json", {**SMALL.config, "tie_word_embeddings": True})
    assert one("m").parameters.total == TOTAL + 10 * 32


# ---- names


def test_a_model_in_the_current_folder_has_a_path_without_one(here: Path) -> None:
    write_small(here)
    assert one(".").path == "model.safetensors"
    assert one("model.safetensors").path == "model.safetensors"


def test_a_model_is_named_by_its_folder(here: Path) -> None:
    write_small(here / "acme-7b")
    write_shards(here / "acme-8b")
    assert [m.name for m in scan(".").models] == ["acme-7b", "acme-8b"]


def test_an_empty_container_is_no_model(here: Path) -> None:
    write_sparse(here / "m" / "model.safetensors", [])
    report = scan("m")
    assert report.models == () and report.files == 1


@pytest.mark.parametrize("name", ["config.json", "trainer_state.json"])
def test_a_sidecar_as_target_stands_for_the_model_beside_it(tmp_path: Path, name: str) -> None:
    write_model(str(tmp_path / "m"), llama_8b(), 5 * 10**9)
    (tmp_path / "m" / "trainer_state.json").write_text("{}")
    (found,) = weightguard.scan(str(tmp_path / "m" / name)).models
    assert found.parameters.total == 8_030_261_248
    (tmp_path / "m" / "README.md").write_text("words")
    assert not weightguard.scan(str(tmp_path / "m" / "README.md")).models
