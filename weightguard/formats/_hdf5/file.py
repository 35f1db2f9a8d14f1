"""The bytes of an HDF5 file: its superblock, blocks read within the file, and what each byte was found to be.

Source: HDF5 File Format Specification 3.0, II "Disk Format: Level 0 - File Metadata", and VIII "Appendix D: Encoding" for sums.
"""

from __future__ import annotations

from struct import unpack

import numpy as np

from weightguard.errors import Unreadable
from weightguard.limits import Limits
from weightguard.stores import ByteSource
from weightguard.tensors import Int64

SIGNATURE = b"\x89HDF\r\n\x1a\n"
USER_BLOCKS = (0, 512, 1024, 2048, 4096, 8192, 16384, 32768)  # "byte offset 0, 512, 1024, 2048 ... until found"

_PAGE = 16 << 10
_PAGES = 512
_WHOLE = 4 << 20
_CHECKED = 4 << 20  # bytes whose checksums are looked at: reading them all can take long, and no count depends on it
_GAPS = 256 << 20  # bytes between blocks that are looked at
_CHUNK = 1 << 20
_WORD = 0xFFFFFFFF


class File:
    """An open file. Addresses are those of the file: relative to its base address.

    offsets, lengths: bytes of an address and of a length. nowhere: the undefined address. root: address of the root group.
    group_k, leaf_k, chunk_k: half the entries of nodes. unexplained: bytes within blocks that no rule explains.
    tensors: bytes of data, in the file.
    """

    def __init__(self, source: ByteSource, limits: Limits) -> None:
        """Finds and reads the superblock; raises `Unreadable`."""
        self.source = source
        self.limits = limits
        self.unexplained = 0
        self.root_cache: tuple[int, int] | None = None
        self.extension = -1
        self.group_k, self.leaf_k, self.chunk_k = 16, 4, 32
        self._held = source.read(0, source.size) if source.size <= _WHOLE else b""
        self._pages: dict[int, bytes] = {}
        self._blocks: dict[int, int] = {}
        self._data: list[Int64] = []
        self._spans: list[tuple[int, int]] = []
        self._metadata = 0
        self._checked = 0
        self.base = 0
        self._superblock()

    # -- reading

    def peek(self, at: int, length: int) -> bytes:
        """Bytes that lie in the file; raises `Unreadable` ("truncated")."""
        begin = self.base + at
        if at < 0 or length < 0 or begin + length > self.source.size:
            raise Unreadable("truncated", f"hdf5: a block of {length} bytes at {at}, beyond the end of the file")
        return self._read(begin, length)

    def _read(self, begin: int, length: int) -> bytes:
        if self._held:
            return self._held[begin : begin + length]
        if length > _PAGE:
            return self.source.read(begin, length)
        first, last = begin // _PAGE, (begin + length - 1) // _PAGE if length else begin // _PAGE
        page = self._page(first) if first == last else self._page(first) + self._page(last)
        return page[begin - first * _PAGE : begin - first * _PAGE + length]

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is None:
            if len(self._pages) >= _PAGES:
                self._pages.clear()
            at = number * _PAGE
            page = self._pages[number] = self.source.read(at, min(_PAGE, self.source.size - at))
        return page

    def block(self, at: int, length: int, signature: bytes = b"") -> bytes:
        """A block of metadata, which may be met once; raises `Unreadable`."""
        if at in self._blocks:
            raise Unreadable("inconsistent", f"hdf5: two parts of the file share the block at {at}")
        data = self.peek(at, length)
        if not data.startswith(signature):
            raise Unreadable("malformed", f"hdf5: no {signature.decode()} at {at}")
        self._metadata += length
        if self._metadata > self.limits.header_bytes:
            raise Unreadable("limit", f"hdf5: more than {self.limits.header_bytes} bytes of metadata")
        self._blocks[at] = length
        return data

    def grow(self, at: int, length: int) -> bytes:
        """The same block again, now that its true length is known."""
        self._metadata -= self._blocks.pop(at)
        return self.block(at, length)

    def known(self, at: int) -> bool:
        """Whether a block at this address has been read."""
        return at in self._blocks

    def raw(self, at: int, length: int) -> None:
        """Records `length` bytes of data of a dataset; raises `Unreadable` if they aren't in the file."""
        if length:
            self._inside(at, length)
            self._spans.append((at, length))

    def raws(self, at: Int64, lengths: Int64) -> None:
        """The same for many."""
        if len(at):
            if (
                int(at.min()) < 0
                or int(lengths.min()) < 0
                or int((at.astype(object) + lengths.astype(object)).max()) > (self.source.size - self.base)
            ):
                raise Unreadable("truncated", "hdf5: a chunk beyond the end of the file")
            self._data.append(np.stack([at, lengths], 1))

    def _inside(self, at: int, length: int) -> None:
        if at < 0 or length < 0 or self.base + at + length > self.source.size:
            raise Unreadable("truncated", f"hdf5: {length} bytes of data at {at}, beyond the end of the file")

    def check(self, data: bytes) -> None:
        """The checksum that ends a block; raises `Unreadable` ("inconsistent")."""
        self._checked += len(data)
        if self._checked <= _CHECKED and checksum(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise Unreadable("inconsistent", f"hdf5: a block {data[:4]!r} that doesn't have its checksum")

    def hidden(self, data: bytes) -> None:
        """Room in a block that nothing refers to: padding where it is zero."""
        self.unexplained += len(data.strip(b"\0"))

    def address(self, data: bytes, at: int) -> int:
        """An address; `nowhere` becomes -1."""
        value = int.from_bytes(data[at : at + self.offsets], "little")
        if at + self.offsets > len(data):
            raise Unreadable("malformed", "hdf5: a block that ends within an address")
        return -1 if value == self.nowhere else value

    def length(self, data: bytes, at: int) -> int:
        """A length."""
        if at + self.lengths > len(data):
            raise Unreadable("malformed", "hdf5: a block that ends within a length")
        return int.from_bytes(data[at : at + self.lengths], "little")

    # -- the superblock

    def _superblock(self) -> None:
        size = self.source.size
        starts = [s for s in USER_BLOCKS if s + 96 <= size and self.peek(s, 8) == SIGNATURE]
        if not starts:
            raise Unreadable("truncated", "hdf5: no superblock")
        start = starts[0]
        head = self.peek(start, min(size - start, 160))
        version = head[8]
        if version > 3:
            raise Unreadable("unsupported", f"hdf5: version {version} of the superblock")
        self.offsets, self.lengths = (head[13], head[14]) if version < 2 else (head[9], head[10])
        if self.offsets not in (4, 8) or self.lengths not in (4, 8):
            raise Unreadable("unsupported", f"hdf5: addresses of {self.offsets} bytes, lengths of {self.lengths}")
        self.nowhere = (1 << 8 * self.offsets) - 1
        if version < 2:
            length, end = self._old(head, version)
        else:
            at = 12
            base, self.extension, stop, self.root = (self.address(head, at + i * self.offsets) for i in range(4))
            length, end = at + 4 * self.offsets + 4, stop
            self.check(head[:length])
            self.base = base
        if self.base != start:  # libhdf5 then takes the superblock's place as base, other readers the one that is written
            raise Unreadable("inconsistent", f"hdf5: a base address of {self.base}, but the superblock at {start}")
        self.block(0, length)
        if not 0 <= end <= size:
            raise Unreadable("truncated", f"hdf5: the file has {size} bytes, its superblock says {end}")

    def _old(self, head: bytes, version: int) -> tuple[int, int]:
        """Versions 0 and 1; returns (bytes, end of the file)."""
        self.leaf_k, self.group_k = unpack("<2H", head[16:20])
        at = 24
        if version == 1:
            self.chunk_k = int.from_bytes(head[24:26], "little")
            at = 28
        base, _, stop, driver = (self.address(head, at + i * self.offsets) for i in range(4))
        if driver >= 0:
            raise Unreadable("unsupported", "hdf5: a file of several parts, or of a driver of its own")
        at += 4 * self.offsets
        self.base = base
        self.root = self.address(head, at + self.offsets)
        cache = int.from_bytes(head[at + 2 * self.offsets : at + 2 * self.offsets + 4], "little")
        scratch = at + 2 * self.offsets + 8
        if cache == 1:
            self.root_cache = self.address(head, scratch), self.address(head, scratch + self.offsets)
        return scratch + 16, stop

    # -- what each byte is

    def accounts(self) -> tuple[int, int, int]:
        """Bytes of data, of padding, and between blocks that nothing explains; raises `Unreadable` where two blocks overlap."""
        parts = [np.array(list(self._blocks.items()), np.int64).reshape(-1, 2)]
        data = [np.array(self._spans, np.int64).reshape(-1, 2), *self._data]
        extents = np.concatenate([*parts, *data])
        extents = extents[extents[:, 1] > 0]
        extents = extents[np.argsort(extents[:, 0], kind="stable")]
        begins, ends = extents[:, 0] + self.base, extents.sum(1) + self.base
        if np.any(begins[1:] < ends[:-1]):
            at = int(begins[1:][begins[1:] < ends[:-1]][0])
            raise Unreadable("inconsistent", f"hdf5: two parts of the file overlap at byte {at}")
        first = np.concatenate([np.zeros(1, np.int64), ends])
        last = np.concatenate([begins, np.array([self.source.size], np.int64)])
        padding = unexplained = 0
        looked = 0
        for begin, end in zip(first[last > first].tolist(), last[last > first].tolist(), strict=True):
            looked += end - begin
            if looked > _GAPS:
                unexplained += end - begin
                continue
            for at in range(begin, end, _CHUNK):
                piece = self._read(at, min(_CHUNK, end - at))
                hidden = len(piece.strip(b"\0"))
                unexplained += hidden
                padding += len(piece) - hidden
        return sum(sum(d[:, 1].tolist()) for d in data), padding, unexplained


def checksum(data: bytes) -> int:
    """Jenkins' lookup3, hashlittle with an initial value of 0 (H5_checksum_lookup3)."""
    length = len(data)
    a = b = c = 0xDEADBEEF + length & _WORD
    if not length:
        return c
    whole = (length - 1) // 12 * 12
    words = unpack(f"<{whole // 4}I", data[:whole])
    for i in range(0, len(words), 3):
        a, b, c = a + words[i] & _WORD, b + words[i + 1] & _WORD, c + words[i + 2] & _WORD
        a = (a - c ^ (c << 4 | c >> 28)) & _WORD
        c = c + b & _WORD
        b = (b - a ^ (a << 6 | a >> 26)) & _WORD
        a = a + c & _WORD
        c = (c - b ^ (b << 8 | b >> 24)) & _WORD
        b = b + a & _WORD
        a = (a - c ^ (c << 16 | c >> 16)) & _WORD
        c = c + b & _WORD
        b = (b - a ^ (a << 19 | a >> 13)) & _WORD
        a = a + c & _WORD
        c = (c - b ^ (b << 4 | b >> 28)) & _WORD
        b = b + a & _WORD
    last = unpack("<3I", data[whole:].ljust(12, b"\0"))
    a, b, c = a + last[0] & _WORD, b + last[1] & _WORD, c + last[2] & _WORD
    c = (c ^ b) - (b << 14 | b >> 18) & _WORD
    a = (a ^ c) - (c << 11 | c >> 21) & _WORD
    b = (b ^ a) - (a << 25 | a >> 7) & _WORD
    c = (c ^ b) - (b << 16 | b >> 16) & _WORD
    a = (a ^ c) - (c << 4 | c >> 28) & _WORD
    b = (b ^ a) - (a << 14 | a >> 18) & _WORD
    return int((c ^ b) - (b << 24 | b >> 8) & _WORD)
