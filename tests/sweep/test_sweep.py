"""A sweep: the same as a scan, only what changed again, and nothing lost or done twice by any death."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import weightguard
from tests.layouts import ROOT, declaration, write_json, write_shards, write_small
from weightguard.cli import main
from weightguard.errors import ConfigurationError
from weightguard.models.units import unit_of
from weightguard.sweep.rows import Row
from weightguard.sweep.state import State

duckdb = pytest.importorskip("duckdb")


def tree(root: Path, models: int) -> Path:
    """Small models in folders, some in shards, with sidecars and other files."""
    for n in range(models):
        folder = root / f"team-{n % 3}" / f"model-{n:03}"
        (write_shards if n % 2 else write_small)(folder)
        (folder / "README.md").write_text(f"---\nlicense: mit\n---\n# {n}\n")
        (folder / "notes.txt").write_text("x" * n)
    return root


def swept(root: Path | str, out: Path, *more: str) -> int:
    return main(["sweep", str(root), "-o", str(out), "-q", *more])


def rows(out: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect() as db:  # another would hold what it read of the file before
        found: list[tuple[Any, ...]] = db.sql(f"select * from '{out / 'results.parquet'}' order by uri").fetchall()
    return found


def of(out: Path, column: str) -> dict[str, Any]:
    return {row[0]: row[Row._fields.index(column)] for row in rows(out)}


def test_a_dangerous_file_of_no_model_blocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small(tmp_path / "t" / "m")
    (tmp_path / "t" / "start.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert weightguard.scan(str(tmp_path / "t")).dangerous
    assert swept(tmp_path / "t", tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert "start.pkl" in printed.out and "dangerous to load" in printed.err


def test_a_pipeline_at_the_root_is_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_pipeline(tmp_path / "p"))
    report = weightguard.scan(".")
    assert len(report.models) == 1 and swept(".", tmp_path / "out") == 0
    assert len(set(of(tmp_path / "out", "model").values()) - {""}) == 1


def write_pipeline(folder: Path) -> Path:
    write_small(folder / "unet", name="diffusion_pytorch_model.safetensors")
    write_small(folder / "text_encoder")
    write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            "unet": ["diffusers", "UNet2DConditionModel"],
            "text_encoder": ["transformers", "CLIPTextModel"],
        },
    )
    return folder


def test_an_approval_that_ends_is_asked_for_again(tmp_path: Path) -> None:
    """What a declaration says may end on a day, also where nothing in the store changes."""
    write_small(tmp_path / "t")
    text = declaration("1e20").replace(
        "[[run]]", '[approval]\nby = "x"\nreference = "y"\ndate = 2026-11-01\nexpires = 2026-12-01\n[[run]]', 1
    )
    (tmp_path / "t" / "weightguard.toml").write_text(text)
    assert swept(tmp_path / "t", tmp_path / "out", "--as-of", "2026-11-25") == 0
    before = rows(tmp_path / "out")
    swept(tmp_path / "t", tmp_path / "out", "--as-of", "2026-12-05")
    assert rows(tmp_path / "out") != before


def test_a_table_that_was_not_written_is_written_by_the_next(tmp_path: Path) -> None:
    root = tree(tmp_path / "t", 2)
    assert swept(root, tmp_path / "out") == 0
    (root / "team-0" / "model-000" / "weightguard.toml").write_text(declaration("1.2e26"))
    table = tmp_path / "out" / "results.parquet"
    old = table.read_bytes()
    table.unlink()
    table.mkdir()  # so that it can't be put in place
    assert swept(root, tmp_path / "out") == 2
    table.rmdir()
    table.write_bytes(old)
    assert swept(root, tmp_path / "out", "--resume") == 1
    assert "block" in of(tmp_path / "out", "decision").values()


def test_a_state_that_somebody_emptied_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tree(tmp_path / "t", 2)
    assert swept(root, tmp_path / "out") == 0
    with sqlite3.connect(tmp_path / "out" / "sweep.sqlite") as db:
        db.execute("delete from rows")
    assert swept(root, tmp_path / "out") == 2
    assert "no row of" in capsys.readouterr().err


def test_a_change_whose_times_were_put_back_is_seen(tmp_path: Path) -> None:
    write_small(tmp_path / "t")
    file = tmp_path / "t" / "model.safetensors"
    assert swept(tmp_path / "t", tmp_path / "out") == 0
    times = file.stat()
    file.write_bytes(b"\xff" * times.st_size)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert swept(tmp_path / "t", tmp_path / "out") == 3


def test_texts_that_are_no_unicode_end_no_sweep(tmp_path: Path) -> None:
    write_small(tmp_path / "t" / "m")
    (tmp_path / "t" / "model.safetensors.index.json").write_text('{"weight_map": {"x": "\\ud800x.safetensors"}}')
    os.symlink("/nowhere", os.fsencode(tmp_path / "t") + b"/\xff.bin")
    assert swept(tmp_path / "t", tmp_path / "out") in (1, 3)
    assert len(rows(tmp_path / "out")) == 4


def test_the_state_lies_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small(tmp_path / "m")
    assert swept(tmp_path, tmp_path / "out") == 2
    assert "write it elsewhere" in capsys.readouterr().err


def test_the_same_as_a_scan(tmp_path: Path) -> None:
    root = tree(tmp_path / "t", 10)
    (root / "bad.safetensors").write_bytes(b"not weights")
    assert swept(root, tmp_path / "out") == 3
    report = weightguard.scan(str(root))
    models, reasons = of(tmp_path / "out", "model"), of(tmp_path / "out", "reason")
    assert {m for m in models.values() if m} == {m.path for m in report.models}
    assert {uri: reason for uri, reason in reasons.items() if reason} == {u.path: u.reason for u in report.unread}
    assert len(models) == sum(1 for p in root.rglob("*") if p.is_file())
    by_path = {m.path: m for m in report.models}
    for uri, total in of(tmp_path / "out", "parameters").items():
        assert total == (by_path[models[uri]].parameters.total if models[uri] else None)


def test_only_what_changed_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tree(tmp_path / "t", 6), tmp_path / "out"
    assert swept(root, out) == 0
    before = rows(out)
    capsys.readouterr()
    assert swept(root, out) == 0 and ", 0 read" in capsys.readouterr().out
    assert rows(out) == before
    (root / "team-0" / "model-000" / "weightguard.toml").write_text(declaration("1.2e26"))
    assert swept(root, out) == 1
    printed = capsys.readouterr().out
    assert ", 5 read" in printed and "model-000/model.safetensors  controlled" in printed
    shutil.rmtree(root / "team-0" / "model-000")
    assert swept(root, out) == 0
    assert not any("/model-000/" in row[0] for row in rows(out))


def test_another_policy_decides_everything_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tree(tmp_path / "t", 4), tmp_path / "out"
    assert swept(root, out) == 0
    rules = tmp_path / "p.toml"
    rules.write_text('schema = "weightguard/policy/1"\n[[rule]]\ndecision = "block"\nreason = "no"\npaths = ["team-0/*"]\n')
    capsys.readouterr()
    swept(root, out, "--policy", str(rules))
    assert ", 0 read" not in capsys.readouterr().out


def test_what_a_waiver_lifted_is_decided_again_when_it_expires(tmp_path: Path) -> None:
    import hashlib

    root, out, rules = write_small(tmp_path / "t"), tmp_path / "out", tmp_path / "p.toml"
    (root / "weightguard.toml").write_text(declaration("1.2e26"))
    content = (root / "model.safetensors").read_bytes()
    files = f'files = [{{bytes = {len(content)}, sha256 = "{hashlib.sha256(content).hexdigest()}"}}]'
    words = 'regimes = ["us-ear-4e091"]\nreason = "r"\napproved_by = "a"\nexpires = 2026-12-01'
    rules.write_text(f'schema = "weightguard/policy/1"\n[[waiver]]\n{files}\n{words}\n')
    assert swept(root, out, "--policy", str(rules), "--as-of", "2026-11-25") == 0
    assert swept(root, out, "--policy", str(rules), "--as-of", "2026-11-26") == 0
    assert swept(root, out, "--policy", str(rules), "--as-of", "2026-12-02") == 1


def test_a_model_in_several_folders_is_one_unit(tmp_path: Path) -> None:
    root, out = tmp_path / "t", tmp_path / "out"
    write_small(root / "p" / "unet")
    write_small(root / "p" / "vae")
    swept(root, out)
    assert len({m for m in of(out, "model").values() if m}) == 2
    write_json(root / "p" / "model_index.json", {"_class_name": "X", "unet": ["diffusers", "U"], "vae": ["diffusers", "V"]})
    swept(root, out)
    assert len({m for m in of(out, "model").values() if m}) == 1 == len(set(of(out, "unit").values()))
    (root / "p" / "model_index.json").unlink()
    swept(root, out)
    assert len({m for m in of(out, "model").values() if m}) == 2 and len(rows(out)) == 4


@pytest.mark.parametrize(
    ("folder", "unit"),
    [
        ("s3://b/m", "s3://b/m"),
        ("s3://b/m/iter_0000100/mp_rank_00", "s3://b/m"),
        ("s3://b/m/global_step10", "s3://b/m"),
        ("s3://b/m/global_step10/zero/layers.0.w", "s3://b/m"),
        ("s3://b/m/step/zero/layers.0.w", "s3://b/m/step"),
        ("s3://b/run/pytorch_model_fsdp_0", "s3://b/run"),
        ("s3://b/pipe/unet", "s3://b/pipe"),
        ("s3://b/pipe/unet/deeper", "s3://b/pipe"),
        ("s3://b/other/unet", "s3://b/other/unet"),
        ("", ""),
    ],
)
def test_units(folder: str, unit: str) -> None:
    assert unit_of(folder, {"s3://b/pipe"}) == unit


def test_killed_ten_times_and_resumed(tmp_path: Path) -> None:
    root = tree(tmp_path / "t", 1200)
    assert swept(root, tmp_path / "whole") == 0
    random.seed(7)
    argv = [sys.executable, "-m", "weightguard", "sweep", str(root), "-o", str(tmp_path / "out"), "--resume", "-q"]
    killed = 0
    for _ in range(10):
        process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(0.5 + random.random())
        killed += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait()
    assert killed >= 3
    assert swept(root, tmp_path / "out", "--resume") == 0
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")


def test_an_unfinished_sweep_is_not_taken_for_a_finished_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tree(tmp_path / "t", 4), tmp_path / "out"
    swept(root, out)
    state = State(str(out))
    state.set_terms(finished="no")
    assert main(["sweep", str(root), "-o", str(out)]) == 2 and "another sweep is writing" in capsys.readouterr().err
    state.close()
    assert main(["sweep", str(root), "-o", str(out)]) == 2 and "--resume" in capsys.readouterr().err
    assert swept(root, out, "--resume") == 0


def test_a_state_of_another_store_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swept(tree(tmp_path / "a", 2), tmp_path / "out")
    assert swept(tree(tmp_path / "b", 2), tmp_path / "out") == 2
    assert "give another folder" in capsys.readouterr().err


POISON = """
import os
_open = os.open
def open(path, *rest, **more):
    if str(path).endswith("poison.safetensors"):
        os._exit(9)
    return _open(path, *rest, **more)
os.open = open
"""


CLUSTERS = [pytest.param("ray", marks=pytest.mark.full), pytest.param("dask", marks=pytest.mark.full)]


@pytest.mark.parametrize("engine", CLUSTERS)
def test_a_driver_killed_on_a_cluster_and_resumed(tmp_path: Path, engine: str) -> None:
    pytest.importorskip({"ray": "ray", "dask": "distributed"}[engine])
    root = tree(tmp_path / "t", 3000)
    assert swept(root, tmp_path / "whole") == 0
    argv = [
        sys.executable,
        "-m",
        "weightguard",
        "sweep",
        str(root),
        "-o",
        str(tmp_path / "out"),
        "--resume",
        "-q",
        "--engine",
        engine,
    ]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    state = tmp_path / "out" / "sweep.sqlite"
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None and not decided(state):
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 0 < decided(state) < 16_500
    assert subprocess.run(argv, cwd=ROOT, timeout=240).returncode == 0
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")


def decided(state: Path) -> int:
    """How many rows a state holds already."""
    import sqlite3

    try:
        with sqlite3.connect(f"file:{state}?mode=ro", uri=True) as db:
            return int(db.execute("select count(*) from rows").fetchone()[0])
    except sqlite3.Error:
        return 0


@pytest.mark.parametrize("engine", ["embedded", *CLUSTERS])
def test_an_object_that_kills_its_worker_is_one_unread_row(tmp_path: Path, engine: str) -> None:
    if engine != "embedded":
        pytest.importorskip({"ray": "ray", "dask": "distributed"}[engine])
    root, out = tree(tmp_path / "t", 12), tmp_path / "out"
    shutil.copy(root / "team-0" / "model-000" / "model.safetensors", root / "team-1" / "model-001" / "poison.safetensors")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(POISON)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}", "RAY_DEDUP_LOGS": "0"}
    argv = [sys.executable, "-m", "weightguard", "sweep", str(root), "-o", str(out), "-q", "--engine", engine]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode in (1, 3), done.stderr
    kinds = of(out, "kind")
    assert len(kinds) == sum(1 for p in root.rglob("*") if p.is_file())
    assert [uri for uri, kind in kinds.items() if kind == "unread"] == [
        str(root / "team-1" / "model-001" / "poison.safetensors")
    ]


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    import resource

    root, out = tree(tmp_path / "t", 30), tmp_path / "out"
    argv = [sys.executable, "-m", "weightguard", "sweep", str(root), "-o", str(out), "-q", "--resume"]

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = subprocess.run(argv, cwd=ROOT, preexec_fn=little_room, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and ("can't write" in done.stderr or "can't keep" in done.stderr), done.stderr
    assert subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=120).returncode == 0
    assert swept(root, tmp_path / "whole") == 0
    assert rows(out) == rows(tmp_path / "whole")


def test_nothing_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert swept(tmp_path / "empty", tmp_path / "out") == 2
    assert "nothing is there" in capsys.readouterr().err
    assert swept(tmp_path / "none", tmp_path / "out") == 2


def test_links_and_odd_names(tmp_path: Path) -> None:
    root, out = tree(tmp_path / "t", 2), tmp_path / "out"
    (root / "away").symlink_to("/etc/hostname")
    (root / 'na,"me\n.txt').write_text("x")
    (root / "blob").write_bytes(bytes(range(200, 256)) * 20)
    (root / os.fsdecode(b"\xff.safetensors")).write_bytes(b"x")
    assert swept(root, out) == 3
    kinds = {uri.rpartition("/")[2]: kind for uri, kind in of(out, "kind").items()}
    assert kinds["blob"] == "unknown"
    assert kinds["away"] == "unread" and kinds['na,"me\n.txt'] == "other"
    assert [k for k in kinds if "udcff" in k and kinds[k] == "unread"]


def test_as_of_is_what_it_decides_by(tmp_path: Path) -> None:
    with pytest.raises((ConfigurationError, SystemExit)):
        swept(tree(tmp_path / "t", 1), tmp_path / "out", "--as-of", "tomorrow")
