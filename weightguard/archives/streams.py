"""Compressed streams: gzip (RFC 1952), bzip2, xz and lzma, zlib (RFC 1950), Zstandard (RFC 8878)."""

from __future__ import annotations

import bz2
import lzma
import tempfile
import zlib
from collections.abc import Callable
from typing import Any

from weightguard.archives.entries import Contents, Entry
from weightguard.errors import Unreadable
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.stores.slices import Beside

_CHUNK = 1 << 20
_IN_MEMORY = 4 << 20
_PIECE = 4096
_OVERHEAD = 4096  # bytes of headers and checksums of a small stream
FREE = 64 << 20  # bytes that a stream may unpack to whatever it is compressed from


_MAGIC = {"gzip": b"\x1f\x8b\x08", "bzip2": b"BZh", "xz": b"\xfd7zXZ\x00", "zstd": b"\x28\xb5\x2f\xfd"}


def kind_of(head: bytes) -> str | None:
    """The compression that these first bytes begin."""
    for kind, magic in _MAGIC.items():
        if head.startswith(magic) and (kind != "bzip2" or head[4:10] == b"1AY&SY"):
            return kind
    if head[:3] == b"\x5d\0\0" and head[12:13] in (b"\0", b"\xff"):
        return "lzma"
    # RFC 1950: method 8, a window up to 32 KiB, the two bytes a multiple of 31, no dictionary
    if len(head) > 6 and head[0] & 0x8F == 8 and int.from_bytes(head[:2], "big") % 31 == 0 and not head[1] & 0x20:
        return "zlib" if _begins_zlib(head) else None
    return None


class Unpacked:
    """A `ByteSource` over what was unpacked; its temporary file goes with it. `beside` opens what lies beside it."""

    def __init__(self, name: str, beside: Beside | None) -> None:
        self.name = name
        self.size = 0
        self._beside = beside
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - it lives as long as the source

    def write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise Unreadable("limit", f"no room to unpack it: {error.strerror}") from error
        self.size += len(data)

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Unreadable("truncated", f"needs bytes {offset} to {offset + length} of {self.size} unpacked ones")
        self._file.seek(offset)
        return self._file.read(length)

    def beside(self, path: str) -> ByteSource:
        if self._beside is None:
            raise Unreadable("missing", f"{path[:200]!r} is not there")
        return self._beside(path)


def unpack(source: ByteSource, kind: str, limits: Limits, budget: list[int]) -> Contents:
    """The one file that a stream holds, unpacked within `budget` and the ratio. Raises `Unreadable`."""
    name = source.name.rpartition("/")[2]
    stem, _, suffix = name.rpartition(".")
    if suffix.lower() in ("tgz", "tbz2", "txz", "tzst"):
        stem += ".tar"
    elif suffix.lower() not in ("gz", "bz2", "xz", "zst", "lzma", "zlib", "z"):
        stem = name
    out = Unpacked(f"{source.name}/{stem}", None)
    unexplained = _pump(source, kind, out, limits, budget)
    return Contents(kind, [Entry(stem, lambda: out)], unexplained=unexplained)


def _pump(source: ByteSource, kind: str, out: Unpacked, limits: Limits, budget: list[int]) -> int:
    """Unpacks the streams of a file, one after the other as the tools of each format do; the bytes after the last."""
    decoder = _decoder(kind)
    stream = decoder()
    pending = b""
    at = 0
    while True:
        if not pending:
            if at == source.size:
                raise Unreadable("truncated", f"{kind}: it ends in the midst of a stream")
            pending = source.read(at, min(_CHUNK, source.size - at))
            at += len(pending)
        try:
            data = stream.decompress(pending, _CHUNK)
            pending = _left(stream)
            _take(data, out, at - len(pending), limits, budget)
            while data and not pending and not stream.eof:  # output may wait behind the limit of one call
                data = stream.decompress(b"", _CHUNK)
                pending = _left(stream)
                _take(data, out, at - len(pending), limits, budget)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, MemoryError) as error:
            raise Unreadable("malformed", f"{kind}: {error}") from error
        if stream.eof:
            pending = bytes(stream.unused_data)
            if not pending and at < source.size:
                pending = source.read(at, min(_CHUNK, source.size - at))
                at += len(pending)
            magic = _MAGIC.get(kind, b"")
            if not pending or not magic or pending[: len(magic)] != magic[: len(pending)]:
                rest = len(pending) + source.size - at
                # headers with names and comments, and blocks that give nothing: more than compression costs is not explained
                return rest + max(0, source.size - rest - out.size - out.size // 50 - _OVERHEAD)
            stream = decoder()


def _left(stream: Any) -> bytes:
    """Input that a decoder has given back; bz2's and lzma's keep theirs."""
    return bytes(getattr(stream, "unconsumed_tail", b""))


def _take(data: bytes, out: Unpacked, consumed: int, limits: Limits, budget: list[int]) -> None:
    budget[0] -= len(data)
    if budget[0] < 0:
        raise Unreadable("limit", f"unpacks to more than {limits.unpacked_bytes} bytes")
    if out.size + len(data) > FREE + limits.unpacked_ratio * consumed:
        raise Unreadable("limit", f"unpacks to more than {limits.unpacked_ratio} times its size")
    out.write(data)


def _begins_zlib(head: bytes) -> bool:
    try:
        return len(zlib.decompressobj().decompress(head, 1 << 16)) > 0
    except zlib.error:
        return False


def _decoder(kind: str) -> Callable[[], Any]:
    if kind == "gzip":
        return lambda: zlib.decompressobj(31)
    if kind == "zlib":
        return lambda: zlib.decompressobj(15)
    if kind == "bzip2":
        return bz2.BZ2Decompressor
    if kind in ("xz", "lzma"):
        container = lzma.FORMAT_XZ if kind == "xz" else lzma.FORMAT_ALONE
        return lambda: lzma.LZMADecompressor(container, memlimit=256 << 20)
    try:
        import zstandard
    except ImportError as error:
        raise Unreadable("unsupported", "a Zstandard stream: install weightguard-gate[zstd] to read it") from error
    return lambda: _Zstd(zstandard.ZstdDecompressor(max_window_size=128 << 20).decompressobj())


class _Zstd:
    """zstandard gives all output of one input at once: a bound on it is kept by small pieces of input."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.unconsumed_tail = b""

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data) + self.unconsumed_tail

    def decompress(self, data: bytes, most: int) -> bytes:
        piece, self.unconsumed_tail = data[:_PIECE], data[_PIECE:]
        try:
            return bytes(self._inner.decompress(piece)) if piece else b""
        except Exception as error:  # zstandard.ZstdError, which is not loaded here
            raise ValueError(str(error)) from error
