"""`weightguard demo`, as a user runs it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import weightguard
from weightguard.demo.corpus import CASES
from weightguard.demo.hostile import COMMAND, write_hostile
from weightguard.demo.layouts import Layout, deepseek_v3, gptq, llama_8b, llama_70b, llama_405b
from weightguard.demo.trained import train
from weightguard.demo.write import write_model, write_safetensors

ROOT = str(Path(weightguard.__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": ROOT}


def demo(temporary: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weightguard", "demo", *arguments]
    environment = {**ENVIRONMENT, "TMPDIR": str(temporary), **options.pop("env", {})}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, **options)


def test_every_verdict_is_the_one_expected(tmp_path: Path) -> None:
    ran = demo(tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = ran.stdout.splitlines()[1 : len(CASES) + 1]
    assert [row[:3] for row in rows] == ["ok "] * len(CASES)
    for phrase in ("block: controlled", "block: undetermined", "block: posix.system", "allow: § 734.7", "allow: below 1e26"):
        assert any(row.endswith(phrase) for row in rows)
    assert "BLOCK   dense-405b/model.safetensors.index.json" in ran.stdout


def test_output_fits_80_columns(tmp_path: Path) -> None:
    assert max(map(len, demo(tmp_path).stdout.splitlines())) <= 80


def test_nothing_stays_in_the_temporary_folder(tmp_path: Path) -> None:
    demo(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_in_the_temporary_folder_when_it_is_terminated(tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path)}
    running = subprocess.Popen(
        [sys.executable, "-m", "weightguard", "demo"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    end = time.monotonic() + 30
    while not list(tmp_path.glob("*/config.json")) and not list(tmp_path.glob("*/*")) and time.monotonic() < end:
        time.sleep(0.005)
    running.send_signal(signal.SIGTERM)
    assert b"Traceback" not in running.communicate(timeout=30)[1]
    assert running.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_numba_and_torch_are_not_needed(tmp_path: Path) -> None:
    """With both replaced by modules that raise, the verdicts are the same."""
    for name in ("numba", "torch", "safetensors", "rich", "yaml"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('imported')\n")
    ran = demo(tmp_path, env={"PYTHONPATH": os.pathsep.join([str(tmp_path), ROOT])})
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_file_system_without_room_is_said_in_one_line(tmp_path: Path) -> None:
    limit = 1 << 30

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    ran = demo(tmp_path, preexec_fn=limited)
    assert ran.returncode == 2
    assert "no sparse file of 50 GB" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_wrong_verdict_is_exit_1(tmp_path: Path) -> None:
    """The same command with one expectation changed."""
    program = (
        "import dataclasses, sys\n"
        "from weightguard.demo import corpus\n"
        "first = dataclasses.replace(corpus.CASES[0], outcome='allow: below 1e26')\n"
        "corpus.CASES = (first, *corpus.CASES[1:])\n"
        "from weightguard.cli import main\n"
        "sys.exit(main(['demo']))\n"
    )
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60)
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[1].startswith("NO ")
    assert "1 of 9 verdicts are WRONG" in ran.stdout


def test_keep_leaves_a_corpus_that_scan_judges_alike(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert demo(tmp_path, "--keep", str(kept)).returncode == 0
    for declaration, status in (((), 1), (("--declaration", "tokens.toml"), 0), (("--declaration", "operations.toml"), 1)):
        command = [sys.executable, "-m", "weightguard", "scan", "dense-405b", *declaration, "--format", "json"]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=kept, env=ENVIRONMENT, timeout=60)
        assert ran.returncode == status
        assert json.loads(ran.stdout)["models"][0]["parameters"]["total"] == 405_853_388_800


def test_keep_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    ran = demo(tmp_path, "--keep", str(tmp_path))
    assert ran.returncode == 2
    assert "is not empty" in ran.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("layout", "parameters"),
    [
        (llama_8b(), 8_030_261_248),  # the counts on the models' cards and of their classes
        (llama_70b(), 70_553_706_496),
        (llama_405b(), 405_853_388_800),
        (deepseek_v3(), 671_026_404_352),
    ],
    ids=["8B", "70B", "405B", "671B"],
)
def test_layouts_hold_the_published_number_of_parameters(layout: Layout, parameters: int) -> None:
    elements = 0
    for name, _, shape in layout.tensors:
        if not name.endswith("e_score_correction_bias"):
            size = 1
            for n in shape:
                size *= n
            elements += size
    assert elements == parameters


def test_a_sparse_file_is_whole_to_the_reference_reader(tmp_path: Path) -> None:
    from safetensors import safe_open

    tiny = gptq(Layout({}, llama_8b().tensors[:12]))
    (name,) = write_model(str(tmp_path), tiny)
    with safe_open(tmp_path / name, "np") as file:
        assert set(file.keys()) == {t[0] for t in tiny.tensors}
        assert file.get_slice("model.layers.0.mlp.down_proj.qweight").get_shape() == [14336 // 8, 4096]


def test_shards_and_index_hold_each_tensor_once(tmp_path: Path) -> None:
    names = write_model(str(tmp_path), llama_8b(), 5 * 10**9)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(names) == 4
    assert set(index["weight_map"].values()) == set(names)
    assert list(index["weight_map"]) == [t[0] for t in llama_8b().tensors]
    assert index["metadata"]["total_size"] == 2 * 8_030_261_248


def test_the_trained_model_has_learnt_and_is_what_its_file_says(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    trained = train(100)
    assert trained.last_loss < trained.first_loss / 1.5
    write_safetensors(str(tmp_path / "model.safetensors"), trained.tensors, trained.data)
    loaded = load_file(tmp_path / "model.safetensors")
    assert b"".join(loaded[name].tobytes() for name, _, _ in trained.tensors) == trained.data


def test_the_hostile_checkpoint_is_refused_by_torch_for_its_call(tmp_path: Path) -> None:
    """A real unpickler agrees that it asks for posix.system; nothing runs it."""
    import torch

    write_hostile(str(tmp_path / "pytorch_model.bin"))
    with pytest.raises(Exception, match=r"posix\.system"):
        torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    assert COMMAND.startswith("echo ")
