"""A GGUF model, wherever it lies: its tensors against the file's size, and what each byte of it is.

Source: ggml, `docs/gguf.md`; block sizes: ggml.h, enum ggml_type, and ggml-common.h.
"""

from __future__ import annotations

from math import isfinite

import numpy as np

from weightguard.errors import Unreadable
from weightguard.formats._gguf.chat_template import reaches_python
from weightguard.formats._gguf.header import NUMERIC, STRING, Entry, Header, read_header
from weightguard.formats.protocol import TAIL, Container, Scalar
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import DTYPE_CODES, Int64, from_rows
from weightguard.values import Accounts, Finding

_TYPES: dict[int, tuple[str, int, int]] = {
    # id: name, elements a block, bytes a block
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
_RETIRED = frozenset({4, 5, 31, 32, 33, 36, 37, 38})

_ALIGNMENT = 32  # where general.alignment is not there
_LARGEST_ALIGNMENT = 1 << 24
_MOST_GAPS = 65_536  # stretches of padding that are read, and their bytes; more are not explained
_MOST_PADDING = 64 << 20

_SHORT_TAIL = 16  # a line end and the like

_FREE_BYTES = 64 << 10  # keys, texts and numbers above this are not explained by what metadata is for
_USUAL_NAME = 64  # "at most 64 bytes long"
_KEPT_TEXT = 4096
_TEMPLATES = "tokenizer.chat_template"
_TEMPLATE_BYTES = 1 << 20

# What a vocabulary can be. The 19 that llama.cpp ships have up to 262,144 tokens of 5 to 12 bytes, and up to 2.2 merges a token of
# 8 to 13 bytes.
_MOST_TOKENS = 1 << 20
_TOKEN_BYTES = 24  # on average, and for a merge; besides its length
_MERGES_A_TOKEN = 3
_CHARSMAP_BYTES = 512 << 10
_VOCABULARY_TEXT = 32 << 20


def read_gguf(source: ByteSource, limits: Limits, name: str) -> Container:
    """The header, every tensor checked against the file's size; no tensor data is read, but for the padding between them.

    name: the container's name in reports. Raises `Unreadable`.
    """
    header = read_header(source, limits)
    alignment = _alignment(header.entries.get("general.alignment"))
    names, dtypes, spans = header.names, [], []
    measured: dict[tuple[int, tuple[int, ...]], tuple[int, int]] = {}  # most tensors have the type and shape of others
    for tensor, kind, shape, offset in zip(names, header.types, header.shapes, header.offsets, strict=True):
        found = measured.get((kind, shape))
        if found is None:
            found = measured[kind, shape] = _measure(tensor, kind, shape)
        dtype, span = found
        if offset % alignment:
            raise Unreadable("malformed", f"tensor {tensor!r} does not begin at a multiple of {alignment} bytes")
        if offset + span > source.size:
            raise Unreadable(
                "truncated", f"tensor {tensor!r} ends at byte {offset + span} of the data, past the end of the file"
            )
        dtypes.append(dtype)
        spans.append(span)
    table = from_rows(names, dtypes, header.shapes, spans)
    start = min(-(-header.end // alignment) * alignment, source.size)
    padding, unexplained = _between(source, header.end, start, names, header.offsets, table.spans, alignment)
    free = sum(e.size for e in header.entries.values()) - _vocabulary(source, header)
    free += sum(len(n) for n in map(str.encode, names) if len(n) > _USUAL_NAME)
    free += sum(24 + 8 * len(header.shapes[row]) + len(names[row].encode()) for row in np.flatnonzero(table.elements == 0))
    hidden = free if free > _FREE_BYTES else 0
    accounts = Accounts(sum(spans), header.end - hidden, padding, unexplained + hidden)
    metadata, scalars = _plain(header)
    findings = (*_template_findings(header, source.name), *_tail_findings(source, header, table.spans, start))
    return Container(name, table, metadata, scalars, findings, accounts)


def _alignment(entry: Entry | None) -> int:
    value = _ALIGNMENT if entry is None else entry.value
    if type(value) is not int or not 0 < value <= _LARGEST_ALIGNMENT or (value & (value - 1) and value % 8):
        raise Unreadable("malformed", "general.alignment is neither a power of two nor a multiple of 8")
    return value


def _measure(name: str, kind: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """A tensor's dtype, as its code, and its bytes: rows of whole blocks."""
    if kind not in _TYPES:
        what = "retired ggml type" if kind in _RETIRED else "ggml type"
        raise Unreadable("unsupported", f"tensor {name!r} has the {what} {kind}")
    dtype, block, size = _TYPES[kind]
    fastest = shape[-1] if shape else 1
    if fastest % block:
        raise Unreadable("inconsistent", f"tensor {name!r} has rows of {fastest} elements; {dtype} has blocks of {block}")
    span = size
    for d in (*shape[:-1], fastest // block):
        span *= d
    return DTYPE_CODES[dtype], span


def _between(
    source: ByteSource, end: int, start: int, names: list[str], offsets: list[int], spans: Int64, alignment: int
) -> tuple[int, int]:
    """Bytes of the file outside of header and tensors: (padding up to the alignment that is zero, what nothing explains).

    end: of the header. start: of the data.
    """
    begins = np.array(offsets, np.int64) + start
    ends = begins + spans
    order = np.lexsort((ends, begins))
    begins, ends = begins[order], ends[order]
    overlap = np.flatnonzero(begins[1:] < ends[:-1])
    if len(overlap):
        raise Unreadable("inconsistent", f"tensor {names[int(order[overlap[0] + 1])]!r} overlaps another")
    if len(ends) and int(ends[-1]) > source.size:
        raise Unreadable("truncated", f"tensor {names[int(order[-1])]!r} ends past the end of the file")
    after = np.concatenate([[end], ends])
    before = np.concatenate([begins, [source.size]])
    gaps = before - after
    pads = np.minimum(gaps, -after % alignment)
    rows = np.flatnonzero(pads)
    total = int(pads.sum())
    if len(rows) > _MOST_GAPS or total > _MOST_PADDING:
        return 0, int(gaps.sum())
    dirty = sum(_dirty(source, *pair) for pair in zip(after[rows].tolist(), pads[rows].tolist(), strict=True))
    return total - dirty, int(gaps.sum()) - total + dirty


def _dirty(source: ByteSource, at: int, length: int) -> int:
    """`length` if padding holds anything but zeros, else 0."""
    return length if source.read(at, length).strip(b"\0") else 0


def _vocabulary(source: ByteSource, header: Header) -> int:
    """Bytes of the entries that are a vocabulary: as many tokens as it can have, of a sane length, and a number or two for each."""
    entries = header.entries
    tokens = entries.get("tokenizer.ggml.tokens")
    count = tokens.items if tokens is not None and tokens.item == STRING else 0
    rows = [s[0] for n, s in zip(header.names, header.shapes, strict=True) if n == "token_embd.weight" and len(s) == 2]
    if count > min([_MOST_TOKENS, *rows]):
        return 0
    width = 4 if header.version == 1 else 8
    explained = 0
    for key, most in (("tokens", count), ("merges", _MERGES_A_TOKEN * count)):
        entry = entries.get(f"tokenizer.ggml.{key}")
        if entry is not None and entry.item == STRING and entry.items <= most:
            explained += entry.size if entry.size <= 64 + entry.items * (width + _TOKEN_BYTES) else 0
    for key in ("scores", "token_type"):
        entry = entries.get(f"tokenizer.ggml.{key}")
        if entry is not None and entry.item in NUMERIC and entry.items <= count and entry.size <= 64 + 4 * count:
            explained += entry.size
    for key in ("tokenizer.huggingface.json", "tokenizer.rwkv.world"):
        entry = entries.get(key)
        if entry is not None and entry.kind == STRING and _is_text(source, entry):
            explained += entry.size
    entry = entries.get("tokenizer.ggml.precompiled_charsmap")
    if entry is not None and entry.item in (0, 1) and _is_charsmap(source, entry, header.big_endian):
        explained += entry.size
    return explained


def _is_text(source: ByteSource, entry: Entry) -> bool:
    """Whether a long string is text, as a tokenizer's file is that lies beside a model."""
    if entry.items > _VOCABULARY_TEXT:
        return False
    data = source.read(entry.at, entry.items)
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _is_charsmap(source: ByteSource, entry: Entry, big_endian: bool) -> bool:
    """SentencePiece's normalizer: the length of a trie, the trie in words of 4 bytes, and texts ended by NUL."""
    if not 4 <= entry.items <= _CHARSMAP_BYTES:
        return False
    data = source.read(entry.at, entry.items)
    trie = int.from_bytes(data[:4], "big" if big_endian else "little")
    try:
        data[4 + trie :].decode()
    except UnicodeDecodeError:
        return False
    return trie % 4 == 0 and 4 + trie <= len(data)


def _plain(header: Header) -> tuple[dict[str, str], dict[str, Scalar]]:
    """The short texts, and the numbers: what the file says about its model."""
    metadata, scalars = {"version": str(header.version)}, {}
    for key, entry in header.entries.items():
        if entry.kind == STRING and len(entry.text) <= _KEPT_TEXT and not key.startswith(_TEMPLATES):
            metadata[key] = entry.text.decode(errors="replace")
        elif entry.kind in NUMERIC and (type(entry.value) is not float or isfinite(entry.value)):
            scalars[key] = entry.value
    return metadata, scalars


def _tail_findings(source: ByteSource, header: Header, spans: Int64, start: int) -> tuple[Finding, ...]:
    """Bytes behind the last tensor, which a reader that begins at the end of the file, as those of zips do, takes for its own."""
    end = max([header.end, *(o + s + start for o, s in zip(header.offsets, spans.tolist(), strict=True))])
    at = max(end, source.size - TAIL)
    length = len(source.read(at, source.size - at).strip(b"\0"))
    if length <= _SHORT_TAIL:
        return ()
    text = f"{source.size - end} bytes behind the last tensor: another reader may take them for an archive or a pickle"
    return (Finding("trailing-bytes", "critical", text, source.name),)


def _template_findings(header: Header, path: str) -> tuple[Finding, ...]:
    templates = [(k, e) for k, e in header.entries.items() if e.kind == STRING and k.startswith(_TEMPLATES)]
    size = sum(e.items for _, e in templates)
    if size > _TEMPLATE_BYTES:
        text = f"chat templates of {size} bytes, more than weightguard looks through for code"
        return (Finding("chat-template-code", "critical", text, path),)
    found = []
    for key, entry in templates:
        by = reaches_python(entry.text.decode(errors="replace"))
        if by:
            text = f"{key[:80]!r} reaches for Python by {by}: a program that renders it unguarded runs what it says"
            found.append(Finding("chat-template-code", "critical", text, path))
    return tuple(found)
