"""The promises of the command line, on real commands: exit status, verdict and report of `weightguard scan`."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.layouts import (
    ADAPTER,
    PNG,
    PUBLISHED,
    declaration,
    run,
    scan_json,
    write_json,
    write_shards,
    write_small,
    write_sparse,
)
from weightguard.demo.layouts import Layout, llama, llama_70b, llama_405b
from weightguard.demo.write import write_model

TOTAL_405B = 405_853_388_800  # Llama 3.1 405B, as its card and arXiv 2407.21783 give it (405B), counted by its class
TOTAL_70B = 70_553_706_496


@pytest.fixture(scope="module")
def dense_405b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 405B layout in one sparse file; copied by link, never written to."""
    folder = tmp_path_factory.mktemp("dense") / "big"
    write_model(str(folder), llama_405b())
    return folder


@pytest.fixture
def big(dense_405b: Path, tmp_path: Path) -> Path:
    """A folder of its own with the 405B layout, `big`, in `tmp_path`."""
    folder = tmp_path / "big"
    folder.mkdir()
    shutil.copy(dense_405b / "config.json", folder)
    (folder / "model.safetensors").hardlink_to(dense_405b / "model.safetensors")
    return folder


def only(report: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The one model of a report, and its one verdict."""
    [model] = report["models"]
    [verdict] = model["verdicts"]
    return model, verdict


def assert_undetermined(folder: Path, *arguments: str) -> dict[str, Any]:
    status, report = scan_json(*(arguments or (folder.name,)), cwd=folder.parent)
    model, verdict = only(report)
    assert (status, verdict["status"], model["decision"]) == (1, "undetermined", "block")
    assert verdict["to_settle"] and all(line for line in verdict["to_settle"])
    high = model["training_operations"]["high"]
    assert high is None or high >= 1e26
    return model


# ---- with statements, and without


def test_405b_without_a_statement_is_undetermined_and_says_what_settles_it(big: Path) -> None:
    model = assert_undetermined(big)
    assert model["parameters"]["total"] == model["parameters"]["active"] == TOTAL_405B
    assert model["complete"] and model["training_operations"]["low"] == 0 and model["training_operations"]["best"] is None
    assert any("declare" in line for line in model["verdicts"][0]["to_settle"])
    text = run("scan", "big", cwd=big.parent)
    assert text.returncode == 1 and "undetermined" in text.stdout


@pytest.mark.parametrize(
    ("operations", "exit_status", "verdict_status"),
    [
        ("1.2e26", 1, "controlled"),
        ("1e26", 1, "controlled"),  # "10^26 or more"
        ("3e24", 0, "not_controlled"),
        ("9.99999999999999999999e25", 0, "not_controlled"),  # the nearest float is 1e26
        ("[9e25, 1.1e26]", 1, "undetermined"),
    ],
)
def test_declared_operations_decide(big: Path, operations: str, exit_status: int, verdict_status: str) -> None:
    (big / "weightguard.toml").write_text(declaration(operations))
    status, report = scan_json("big", cwd=big.parent)
    _, verdict = only(report)
    assert (status, verdict["status"], verdict["clause"]) == (exit_status, verdict_status, "4E091")
    if exit_status == 0:
        assert any("unsigned declaration" in line for line in verdict["conditions"])


def test_a_declaration_given_by_option_decides_as_one_beside_the_weights(big: Path) -> None:
    (big.parent / "d.toml").write_text(declaration("1.2e26"))
    status, report = scan_json("big", "--declaration", "d.toml", cwd=big.parent)
    assert (status, only(report)[1]["status"]) == (1, "controlled")
    (big.parent / "d.toml").write_text(declaration("3e24"))
    status, report = scan_json("big", "--declaration", "d.toml", cwd=big.parent)
    assert (status, only(report)[1]["status"]) == (0, "not_controlled")


def test_a_published_table_clears_under_734_7(big: Path) -> None:
    (big / "weightguard.toml").write_text(declaration("1.2e26", PUBLISHED))
    status, report = scan_json("big", cwd=big.parent)
    _, verdict = only(report)
    assert (status, verdict["status"], verdict["clause"]) == (0, "not_controlled", "§ 734.7")
    assert verdict["conditions"]


@pytest.mark.parametrize("published", ["published = true", PUBLISHED.replace("apache-2.0", "llama3.1")])
def test_half_a_publication_does_not_clear(big: Path, published: str) -> None:
    (big / "weightguard.toml").write_text(declaration("1.2e26", published))
    status, report = scan_json("big", cwd=big.parent)
    assert (status, only(report)[1]["status"]) == (1, "undetermined")
    assert only(report)[1]["clause"] == "§ 734.7"


def test_declared_tokens_of_llama_3_405b_come_to_what_its_paper_says(big: Path) -> None:
    """arXiv 2407.21783: 15.6e12 tokens, 3.8e25 operations (by 6ND, without attention)."""
    text = declaration("0").replace("operations = 0", "tokens = 15.6e12\ncontext = 8192")
    (big / "weightguard.toml").write_text(text)
    status, report = scan_json("big", cwd=big.parent)
    model, verdict = only(report)
    assert (status, verdict["status"]) == (0, "not_controlled")
    operations = model["training_operations"]
    assert 3.8e25 < operations["best"] < 1.08 * 3.8e25
    assert operations["low"] < operations["best"] < operations["high"] < 1e26


def test_70b_is_cleared_by_its_weights_alone_with_the_condition_printed(tmp_path: Path) -> None:
    write_model(str(tmp_path / "m"), llama_70b(), 40 * 10**9)
    status, report = scan_json("m", cwd=tmp_path)
    model, verdict = only(report)
    assert (status, verdict["status"], model["decision"]) == (0, "not_controlled", "allow")
    assert model["parameters"]["total"] == TOTAL_70B
    assert model["training_operations"]["method"] == "weights" and model["training_operations"]["high"] < 1e26
    words = " ".join(verdict["conditions"])
    assert "pruned" in words and "distilled" in words and "Technical Note 3" in words
    text = run("scan", "m", cwd=tmp_path)
    assert text.returncode == 0 and "Technical Note 3" in " ".join(text.stdout.split())


# ---- each of these is undetermined


def test_one_shard_of_the_405b_set_alone_is_undetermined(tmp_path: Path) -> None:
    names = write_model(str(tmp_path / "m"), llama_405b(), 50 * 10**9)
    (tmp_path / "one").mkdir()
    (tmp_path / "m" / names[3]).rename(tmp_path / "one" / names[3])
    model = assert_undetermined(tmp_path / "one")
    assert not model["complete"] and model["training_operations"]["high"] is None
    renamed = tmp_path / "one" / "weights.safetensors"
    (tmp_path / "one" / names[3]).rename(renamed)
    assert not assert_undetermined(tmp_path / "one", "one/weights.safetensors")["complete"], "a new name makes it no whole"
    assert_undetermined(tmp_path / "m")


def test_an_adapter_alone_is_undetermined(tmp_path: Path) -> None:
    write_sparse(tmp_path / "a" / "adapter_model.safetensors", ADAPTER)
    write_json(tmp_path / "a" / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "x/y"})
    assert not assert_undetermined(tmp_path / "a")["complete"]


@pytest.mark.parametrize("config", ["as it was", "of the layers left", "none"])
def test_405b_with_layers_3_to_120_removed_is_undetermined(tmp_path: Path, config: str) -> None:
    whole = llama_405b()
    left = [t for t in whole.tensors if not (m := re.search(r"layers\.(\d+)\.", t[0])) or not 3 <= int(m[1]) <= 120]
    assert len(left) == 8 * 9 + 3
    layers = {"num_hidden_layers": 8} if config == "of the layers left" else {}
    write_model(str(tmp_path / "cut"), Layout({**whole.config, **layers}, tuple(left)))
    if config == "none":
        (tmp_path / "cut" / "config.json").unlink()
    assert not assert_undetermined(tmp_path / "cut")["complete"]


def test_405b_whose_last_layers_are_removed_is_undetermined(tmp_path: Path) -> None:
    """Here only the config tells."""
    whole = llama_405b()
    left = [t for t in whole.tensors if not (m := re.search(r"layers\.(\d+)\.", t[0])) or int(m[1]) < 3]
    write_model(str(tmp_path / "cut"), Layout(whole.config, tuple(left)))
    assert not assert_undetermined(tmp_path / "cut")["complete"]


def claim_card(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# M\n\nThe model was trained on 1T tokens of text.\n")


def claim_trainer_state(folder: Path) -> None:
    write_json(folder / "trainer_state.json", {"total_flos": 1e20, "num_input_tokens_seen": 1000, "epoch": 1.0})


def claim_index(folder: Path) -> None:
    names = {name: "model.safetensors" for name, _, _ in llama_405b().tensors}
    metadata = {"total_parameters": 7_000_000_000, "total_size": 14_000_000_000}
    write_json(folder / "model.safetensors.index.json", {"metadata": metadata, "weight_map": names})


@pytest.mark.parametrize("claim", [claim_card, claim_trainer_state, claim_index], ids=lambda claim: claim.__name__)
def test_a_claim_beside_the_405b_layout_clears_nothing(big: Path, claim: Any) -> None:
    bare = assert_undetermined(big)["training_operations"]
    claim(big)
    model = assert_undetermined(big)
    assert model["parameters"]["total"] == TOTAL_405B
    operations = model["training_operations"]
    assert operations["low"] == 0 and operations["high"] >= bare["high"]
    assert [e for e in operations["evidence"] if e["trust"] == "claimed"]
    assert "trained on 1T tokens" not in str(bare)


def test_a_claim_raises_what_a_small_model_can_have_taken(tmp_path: Path) -> None:
    write_small(tmp_path / "m")
    assert scan_json("m", cwd=tmp_path)[0] == 0
    write_json(tmp_path / "m" / "trainer_state.json", {"total_flos": 2e26})
    status, report = scan_json("m", cwd=tmp_path)
    model, verdict = only(report)
    assert (status, verdict["status"]) == (1, "undetermined")
    assert model["training_operations"]["low"] == 0 and model["training_operations"]["high"] >= 2e26


# ---- a usual folder


def hub_folder(folder: Path) -> Path:
    write_small(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: [en]\n---\n# Small\n")
    write_json(folder / "tokenizer.json", {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "é": 1}}})
    write_json(folder / "tokenizer_config.json", {"model_max_length": 2048})
    write_json(folder / "generation_config.json", {"eos_token_id": 1})
    (folder / "logo-small.png").write_bytes(PNG)
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    return folder


def test_a_usual_hub_folder_is_allowed(tmp_path: Path) -> None:
    hub_folder(tmp_path / "m")
    status, report = scan_json("m", cwd=tmp_path)
    assert status == 0 and report["unread"] == [] and report["summary"]["other"] == 7
    assert report["summary"]["files"] == 8


@pytest.mark.parametrize("name", ["logo.png", "notes.txt", "data.parquet", "tokenizer.json"])
def test_weights_under_another_name_are_not_allowed(tmp_path: Path, name: str) -> None:
    folder = hub_folder(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / name)
    status, report = scan_json("m", cwd=tmp_path)
    assert status in (1, 3)
    assert any(name in f["path"] for m in report["models"] for f in m["findings"]) or report["unread"]


@pytest.mark.parametrize("name", ["noise", "noise.txt", "logo.png", "vocab.json", "weights.bin"])
def test_a_megabyte_of_noise_beside_the_weights_is_not_allowed(tmp_path: Path, name: str) -> None:
    folder = hub_folder(tmp_path / "m")
    noise = np.random.default_rng(1).bytes(1 << 20)
    (folder / name).write_bytes(noise)
    status, report = scan_json("m", cwd=tmp_path)
    assert status == 3 and [u["path"] for u in report["unread"]] == [f"m/{name}"]
    assert only(report)[0]["decision"] == "allow", "the model is still reported"
    (folder / name).write_bytes(PNG + noise)
    assert scan_json("m", cwd=tmp_path)[0] == 3, "noise after a picture's end"


def test_small_files_of_no_known_kind_are_let_be_one_by_one_and_said(tmp_path: Path) -> None:
    """`unexplained_bytes`: "bytes of a file that no rule explains, above which it blocks"."""
    folder = hub_folder(tmp_path / "m")
    noise = np.random.default_rng(2).bytes(65_536)
    for i in range(3):
        (folder / f"part{i:02}").write_bytes(b"\xff\xfe" + noise[2:])
    status, report = scan_json("m", cwd=tmp_path)
    assert status == 0
    (said,) = [f for f in report["findings"] if f["id"] == "unexplained-files"]
    assert said["path"] == "m/part00" and said["message"].startswith("3 files")
    (folder / "part03").write_bytes(b"\xff\xfe" + noise)
    assert scan_json("m", cwd=tmp_path)[0] == 3


# ---- --strict and policies


def test_strict_blocks_what_nobody_attested(tmp_path: Path) -> None:
    write_small(tmp_path / "m")
    assert scan_json("m", cwd=tmp_path)[0] == 0
    status, report = scan_json("m", "--strict", cwd=tmp_path)
    model, verdict = only(report)
    assert (status, verdict["status"], model["decision"]) == (1, "not_controlled", "block")
    policy = report["policy"]
    assert (policy["undeclared_conditions"], policy["declarations"], policy["all_experts"]) == ("block", "given", True)


def test_strict_is_satisfied_by_a_given_declaration_and_not_by_one_beside(tmp_path: Path) -> None:
    write_small(tmp_path / "m")
    (tmp_path / "m" / "weightguard.toml").write_text(declaration("3e20"))
    assert scan_json("m", "--strict", cwd=tmp_path)[0] == 1
    (tmp_path / "m" / "weightguard.toml").rename(tmp_path / "d.toml")
    assert scan_json("m", "--strict", "--declaration", "d.toml", cwd=tmp_path)[0] == 0


def test_no_model_is_allowed_and_refused_under_strict(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    done = run("scan", "a.txt", cwd=tmp_path)
    assert done.returncode == 0 and "no model found" in done.stderr
    done = run("scan", "a.txt", "--strict", cwd=tmp_path)
    assert done.returncode == 3 and "no model found" in done.stderr


GIVEN = 'schema = "weightguard/policy/1"\ndeclarations = "given"\n'


def test_under_given_a_declaration_beside_the_weights_raises_and_never_clears(big: Path) -> None:
    (big.parent / "p.toml").write_text(GIVEN)
    bare = assert_undetermined(big, "big", "--policy", "p.toml")["training_operations"]
    (big / "weightguard.toml").write_text(declaration("3e24"))
    kept = assert_undetermined(big, "big", "--policy", "p.toml")["training_operations"]
    assert kept["high"] >= bare["high"]
    (big / "weightguard.toml").write_text(declaration("3e24", PUBLISHED))
    assert_undetermined(big, "big", "--policy", "p.toml")
    (big / "weightguard.toml").write_text(declaration("1.2e26"))
    status, report = scan_json("big", "--policy", "p.toml", cwd=big.parent)
    assert (status, only(report)[1]["status"]) == (1, "controlled")


def test_a_policy_beside_the_model_tightens_and_never_loosens(tmp_path: Path) -> None:
    """Found from the current folder: it may be the author's own."""
    write_small(tmp_path / "m")
    found = tmp_path / "weightguard-policy.toml"
    found.write_text('schema = "weightguard/policy/1"\nundeclared_conditions = "block"\n')
    status, report = scan_json("m", cwd=tmp_path)
    assert status == 1 and report["policy"]["source"] == "found"
    found.write_text('schema = "weightguard/policy/1"\nundetermined = "allow"\n')
    assert_usage(run("scan", "m", cwd=tmp_path))


# ---- the report's bytes


def test_the_same_input_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    outputs = []
    for place in ("here", "there/deeper"):
        folder = tmp_path / place
        hub_folder(folder / "m")
        (folder / "m" / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{0000000")
        (folder / "m" / "weightguard.toml").write_text(
            declaration().replace("[model]", '[model]\npath = "m/model.safetensors"')
        )
        for _ in range(2):
            done = run("scan", "--format", "json", "--as-of", "2026-11-24", "m", cwd=folder)
            assert done.returncode == 3, done.stderr
            outputs.append(done.stdout)
    assert len(set(outputs)) == 1
    assert str(tmp_path) not in outputs[0] and str(Path.home()) + "/" not in outputs[0]
    assert socket.gethostname() not in outputs[0]
    assert not re.search(r"\d\d:\d\d", outputs[0]), "a clock"


def test_a_report_in_a_file_is_the_report_on_standard_output(tmp_path: Path) -> None:
    write_small(tmp_path / "m")
    printed = run("scan", "m", "--format", "json", cwd=tmp_path)
    written = run("scan", "m", "--format", "json", "-o", "r.json", cwd=tmp_path)
    assert written.stdout == "" and (tmp_path / "r.json").read_text() == printed.stdout
    assert json.loads(printed.stdout)["schema"] == "weightguard/report/1"


def test_paths_are_as_reached_from_the_target(tmp_path: Path) -> None:
    write_shards(tmp_path / "m")
    for target, path in [("m", "m/model.safetensors.index.json"), ("./m/", "m/model.safetensors.index.json")]:
        _, report = scan_json(target, cwd=tmp_path)
        assert only(report)[0]["path"] == path
    _, report = scan_json(".", cwd=tmp_path / "m")
    assert only(report)[0]["path"] == "model.safetensors.index.json"


# ---- exit status 2


def assert_usage(done: Any, *words: str) -> None:
    """Status 2, a line that says what is wrong, no report, no traceback."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.strip() and "Traceback" not in done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["scan"], "no target"),
        (["scan", "gone"], "gone: no such file or folder"),
        (["scan", "dangling"], "dangling"),
        (["scan", "m", "--no-such-option"], "no-such-option"),
        (["scan", "m", "--format", "yaml"], "yaml"),
        (["scan", "m", "--as-of", "yesterday"], "yesterday"),
        (["scan", "m", "--regime", "mars"], "mars"),
        (["scan", "m", "--policy", "gone.toml"], "gone.toml"),
        (["scan", "m", "--policy", "bad.toml"], "bad.toml:1"),
        (["scan", "m", "--policy", "unknown.toml"], "unknown.toml:2"),
        (["scan", "m", "--declaration", "gone.toml"], "gone.toml"),
        (["scan", "m", "--declaration", "bad.toml"], "bad.toml:1"),
        (["scan", "m", "--declaration", "two.toml"], "two.toml:12"),
        (["scan", "m", "--declaration", "binary"], "binary"),
        (["scan", "m", "-o", "no/such/folder/r.txt"], "no/such/folder/r.txt"),
        (["nonsense"], "nonsense"),
        ([], ""),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else None,
)
def test_wrong_usage_prints_a_line_and_exits_2(tmp_path: Path, arguments: list[str], word: str) -> None:
    write_small(tmp_path / "m")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "bad.toml").write_text("this is not = = TOML\n")
    (tmp_path / "unknown.toml").write_text('schema = "weightguard/policy/1"\nundetermind = "allow"\n')
    (tmp_path / "two.toml").write_text(declaration().replace("operations = 3e24", "operations = 3e24\ntokens = 1e12"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    done = run(*arguments, cwd=tmp_path)
    if not arguments:  # prints how to use it
        assert done.returncode == 2 and "Traceback" not in done.stderr
    else:
        assert_usage(done, word)


def test_a_broken_declaration_beside_the_weights_exits_2(tmp_path: Path) -> None:
    write_small(tmp_path / "m")
    (tmp_path / "m" / "weightguard.toml").write_text(declaration().replace("operations", "operatoins"))
    assert_usage(run("scan", "m", cwd=tmp_path), "m/weightguard.toml:11", "operatoins")


@pytest.mark.parametrize("context", ["3e9", "4e9", "1e12", "1e19", "1e30"])
def test_a_declared_context_beyond_sense_gives_no_wrong_number_and_no_traceback(tmp_path: Path, context: str) -> None:
    """By hand, one layer for all: forward a token is 2 x matrices + context / 2 keys x 4 x 32 x layers, three times trained."""
    write_small(tmp_path / "m")
    text = declaration("0").replace("operations = 0", f"tokens = 1e9\ncontext = {context}")
    (tmp_path / "m" / "weightguard.toml").write_text(text)
    done = run("scan", "m", "--format", "json", cwd=tmp_path)
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr, done.stderr
    if done.returncode != 2:
        operations = only(json.loads(done.stdout))[0]["training_operations"]
        attention = 3 * 1e9 * (float(context) / 2) * 4 * 32 * 2
        assert operations["high"] is None or operations["high"] >= attention
        assert operations["best"] is None or operations["best"] >= 0.99 * attention


def test_a_declaration_for_one_of_several_models_must_pick(tmp_path: Path) -> None:
    write_small(tmp_path / "a")
    write_small(tmp_path / "b")
    (tmp_path / "d.toml").write_text(declaration())
    assert_usage(run("scan", "a", "b", "--declaration", "d.toml", cwd=tmp_path), "d.toml")
    (tmp_path / "d.toml").write_text(declaration().replace("[model]", '[model]\npath = "b"'))
    assert scan_json("a", "b", "--declaration", "d.toml", cwd=tmp_path)[0] == 0


# ---- which status goes first


def test_usage_goes_before_a_block(big: Path) -> None:
    assert run("scan", "big", cwd=big.parent).returncode == 1
    assert_usage(run("scan", "big", "gone", cwd=big.parent))


def test_a_block_goes_before_what_is_unread(big: Path) -> None:
    (big / "noise").write_bytes(np.random.default_rng(3).bytes(1 << 20))
    status, report = scan_json("big", cwd=big.parent)
    assert status == 1 and report["unread"]
    (big / "model.safetensors").unlink()
    status, report = scan_json("big", cwd=big.parent)
    assert status == 3 and report["unread"] and not report["models"]


def test_all_models_of_a_target_are_reported_whatever_one_of_them_is(big: Path) -> None:
    write_small(big.parent / "small")
    (big.parent / "broken.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{" + b"0" * 80)
    status, report = scan_json(".", cwd=big.parent)
    assert status == 1
    assert {m["path"]: m["decision"] for m in report["models"]} == {
        "big/model.safetensors": "block",
        "small/model.safetensors": "allow",
    }
    assert [u["path"] for u in report["unread"]] == ["broken.safetensors"]


def test_the_last_line_on_standard_error_counts(big: Path) -> None:
    write_small(big.parent / "small")
    done = run("scan", "big", "small", "--quiet", cwd=big.parent)
    assert done.stderr.splitlines()[-1] == "weightguard: blocked 1 of 2 models"


def test_a_small_layout_of_the_same_writer_is_allowed(tmp_path: Path) -> None:
    """So that the blocks above are the sizes' doing, not the writer's."""
    write_model(str(tmp_path / "m"), llama(2, 64, 4, 2, 128, 100))
    assert scan_json("m", cwd=tmp_path)[0] == 0
