"""Real git repositories, and the real command as git would call it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import weightguard
from weightguard.demo.layouts import Layout, Tensor, llama
from weightguard.demo.write import header, size_of, write_safetensors

ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "PRE_COMMIT", "WEIGHTGUARD"))},
    "PYTHONPATH": str(Path(weightguard.__file__).parents[1]),
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


class Repository:
    """A repository in a folder of its own."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "-q", "-b", "main", *options)

    def git(self, *arguments: str, input: bytes | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=ENVIRONMENT, input=input, capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode(errors="surrogateescape").strip()

    def hook(
        self, *arguments: str, input: str | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "weightguard", "hook", *arguments],
            cwd=self.path, env={**ENVIRONMENT, **(env or {})}, input=input or "", capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def install(self, hook: str, *arguments: str) -> None:
        """Installs the command as a hook, as a person would."""
        script = self.path / ".git" / "hooks" / hook
        options = " ".join(f"'{a}'" for a in arguments)
        script.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m weightguard hook {hook} {options} \"$@\"\n")
        script.chmod(0o755)

    def try_git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=self.path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)

    def write(self, path: str, content: str | bytes) -> None:
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, *paths: str, message: str = "change") -> str:
        """Commits paths, or what is staged, without hooks."""
        if paths:
            self.git("add", "--", *paths)
        self.git("commit", "-q", "--no-verify", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def stage_pointer(self, path: str, tensors: tuple[Tensor, ...], *, keep_object: bool = True) -> str:
        """Stages a Git LFS pointer to a sparse file of these tensors; the file lies where Git LFS would keep it."""
        oid = hashlib.sha256(header(tensors) + path.encode()).hexdigest()
        stored = self.path / ".git" / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
        stored.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(str(stored), tensors)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {stored.stat().st_size}\n"
        blob = self.git("hash-object", "-w", "--stdin", input=pointer.encode())
        self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
        if not keep_object:
            stored.unlink()
        return pointer

    def stage(self, path: str, content: str | bytes) -> None:
        """Stages content without a file in the working tree."""
        data = content.encode() if isinstance(content, str) else content
        blob = self.git("hash-object", "-w", "--stdin", input=data)
        self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")


def tiny() -> Layout:
    """A whole decoder of a few kilobytes."""
    return llama(layers=5, hidden=16, heads=2, kv_heads=1, ffn=32, vocab=64)


def content_of(tensors: tuple[Tensor, ...], fill: int = 0) -> bytes:
    """A whole safetensors file of these tensors, every byte of data the same."""
    return header(tensors) + bytes([fill]) * sum(map(size_of, tensors))


def shards_of(layout: Layout, count: int) -> list[tuple[Tensor, ...]]:
    """The tensors in `count` parts."""
    size = -(-len(layout.tensors) // count)
    return [layout.tensors[at : at + size] for at in range(0, len(layout.tensors), size)]
