"""The pre-commit hook in real repositories: what reaches a commit, and what doesn't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from weightguard.demo.hostile import write_hostile
from weightguard.demo.layouts import llama_405b
from weightguard.demo.trained import train
from weightguard.demo.write import header, write_model

from .repositories import ENVIRONMENT, Repository, content_of, shards_of, tiny

CLEARING = """\
schema = "weightguard/declaration/1"
[model]
name = "m"
run = "pretrain"
whole = true
published = {url = "https://example.org/m", date = 2024-07-23, licence = "apache-2.0", unrestricted = true}
[[run]]
id = "pretrain"
kind = "pre-training"
starts_from = []
operations = 1e24
data_complete = true
"""
LOOSE = 'schema = "weightguard/policy/1"\nundetermined = "allow"\n'
HOSTILE = b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R."
BIG = llama_405b().tensors


def stage_small(repository: Repository, folder: str = "small") -> None:
    trained = train(3)
    repository.write(f"{folder}/model.safetensors", header(trained.tensors) + trained.data)
    repository.git("add", folder)


# ---- through git, as a raw hook


def test_a_commit_with_a_405b_file_is_stopped(repository: Repository) -> None:
    repository.install("pre-commit")
    repository.stage_pointer("model.safetensors", BIG)
    done = repository.try_git("commit", "-m", "weights")
    assert done.returncode == 1
    assert "405,853,388,800 parameters" in done.stdout + done.stderr
    assert "undetermined under 4E091" in done.stdout + done.stderr
    assert repository.try_git("rev-parse", "--verify", "HEAD").returncode != 0


def test_a_clearing_declaration_committed_beside_it_does_not_clear(repository: Repository) -> None:
    repository.install("pre-commit")
    repository.stage_pointer("m/model.safetensors", BIG)
    repository.write("m/weightguard.toml", CLEARING)
    repository.git("add", "m/weightguard.toml")
    assert repository.try_git("commit", "-m", "weights").returncode == 1
    assert repository.try_git("rev-parse", "--verify", "HEAD").returncode != 0


def test_the_same_declaration_given_to_the_hook_clears(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "given.toml").write_text(CLEARING)
    repository.install("pre-commit", "--declaration", str(tmp_path / "given.toml"))
    repository.stage_pointer("m/model.safetensors", BIG)
    done = repository.try_git("commit", "-m", "weights")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["weightguard-policy.toml", "pyproject.toml"])
def test_a_looser_policy_committed_beside_it_is_an_error_and_stops_it(repository: Repository, name: str) -> None:
    repository.install("pre-commit")
    repository.stage_pointer("model.safetensors", BIG)
    repository.write(name, LOOSE if name != "pyproject.toml" else '[tool.weightguard]\nundetermined = "allow"\n')
    repository.git("add", name)
    assert "looser" in repository.hook("pre-commit").stderr
    assert repository.hook("pre-commit").returncode == 2
    assert repository.try_git("commit", "-m", "weights").returncode == 1
    assert repository.try_git("rev-parse", "--verify", "HEAD").returncode != 0


def test_a_commit_with_a_small_model_passes(repository: Repository) -> None:
    repository.install("pre-commit")
    stage_small(repository)
    done = repository.try_git("commit", "-m", "small")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "allowed 1 of 1 models" in done.stdout + done.stderr


def test_what_head_holds_already_is_not_judged_again(repository: Repository) -> None:
    repository.stage_pointer("m/model.safetensors", BIG)
    repository.stage("noise.dat", bytes(range(256)) * 1000)
    repository.commit()
    repository.stage("notes.txt", "text\n")
    repository.stage("m/README.md", "a card\n")
    done = repository.hook("pre-commit")
    assert done.returncode == 0, done.stdout


def test_a_commit_without_weights_passes(repository: Repository) -> None:
    repository.install("pre-commit")
    repository.write("a.py", "print(1)\n")
    repository.git("add", "a.py")
    assert repository.try_git("commit", "-m", "code").returncode == 0


def test_a_truncated_405b_file_is_stopped_as_unread(repository: Repository) -> None:
    repository.install("pre-commit")
    repository.write("model.safetensors", header(BIG))
    repository.git("add", "model.safetensors")
    done = repository.try_git("commit", "-m", "weights")
    assert done.returncode == 1
    assert "truncated" in done.stdout + done.stderr
    assert repository.hook("pre-commit").returncode == 3


def test_a_hostile_pickle_is_stopped_by_name(repository: Repository) -> None:
    repository.write("pytorch_model.bin", b"")
    write_hostile(str(repository.path / "pytorch_model.bin"))
    repository.git("add", "pytorch_model.bin")
    done = repository.hook("pre-commit")
    assert done.returncode == 1
    assert "posix.system" in done.stdout


def test_a_hostile_pickle_without_tensors_is_stopped_by_name(repository: Repository) -> None:
    repository.stage("a.pkl", HOSTILE)
    done = repository.hook("pre-commit")
    assert done.returncode == 1
    assert "posix.system" in done.stdout
    repository.commit()
    repository.stage("config.json", "{}\n")  # brings the pickle along; it was there before
    assert repository.hook("pre-commit").returncode == 0


def test_what_is_staged_is_judged_and_not_the_working_tree(repository: Repository) -> None:
    repository.stage("model.safetensors", header(BIG))
    repository.write("model.safetensors", "nothing to see\n")
    assert repository.hook("pre-commit").returncode == 3
    repository.git("rm", "-q", "--cached", "-f", "model.safetensors")
    repository.stage("notes.txt", "text\n")
    repository.write("notes.txt", header(BIG))
    assert repository.hook("pre-commit").returncode == 0


def test_a_large_staged_file_is_judged_without_being_unpacked_and_alike(repository: Repository) -> None:
    repository.write("w/model.safetensors", header(BIG) + bytes(2 << 20))
    repository.git("add", "w")
    same = repository.hook("pre-commit")
    assert same.returncode == 3
    repository.write("w/model.safetensors", bytes(len(header(BIG)) + (2 << 20)))  # the working tree says otherwise
    assert repository.hook("pre-commit").stdout == same.stdout
    assert "truncated" in same.stdout


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_a_mark_that_hides_a_change_does_not(repository: Repository, mark: str) -> None:
    repository.write("model.safetensors", header(BIG) + bytes(2 << 20))
    repository.git("add", "model.safetensors")
    repository.git("update-index", mark, "model.safetensors")
    repository.write("model.safetensors", b"plain" * ((len(header(BIG)) + (2 << 20)) // 5 + 1))
    os.truncate(repository.path / "model.safetensors", len(header(BIG)) + (2 << 20))
    assert repository.hook("pre-commit").returncode == 3


def test_a_small_unknown_file_named_like_weights_is_unread(repository: Repository) -> None:
    repository.write("x.bin", os.urandom(3000))
    repository.write("x.dat", os.urandom(3000))
    repository.git("add", ".")
    assert repository.hook("pre-commit").returncode == repository.hook("pre-commit", "--", "x.bin").returncode == 3
    repository.git("rm", "-q", "--cached", "x.bin")
    assert repository.hook("pre-commit").returncode == 0


def test_a_filter_s_output_is_judged_and_not_its_input(repository: Repository, tmp_path: Path) -> None:
    weights = header(BIG) + bytes(2 << 20)
    (tmp_path / "w").write_bytes(weights)
    repository.git("config", "filter.x.clean", f"cat '{tmp_path / 'w'}' && cat >/dev/null")
    repository.write(".gitattributes", "*.dat filter=x\n")
    repository.write("notes.dat", b"x" * len(weights))
    repository.git("add", ".gitattributes", "notes.dat")
    assert repository.hook("pre-commit").returncode == 3


def test_a_file_that_became_weights_where_a_link_was_is_judged(repository: Repository) -> None:
    os.symlink("elsewhere", repository.path / "model.safetensors")
    repository.commit("model.safetensors")
    repository.stage("model.safetensors", header(BIG))
    assert repository.hook("pre-commit").returncode == 3


def test_one_changed_shard_of_five_is_judged_with_the_other_four(repository: Repository) -> None:
    for number, tensors in enumerate(shards_of(llama_405b(), 5), 1):
        repository.stage_pointer(f"m/model-{number:05}-of-00005.safetensors", tensors)
    repository.commit()
    repository.stage_pointer("m/model-00003-of-00005.safetensors", (*shards_of(llama_405b(), 5)[2], ("extra", "BF16", (8,))))
    done = repository.hook("pre-commit")
    assert done.returncode == 1
    assert "405,853,388,808 parameters" in done.stdout
    assert "5 files" in done.stdout
    assert "INCOMPLETE" not in done.stdout


def test_one_changed_shard_of_a_small_model_passes_only_with_the_other_four(repository: Repository) -> None:
    shards = shards_of(tiny(), 5)
    for number, tensors in enumerate(shards, 1):
        repository.write(f"m/model-{number:05}-of-00005.safetensors", content_of(tensors))
    repository.commit("m")
    repository.write("m/model-00003-of-00005.safetensors", content_of(shards[2], fill=1))
    repository.git("add", "m")
    assert repository.hook("pre-commit").returncode == 0
    repository.git("rm", "-q", "--cached", "m/model-00005-of-00005.safetensors")
    done = repository.hook("pre-commit")
    assert done.returncode == 1
    assert "INCOMPLETE" in done.stdout


def test_an_optimizer_file_is_judged_with_the_weights_it_belongs_to(repository: Repository) -> None:
    stage_small(repository)
    repository.commit()
    state = (("state.0.exp_avg", "F32", (30, 12)), ("state.0.exp_avg_sq", "F32", (30, 12)))
    repository.write("small/optimizer.safetensors", content_of(state))
    repository.git("add", "small")
    assert repository.hook("pre-commit").returncode == 0


def test_a_pointer_without_its_object_is_unread(repository: Repository) -> None:
    repository.stage_pointer("model.safetensors", BIG, keep_object=False)
    done = repository.hook("pre-commit")
    assert done.returncode == 3
    assert "missing: a Git LFS pointer" in done.stdout


def test_text_that_quotes_a_pointer_is_text(repository: Repository) -> None:
    repository.stage("README.md", "A pointer:\nversion https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\n")
    assert repository.hook("pre-commit").returncode == 0


def test_odd_names_are_judged_like_others(repository: Repository) -> None:
    for name in (b"-x.safetensors", b"new\nline.safetensors", b"\xff\xfe.safetensors", b"sp ace/'q'.safetensors"):
        repository.stage(os.fsdecode(name), header(BIG))
    done = repository.hook("pre-commit")
    assert done.returncode == 3
    assert done.stdout.count("UNREAD") == 4
    assert "new\\nline" in done.stdout


# ---- with names, as the pre-commit framework calls it


def test_a_405b_file_of_the_working_tree_is_stopped_by_name(repository: Repository) -> None:
    write_model(str(repository.path / "big"), llama_405b())
    for name in ("big/model.safetensors", str(repository.path / "big" / "model.safetensors")):
        done = repository.hook("pre-commit", "--", name)
        assert done.returncode == 1
        assert "405,853,388,800 parameters" in done.stdout
        assert "BLOCK   big/model.safetensors" in done.stdout


def test_a_pointer_in_the_working_tree_stands_for_its_object(repository: Repository) -> None:
    repository.write("model.safetensors", repository.stage_pointer("model.safetensors", BIG))
    done = repository.hook("pre-commit", "model.safetensors")
    assert done.returncode == 1
    assert "405,853,388,800 parameters" in done.stdout


def test_a_declaration_beside_a_named_file_does_not_clear(repository: Repository) -> None:
    write_model(str(repository.path / "big"), llama_405b())
    repository.write("big/weightguard.toml", CLEARING)
    assert repository.hook("pre-commit", "big/model.safetensors", "big/weightguard.toml").returncode == 1


def test_five_thousand_names_give_one_verdict_a_model(repository: Repository) -> None:
    names = []
    shards = shards_of(tiny(), 5)
    for model in range(20):
        for number, tensors in enumerate(shards, 1):
            name = f"models/{model:02}/model-{number:05}-of-00005.safetensors"
            if (model, number) not in ((3, 2), (7, 5)):  # two models lack a shard
                repository.write(name, content_of(tensors))
                names.append(name)
    for number in range(5000 - len(names)):
        name = f"text/{number % 50:02}/some-file-of-text-{number:04}.txt"
        repository.write(name, "words\n")
        names.append(name)
    done = repository.hook("pre-commit", "--", *names)
    assert done.returncode == 1
    assert "blocked 2 of 20 models" in done.stderr
    assert done.stdout.count("BLOCK   ") == 2


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_the_answers_do_not_depend_on_how_names_are_split_over_calls(repository: Repository, parts: int) -> None:
    names = []

    def write(name: str, content: bytes) -> None:
        repository.write(name, content)
        names.append(name)

    for number, tensors in enumerate(shards_of(tiny(), 5), 1):
        write(f"whole/model-{number:05}-of-00005.safetensors", content_of(tensors))
        if number != 4:
            write(f"part/model-{number:05}-of-00005.safetensors", content_of(tensors))
    trained = train(3)
    write("small/model.safetensors", header(trained.tensors) + trained.data)
    write("small/optimizer.safetensors", content_of((("state.0.exp_avg", "F32", (8, 8)),)))
    for number in range(5):  # each below what is let be, together above
        write(f"noise/{number}.dat", b"\0\xff" * 10_000)

    def blocked(split: list[list[str]]) -> tuple[int, set[str]]:
        done = [repository.hook("pre-commit", "--", *part) for part in split]
        lines = {line for d in done for line in d.stdout.splitlines() if line.startswith(("BLOCK   ", "UNREAD"))}
        return max(d.returncode for d in done), lines

    together = blocked([names])
    assert together == (1, {"BLOCK   part"})
    assert blocked([names[at::parts] for at in range(parts)]) == together


def test_output_is_under_40_lines_with_the_reason_first(repository: Repository) -> None:
    for model in range(40):
        write_model(str(repository.path / f"m{model}"), llama_405b())
    done = repository.hook("pre-commit", "--", *(f"m{model}/model.safetensors" for model in range(40)))
    lines = done.stdout.splitlines() + done.stderr.splitlines()
    assert done.returncode == 1
    assert len(lines) < 40
    assert lines[0] == "BLOCK: 40 of 40 models blocked"
    assert lines[-1] == "weightguard: blocked 40 of 40 models"


# ---- configuration


def test_without_git_the_hook_says_so_and_stops(repository: Repository) -> None:
    done = repository.hook("pre-commit", env={"PATH": str(repository.path)})
    assert done.returncode == 2
    assert done.stderr.startswith("weightguard: can't run git")
    assert len(done.stderr.splitlines()) == 1


def test_outside_a_repository_the_hook_says_so_and_stops(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "weightguard", "hook", "pre-commit"],
        cwd=tmp_path, env={**ENVIRONMENT, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "not a git repository" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_name_that_does_not_exist_is_an_error(repository: Repository) -> None:
    done = repository.hook("pre-commit", "nowhere.bin")
    assert done.returncode == 2
    assert "nowhere.bin: no such file" in done.stderr


def test_nothing_stays_in_the_repository(repository: Repository) -> None:
    repository.stage_pointer("model.safetensors", BIG)
    before = sorted(p.name for p in (repository.path / ".git").iterdir())
    repository.hook("pre-commit")
    assert sorted(p.name for p in (repository.path / ".git").iterdir()) == before
    assert [p.name for p in repository.path.iterdir()] == [".git"]


# ---- the framework itself


def test_the_framework_stops_a_405b_file_and_passes_a_small_one(repository: Repository, tmp_path: Path) -> None:
    pytest.importorskip("pre_commit")
    repository.write(
        ".pre-commit-config.yaml",
        "repos:\n- repo: local\n  hooks:\n  - id: weightguard\n    name: weightguard\n    language: system\n"
        f"    entry: {sys.executable} -m weightguard hook pre-commit\n"
        "    args: [--]\n    types: [file]\n    require_serial: true\n",
    )
    environment = {**ENVIRONMENT, "PRE_COMMIT_HOME": str(tmp_path / "home")}

    def commit() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "commit", "-m", "x"], cwd=repository.path, env=environment, capture_output=True, text=True, timeout=120
        )

    subprocess.run(
        [sys.executable, "-m", "pre_commit", "install"], cwd=repository.path, env=environment, check=True, capture_output=True
    )
    repository.git("add", ".pre-commit-config.yaml")
    stage_small(repository)
    passed = commit()
    assert passed.returncode == 0, passed.stdout + passed.stderr
    pointer = repository.stage_pointer("m/model.safetensors", BIG)
    repository.write("m/model.safetensors", pointer)
    stopped = commit()
    assert stopped.returncode == 1
    assert "405,853,388,800 parameters" in stopped.stdout + stopped.stderr
    assert repository.git("log", "--format=%s", "--", "m") == ""


def test_the_shipped_manifest_is_valid_to_the_framework() -> None:
    pytest.importorskip("pre_commit")
    manifest = Path(__file__).parents[2] / ".pre-commit-hooks.yaml"
    done = subprocess.run([sys.executable, "-m", "pre_commit", "validate-manifest", str(manifest)], capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
