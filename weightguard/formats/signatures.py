"""Files that are not weights: UTF-8 text, and known kinds whose every byte their own structure accounts for.

Also the containers that this version knows by their signature and does not read yet: they are `unread` by name.
"""

from __future__ import annotations

import codecs

from weightguard.errors import Unreadable
from weightguard.limits import Limits
from weightguard.stores import ByteSource

_CHUNK = 1 << 20

# Signatures at offset 0 of containers of weights, or of archives that may hold them.
NOT_READ_YET: tuple[tuple[bytes, str], ...] = (
    (b"GGUF", "GGUF"),
    (b"ggjt", "GGML"),
    (b"ggml", "GGML"),
    (b"\x89HDF\r\n\x1a\n", "HDF5 (Keras, PyTables)"),
    (b"\x93NUMPY", "NumPy array"),
    (b"PK\x03\x04", "zip archive"),
    (b"PK\x05\x06", "empty zip archive"),
    (b"\x1f\x8b", "gzip stream"),
    (b"BZh", "bzip2 stream"),
    (b"\xfd7zXZ\x00", "xz stream"),
    (b"\x28\xb5\x2f\xfd", "Zstandard stream"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"Rar!\x1a\x07", "RAR archive"),
    (b"\x04\x22\x4d\x18", "LZ4 stream"),
)
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"


def explain(source: ByteSource, head: bytes, limits: Limits) -> None:
    """Returns if the file is known not to be weights, every byte accounted for; else raises `Unreadable`."""
    if head.startswith(LFS_POINTER):
        raise Unreadable("missing", "a Git LFS pointer: the weights are not here (git lfs pull)")
    for signature, name in NOT_READ_YET:
        if head.startswith(signature):
            raise Unreadable("unsupported", f"a {name}, which this version does not read")
    if head[4:8] == b"TFL3":
        raise Unreadable("unsupported", "a TFLite model, which this version does not read")
    if head[257:262] == b"ustar":
        raise Unreadable("unsupported", "a tar archive, which this version does not read")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _end(source, "PNG", _png_end(source))
    if head.startswith(b"\xff\xd8\xff"):
        return _end(source, "JPEG", _after_last(source, b"\xff\xd9"))
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return _end(source, "GIF", _after_last(source, b"\x3b"))
    if head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE"):
        return _end(source, "RIFF", 8 + int.from_bytes(head[4:8], "little"))
    if head.startswith(b"%PDF-"):
        return _end(source, "PDF", _after_last(source, b"%%EOF"))
    if head.startswith(b"PAR1"):
        return _end(source, "Parquet", _after_last(source, b"PAR1"))
    if _is_text(source, limits):
        return None
    raise Unreadable("unrecognised", f"{source.size} bytes of no kind that weightguard knows")


def _is_text(source: ByteSource, limits: Limits) -> bool:
    """UTF-8 without NUL, up to the limit."""
    if source.size > limits.text_bytes:
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    while offset < source.size:
        chunk = source.read(offset, min(_CHUNK, source.size - offset))
        offset += len(chunk)
        try:
            decoder.decode(chunk, final=offset == source.size)
        except UnicodeDecodeError:
            return False
        if b"\0" in chunk:
            return False
    return True


def _png_end(source: ByteSource) -> int:
    """Where the chunk IEND ends (PNG specification, section 5.3); the size of the file if a chunk passes it."""
    offset = 8
    while offset + 12 <= source.size:
        head = source.read(offset, 8)
        offset += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return offset
    return offset


def _after_last(source: ByteSource, mark: bytes) -> int:
    """The end of the last `mark` in the last 64 KiB; 0 if there is none."""
    start = max(0, source.size - (64 << 10))
    at = source.read(start, source.size - start).rfind(mark)
    return start + at + len(mark) if at >= 0 else 0


def _end(source: ByteSource, kind: str, end: int) -> None:
    """`end` is where the structure ends; a line end or padding after it is usual, anything more is not explained."""
    if end > source.size or end == 0:
        raise Unreadable("truncated", f"a {kind} file that ends before its structure does")
    if source.size - end > 16:
        raise Unreadable("unrecognised", f"{source.size - end} bytes after the end of a {kind} file")
