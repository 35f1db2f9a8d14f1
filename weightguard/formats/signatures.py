"""Files that are not weights: UTF-8 text, and known kinds whose every byte their own structure accounts for.

Also the containers that this version knows by their signature and does not read yet: they are `unread` by name.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

from weightguard.errors import Unreadable
from weightguard.limits import Limits
from weightguard.stores import ByteSource

_CHUNK = 1 << 20

# Signatures at offset 0 of containers of weights, or of archives that may hold them.
NOT_READ_YET: tuple[tuple[bytes, str], ...] = (
    # llama.cpp before GGUF: the magic is a little-endian number, so the letters stand backwards
    (b"lmgg", "GGML model"),
    (b"fmgg", "GGMF model"),
    (b"tjgg", "GGJT model"),
    (b"algg", "GGLA adapter"),
    (b"\x89HDF\r\n\x1a\n", "HDF5 (Keras, PyTables)"),
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
LFS_POINTERS = (
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
    b"version http://git-media.io/v/",
)


def explain(source: ByteSource, head: bytes, limits: Limits) -> None:
    """Returns if the file is known not to be weights, every byte accounted for; else raises `Unreadable`."""
    if head.startswith(LFS_POINTERS):
        raise Unreadable("missing", "a Git LFS pointer: the weights are not here (git lfs pull)")
    for signature, name in NOT_READ_YET:
        if head.startswith(signature):
            raise Unreadable("unsupported", f"a {name}, which this version does not read")
    if head[4:8] == b"TFL3":
        raise Unreadable("unsupported", "a TFLite model, which this version does not read")
    if head[257:262] == b"ustar":
        raise Unreadable("unsupported", "a tar archive, which this version does not read")
    if head[:1] == b"\x08" and 0 < head[1] < 32 and head[2:3] in (b"\x12", b"\x1a", b"\x3a"):
        raise Unreadable("unsupported", "a protobuf model (ONNX, TensorFlow), which this version does not read")
    for matches, kind, end in KNOWN:
        if matches(head):
            if source.size > limits.text_bytes:
                raise Unreadable("limit", f"a {kind} of {source.size} bytes, more than weightguard accounts for")
            return _check_end(source, kind, end(source))
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
    return source.size + 1


def _riff_end(source: ByteSource) -> int:
    return 8 + int.from_bytes(source.read(4, 4), "little")


def _after_last(mark: bytes) -> Callable[[ByteSource], int]:
    """The end of the last `mark` in the last 64 KiB; past the file if there is none."""

    def end(source: ByteSource) -> int:
        start = max(0, source.size - (64 << 10))
        at = source.read(start, source.size - start).rfind(mark)
        return start + at + len(mark) if at >= 0 else source.size + 1

    return end


def _records_end(source: ByteSource) -> int:
    """TFRecord frames: length, its checksum, the data, its checksum (TensorFlow, record_writer.h)."""
    offset = 0
    while offset + 16 <= source.size:
        offset += 16 + int.from_bytes(source.read(offset, 8), "little")
    return offset if offset <= source.size else source.size + 1


def _is_sentencepiece(head: bytes) -> bool:
    """A ModelProto begins with a piece, itself beginning with its text: field 1, length, field 1 (sentencepiece_model.proto)."""
    return len(head) > 16 and head[0] == 0x0A and head[1] < 0x80 and head[2] == 0x0A and head[3] < head[1]


def _sentencepiece_end(source: ByteSource) -> int:
    """Top-level fields 1 (pieces, small ones) to 5, each a length and its bytes, up to the last whole one."""
    data = source.read(0, source.size)
    offset = 0
    while offset < len(data) and data[offset] in (0x0A, 0x12, 0x1A, 0x22, 0x2A):
        piece = data[offset] == 0x0A
        length = shift = 0
        at = offset + 1
        while at < len(data) and shift < 35:
            length |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                break
        if at + length > len(data) or (piece and length > _LONGEST_PIECE):
            break
        offset = at + length
    return offset


def _check_end(source: ByteSource, kind: str, end: int) -> None:
    """`end` is where the structure ends; a line end or padding after it is usual, anything more is not explained."""
    if end > source.size:
        raise Unreadable("truncated", f"a {kind} that ends before its structure does")
    if source.size - end > 16:
        raise Unreadable("unrecognised", f"{source.size - end} bytes after the end of a {kind}")


_LONGEST_PIECE = 1024

Matches = Callable[[bytes], bool]


def _starts(*magic: bytes) -> Matches:
    return lambda head: head.startswith(magic)


# (whether the head matches, name, where its structure ends)
KNOWN: tuple[tuple[Matches, str, Callable[[ByteSource], int]], ...] = (
    (_starts(b"\x89PNG\r\n\x1a\n"), "PNG image", _png_end),
    (_starts(b"\xff\xd8\xff"), "JPEG image", _after_last(b"\xff\xd9")),
    (_starts(b"GIF87a", b"GIF89a"), "GIF image", _after_last(b"\x3b")),
    (lambda head: head[:4] == b"RIFF" and head[8:12] in (b"WEBP", b"WAVE"), "RIFF file", _riff_end),
    (_starts(b"%PDF-"), "PDF document", _after_last(b"%%EOF")),
    (_starts(b"PAR1"), "Parquet table", _after_last(b"PAR1")),
    (lambda head: b"brain.Event:" in head[:64], "TensorBoard log", _records_end),
    (_is_sentencepiece, "SentencePiece model", _sentencepiece_end),
)
