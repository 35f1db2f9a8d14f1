"""Who finds what: weightguard and other scanners over the corpus of `tests/hostile`.

`python -m benchmarks.peers -o benchmarks/PEERS.md`

Each tool runs as a process of its own over the folder of each case, with 20 seconds and 6 GB of address space. A peer that isn't
installed is skipped. `--peers-from DIR`: folders DIR/TOOL/bin (one virtual environment each) are looked into before PATH.

found: the tool says that something is wrong with the file (exit status 1). refused: it ends with another status than 0, so that a
gate that minds it stops. passed: status 0, or "nothing to scan here". failed: killed by a signal, or out of time or memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

SECONDS, MEMORY = 20, 6 << 30
VERDICTS = ("found", "refused", "passed", "failed")
GROUPS = ("danger", "malformed", "benign")

# fickling's command reads bare pickles only; its library opens zips too.
_FICKLING = """
import pathlib, sys, zipfile
from fickling.loader import scan_file, scan_zip_archive
worst = 0
for path in pathlib.Path(sys.argv[1]).iterdir():
    try:
        path = str(path)
        scanned = scan_zip_archive(path).values() if zipfile.is_zipfile(path) else [scan_file(path)]
        worst = max([worst, *(1 if not s.is_safe else 0 for s in scanned)])
    except Exception as error:
        print(error, file=sys.stderr)
        worst = worst or 2
sys.exit(worst)
"""


class Case(NamedTuple):
    """A line of the corpus's list; `folder` holds the file and what lies beside it."""

    name: str
    container: str
    truth: str
    folder: Path
    why: str


@dataclass(frozen=True)
class Tool:
    """command: its arguments but for the folder. judge: (exit status, output) -> one of `VERDICTS`."""

    name: str
    version: str
    command: tuple[str, ...]
    judge: Callable[[int, str], str]


@dataclass
class Outcome:
    """What a tool said, by case; seconds of all; peak resident bytes of the largest process."""

    said: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    peak: int = 0

    def add(self, case: str, verdict: str, seconds: float, peak: int) -> None:
        self.said[case] = verdict
        self.seconds += seconds
        self.peak = max(self.peak, peak)


def _by_status(status: int, output: str) -> str:
    return {0: "passed", 1: "found"}.get(status, "refused")


def _modelscan(status: int, output: str) -> str:
    return {0: "passed", 1: "found", 3: "passed"}.get(status, "refused")  # 3: no file of a kind that it knows


def _weightguard(status: int, output: str) -> str:
    """Of the decision only what is about the file: a dangerous call, or what could not be read. A count is no finding here."""
    try:
        report = json.loads(output)
    except ValueError:
        return "refused" if status else "failed"
    findings = [*report["findings"], *(f for m in report["models"] for f in m["findings"])]
    if any(f["severity"] in ("critical", "high") for f in findings):
        return "found"
    return "refused" if report["unread"] else "passed"


def tools(folder: str | None) -> list[Tool]:
    """weightguard, and the peers that are there."""
    places = [str(Path(folder) / name / "bin") for name in PEERS] if folder else []
    path = os.pathsep.join([*places, os.environ.get("PATH", "")])
    command = (sys.executable, "-m", "weightguard", "scan", "-q", "--format", "json", "--")
    found = [Tool("weightguard", _version(command[:3]), command, _weightguard)]
    for name, (arguments, judge) in PEERS.items():
        program = shutil.which(name, path=path)
        if program is None:
            print(f"{name}: not installed, skipped", file=sys.stderr)
            continue
        program = os.path.realpath(os.path.dirname(program)) + f"/{name}"
        python = os.path.dirname(program) + "/python"
        start = (python, *arguments) if arguments[:1] == ("-c",) else (program, *arguments)
        found.append(Tool(name, _package_version(python, name), start, judge))
    return found


PEERS: dict[str, tuple[tuple[str, ...], Callable[[int, str], str]]] = {
    "picklescan": (("-p",), _by_status),
    "modelscan": (("-p",), _modelscan),
    "modelaudit": (("scan", "--no-cache", "--timeout", str(SECONDS)), _by_status),
    "fickling": (("-c", _FICKLING), _by_status),
}


def _version(command: Sequence[str]) -> str:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().split()[-1] if done.stdout.strip() else "?"


def _package_version(python: str, name: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "?"


def run(tool: Tool, folder: Path) -> tuple[str, float, int]:
    """(verdict, seconds, peak resident bytes) of one tool over one case."""
    environment = {**os.environ, "PROMPTFOO_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "NO_COLOR": "1", "COLUMNS": "200"}
    start = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(
            [*tool.command, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.DEVNULL,
            env={**environment, "HOME": home},
            cwd=os.getcwd() if tool.name == "weightguard" else home,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),  # one thread at a time
        )
        watch = threading.Timer(SECONDS, os.killpg, (process.pid, signal.SIGKILL))
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        watch.cancel()
        process.returncode = status
        out.seek(0)
        output = out.read().decode(errors="replace")
    seconds, peak = time.perf_counter() - start, usage.ru_maxrss * 1024
    if os.WIFSIGNALED(status):
        return "failed", seconds, peak
    return tool.judge(os.WEXITSTATUS(status), output), seconds, peak


def compare(cases: Sequence[Case], contenders: Sequence[Tool], kept: Path | None) -> dict[str, Outcome]:
    """kept: a file of a line a verdict: what a peer of the same version said about the same bytes isn't asked again."""
    known: dict[str, list[object]] = {}
    if kept is not None and kept.exists():
        known = {key: said for key, *said in map(json.loads, kept.read_text().splitlines())}
    outcomes = {tool.name: Outcome() for tool in contenders}
    for done, case in enumerate(cases):
        digest = _digest(case.folder)
        for tool in contenders:
            key = f"{tool.name} {tool.version} {digest}"
            said = known.get(key)
            if said is None or tool.judge is _weightguard:
                said = list(run(tool, case.folder))
                if kept is not None and tool.judge is not _weightguard:
                    with kept.open("a") as file:
                        file.write(json.dumps([key, *said]) + "\n")
            verdict, seconds, peak = said
            outcomes[tool.name].add(case.name, str(verdict), float(str(seconds)), int(str(peak)))
        if sys.stderr.isatty():
            print(f"\r{done + 1}/{len(cases)} {case.name:60}", end="", file=sys.stderr)
    return outcomes


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        whole.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def table(cases: Sequence[Case], contenders: Sequence[Tool], outcomes: dict[str, Outcome]) -> str:
    """The comparison in Markdown."""
    of = {group: [c.name for c in cases if c.truth == group] for group in GROUPS}
    lines = [
        "| | " + " | ".join(f"{t.name} {t.version}" for t in contenders) + " |",
        "|---|" + "---:|" * len(contenders),
    ]

    def row(what: str, value: Callable[[Outcome], object]) -> None:
        lines.append(f"| {what} | " + " | ".join(str(value(outcomes[t.name])) for t in contenders) + " |")

    for group, words in (
        ("danger", (("found", "found"), ("refused", "refused"), ("passed", "**passed**"), ("failed", "failed"))),
        ("malformed", (("found", "found"), ("refused", "refused"), ("passed", "**passed as clean**"), ("failed", "failed"))),
        ("benign", (("found", "**flagged**"), ("refused", "refused"), ("passed", "passed"), ("failed", "failed"))),
    ):
        for verdict, word in words:
            row(f"{len(of[group])} {group}: {word}", partial(_count, of[group], verdict))
    row("wall time of all, s", lambda o: f"{o.seconds:.0f}")
    row("peak memory, MB", lambda o: f"{o.peak / 1e6:.0f}")
    return "\n".join(lines)


def _count(names: Sequence[str], verdict: str, outcome: Outcome) -> int:
    return sum(outcome.said[n] == verdict for n in names)


def lists(cases: Sequence[Case], outcomes: dict[str, Outcome]) -> str:
    """What a peer finds and weightguard lets pass, and what weightguard stops though it is harmless."""
    ours = outcomes["weightguard"].said
    lines = ["", "Dangers and malformed files that a peer finds and weightguard lets pass:", ""]
    for case in cases:
        if case.truth != "benign" and ours[case.name] in ("passed", "failed"):
            peers = [n for n, o in outcomes.items() if n != "weightguard" and o.said[case.name] == "found"]
            if peers:
                lines.append(f"- `{case.name}`: {case.why} ({', '.join(peers)})")
    if lines[-1] == "":
        lines.append("none")
    lines += ["", "Dangers that nobody finds or refuses:", ""]
    quiet = [c for c in cases if c.truth == "danger" and all(o.said[c.name] in ("passed", "failed") for o in outcomes.values())]
    lines += [f"- `{c.name}`: {c.why}" for c in quiet] or ["none"]
    for verdict, words in (("found", "flags"), ("refused", "does not read")):
        lines += ["", f"Harmless files that weightguard {words}:", ""]
        named = [f"- `{c.name}` ({c.container})" for c in cases if c.truth == "benign" and ours[c.name] == verdict]
        lines += named or ["none"]
    return "\n".join(lines)


def corpus(folder: str) -> list[Case]:
    """The corpus, written there by a process of its own: this one stays small, as its size would count as its children's."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.hostile.corpus", folder], check=True, stdout=subprocess.DEVNULL
    )
    lines = (line.split("\t") for line in Path(folder, "cases.tsv").read_text().splitlines())
    return [Case(name, container, truth, Path(path).parent, why) for name, container, truth, path, why in lines]


def published(folder: str, into: str) -> list[Case]:
    """Every weight file of a folder of published checkpoints, as harmless cases."""
    words = ".pt .pth .bin .ckpt .tar .jit .h5 .keras .onnx .safetensors .gguf .npz .tflite .pkl"
    endings = tuple(words.split())
    found = []
    for path in sorted(p for p in Path(folder).rglob("*") if p.name.endswith(endings) and p.is_file()):
        name = "real-" + str(path.relative_to(folder)).replace("/", "-")
        home = Path(into, name)
        home.mkdir()
        os.link(path, home / path.name) if os.stat(into).st_dev == path.stat().st_dev else shutil.copy(path, home)
        found.append(Case(name, "published", "benign", home, "a published checkpoint"))
    return found


def _shown(arguments: Sequence[str]) -> list[str]:
    """The command, with the last part of each path: where things lie on this machine says nothing."""
    return [os.path.basename(a.rstrip("/")) if a.startswith("/") else a for a in arguments]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-from", metavar="DIR", help="a folder of virtual environments, one a peer, by its name")
    parser.add_argument("--real", metavar="DIR", help="a folder of published checkpoints to add to the harmless ones")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name has this in it")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the table there")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the peers' verdicts there, and take those that it has")
    options = parser.parse_args()
    contenders = tools(options.peers_from)
    with tempfile.TemporaryDirectory(prefix="weightguard-peers-") as folder:
        cases = corpus(folder) + (published(options.real, folder) if options.real else [])
        cases = [c for c in cases if options.only in c.name]
        outcomes = compare(cases, contenders, options.keep)
    command = shlex.join(_shown(sys.argv[1:]))
    text = "\n".join(
        (
            "# Peers",
            "",
            f"`python -m benchmarks.peers {command}` on {time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}.",
            "What the words mean stands in its docstring. With `--keep` a peer's seconds are of the run that asked it, so only",
            "their order of magnitude compares.",
            "",
            table(cases, contenders, outcomes),
            lists(cases, outcomes),
            "",
        )
    )
    print(text)
    if options.output:
        Path(options.output).write_text(text)


if __name__ == "__main__":
    main()
