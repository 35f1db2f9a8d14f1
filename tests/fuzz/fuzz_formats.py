"""Every reader over bytes that were changed: only `Unreadable` may escape, in time, and nothing may be counted that isn't there.

python -m tests.fuzz.fuzz_formats --bounded 300 --seed 1     mutations of the kept corpus, the same each time; needs nothing else
python tests/fuzz/fuzz_formats.py -max_total_time=60         guided by coverage, with atheris; arguments are libFuzzer's

An input that fails is written to --failures (default: a folder under the system's temporary one). Once its fault is mended it is
kept in tests/fuzz/corpus/FORMAT/, which `tests/fuzz/test_fuzz.py` runs.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from weightguard.values import Accounts

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

CORPUS = Path(__file__).resolve().parent / "corpus"
WRITTEN = Path(__file__).resolve().parents[1] / "formats" / "data"  # what the formats' own libraries wrote
MOST = 20_000  # bytes of a seed
SECONDS = 5
MEMORY = 4 << 30  # bytes of address space
DEFLATE = 1_100  # DEFLATE packs at most 1,032 to one
COMPRESSING = frozenset({"torch-zip", "npz", "keras", "hdf5", "torch-dcp", "joblib", "pickle"})  # may hold packed bytes
UNPACKED = 8  # times its size that another file may count: sub-byte types, rounded up


class Wrong(AssertionError):
    """What a reader returned can't be."""


def check(data: bytes, others: Mapping[str, bytes] | None = None, name: str = "model.bin") -> str:
    """The container's name, the reason of the refusal, or "none"; raises `Wrong`, or whatever escaped.

    others: what lies beside the file, by relative path.
    """
    from weightguard.errors import REASONS, Unreadable
    from weightguard.formats import identify
    from weightguard.limits import LIMITS
    from weightguard.stores.memory import InMemory

    start = time.monotonic()
    try:
        container = identify(InMemory(name, data, others), LIMITS)
    except Unreadable as error:
        if error.reason not in REASONS or error.reason == "internal":
            raise Wrong(f"a reason that isn't one: {error}") from error
        if "\n" in error.detail or not error.detail or len(error.detail) > 2000:
            raise Wrong(f"a detail that isn't a line: {error.detail[:300]!r}") from error
        return error.reason
    finally:
        if time.monotonic() - start > SECONDS:
            raise Wrong(f"took {time.monotonic() - start:.1f} s")
    if container is None:
        return "none"
    _check_accounts(container.accounts, len(data))
    for part, accounts in container.parts.items():
        _check_accounts(accounts, len((others or {})[part]))
    _check_table(container, len(data) + sum(len((others or {})[part]) for part in container.parts))
    return str(container.format)


def _check_accounts(a: Accounts, size: int) -> None:
    parts = (a.tensors, a.headers, a.padding, a.unexplained)
    if any(type(p) is not int or p < 0 for p in parts):
        raise Wrong(f"accounts that are no counts: {a}")
    if sum(parts) < size:
        raise Wrong(f"{a} leaves out {size - sum(parts)} of {size} bytes")


def _check_table(container: Any, size: int) -> None:
    from weightguard.tensors import BLOCKS, DTYPE_BITS, DTYPES

    t = container.tensors
    n = len(t.names)
    columns = (t.dtypes, t.elements, t.storages, t.begins, t.spans, t.files, t.logical)
    if any(len(c) != n for c in columns) or len(t.starts) != n + 1 or int(t.starts[-1]) != len(t.dims):
        raise Wrong("columns of different lengths")
    if n == 0:
        return
    if int(t.dtypes.max()) >= len(DTYPES):
        raise Wrong("a dtype that isn't one")
    if any(int(c.min()) < low for c, low in ((t.elements, 0), (t.storages, 0), (t.begins, 0), (t.spans, 0), (t.logical, -1))):
        raise Wrong("a column with numbers below zero")
    if len(t.dims) and int(t.dims.min()) < 0:
        raise Wrong("a dimension below zero")
    allowed = size * (DEFLATE if container.format in COMPRESSING else UNPACKED) + 64
    held: dict[int, int] = {}
    extent: dict[int, int] = {}
    for i in range(n):
        elements, bits = int(t.elements[i]), int(DTYPE_BITS[t.dtypes[i]])
        product = 1
        for d in t.shape(i):
            product *= d
        if elements > product and DTYPES[t.dtypes[i]][0] != "STRING" and t.dtypes[i] not in BLOCKS:
            raise Wrong(f"{t.names[i][:50]!r}: {elements} elements of the shape {t.shape(i)}")
        storage = int(t.storages[i])
        held[storage] = held.get(storage, 0) + elements * bits // 8
        extent[storage] = max(extent.get(storage, 0), int(t.begins[i]) + int(t.spans[i]))
        if int(t.begins[i]) + int(t.spans[i]) > np.iinfo(np.int64).max:
            raise Wrong("an extent that wraps")
    counted = sum(min(b, 2 * extent[s] + 64) for s, b in held.items())
    if counted > allowed:
        raise Wrong(f"{counted} bytes of elements out of a file of {size} ({container.format})")


# ---- changes

_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 64, 127, 128, 255, 256, 1000, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000)
_LARGE = (0xFFFFFFFF, 1 << 32, 1 << 40, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 8)
_WORDS = rb"c ( } t R b N 0 . e u s 2 [ ] { : , posix null NaN 1e999 \u0000 GGUF |O".split()
_OPCODES = (
    b"q\0",
    b"h\0",
    b"K\1",
    b"\x93",
    b"\x94",
    b"\x80\x04",
    b"\x95",
    b"posix\nsystem\n",
    b"\x8a\xff",
    b"\x81",
    b'"',
    b"\xff" * 10,
)
_MARKS = (b"\x80" * 9 + b"\1", b"\x0a", b"\x12", b"\x08", b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"\x93NUMPY", b"\0" * 16)
_TOKENS = (*_WORDS, *_OPCODES, *_MARKS)

Change = Callable[[bytearray, random.Random], None]


def _flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(data: bytearray, rng: random.Random) -> None:
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice((*_NUMBERS, *_LARGE, len(data), len(data) + 1, max(len(data) - 1, 0))) % (1 << 8 * width)
    at = rng.randrange(len(data))
    data[at : at + width] = value.to_bytes(width, rng.choice(("little", "little", "little", "big")))


def _add(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at] = (data[at] + rng.choice((-2, -1, 1, 2, 16, 35))) % 256


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _delete(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 4, 8, 16, 100))]


def _repeat(data: bytearray, rng: random.Random) -> None:
    at, length = rng.randrange(len(data)), rng.choice((1, 4, 8, 32, 200))
    data[at:at] = data[at : at + length] * rng.choice((1, 1, 2, 50))


def _token(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    token = rng.choice(_TOKENS)
    data[at : at + (len(token) if rng.random() < 0.5 else 0)] = token


def _move(data: bytearray, rng: random.Random) -> None:
    a, b, length = rng.randrange(len(data)), rng.randrange(len(data)), rng.choice((2, 4, 8, 24, 64))
    data[a : a + length] = data[b : b + length]


def _append(data: bytearray, rng: random.Random) -> None:
    data += bytes(rng.choice((1, 8, 64, 70_000)))


CHANGES: tuple[Change, ...] = (_flip, _byte, _number, _number, _number, _add, _cut, _delete, _repeat, _token, _move, _append)


def change(data: bytes, rng: random.Random) -> bytes:
    """One to four changes; those to a zip half of the time to one of its members, packed again so that its checksums hold."""
    if data.startswith(b"PK\3\4") and rng.random() < 0.6:
        packed = _in_member(data, rng)
        if packed is not None:
            return packed
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if not changed:
            break
        rng.choice(CHANGES)(changed, rng)
    return bytes(changed)


def _in_member(data: bytes, rng: random.Random) -> bytes | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(i.filename, archive.read(i), i.compress_type) for i in archive.infolist()]
    except Exception:
        return None
    if not members:
        return None
    at = rng.randrange(len(members))
    if rng.random() < 0.5:  # the one that describes the others
        at = next((i for i, (n, _, _) in enumerate(members) if n.endswith(("data.pkl", "config.json"))), at)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for i, (name, content, method) in enumerate(members):
            if i == at and content:
                content = change(content, rng)
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return out.getvalue()


# ---- runs


def seeds() -> list[Path]:
    """The kept corpus, and small files of `WRITTEN`."""
    kept = [p for p in CORPUS.rglob("*") if p.is_file()]
    written = [p for p in WRITTEN.rglob("*") if p.is_file() and p.stat().st_size <= MOST]
    alone = [p for p in written if p.suffix != ".json" and ".data-" not in p.name and p.name != "weight.bin"]
    return sorted(kept + alone)


def beside(path: Path) -> dict[str, bytes]:
    """What lies in the seed's folder and below it, where it is a file of several: by relative path."""
    if path.is_relative_to(CORPUS) and not path.parent.name.endswith("-set"):
        return {}
    files = [p for p in sorted(path.parent.rglob("*")) if p.is_file() and p != path]
    return {str(p.relative_to(path.parent)): p.read_bytes() for p in files[:40]}


def _too_long(number: int, frame: FrameType | None) -> None:
    raise Wrong(f"took more than {SECONDS} s")


def folder_of(path: Path) -> str:
    """The format that a seed is kept under, with a slash."""
    base = CORPUS if path.is_relative_to(CORPUS) else WRITTEN
    return path.relative_to(base).parts[0].removesuffix("-set") + "/"


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def bounded(rounds: int, seed: int, failures: Path, only: str = "") -> tuple[int, list[str]]:
    """`rounds` changes of each kept file; (inputs run, one line a failure, the first of each kind)."""
    signal.signal(signal.SIGALRM, _too_long)
    ran = 0
    found: dict[str, str] = {}
    files = [p for p in seeds() if only in folder_of(p) and not p.name.startswith("crash-")]
    contents = [p.read_bytes() for p in files]
    for path, content in zip(files, contents, strict=True):
        rng = random.Random(f"{seed} {path.name}")
        others = beside(path)
        for _ in range(rounds):
            data = change(content, rng)
            if rng.random() < 0.03:
                other = rng.choice(contents)
                data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]
            ran += 1
            signal.alarm(SECONDS + 1)
            try:
                check(data, others, path.name)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                where = traceback.extract_tb(error.__traceback__)
                last = next((f for f in reversed(where) if "weightguard" in f.filename), where[-1])
                kind = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
                if type(error) is Wrong:
                    kind = f"Wrong: {str(error).split(':')[0][:40]} {folder_of(path)}"
                if kind not in found:
                    failures.mkdir(parents=True, exist_ok=True)
                    kept = failures / f"{folder_of(path)[:-1]}-{hashlib.sha256(data).hexdigest()[:12]}"
                    kept.write_bytes(data)
                    found[kind] = f"{kind} | {str(error)[:200]} | from {path.name} | {kept}"
            finally:
                signal.alarm(0)
    return ran, list(found.values())


def guided(arguments: Sequence[str]) -> None:
    """libFuzzer by atheris over the kept corpus; what it finds of interest goes to a folder of its own."""
    import atheris  # type: ignore[import]

    with atheris.instrument_imports(include=["weightguard"]):
        from weightguard.formats import FORMATS

        for module, *_ in FORMATS:
            __import__(f"weightguard.formats.{module}")
    limit_memory()
    folders = [a for a in arguments if not a.startswith("-")] or [tempfile.mkdtemp(prefix="weightguard-fuzz-")]
    flags = [a for a in arguments if a.startswith("-")]
    atheris.Setup(
        [sys.argv[0], "-timeout=6", "-max_len=65536", "-rss_limit_mb=4096", *flags, *folders, str(CORPUS), str(WRITTEN)],
        _one_input,
    )
    atheris.Fuzz()


def _one_input(data: bytes) -> None:
    check(data)


def main(arguments: Sequence[str]) -> int:
    if not any(a.startswith("--") for a in arguments):
        guided(arguments)
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bounded", type=int, default=100, metavar="ROUNDS", help="changes of each kept file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only kept files whose path has this in it")
    parser.add_argument("--failures", type=Path, default=Path(tempfile.gettempdir()) / "weightguard-fuzz-failures")
    options = parser.parse_args(arguments)
    limit_memory()
    ran, found = bounded(options.bounded, options.seed, options.failures, options.only)
    print(f"{ran} inputs, {len(found)} kinds of failure")
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
