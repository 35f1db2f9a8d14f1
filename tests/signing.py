"""Keys and signatures made by the real ssh-keygen."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path


def key(folder: Path, name: str = "key") -> Path:
    """A new key pair; returns the private one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path


def signer(path: Path, principal: str = "alice@example.org", options: str = "") -> str:
    """The line of `signers` for a key."""
    public = path.with_suffix(".pub").read_text().split()
    return " ".join((principal, *([options] if options else []), *public[:2]))


def sign(file: Path, path: Path, namespace: str = "weightguard") -> None:
    """FILE.sig beside FILE."""
    file.with_name(file.name + ".sig").unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", path, file], check=True, capture_output=True)


def digests(folder: Path) -> str:
    """[model] files of the safetensors in a folder."""
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.safetensors"))}
    return "files = {" + ", ".join(f'"{name}" = "{digest}"' for name, digest in found.items()) + "}"


def policy(path: Path, *signers: str, more: str = "") -> Path:
    """A policy with these signers."""
    lines = ", ".join("'" + line + "'" for line in signers)
    path.write_text(f'schema = "weightguard/policy/1"\nsigners = [{lines}]\n{more}')
    return path
