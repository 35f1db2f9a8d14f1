"""The HTTP gate under load: 1,000 requests for a small model, 50 at once, against a process of its own on this machine.

python -m benchmarks.service [--requests N] [--concurrency N]
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.layouts import write_small


def ask(port: int, path: str) -> tuple[str, float]:
    """The decision ("" where there is none), and the seconds it took."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/decide", json.dumps({"path": path}))
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return (content["decision"] if answer.status == 200 else ""), time.perf_counter() - started


def measure(requests: int, concurrency: int) -> dict[str, float]:
    """Requests a second, latencies in ms, and how many were not answered with a decision."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        model = write_small(Path(folder) / "model")
        command = [
            sys.executable,
            "-m",
            "weightguard",
            "serve",
            "--root",
            folder,
            "--log",
            f"{folder}/log",
            "--port",
            str(port),
        ]
        process = subprocess.Popen([*command, "--waiting", str(concurrency)])
        try:
            for _ in range(200):
                try:
                    ask(port, str(model))
                    break
                except OSError:
                    time.sleep(0.05)
            started = time.perf_counter()
            with ThreadPoolExecutor(concurrency) as pool:
                answers = list(pool.map(lambda _: ask(port, str(model)), range(requests)))
            spent = time.perf_counter() - started
        finally:
            process.terminate()
            process.wait()
    seconds = sorted(s for _, s in answers)
    return {
        "requests a second": requests / spent,
        "p50, ms": 1e3 * seconds[len(seconds) // 2],
        "p99, ms": 1e3 * seconds[int(0.99 * len(seconds))],
        "not decided": sum(not d for d, _ in answers),
        "wrong": sum(d == "block" for d, _ in answers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=50)
    args = parser.parse_args()
    for name, value in measure(args.requests, args.concurrency).items():
        print(f"{name}: {value:.1f}")


if __name__ == "__main__":
    main()
