"""weightguard against CPython's own unpickler, or torch.load: dangers are changed, and what weightguard lets pass is loaded.

The load runs in a forked process whose audit hook ends it at the first thing it does, before it is done: nothing that a changed
payload would do happens. `python -m tests.hostile.differential --rounds 30000 --seed 1`
"""

from __future__ import annotations

import argparse
import os
import pickle
import pickletools
import random
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz.fuzz_formats import change
from tests.hostile import containers, gadgets, techniques
from weightguard.errors import Unreadable
from weightguard.formats import identify
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory

_EVENTS = (
    "os.system os.exec os.posix_spawn os.spawn os.fork os.forkpty subprocess.Popen pty.spawn ctypes.dlopen socket.connect "
    "socket.getaddrinfo os.remove os.rename os.mkdir os.rmdir os.link os.symlink os.putenv shutil.rmtree shutil.copyfile "
    "sqlite3.connect"
).split()
_OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
_AFTER = (b"", b"", b"", b"\0", b"\1\0\0\0", b"\2" + bytes(7), b"x\n")


def acts(data: bytes, folder: str, by_torch: bool) -> str:
    """The first audit event of loading `data` that reaches outside of the process; empty if there is none."""
    path = Path(folder, "model")
    path.write_bytes(data)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _load(str(path), writing, by_torch)
    os.close(writing)
    seen = os.read(reading, 100)
    os.close(reading)
    os.waitpid(pid, 0)
    return seen.decode()


def _load(path: str, writing: int, by_torch: bool) -> None:
    signal.alarm(5)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    for number in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), number)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if event in _EVENTS or writes:
            os.write(writing, event.encode())
            os._exit(0)

    try:
        sys.addaudithook(hook)
        if by_torch:
            import torch

            torch.load(path, weights_only=False)
        else:
            with open(path, "rb") as file:
                pickle.load(file)
    finally:
        os._exit(0)


def stopped(data: bytes) -> bool:
    """Whether `weightguard` says that something is wrong, in a file whose name says nothing."""
    try:
        container = identify(InMemory("model", data), LIMITS)
    except Unreadable as error:
        return error.reason != "unrecognised"  # small files of no known kind are let be
    return container is not None and any(f.severity in ("critical", "high") for f in container.findings)


def changed(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return change(data, rng)
    edited = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(edited)) if rng.random() < 0.7 else rng.randrange(min(8, len(edited)))
        opcode = rng.choice(_OPCODES) + rng.choice(_AFTER)
        kind = rng.random()
        if kind < 0.5:
            edited[at:at] = opcode
        elif kind < 0.8:
            edited[at : at + len(opcode)] = opcode
        else:
            other = rng.choice(others)
            edited[at:at] = other[rng.randrange(len(other)) :]
    return bytes(edited)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bare", action="store_true", help="also pickles without PROTO")
    parser.add_argument("--torch", action="store_true", help="torch's files, loaded by torch, in place of pickles")
    options = parser.parse_args()
    import numpy  # noqa: F401  # once, not in each forked process
    import torch

    torch.set_num_threads(1)
    sources = (containers.torch_zips, containers.legacy) if options.torch else (techniques.cases, gadgets.cases)
    dangers = [c.content for source in sources for c in source() if c.loads and len(c.content) < 5000]
    anything = options.bare or options.torch
    rng = random.Random(options.seed)
    loaded = 0
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            data = rng.choice(dangers)
            if data[:1] != b"\x80" and not anything:
                data = b"\x80\x02" + data
            data = changed(data, dangers, rng)
            if stopped(data) or not (anything or (data[:1] == b"\x80" and data[1:2] in b"\1\2\3\4\5")):
                continue
            loaded += 1
            if event := acts(data, folder, options.torch):
                found.append(f"{event}: {data!r}")
    print(f"{options.rounds} changed, {loaded} passed and were loaded, {len(found)} of them act")
    print("\n".join(found[:20]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
