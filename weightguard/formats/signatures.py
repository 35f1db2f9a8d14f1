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
# The same, with the byte that they stand at, and the document or code that says so.
OTHER_MODELS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"ftrt", "opaque: a TensorRT engine, compiled for one kind of GPU,"),
    (0, b"ptrt", "opaque: a TensorRT engine, compiled for one kind of GPU,"),
    (0, b"RKNN", "opaque: an RKNN model, compiled for a Rockchip NPU,"),
    (0, b"\x01HEF", "opaque: a HEF model, compiled for a Hailo accelerator,"),
    (4, b"ORTM", "an ONNX Runtime model (.ort)"),  # onnxruntime, core/flatbuffers/schema/ort.fbs
    (4, b"PTMF", "a PyTorch Mobile flatbuffer"),  # pytorch, torch/csrc/jit/serialization/mobile_bytecode.fbs
    (0, b"7767517\n", "an ncnn graph"),  # ncnn, src/net.cpp, load_param
    (0, b"7767517\r\n", "an ncnn graph"),
    (0, b"\xdd\x85\x76\x00", "a binary ncnn graph"),
    (0, b"\x12\x01\0\0\0\0\0\0", "an MXNet parameter file"),  # mxnet, src/ndarray/ndarray.cc, kMXAPINDArrayListMagic
    (0, b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", "a Torch7 file"),  # torch7, doc/serialization.md
    (0, b"\x03\0\0\0\x01\0\0\0", "a Torch7 table"),
    (0, b"\0\0\0\0\x01\0\0\0\0\0\0\0", "a Darknet weight file"),  # darknet, src/parser.c, save_weights_upto
    (0, b"\0\0\0\0\x02\0\0\0", "a Darknet weight file"),
    (0, b"24ka", "a llama2.c model"),  # llama2.c, export.py, version 1 and up
    (0, b"CBM1", "a CatBoost model"),
    (0, b"{L\0\0\0\0\0\0\0\x07learner", "an XGBoost model (UBJSON)"),
    (0, b'{"learner":', "an XGBoost model (JSON)"),
    (0, b"binf\0\0", "an XGBoost model"),
    (0, b"tree\nversion=v", "a LightGBM model"),
    (0, b"B\0C\0N\0", "a CNTK model"),
    (0, b"ZF0x", "a joblib file of before 0.10"),
    # TensorStore, kvstore/ocdbt/format: manifest, B-tree node, version tree node (what Orbax writes)
    (0, b"\x0c\xdb\x3a\x2a", "an OCDBT key-value store (Orbax, TensorStore)"),
    (0, b"\x0c\xdb\x20\xde", "an OCDBT key-value store (Orbax, TensorStore)"),
    (0, b"\x0c\xdb\x12\x34", "an OCDBT key-value store (Orbax, TensorStore)"),
)
# JSON that describes arrays which lie in files beside it, by what its first bytes hold.
_JSON_MODELS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b'"zarr_format"', b'"chunks"', b'"dtype"'), "a Zarr array"),  # .zarray, Zarr version 2
    ((b'"zarr_format"', b'"chunk_grid"'), "a Zarr array"),  # zarr.json, version 3
    ((b'"zarr_consolidated_format"',), "a Zarr store"),
    ((b'"tree_metadata"', b'"value_metadata"'), "an Orbax checkpoint"),  # _METADATA
    ((b'"driver"', b'"kvstore"', b'"metadata"'), "a TensorStore array"),
)
# Reason "encrypted": only a key would say what they hold. Armour makes them text, which they are not.
ENCRYPTED: tuple[tuple[bytes, str], ...] = (
    (b"Salted__", "OpenSSL"),
    (b"age-encryption.org/", "age"),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "age"),
    (b"-----BEGIN PGP MESSAGE-----", "OpenPGP"),
    (b"$ANSIBLE_VAULT;", "Ansible Vault"),
    (b"CRYPTRKN", "RKNN's toolkit"),
    (b"CYPTRKNN", "RKNN's toolkit"),
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
    for offset, signature, name in OTHER_MODELS:
        if head.startswith(signature, offset):
            raise Unreadable("unsupported", f"{name}, which this version does not read")
    for signature, maker in ENCRYPTED:
        if head.startswith(signature):
            raise Unreadable("encrypted", f"opaque: encrypted by {maker}")
    for keys, name in _JSON_MODELS:
        if head[:1] == b"{" and all(k in head for k in keys):
            raise Unreadable("unsupported", f"{name}, which this version does not read")
    if _is_openpgp(head):
        raise Unreadable("encrypted", "opaque: an OpenPGP message")
    if _is_caffe(head):
        raise Unreadable("unsupported", "a Caffe model, which this version does not read")
    if head[257:262] == b"ustar":
        raise Unreadable("unsupported", "a tar archive, which this version does not read")
    if head[:1] == b"\x08" and b"\0" < head[1:2] < b"\x20" and head[2:3] in (b"\x12", b"\x1a", b"\x3a"):
        raise Unreadable("unsupported", "a protobuf message, perhaps a model, of no kind that this version reads")
    for matches, kind, end in KNOWN:
        if matches(head):
            if source.size > limits.text_bytes:
                raise Unreadable("limit", f"a {kind} of {source.size} bytes, more than weightguard accounts for")
            return _check_end(source, kind, end(source))
    if _is_text(source, limits):
        return _check_text(source, head)
    raise Unreadable("unrecognised", f"{source.size} bytes of no kind that weightguard knows")


def _check_text(source: ByteSource, head: bytes) -> None:
    """A pickle may be text all through, and call something only behind the head that `pickle_file.sniff` has seen."""
    if len(head) < source.size:
        from weightguard.formats.pickle_file import calls_later

        if calls_later(source, head):
            raise Unreadable("unrecognised", "a text that is a pickle's opcodes: loading it as one calls what is dangerous")


def _is_openpgp(head: bytes) -> bool:
    """A message begins with an encrypted session key (RFC 9580, 4.2, 5.1, 5.3): packet 1 of version 3 or 6, or 3 of version 4 to 6."""
    if len(head) < 24 or not head[0] & 0x80:
        return False
    if head[0] & 0x40:  # the new form of a packet's header: a length of one, two or five bytes
        tag, body = head[0] & 0x3F, 2 if head[1] < 192 else 3 if head[1] < 224 else 6
    else:
        tag, body = head[0] >> 2 & 0xF, 1 + (1 << (head[0] & 3)) if head[0] & 3 < 3 else 1
    version, algorithm = head[body], head[body + 9 if tag == 1 else body + 1]
    if tag == 1:
        return version in (3, 6) and algorithm in (1, 2, 16, 18, 25, 26)
    return tag == 3 and version in (4, 5, 6) and 1 <= algorithm <= 13 and head[body + 2] in (0, 1, 2, 3, 4)


def _is_caffe(head: bytes) -> bool:
    """NetParameter (caffe.proto): a short name in field 1, then a layer in field 100."""
    length = head[1] if len(head) > 1 else 0
    name = head[2 : 2 + length]
    return (
        head[:1] == b"\x0a"
        and 0 < length < 0x80
        and name.isascii()
        and name.decode("ascii").isprintable()
        and (head[2 + length : 4 + length] == b"\xa2\x06")
    )


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
