"""The pre-push hook in real repositories with a real remote: what leaves, and what doesn't."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from weightguard.demo.layouts import llama_405b
from weightguard.demo.trained import train
from weightguard.demo.write import header, size_of

from .repositories import ENVIRONMENT, Repository, content_of, shards_of, tiny

CLEARING = """\
schema = "weightguard/declaration/1"
[model]
name = "m"
run = "pretrain"
whole = true
[[run]]
id = "pretrain"
kind = "pre-training"
starts_from = []
operations = 1e24
data_complete = true
"""
BIG = llama_405b().tensors
ZERO = "0" * 40


def small() -> bytes:
    trained = train(3)
    return header(trained.tensors) + trained.data


@pytest.fixture
def pushing(repository: Repository, tmp_path: Path) -> Repository:
    """With a bare remote "origin" that has one commit, and the hook installed."""
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], env=ENVIRONMENT, check=True)
    repository.git("remote", "add", "origin", str(remote))
    repository.write("README.md", "first\n")
    repository.commit("README.md")
    repository.git("push", "-q", "origin", "main")
    repository.install("pre-push")
    return repository


def push(repository: Repository, *arguments: str) -> tuple[bool, str]:
    """Whether git push succeeded, and all that was printed."""
    done = repository.try_git("push", *(arguments or ("origin", "main")))
    return done.returncode == 0, done.stdout + done.stderr


def refs_at_remote(repository: Repository) -> list[str]:
    return repository.git("ls-remote", "origin").split()


def lines(repository: Repository, revision: str = "HEAD", at_remote: str = ZERO) -> str:
    return f"refs/heads/main {repository.git('rev-parse', revision)} refs/heads/main {at_remote}\n"


# ---- what is stopped


def test_a_405b_file_committed_and_deleted_again_is_stopped(pushing: Repository) -> None:
    pushing.stage_pointer("m/model.safetensors", BIG)
    added = pushing.commit()
    pushing.git("rm", "-q", "--cached", "m/model.safetensors")
    pushing.commit()
    passed, said = push(pushing)
    assert not passed
    assert f"BLOCK   {added[:12]}/m/model.safetensors" in said
    assert "405,853,388,800 parameters" in said
    assert added not in refs_at_remote(pushing)


def test_real_bytes_committed_and_deleted_again_are_stopped_as_unread(pushing: Repository) -> None:
    pushing.write("model.safetensors", header(BIG))
    added = pushing.commit("model.safetensors")
    pushing.git("rm", "-q", "model.safetensors")
    pushing.commit()
    passed, said = push(pushing)
    assert not passed
    assert f"UNREAD  {added[:12]}/model.safetensors" in said
    assert "truncated" in said


def test_a_hostile_pickle_without_tensors_is_stopped_by_name(pushing: Repository) -> None:
    pushing.stage("a.pkl", b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R.")
    pushing.commit()
    passed, said = push(pushing)
    assert not passed
    assert "posix.system" in said


def test_every_version_of_a_path_is_judged(pushing: Repository) -> None:
    first = pushing.commit()
    pushing.stage("model.safetensors", small())
    pushing.commit()
    pushing.stage_pointer("model.safetensors", BIG)
    second = pushing.commit()
    pushing.stage("model.safetensors", small() + b"")
    pushing.commit()
    passed, said = push(pushing)
    assert not passed
    assert f"{second[:12]}/model.safetensors" in said
    assert first[:12] not in said


def test_a_clearing_declaration_in_the_commits_does_not_clear(pushing: Repository) -> None:
    pushing.stage_pointer("m/model.safetensors", BIG)
    pushing.stage("m/weightguard.toml", CLEARING)
    pushing.commit()
    assert not push(pushing)[0]


def test_a_declaration_given_to_the_hook_clears(pushing: Repository, tmp_path: Path) -> None:
    (tmp_path / "given.toml").write_text(CLEARING)
    pushing.install("pre-push", "--declaration", str(tmp_path / "given.toml"))
    pushing.stage_pointer("m/model.safetensors", BIG)
    pushing.commit()
    passed, said = push(pushing)
    assert passed, said


def test_a_looser_policy_in_the_repository_is_an_error_and_stops_the_push(pushing: Repository) -> None:
    pushing.stage_pointer("m/model.safetensors", BIG)
    pushing.write("weightguard-policy.toml", 'schema = "weightguard/policy/1"\nundetermined = "allow"\n')
    pushing.commit("weightguard-policy.toml")
    passed, said = push(pushing)
    assert not passed
    assert "looser" in said
    assert pushing.hook("pre-push", "origin", "url", input=lines(pushing)).returncode == 2


def test_a_pointer_without_its_object_is_unread(pushing: Repository) -> None:
    pushing.stage_pointer("model.safetensors", BIG, keep_object=False)
    pushing.commit()
    passed, said = push(pushing)
    assert not passed
    assert "missing: a Git LFS pointer" in said


def test_objects_are_found_where_lfs_storage_says(pushing: Repository) -> None:
    pushing.stage_pointer("model.safetensors", BIG)
    pushing.commit()
    (pushing.path / ".git" / "lfs").rename(pushing.path / ".git" / "elsewhere")
    pushing.git("config", "lfs.storage", "elsewhere")
    assert "405,853,388,800 parameters" in push(pushing)[1]


def test_weights_on_a_side_branch_that_was_merged_are_stopped(pushing: Repository) -> None:
    pushing.git("checkout", "-q", "-b", "side")
    pushing.stage_pointer("m/model.safetensors", BIG)
    pushing.commit()
    pushing.git("rm", "-q", "--cached", "m/model.safetensors")
    pushing.commit()
    pushing.git("checkout", "-q", "main")
    pushing.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    assert not push(pushing)[0]


def test_weights_that_only_a_merge_adds_are_stopped(pushing: Repository) -> None:
    pushing.git("checkout", "-q", "-b", "side")
    side = pushing.commit()
    pushing.git("checkout", "-q", "main")
    main = pushing.commit(message="other")
    pushing.stage_pointer("model.safetensors", BIG)
    merge = pushing.git("commit-tree", pushing.git("write-tree"), "-p", main, "-p", side, "-m", "merge")
    pushing.git("reset", "-q", "--soft", merge)
    assert not push(pushing)[0]


def test_weights_that_only_a_tag_names_are_stopped(pushing: Repository) -> None:
    blob = pushing.git("hash-object", "-w", "--stdin", input=header(BIG))
    pushing.git("tag", "weights", blob)
    passed, said = push(pushing, "origin", "weights")
    assert not passed
    assert "truncated" in said


def test_all_refs_of_a_push_are_judged(pushing: Repository) -> None:
    pushing.git("checkout", "-q", "-b", "second")
    pushing.stage_pointer("model.safetensors", BIG)
    pushing.commit()
    pushing.git("reset", "-q", "--hard")
    pushing.git("checkout", "-q", "main")
    pushing.stage("a.txt", "a\n")
    pushing.commit()
    assert not push(pushing, "origin", "main", "second")[0]
    assert push(pushing, "origin", "main")[0]


def test_a_replacement_object_hides_nothing(pushing: Repository) -> None:
    pushing.stage("model.safetensors", header(BIG))
    pushing.commit()
    blob = pushing.git("rev-parse", "HEAD:model.safetensors")
    pushing.git("replace", blob, pushing.git("hash-object", "-w", "--stdin", input=small()))
    assert not push(pushing)[0]


def test_another_remote_of_a_longer_name_vouches_for_nothing(pushing: Repository, tmp_path: Path) -> None:
    pushing.stage_pointer("model.safetensors", BIG)
    commit = pushing.commit()
    pushing.git("config", "remote.origin/mirror.url", str(tmp_path / "remote.git"))
    pushing.git("update-ref", "refs/remotes/origin/mirror/main", commit)
    assert not push(pushing)[0]


@pytest.mark.parametrize("options", [("--push",), ()])
def test_what_was_fetched_from_elsewhere_vouches_for_nothing(pushing: Repository, tmp_path: Path, options: tuple[str]) -> None:
    """A remote that leads to another place than before: its tracking branches speak of the first."""
    pushing.stage_pointer("model.safetensors", BIG)
    pushing.commit()
    pushing.git("push", "-q", "--no-verify", "origin", "main")
    public = tmp_path / "public.git"
    subprocess.run(["git", "init", "-q", "--bare", str(public)], env=ENVIRONMENT, check=True)
    pushing.git("remote", "set-url", *options, "origin", str(public))
    passed, said = push(pushing)
    assert not passed and "model.safetensors" in said


def packed(kind: str, name: str, content: bytes) -> bytes:
    held = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(held, "w") as archive:
            archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=held, mode="w:gz" if kind == "tar.gz" else "w:") as tar:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return held.getvalue()


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_what_lies_in_an_archive_is_judged(pushing: Repository, kind: str) -> None:
    for name, content, status in (("m/model.safetensors", header(BIG), 3), ("x.pkl", b"cos\nsystem\n(S'true'\ntR.", 1)):
        pushing.stage(f"a.{kind}", packed(kind, name, content))
        assert pushing.hook("pre-commit").returncode == status, name
        pushing.commit()
        assert pushing.hook("pre-push", "origin", "u", input=lines(pushing)).returncode == status, name


def test_a_405b_model_in_a_tar_is_stopped(pushing: Repository, tmp_path: Path) -> None:
    large, length = header(BIG), len(header(BIG)) + sum(map(size_of, BIG))
    member = tarfile.TarInfo("m/model.safetensors")
    member.size = length
    oid = "ab" * 32
    kept = pushing.path / ".git" / "lfs" / "objects" / "ab" / "ab" / oid
    kept.parent.mkdir(parents=True)
    kept.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + large)
    os.truncate(kept, 512 + (length + 511) // 512 * 512 + 1024)
    pushing.stage("model.tar", f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {kept.stat().st_size}\n")
    assert pushing.hook("pre-commit").returncode == 1
    pushing.commit()
    assert not push(pushing)[0]


@pytest.mark.parametrize("before", ["ext-0-foo sha256:" + "c" * 64 + "\n", "\u00a0", "\u0085\n"])
def test_pointers_that_only_git_lfs_would_know(pushing: Repository, before: str) -> None:
    pushing.stage("notes.txt", f"{before}version https://git-lfs.github.com/spec/v1\noid sha256:{'d' * 64}\nsize 12\n")
    pushing.commit()
    assert "Git LFS pointer" in push(pushing)[1]


def test_a_tree_that_only_a_tag_names_is_judged_whole(pushing: Repository) -> None:
    for number, tensors in enumerate(shards_of(tiny(), 3), 1):
        pushing.stage(f"m/model-{number:05}-of-00003.safetensors", content_of(tensors))
    pushing.git("tag", "v1", pushing.git("write-tree"))
    passed, said = push(pushing, "origin", "v1")
    assert passed, said


def test_a_later_commit_makes_no_part_whole(pushing: Repository) -> None:
    pushing.stage("a.safetensors", small())
    pushing.stage("model.safetensors.index.json", json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    pushing.commit()
    pushing.git("rm", "-q", "model.safetensors.index.json")
    pushing.commit()
    passed, said = push(pushing)
    assert not passed and "b.safetensors" in said


def test_what_a_trainer_says_later_is_judged(pushing: Repository) -> None:
    pushing.stage("model.safetensors", small())
    pushing.commit()
    pushing.git("push", "-q", "--no-verify", "origin", "main")
    pushing.stage("trainer_state.json", json.dumps({"total_flos": 3e26, "global_step": 1, "log_history": []}))
    pushing.commit()
    assert not push(pushing)[0]


def test_a_rule_speaks_of_the_path_in_the_repository(pushing: Repository, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'schema = "weightguard/policy/1"\n[[rule]]\ndecision = "block"\nreason = "secret"\npaths = ["secret/*"]\n'
    )
    pushing.stage("secret/model.safetensors", small())
    pushing.commit()
    assert pushing.hook("pre-push", "origin", "u", input=lines(pushing)).returncode == 0
    assert pushing.hook("pre-push", "--policy", str(policy), "origin", "u", input=lines(pushing)).returncode == 1


def test_a_declaration_where_there_is_no_model_is_no_error(pushing: Repository, tmp_path: Path) -> None:
    (tmp_path / "given.toml").write_text(CLEARING)
    pushing.stage("notes.txt", "text")
    given = ("--declaration", str(tmp_path / "given.toml"))
    assert pushing.hook("pre-commit", *given).returncode == 0
    pushing.commit()
    assert pushing.hook("pre-push", *given, "origin", "u", input=lines(pushing)).returncode == 0


def test_without_the_arguments_of_git_nothing_is_allowed(pushing: Repository) -> None:
    assert pushing.hook("pre-push", input=lines(pushing)).returncode == 2
    assert pushing.hook("pre-push", "origin", "u", input="\n").returncode == 0


def test_a_link_to_weights_is_a_text(pushing: Repository) -> None:
    pushing.stage("m/v3.safetensors", small())
    os.symlink("m/v3.safetensors", pushing.path / "latest.safetensors")
    pushing.git("add", "latest.safetensors")
    assert pushing.hook("pre-commit").returncode == 0
    assert pushing.hook("pre-commit", "--", "latest.safetensors").returncode == 0
    blob = pushing.git("hash-object", "-w", "--stdin", input=header(BIG))
    pushing.git("update-index", "--add", "--cacheinfo", f"120000,{blob},other.safetensors")
    assert pushing.hook("pre-commit").returncode == 3


@pytest.mark.parametrize("name", ["..", ".git", ".GIT", "."])
def test_a_tree_made_by_hand_neither_escapes_nor_hides(pushing: Repository, name: str) -> None:
    """Entries that git itself would not check out."""
    blob = bytes.fromhex(pushing.git("hash-object", "-w", "--stdin", input=header(BIG)))
    inner = pushing.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", input=b"100644 model.safetensors\0" + blob)
    entry = f"40000 {name}\0".encode() + bytes.fromhex(inner)
    tree = pushing.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", input=entry)
    commit = pushing.git("commit-tree", tree, "-p", "HEAD", "-m", "odd")
    done = pushing.hook("pre-push", "origin", "url", input=f"refs/heads/x {commit} refs/heads/x {ZERO}\n")
    assert done.returncode == 3
    assert "truncated" in done.stdout
    assert sorted(p.name for p in pushing.path.iterdir()) == [".git", "README.md"]


def test_odd_names_are_judged_like_others(pushing: Repository) -> None:
    for name in (b"-x.safetensors", b"new\nline.safetensors", b"\xff\xfe.safetensors", b'"quoted".safetensors'):
        pushing.stage(os.fsdecode(name), header(BIG))
    pushing.commit()
    done = pushing.hook("pre-push", "origin", "url", input=lines(pushing))
    assert done.returncode == 3
    assert done.stdout.count("UNREAD") == 4


# ---- what passes


def test_a_small_model_passes_and_arrives(pushing: Repository) -> None:
    pushing.write("small/model.safetensors", small())
    commit = pushing.commit("small")
    passed, said = push(pushing)
    assert passed, said
    assert commit in refs_at_remote(pushing)


def test_what_the_remote_has_is_not_judged_again(pushing: Repository) -> None:
    pushing.stage_pointer("m/model.safetensors", BIG)
    pushing.commit()
    assert push(pushing, "--no-verify", "origin", "main")[0]
    pushing.stage("notes.txt", "more\n")
    pushing.commit()
    passed, said = push(pushing)
    assert passed, said


def test_a_new_branch_of_what_the_remote_has_is_not_judged_again(pushing: Repository) -> None:
    pushing.stage_pointer("m/model.safetensors", BIG)
    pushing.commit()
    assert push(pushing, "--no-verify", "origin", "main")[0]
    pushing.stage("notes.txt", "more\n")
    pushing.commit()
    passed, said = push(pushing, "origin", "main:another")
    assert passed, said


def test_what_the_remote_says_it_has_is_not_judged_again_when_pushed_by_address(pushing: Repository, tmp_path: Path) -> None:
    pushing.stage_pointer("m/model.safetensors", BIG)
    pushing.commit()
    url = str(tmp_path / "remote.git")
    assert not push(pushing, url, "main")[0]
    assert push(pushing, "--no-verify", url, "main")[0]
    pushing.git("update-ref", "-d", "refs/remotes/origin/main")
    pushing.stage("notes.txt", "more\n")
    pushing.commit()
    passed, said = push(pushing, url, "main")
    assert passed, said


def test_a_card_beside_a_model_that_the_remote_has_passes_and_a_config_beside_it_is_judged_with_it(pushing: Repository) -> None:
    pushing.stage_pointer("m/model.safetensors", BIG)
    pushing.commit()
    assert push(pushing, "--no-verify", "origin", "main")[0]
    pushing.stage("m/README.md", "a card\n")
    pushing.commit()
    passed, said = push(pushing)
    assert passed, said
    pushing.stage("m/config.json", "{}\n")
    pushing.commit()
    passed, said = push(pushing)
    assert not passed
    assert "405,853,388,800 parameters" in said


def test_a_first_push_judges_everything_reachable(pushing: Repository, tmp_path: Path) -> None:
    pushing.stage_pointer("m/model.safetensors", BIG)
    pushing.commit()
    assert push(pushing, "--no-verify", "origin", "main")[0]
    other = tmp_path / "other.git"
    subprocess.run(["git", "init", "-q", "--bare", str(other)], env=ENVIRONMENT, check=True)
    pushing.git("remote", "add", "other", str(other))
    assert not push(pushing, "other", "main")[0]


def test_deleting_a_ref_pushes_nothing(pushing: Repository) -> None:
    pushing.git("push", "-q", "--no-verify", "origin", "main:side")
    pushing.stage_pointer("m/model.safetensors", BIG)
    pushing.commit()
    passed, said = push(pushing, "origin", ":side")
    assert passed, said


# ---- whole models


def test_one_changed_shard_of_five_is_judged_with_the_other_four_of_its_commit(pushing: Repository) -> None:
    shards = shards_of(llama_405b(), 5)
    for number, tensors in enumerate(shards, 1):
        pushing.stage_pointer(f"m/model-{number:05}-of-00005.safetensors", tensors)
    pushing.commit()
    assert push(pushing, "--no-verify", "origin", "main")[0]
    pushing.stage_pointer("m/model-00003-of-00005.safetensors", (*shards[2], ("extra", "BF16", (8,))))
    pushing.commit()
    for number in range(1, 6):  # gone again from the tip and never in the working tree
        pushing.git("rm", "-q", "--cached", f"m/model-{number:05}-of-00005.safetensors")
    pushing.commit()
    passed, said = push(pushing)
    assert not passed
    assert "405,853,388,808 parameters" in said
    assert "INCOMPLETE" not in said


def test_shards_committed_one_by_one_are_judged_as_the_whole_that_they_became(pushing: Repository) -> None:
    for number, tensors in enumerate(shards_of(tiny(), 5), 1):
        pushing.stage(f"m/model-{number:05}-of-00005.safetensors", content_of(tensors))
        pushing.commit()
    passed, said = push(pushing)
    assert passed, said


def test_a_shard_that_never_stood_in_a_whole_model_is_stopped(pushing: Repository) -> None:
    shards = shards_of(tiny(), 5)
    pushing.stage("m/model-00001-of-00005.safetensors", content_of(shards[0], fill=1))
    first = pushing.commit()
    for number, tensors in enumerate(shards, 1):
        pushing.stage(f"m/model-{number:05}-of-00005.safetensors", content_of(tensors))
    pushing.commit()
    passed, said = push(pushing)
    assert not passed
    assert f"{first[:12]}/m" in said
    assert "INCOMPLETE" in said


def test_shards_from_two_branches_are_judged_as_the_merge_has_them(pushing: Repository) -> None:
    shards = shards_of(tiny(), 2)
    pushing.git("checkout", "-q", "-b", "side")
    pushing.write("m/model-00001-of-00002.safetensors", content_of(shards[0]))
    pushing.commit("m")
    pushing.git("checkout", "-q", "main")
    pushing.write("m/model-00002-of-00002.safetensors", content_of(shards[1]))
    pushing.commit("m")
    pushing.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    passed, said = push(pushing)
    assert passed, said


def test_a_long_history_of_text_beside_a_model_is_one_verdict(pushing: Repository) -> None:
    pushing.stage("model.safetensors", small())
    for number in range(20):
        pushing.stage("notes.txt", f"{number}\n")
        pushing.commit()
    done = pushing.hook("pre-push", "origin", "url", input=lines(pushing))
    assert done.returncode == 0
    assert "allowed 1 of 1 models" in done.stderr


# ---- how it is called


def test_nothing_to_push_is_allowed(pushing: Repository) -> None:
    assert pushing.hook("pre-push", "origin", "url").returncode == 0


@pytest.mark.parametrize("text", ["hello\n", "refs/heads/main HEAD refs/heads/main HEAD\n", "a b c\n"])
def test_other_input_than_ref_lines_is_an_error(pushing: Repository, text: str) -> None:
    done = pushing.hook("pre-push", "origin", "url", input=text)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_commit_that_git_does_not_have_is_an_error(pushing: Repository) -> None:
    done = pushing.hook("pre-push", "origin", "url", input=f"refs/heads/main {'1' * 40} refs/heads/main {ZERO}\n")
    assert done.returncode == 2
    assert "git rev-list failed" in done.stderr


def test_a_damaged_object_is_an_error(pushing: Repository) -> None:
    pushing.stage("model.safetensors", small())
    pushing.commit()
    blob = pushing.git("rev-parse", "HEAD:model.safetensors")
    stored = pushing.path / ".git" / "objects" / blob[:2] / blob[2:]
    stored.chmod(0o644)
    stored.write_bytes(stored.read_bytes()[:100])
    done = pushing.hook("pre-push", "origin", "url", input=lines(pushing))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_repository_with_sha256_names_is_judged_alike(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "long", "--object-format=sha256")
    repository.stage("m/model.safetensors", header(BIG))
    commit = repository.commit()
    done = repository.hook("pre-push", "origin", "url", input=f"refs/heads/main {commit} refs/heads/main {'0' * 64}\n")
    assert done.returncode == 3
    assert "truncated" in done.stdout


def test_it_works_from_a_linked_working_tree(pushing: Repository, tmp_path: Path) -> None:
    pushing.git("worktree", "add", "-q", "-b", "linked", str(tmp_path / "linked"))
    blob = pushing.git("hash-object", "-w", "--stdin", input=header(BIG))

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments], cwd=tmp_path / "linked", env=ENVIRONMENT, capture_output=True, text=True, timeout=60
        )

    git("update-index", "--add", "--cacheinfo", f"100644,{blob},model.safetensors")
    assert git("commit", "-q", "-m", "weights").returncode == 0
    done = git("push", "origin", "linked")
    assert done.returncode != 0
    assert "truncated" in done.stdout + done.stderr


def test_the_environment_of_the_framework_stands_for_standard_input(pushing: Repository) -> None:
    start = pushing.git("rev-parse", "HEAD")
    pushing.stage_pointer("m/model.safetensors", BIG)
    end = pushing.commit()
    framework = {"PRE_COMMIT": "1", "PRE_COMMIT_REMOTE_NAME": "origin"}
    assert pushing.hook("pre-push", env={**framework, "PRE_COMMIT_FROM_REF": start, "PRE_COMMIT_TO_REF": end}).returncode == 1
    assert pushing.hook("pre-push", env={**framework, "PRE_COMMIT_LOCAL_BRANCH": "refs/heads/main"}).returncode == 1
    assert pushing.hook("pre-push", env=framework).returncode == 1
    assert pushing.hook("pre-push", env={**framework, "PRE_COMMIT_TO_REF": start}).returncode == 0
    assert pushing.hook("pre-push", env={**framework, "PRE_COMMIT_TO_REF": "nowhere"}).returncode == 2


def test_the_framework_stops_a_push(pushing: Repository, tmp_path: Path) -> None:
    pytest.importorskip("pre_commit")
    (pushing.path / ".git" / "hooks" / "pre-push").unlink()
    pushing.write(
        ".pre-commit-config.yaml",
        "repos:\n- repo: local\n  hooks:\n  - id: weightguard-push\n    name: weightguard\n    language: system\n"
        f"    entry: {sys.executable} -m weightguard hook pre-push\n"
        "    always_run: true\n    pass_filenames: false\n    stages: [pre-push]\n",
    )
    environment = {**ENVIRONMENT, "PRE_COMMIT_HOME": str(tmp_path / "home")}
    subprocess.run(
        [sys.executable, "-m", "pre_commit", "install", "-t", "pre-push"],
        cwd=pushing.path, env=environment, check=True, capture_output=True,
    )  # fmt: skip
    pushing.commit(".pre-commit-config.yaml")

    def try_push() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "push", "origin", "main"], cwd=pushing.path, env=environment, capture_output=True, text=True, timeout=120
        )

    passed = try_push()
    assert passed.returncode == 0, passed.stdout + passed.stderr
    pushing.stage_pointer("m/model.safetensors", BIG)
    added = pushing.commit()
    pushing.git("rm", "-q", "--cached", "m/model.safetensors")
    pushing.commit()
    stopped = try_push()
    assert stopped.returncode != 0
    assert f"{added[:12]}/m/model.safetensors" in stopped.stdout + stopped.stderr


LFS_TOO = """#!/bin/sh
refs=$(cat)
printf '%s\\n' "$refs" | '{python}' -m weightguard hook pre-push "$@" && printf '%s\\n' "$refs" | git lfs pre-push "$@"
"""


def test_with_git_lfs_itself_behind_it(pushing: Repository, tmp_path: Path) -> None:
    """The script of the README, around the real git-lfs: its objects leave only where ours lets the push through."""
    if shutil.which("git-lfs") is None:
        pytest.skip("git-lfs is not installed")
    pushing.git("remote", "set-url", "origin", (tmp_path / "remote.git").as_uri())
    pushing.git("lfs", "install", "--local", "--skip-smudge", "--force")
    script = pushing.path / ".git" / "hooks" / "pre-push"
    script.write_text(LFS_TOO.format(python=sys.executable))
    script.chmod(0o755)
    pushing.git("lfs", "track", "*.safetensors")
    pushing.write("small.safetensors", small())
    pushing.commit(".gitattributes", "small.safetensors")
    assert pushing.git("cat-file", "-p", "HEAD:small.safetensors").startswith("version https://git-lfs.github.com/spec/v1")
    passed, said = push(pushing)
    assert passed, said
    kept = [p for p in (tmp_path / "remote.git" / "lfs" / "objects").rglob("*") if p.is_file()]
    assert [p.read_bytes() for p in kept] == [small()]
    pushing.stage_pointer("big.safetensors", BIG)
    pushing.commit()
    passed, said = push(pushing)
    assert not passed and "undetermined under 4E091" in said
    assert [p for p in (tmp_path / "remote.git" / "lfs" / "objects").rglob("*") if p.is_file()] == kept
