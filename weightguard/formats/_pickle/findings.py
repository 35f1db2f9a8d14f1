"""What a pickle's names mean for whoever would load it, as findings."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import unhexlify
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import ACTS, BUILT, EXTENSION, MADE, MUTATED, RESULT_CALLED, Globals
from weightguard.formats._pickle.allowed import judge
from weightguard.formats._pickle.machine import run
from weightguard.formats._pickle.rebuild import Collector
from weightguard.limits import Limits
from weightguard.values import SEVERITIES, Accounts, Finding, Severity

# A pickle in another form, PROTO first: base64 of 80 and a version, or hex.
_BASE64 = re.compile(rb"gA[E-X][A-Za-z0-9+/\n]+={0,2}\s*$")
_HEX = re.compile(rb"80(?:0[1-5])[0-9a-fA-F]+\s*$")
_REPORTED = 200  # names reported one by one
_CONSTANTS = 200  # constants that are tried as pickles, each up to 1 MB and 100,000 opcodes
_CONSTANT_BYTES = 1 << 20
_CONSTANT_OPCODES = 100_000


def printable(path: str) -> str:
    """A name with everything that isn't printable ASCII escaped, cut to 200 characters."""
    return path[:200].encode("unicode_escape").decode("ascii")


def severity(called: int, module: str, name: str) -> Severity | None:
    """`allowed.judge` for the uses that a `Global` records."""
    opaque = bool(called & (EXTENSION | RESULT_CALLED | ACTS))
    made = bool(called & MADE) and not called & ~(MADE | BUILT)
    return judge(module, name, called != 0, opaque, bool(called & MUTATED), made)


def dangerous(seen: Globals) -> list[str]:
    """Names whose use is critical, ready to print."""
    return [printable(g.path) for g in seen.values() if severity(g.uses, g.module, g.name) == "critical"]


@contextmanager
def naming_calls(seen: Globals) -> Iterator[None]:
    """Where the file turns out unreadable, its `Unreadable` names what loading it would have called."""
    try:
        yield
    except Unreadable as error:
        names = dangerous(seen)
        if not names:
            raise
        raise Unreadable(error.reason, f"{error.detail}; loading it calls {', '.join(names[:5])}") from error


def pickle_findings(seen: Globals, to: Collector, path: str, limits: Limits) -> list[Finding]:
    """All that is to be said of pickles that have been run and walked: names, constants that are pickles, odd tensors."""
    return [*name_findings(seen, path), *constant_findings(to.texts, path, limits), *structure_findings(to, path)]


def name_findings(seen: Globals, path: str, within: str = "") -> list[Finding]:
    """One finding a name outside of the allow-list, the worst first."""
    judged = [(severity(g.uses, g.module, g.name), g) for g in seen.values()]
    found = []
    for level, g in judged:
        if level == "critical":
            verb = "calls" if g.uses else "names"
            message = f"loading this file {verb} {printable(g.path)}{within}"
            found.append(Finding("pickle-call", level, message, path))
        elif level is not None:
            verb = "makes an instance of" if g.uses else "names"
            found.append(Finding("pickle-global", level, f"loading this file {verb} {printable(g.path)}{within}", path))
    found.sort(key=lambda f: -SEVERITIES.index(f.severity))
    if len(found) > _REPORTED:
        more = len(found) - _REPORTED
        found[_REPORTED:] = [Finding("pickle-global", found[_REPORTED].severity, f"and {more} more names", path)]
    return found


def constant_findings(constants: Iterable[bytes | str], path: str, limits: Limits) -> list[Finding]:
    """Findings for constants that are pickles themselves and call what is dangerous."""
    small = replace(limits, pickle_opcodes=_CONSTANT_OPCODES)
    seen = Globals()
    tried = 0
    for constant in constants:
        if tried == _CONSTANTS:
            break
        if len(constant) > _CONSTANT_BYTES:
            continue
        data = constant if isinstance(constant, bytes) else constant.encode("utf-8", "surrogatepass")
        data = _decoded(data)
        if not (data[:1] == b"\x80" or (data[:1] in (b"c", b"(", b"]", b"}", b"i", b"\x8c") and b"." in data)):
            continue
        tried += 1
        with suppress(Unreadable):  # most constants are no pickles; one that fails late has still named what it calls
            run(data, 0, small, seen)
    found = name_findings(seen, path, " from a pickle inside of it")
    return [f for f in found if f.severity == "critical"]


def _decoded(data: bytes) -> bytes:
    """What a constant in base64 or hex holds, if it starts as a pickle; else itself."""
    with suppress(ValueError):
        if _BASE64.match(data):
            bare = data.replace(b"\n", b"").rstrip(b"=")
            return b64decode(bare + b"=" * (-len(bare) % 4))
        if _HEX.match(data):
            return unhexlify(data.strip())
    return data


def structure_findings(to: Collector, path: str) -> list[Finding]:
    """What is unusual about the tensors that `to` collected."""
    found = []
    if to.repeated:
        text = "a tensor shows stored elements more than once (an expanded view): stored elements are counted"
        found.append(Finding("expanded-view", "low", text, path))
    if to.meta:
        found.append(Finding("meta-tensor", "low", "a tensor without data (device meta): its shape is no parameter", path))
    if to.storages.overlapping():
        text = "tensors share parts of a storage: their elements add up to more than is stored"
        found.append(Finding("overlapping-views", "low", text, path))
    return found


def account(size: int, to: Collector, unexplained: int, padding: int = 0, stored: int | None = None) -> Accounts:
    """What the bytes of a file are whose pickles `to` collected; stored: those of its storages, where they may be compressed."""
    tensors = (sum(to.storages.sizes) if stored is None else stored) - to.storages.uncovered()
    tensors = max(0, min(tensors, size - padding - unexplained))
    return Accounts(tensors, max(0, size - tensors - padding - unexplained), padding, unexplained)
