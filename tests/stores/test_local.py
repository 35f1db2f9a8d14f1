"""What a local target holds: links, the Hugging Face cache, folders that refuse, things that are no files, files that change."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests.layouts import (
    ROOT,
    SMALL,
    declaration,
    header_of,
    raw,
    run,
    values_in,
    write_json,
    write_shards,
    write_small,
    write_sparse,
)
from weightguard.errors import ConfigurationError, Unreadable
from weightguard.formats import identify
from weightguard.limits import LIMITS, Limits
from weightguard.report import Report
from weightguard.stores import ByteSource
from weightguard.stores.folder import collect
from weightguard.stores.found import Listing
from weightguard.stores.local import LocalFile

TOTAL = values_in(SMALL.tensors)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scan(*targets: str) -> Report:
    return weightguard.scan(*targets)


def unread(report: Report | Listing) -> dict[str, str]:
    return {u.path: u.reason for u in report.unread}


# ---- links


def test_a_link_out_of_the_target_is_unread_and_not_followed(here: Path) -> None:
    write_small(here / "m")
    write_sparse(here / "outside" / "other.safetensors", [("w", "F32", (9, 9))])
    (here / "m" / "file").symlink_to("../outside/other.safetensors")
    (here / "m" / "folder").symlink_to(here / "outside")
    (here / "m" / "absolute").symlink_to("/etc/hostname")
    report = scan("m")
    assert unread(report) == {"m/file": "link", "m/folder": "link", "m/absolute": "link"}
    assert [m.path for m in report.models] == ["m/model.safetensors"]
    assert report.decision == "block"


def test_a_link_inside_the_target_counts_its_file_once(here: Path) -> None:
    write_small(here / "m")
    (here / "m" / "again.safetensors").symlink_to("model.safetensors")
    (here / "m" / "sub").mkdir()
    (here / "m" / "sub" / "up.safetensors").symlink_to("../model.safetensors")
    report = scan("m")
    assert not report.unread and report.files == 2
    assert [m.parameters.total for m in report.models] == [TOTAL]


@pytest.mark.parametrize(("links", "files"), [("a", "b"), ("b", "a")])
def test_a_declaration_beside_a_link_speaks_of_what_it_leads_to(here: Path, links: str, files: str) -> None:
    write_small(here / files)
    (here / links).mkdir()
    (here / links / "model.safetensors").symlink_to(here / files / "model.safetensors")
    (here / links / "weightguard.toml").write_text(declaration("1.2e26"))
    assert weightguard.scan(".").decision == "block"


def test_a_link_that_leaves_by_its_folders_real_place_is_unread(here: Path) -> None:
    """The names stay inside, the real path doesn't."""
    write_sparse(here / "outside" / "a.safetensors", [("w", "F32", (9, 9))])
    (here / "m" / "inner").mkdir(parents=True)
    (here / "m" / "inner" / "x").symlink_to("../../m/../outside/a.safetensors")
    assert unread(scan("m")) == {"m/inner/x": "link"}


def test_a_sibling_whose_name_starts_alike_is_outside(here: Path) -> None:
    write_sparse(here / "model-secret" / "a.safetensors", [("w", "F32", (9, 9))])
    (here / "model").mkdir()
    (here / "model" / "a").symlink_to("../model-secret/a.safetensors")
    assert unread(scan("model")) == {"model/a": "link"}


def test_a_link_to_nothing_is_unread(here: Path) -> None:
    write_small(here / "m")
    (here / "m" / "lost").symlink_to("gone")
    (here / "m" / "outside").symlink_to("/no/such/place")
    assert unread(scan("m")) == {"m/lost": "missing", "m/outside": "missing"}


def test_links_in_a_circle_end(here: Path) -> None:
    write_small(here / "m")
    (here / "m" / "self").symlink_to("self")
    (here / "m" / "a").symlink_to("b")
    (here / "m" / "b").symlink_to("a")
    (here / "m" / "sub").mkdir()
    (here / "m" / "sub" / "up").symlink_to("..")
    (here / "m" / "sub" / "here").symlink_to(".")
    report = scan("m")
    assert set(unread(report)) == {"m/self", "m/a", "m/b"}
    assert len(report.models) == 1 and report.files == 2


def test_a_target_that_is_a_link_is_followed(here: Path) -> None:
    write_small(here / "real" / "m")
    (here / "folder").symlink_to("real/m")
    (here / "file.safetensors").symlink_to("real/m/model.safetensors")
    assert [m.parameters.total for m in scan("folder").models] == [TOTAL]
    assert [m.path for m in scan("folder").models] == ["folder/model.safetensors"]
    [model] = scan("file.safetensors").models
    assert model.parameters.total == TOTAL


@pytest.mark.parametrize("name", ["gone", "dangling", "m/gone", "m/model.safetensors/below"])
def test_a_target_that_does_not_exist_is_the_users_error(here: Path, name: str) -> None:
    write_small(here / "m")
    (here / "dangling").symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match=r"no such|nothing"):
        scan(name)
    assert run("scan", name, cwd=here).returncode == 2


def test_a_file_reached_twice_counts_once(here: Path) -> None:
    write_small(here / "m")
    for targets in (("m", "m"), ("m", "m/model.safetensors"), ("m/model.safetensors", "m"), (".", "m", "./m/../m")):
        report = scan(*targets)
        assert len(report.models) == 1 and report.files == 2, targets
        assert report.bytes == sum(p.stat().st_size for p in (here / "m").iterdir()), targets


def test_the_order_of_a_listing_is_that_of_the_paths(here: Path) -> None:
    for name in ("b", "a/z", "a/b/c", "a-b", "C"):
        (here / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "m" / name).write_text("text")
    shown = [f.shown for f in collect(["m"], LIMITS).files]
    assert shown == sorted(shown) and len(shown) == 5


def test_a_link_beside_a_file_target_follows_the_same_rule(here: Path) -> None:
    """A shard brings its set; a shard of it that is a link out of the folder is unread, and the model a part."""
    paths = write_shards(here / "m")
    outside = here / "elsewhere.safetensors"
    paths[1].rename(outside)
    paths[1].symlink_to(outside)
    for target in (f"m/{paths[0].name}", "m"):
        report = scan(target)
        assert unread(report) == {f"m/{paths[1].name}": "link"}
        assert not report.models[0].complete and report.models[0].decision == "block"


def test_a_sidecar_that_is_a_link_out_of_the_folder_says_nothing(here: Path) -> None:
    write_small(here / "m")
    (here / "m" / "config.json").rename(here / "config.json")
    (here / "m" / "config.json").symlink_to(here / "config.json")
    report = scan("m/model.safetensors")
    assert unread(report) == {"m/config.json": "link"}
    assert report.models[0].architecture is None or report.models[0].architecture.source == "shapes"


# ---- the Hugging Face cache


def cache(folder: Path, revisions: dict[str, dict[str, str]], blobs: dict[str, bytes]) -> Path:
    """models--a--b as huggingface_hub lays it out: blobs by digest, snapshots of links, refs."""
    repository = folder / "models--a--b"
    for digest, content in blobs.items():
        (repository / "blobs").mkdir(parents=True, exist_ok=True)
        (repository / "blobs" / digest).write_bytes(content)
    for revision, files in revisions.items():
        for name, digest in files.items():
            link = repository / "snapshots" / revision / name
            link.parent.mkdir(parents=True, exist_ok=True)
            up = "../" * (name.count("/") + 2)
            link.symlink_to(f"{up}blobs/{digest}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(next(iter(revisions)))
    return repository


def small_bytes() -> bytes:
    header, size = header_of(SMALL.tensors)
    return raw(header, bytes(size))


CONFIG = json.dumps(SMALL.config).encode()
FILES = {"config.json": "c0", "model.safetensors": "w0"}
BLOBS = {"c0": CONFIG, "w0": small_bytes()}


@pytest.mark.parametrize("target", [".", "models--a--b", "models--a--b/snapshots", "models--a--b/snapshots/r1"])
def test_a_cached_model_is_counted_once_and_by_its_name(here: Path, target: str) -> None:
    cache(here, {"r1": FILES}, BLOBS)
    report = scan(target)
    assert not report.unread
    [model] = report.models
    assert model.parameters.total == TOTAL and model.architecture is not None and model.decision == "allow"
    assert [f.path.rpartition("/")[2] for f in model.files] == ["model.safetensors"]


def test_two_revisions_of_the_same_weights_are_counted_once(here: Path) -> None:
    cache(here, {"r1": FILES, "r2": {**FILES, "README.md": "d0"}}, {**BLOBS, "d0": b"# card\n"})
    report = scan(".")
    assert [m.parameters.total for m in report.models] == [TOTAL] and not report.unread


def test_a_revision_with_one_new_shard_is_judged_with_the_shards_that_it_shares(here: Path) -> None:
    """Not as a part: the three others lie in the cache once, for both revisions."""
    shards = write_shards(here / "source", parts=4)
    blobs = {f"w{i}": p.read_bytes() for i, p in enumerate(shards)}
    blobs |= {"c0": CONFIG, "i0": (here / "source" / "model.safetensors.index.json").read_bytes()}
    files = {p.name: f"w{i}" for i, p in enumerate(shards)} | {"config.json": "c0", "model.safetensors.index.json": "i0"}
    changed = {**files, shards[1].name: "w1new"}
    cache(here / "hub", {"r1": files, "r2": changed}, {**blobs, "w1new": blobs["w1"][:-1] + b"\1"})
    report = scan("hub")
    assert not report.unread
    assert all(m.complete for m in report.models), [m.missing for m in report.models]


def test_a_snapshot_that_links_to_another_repository_is_unread(here: Path) -> None:
    cache(here / "hub", {"r1": FILES}, BLOBS)
    other = here / "hub" / "models--c--d"
    (other / "snapshots" / "r1").mkdir(parents=True)
    (other / "snapshots" / "r1" / "model.safetensors").symlink_to("../../../models--a--b/blobs/w0")
    assert unread(scan("hub/models--c--d")) == {"hub/models--c--d/snapshots/r1/model.safetensors": "link"}
    assert unread(scan("hub/models--c--d/snapshots/r1/model.safetensors")) == {}, "a target that is a link is followed"


def test_a_folder_that_only_calls_itself_a_cache_frees_no_link(here: Path) -> None:
    """Links are free inside models--*/snapshots, into blobs of the same repository, and nowhere else."""
    write_sparse(here / "outside" / "a.safetensors", SMALL.tensors)
    (here / "models--x" / "blobs").mkdir(parents=True)
    (here / "models--x" / "blobs" / "b").symlink_to("../../outside/a.safetensors")
    (here / "models--x" / "other").mkdir()
    (here / "models--x" / "other" / "a.safetensors").symlink_to("../blobs/b")
    (here / "models--x" / "snapshots" / "r").mkdir(parents=True)
    (here / "models--x" / "snapshots" / "r" / "a.safetensors").symlink_to("../../blobs/b")
    found = unread(scan("models--x"))
    assert found == dict.fromkeys(
        (f"models--x/{p}" for p in ("blobs/b", "other/a.safetensors", "snapshots/r/a.safetensors")), "link"
    )


def test_a_partial_download_is_not_passed_over(here: Path) -> None:
    repository = cache(here, {"r1": {"config.json": "c0"}}, {"c0": CONFIG})
    (repository / "blobs" / "w0.incomplete").write_bytes(small_bytes()[:1000])
    assert unread(scan(".")) == {"models--a--b/blobs/w0.incomplete": "truncated"}


def test_the_hf_cache_option_scans_the_cache(here: Path) -> None:
    cache(here / "hub", {"r1": FILES}, BLOBS)
    done = run("scan", "--hf-cache", "--format", "json", cwd=here, environment={"HF_HUB_CACHE": "hub"})
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["models"]) == 1
    assert run("scan", "--hf-cache", cwd=here, environment={"HF_HUB_CACHE": "gone"}).returncode == 2


# ---- refused

AS_ANOTHER_USER = """\
import contextlib, io, os, sys
from weightguard.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    main(["scan", "--format", "json", "warm-up"])  # all modules are loaded while they can be read
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(main(["scan", "--format", "json", *sys.argv[1:]]))
"""


def as_another_user(folder: Path, *targets: str) -> tuple[int, dict[str, Any]]:
    """A scan without root's right to read all: in a process of its own that gives it up."""
    write_small(folder / "warm-up")
    (folder / "warm-up" / "bad.safetensors").write_bytes(raw(b"{"))
    if os.geteuid() == 0:  # pytest's folders are closed to others
        for above in (folder, *folder.parents[:3]):
            above.chmod(above.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-B", "-c", AS_ANOTHER_USER, *targets],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_folder_or_file_without_permission_is_unread_and_the_rest_is_reported(here: Path) -> None:
    write_small(here / "m" / "fine")
    write_small(here / "m" / "closed")
    write_small(here / "m" / "shut")
    (here / "m" / "closed").chmod(0o000)
    (here / "m" / "shut" / "model.safetensors").chmod(0o000)
    try:
        status, report = as_another_user(here, "m")
    finally:
        (here / "m" / "closed").chmod(0o755)
    assert status == 3
    assert {u["path"]: u["reason"] for u in report["unread"]} == {
        "m/closed": "permission",
        "m/shut/model.safetensors": "permission",
    }
    assert [m["path"] for m in report["models"]] == ["m/fine/model.safetensors"]


def test_a_folder_that_lists_and_does_not_open_is_unread(here: Path) -> None:
    """Read without search permission: names are seen, nothing behind them."""
    write_small(here / "m" / "listed")
    (here / "m" / "listed").chmod(0o444)
    try:
        status, report = as_another_user(here, "m")
    finally:
        (here / "m" / "listed").chmod(0o755)
    assert status == 3 and report["unread"]
    assert {u["reason"] for u in report["unread"]} == {"permission"}


def test_a_shard_without_permission_makes_a_part(here: Path) -> None:
    paths = write_shards(here / "m")
    paths[1].chmod(0o000)
    status, report = as_another_user(here, f"m/{paths[0].name}")
    assert status == 1
    assert report["models"][0]["complete"] is False
    assert [u["path"] for u in report["unread"]] == [f"m/{paths[1].name}"]


# ---- no files


def test_what_is_no_file_is_unread_and_never_waited_for(here: Path) -> None:
    write_small(here / "m")
    os.mkfifo(here / "m" / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("m/socket")
        report = scan("m")
    assert unread(report) == {"m/pipe": "not-a-file", "m/socket": "not-a-file"}
    assert len(report.models) == 1


@pytest.mark.parametrize("target", ["pipe", "/dev/zero", "/dev/null"])
def test_a_target_that_is_no_file_is_unread(here: Path, target: str) -> None:
    os.mkfifo(here / "pipe")
    report = scan(target)
    assert list(unread(report).values()) == ["not-a-file"] and not report.models


def test_a_pipe_among_the_shards_makes_a_part(here: Path) -> None:
    paths = write_shards(here / "m")
    paths[1].unlink()
    os.mkfifo(paths[1])
    for target in ("m", f"m/{paths[0].name}"):
        report = scan(target)
        assert not report.models[0].complete, target
        assert unread(report) == {f"m/{paths[1].name}": "not-a-file"}, target


def test_a_link_put_in_a_files_place_is_not_opened(here: Path) -> None:
    """Between the listing and the reading: the name that was a file is a link."""
    (here / "link").symlink_to("/etc/hostname")
    with pytest.raises(Unreadable) as caught:
        LocalFile(str(here / "link"), "link")
    assert caught.value.reason == "link"


def test_a_folder_is_no_file(here: Path) -> None:
    with pytest.raises(Unreadable) as caught:
        LocalFile(str(here), "here")
    assert caught.value.reason == "not-a-file"


def test_a_file_that_is_gone_is_missing(here: Path) -> None:
    with pytest.raises(Unreadable) as caught:
        LocalFile(str(here / "gone"), "gone")
    assert caught.value.reason == "missing"


# ---- files that change


def test_a_read_is_exact_or_refused(here: Path) -> None:
    (here / "a").write_bytes(bytes(range(100)))
    with LocalFile("a", "a") as source:
        assert source.size == 100 and source.read(10, 5) == bytes(range(10, 15)) and source.read(100, 0) == b""
        for offset, length in ((0, 101), (100, 1), (-1, 5), (5, -1), (1 << 62, 1)):
            with pytest.raises(Unreadable) as caught:
                source.read(offset, length)
            assert caught.value.reason == "truncated"


def test_a_file_that_shrinks_between_opening_and_reading_is_refused(here: Path) -> None:
    (here / "a").write_bytes(bytes(1000))
    with LocalFile("a", "a") as source:
        os.truncate("a", 10)
        with pytest.raises(Unreadable) as caught:
            source.read(0, 1000)
        assert caught.value.reason == "changed"


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.truncate(path, 5),
        lambda path: os.truncate(path, 5000),
        lambda path: path.write_bytes(bytes(1000)),
    ],
    ids=["shorter", "longer", "the same length again"],
)
def test_a_change_while_a_file_is_open_is_seen(here: Path, change: Callable[[Path], Any]) -> None:
    path = here / "a"
    path.write_bytes(small_bytes())
    with LocalFile("a", "a") as source:
        source.read(0, 10)
        source.check_unchanged()
        os.utime(path, ns=(1, 1))
        change(path)
        with pytest.raises(Unreadable) as caught:
            source.check_unchanged()
        assert caught.value.reason == "changed"


class Shrinking:
    """A `ByteSource` that ends after so many bytes, however many it promised."""

    name = "a.safetensors"

    def __init__(self, data: bytes, left: int) -> None:
        self.size = len(data)
        self._data = data
        self._left = left

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self._left:
            raise Unreadable("changed", "the file became shorter while it was read")
        return self._data[offset : offset + length]

    def beside(self, path: str) -> ByteSource:
        raise Unreadable("missing", path)


@pytest.mark.parametrize("left", [0, 8, 100, 4096, 5000])
def test_a_source_that_shrinks_while_a_format_reads_it_is_changed(left: int) -> None:
    header, size = header_of([(f"layers.{i}.weight", "F32", (1,)) for i in range(200)])
    assert len(header) > 5000
    with pytest.raises(Unreadable) as caught:
        identify(Shrinking(raw(header, bytes(size)), left), LIMITS)
    assert caught.value.reason == "changed"


def test_a_file_truncated_by_another_thread_never_gives_a_whole_model_of_half_a_file(here: Path) -> None:
    """Scans race with a writer that cuts the file and makes it whole again: each scan tells the truth about some moment."""
    write_json(here / "config.json", SMALL.config)
    content = small_bytes()
    path = here / "model.safetensors"
    path.write_bytes(content)
    stop = threading.Event()

    def cut() -> None:
        while not stop.is_set():
            with path.open("r+b") as file:
                file.truncate(len(content) // 2)
            with path.open("r+b") as file:
                file.write(content)

    writer = threading.Thread(target=cut)
    writer.start()
    try:
        for _ in range(150):
            report = scan(".")
            assert report.models or report.unread
            for model in report.models:
                assert model.parameters.total == TOTAL
            assert set(unread(report).values()) <= {"changed", "truncated"}
            assert (report.decision == "block") == bool(report.unread)
    finally:
        stop.set()
        writer.join()


# ---- bounds


def test_folders_nested_beyond_the_limit_are_unread(here: Path) -> None:
    deep = here / "m"
    for _ in range(5):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "a.txt").write_text("text")
    assert unread(collect(["m"], Limits(folder_depth=4))) == {"m/d/d/d/d/d": "limit"}
    assert unread(collect(["m"], Limits(folder_depth=5))) == {}


def test_more_files_than_the_limit_are_the_users_error(here: Path) -> None:
    for i in range(4):
        (here / f"{i}.txt").write_text("text")
    assert len(collect(["."], Limits(files=4)).files) == 4
    with pytest.raises(ConfigurationError, match="more than 3 files"):
        collect(["."], Limits(files=3))


def test_the_objects_of_a_git_repository_are_named_and_not_walked(here: Path) -> None:
    write_small(here / "m")
    objects = git_directory(here / "m" / ".git") / "objects"
    (objects / "aa").mkdir()
    (objects / "aa" / ("0" * 38)).write_bytes(b"\x78\x01" + os.urandom(1 << 20))
    (objects / "pack").mkdir()
    (objects / "pack" / f"pack-{'0' * 40}.pack").write_bytes(b"PACK" + os.urandom(1 << 20))
    (objects.parent / "index").write_bytes(b"DIRC" + os.urandom(1 << 20))
    report = scan("m")
    assert not report.unread
    assert [(f.id, f.path) for f in report.findings] == [("not-walked", "m/.git")]


def test_weights_under_the_names_of_gits_own_files_are_read(here: Path) -> None:
    objects = git_directory(here / "m" / ".git") / "objects"
    write_sparse(objects.parent / "index", SMALL.tensors)
    write_sparse(objects / "aa" / ("0" * 38), SMALL.tensors)
    write_sparse(objects / "pack" / f"pack-{'0' * 40}.pack", SMALL.tensors)
    write_sparse(objects / "model.safetensors", SMALL.tensors)
    assert len(scan("m").models) == 4


def test_what_else_lies_in_a_git_directory_is_walked(here: Path) -> None:
    git_directory(here / "m" / ".git")
    write_sparse(here / "m" / ".git" / "lfs" / "objects" / "aa" / "x", SMALL.tensors)
    write_sparse(here / "n" / ".git" / "model.safetensors", SMALL.tensors)
    assert [m.path for m in scan("m", "n").models] == ["m/.git/lfs/objects/aa/x", "n/.git/model.safetensors"]


def git_directory(path: Path) -> Path:
    """What git takes for a repository: HEAD, objects and refs (gitrepository-layout(5))."""
    (path / "objects").mkdir(parents=True)
    (path / "refs").mkdir()
    (path / "HEAD").write_text("ref: refs/heads/main\n")
    return path


def test_a_file_called_git_is_walked(here: Path) -> None:
    write_sparse(here / "m" / ".git", SMALL.tensors)
    assert len(scan("m").models) == 1


def test_names_that_are_no_utf8_are_reported_in_every_format(here: Path) -> None:
    name = os.fsdecode(b"bad\xff\x1b[31m.safetensors")
    try:
        (here / name).write_bytes(raw(b"{"))
    except OSError:
        pytest.skip("this file system takes no such name")
    for form in ("text", "json"):
        done = run("scan", ".", "--format", form, cwd=here)
        assert done.returncode == 3, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
