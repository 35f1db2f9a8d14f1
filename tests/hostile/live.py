"""Whether a danger acts: each file is loaded in a process of its own, in an empty folder, without a network.

`python -m tests.hostile.live FOLDER` reads FOLDER/cases.txt (lines: loader, tab, path) and prints a line for each: "ran" with what was
seen, "absent" where this Python lacks what is called, or "quiet".
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

SEEN = (
    "os.system os.exec os.posix_spawn os.spawn os.fork os.forkpty subprocess.Popen pty.spawn ctypes.dlopen socket.connect "
    "socket.getaddrinfo socket.gethostbyname urllib.Request ftplib.connect smtplib.connect poplib.connect imaplib.open "
    "telnetlib.Telnet.open nntplib.connect webbrowser.open"
).split()
NETWORK = ("socket.",)


def load(loader: str, path: str) -> None:
    if loader.startswith("pickle"):
        import pickle

        with open(path, "rb") as file:
            pickle.load(file)
    elif loader == "torch":
        import torch

        torch.load(path, weights_only=False)
    elif loader == "joblib":
        import joblib  # type: ignore[import]

        joblib.load(path)
    elif loader == "numpy":
        import numpy

        loaded = numpy.load(path, allow_pickle=True)
        for key in getattr(loaded, "files", ()):
            loaded[key]


def child(loader: str, path: str) -> str:
    """Runs in the forked process; what it saw."""
    os.chdir(tempfile.mkdtemp(prefix="wg-live-"))
    for number in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
    events: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in SEEN:
            events.append(event)
            if event.startswith(NETWORK):
                raise OSError("no network here")

    sys.addaudithook(hook)
    failed = ""
    try:
        load(loader, path)
    except BaseException as error:
        failed = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError | AttributeError) and not events and not os.listdir("."):
            return f"absent {failed}"
    import time

    for _ in range(20):  # a process or thread of its own may need a moment
        if os.listdir(".") or events:
            break
        time.sleep(0.05)
    made = ",".join(sorted(os.listdir(".")))
    return f"ran {made} {','.join(sorted(set(events)))}" if made or events else f"quiet {failed}"


def main(folder: str) -> None:
    import signal

    import numpy  # noqa: F401
    import torch

    torch.set_num_threads(1)
    for line in (Path(folder) / "cases.txt").read_text().splitlines():
        loader, path = line.split("\t")
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            signal.alarm(20)
            try:
                os.write(writing, child(loader, path).encode()[:400])
            finally:
                os._exit(0)
        os.close(writing)
        seen = b""
        while part := os.read(reading, 400):
            seen += part
            break
        os.close(reading)
        os.waitpid(pid, 0)
        print(path, seen.decode().replace("\n", " ") or "quiet: died", sep="\t", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
