"""SSH signatures of statements, verified offline by OpenSSH (`ssh-keygen -Y verify`, PROTOCOL.sshsig).

FILE.sig beside FILE is what `ssh-keygen -Y sign -n weightguard -f KEY FILE` writes. Sigstore bundles are not taken: to verify one
without a network needs a trust root that would have to ship and age here.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

NAMESPACE = "weightguard"
SUFFIX = ".sig"
LARGEST = 64 << 10  # bytes of a signature: they are a few hundred
_SECONDS = 10
# ssh-keygen(1), ALLOWED SIGNERS; cert-authority is left out on purpose: each key is to be written
_OPTION = r'(?:namespaces="[^"]*"|valid-(?:after|before)="?[0-9]{8}(?:[0-9]{4}){0,1}(?:[0-9]{2})?Z?"?)'
_OPTIONS = re.compile(rf"{_OPTION}(?:,{_OPTION})*", re.IGNORECASE)
_NAMESPACES = re.compile(r'namespaces="([^"]*)"', re.IGNORECASE)
_KEYS = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-")


@dataclass(frozen=True)
class Signature:
    """Whether bytes are signed by one of those allowed: `principal` says by whom; None, and why not."""

    principal: str | None
    reason: str = ""


def verify(data: bytes, signature: bytes | None, signers: Sequence[str], as_of: date) -> Signature:
    """Whether `signature` is one of `data` by one of `signers` (lines of an allowed_signers file), valid on `as_of`.

    Never raises: whatever keeps it from being verified is the reason.
    """
    if signature is None:
        return Signature(None, f"there is no signature beside it ({SUFFIX})")
    if not signers:
        return Signature(None, "the policy names no signers")
    tool = shutil.which("ssh-keygen")
    if tool is None:
        return Signature(None, "ssh-keygen (OpenSSH) is not installed, so no signature can be verified")
    if len(signature) > LARGEST or not signature.lstrip().startswith(b"-----BEGIN SSH SIGNATURE-----"):
        return Signature(None, "the signature is none of ssh-keygen -Y sign")
    with tempfile.TemporaryDirectory(prefix="weightguard-") as folder:
        allowed, sig = os.path.join(folder, "allowed_signers"), os.path.join(folder, "signature")
        for path, content in ((allowed, ("\n".join(signers) + "\n").encode()), (sig, signature)):
            with open(path, "xb", opener=_private) as file:
                file.write(content)
        time = f"verify-time={as_of:%Y%m%d}120000Z"
        found = _run([tool, "-Y", "find-principals", "-s", sig, "-f", allowed, "-O", time], b"")
        if found is None or found.returncode:
            return Signature(None, "it is not signed by one of the policy's signers, or the key is not valid on that day")
        for principal in found.stdout.decode(errors="replace").split("\n"):
            if principal:
                argv = [tool, "-Y", "verify", "-f", allowed, "-I", principal, "-n", NAMESPACE, "-s", sig, "-O", time]
                done = _run(argv, data)
                if done is not None and done.returncode == 0:
                    return Signature(principal)
    return Signature(None, f"the signature is not one of this text in the namespace {NAMESPACE}")


def faulty_signer(line: str) -> str:
    """What is wrong with a line of `signers`, or ""."""
    fields = line.split()
    if any(not c.isprintable() for c in line):
        return "has control characters"
    if "PRIVATE" in line:
        return "holds a private key: replace that key, and write the public one"
    at = next((n for n, field in enumerate(fields) if field.startswith(_KEYS)), None)
    if at is None or at == 0 or len(fields) < at + 2:
        return 'is no line of allowed_signers: write "alice@example.org ssh-ed25519 AAAA..."'
    if fields[0].startswith("#") or any(c in fields[0] for c in "*?!\"'\\"):
        return "must name its principals in full, without #, *, ?, ! or quotes: whoever a pattern matches could sign"
    if any(field.lower().startswith("cert-authority") for field in fields[1:at]):
        return "names a certificate authority, which is not taken: write each key"
    options = _OPTIONS.fullmatch(" ".join(fields[1:at])) if at > 1 else None
    if at > 1 and options is None:
        return 'has an option that is not taken: only namespaces="weightguard", valid-after=DATE and valid-before=DATE are'
    if options is not None and any(NAMESPACE not in found.split(",") for found in _NAMESPACES.findall(options[0])):
        return f"may not sign in the namespace {NAMESPACE}"
    try:
        base64.b64decode(fields[at + 1], validate=True)
    except (binascii.Error, ValueError):
        return "has a key that is not base64"
    return ""


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _run(argv: list[str], data: bytes) -> subprocess.CompletedProcess[bytes] | None:
    try:
        return subprocess.run(  # noqa: S603 fixed arguments, no shell
            argv, input=data, capture_output=True, timeout=_SECONDS, check=False, env={**os.environ, "LC_ALL": "C", "TZ": "UTC"}
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
