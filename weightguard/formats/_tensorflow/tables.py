"""Tables of sorted keys (LevelDB's table_format.md, as TensorFlow writes them): blocks of keys and values, each with a checksum."""

from __future__ import annotations

from collections.abc import Iterator

from weightguard.errors import Unreadable
from weightguard.formats._protobuf import Extent, varint
from weightguard.limits import Limits
from weightguard.stores import ByteSource

MAGIC = bytes.fromhex("57fb808b247547db")
FOOTER = 48
_TRAILER = 5  # a byte for the compression, four for the checksum
_LARGEST = 32 << 20  # bytes of a whole table: half a million tensors
_POLYNOMIAL = 0x82F63B78  # CRC-32C
_MASK = 0xA282EAD8


class Table:
    """A table of a file. `unexplained`: bytes in none of its blocks."""

    def __init__(self, source: ByteSource, limits: Limits) -> None:
        """Reads the footer and all blocks; raises `Unreadable`."""
        if source.size > _LARGEST:
            raise Unreadable("limit", f"an index of {source.size} bytes, more than {_LARGEST}")
        if source.size < FOOTER:
            raise Unreadable("truncated", "a table without its footer")
        self._data = source.read(0, source.size)
        self._limits = limits
        self._blocks: list[Extent] = []
        footer = self._data[-FOOTER:]
        meta, at = self._handle(footer, 0)
        index, at = self._handle(footer, at)
        if any(footer[at : FOOTER - len(MAGIC)]):
            raise Unreadable("malformed", "the footer of a table goes on where it ends")
        self._block(meta)
        self._extents = [self._handle(self._data[b:e], 0)[0] for _, (b, e) in self._entries(self._block(index))]
        self._keys = len(self._extents)

    def entries(self) -> Iterator[tuple[bytes, Extent]]:
        """Each key, in order, and where its value lies; raises `Unreadable` for keys out of order, one given twice among them."""
        last: bytes | None = None
        for extent in self._extents:
            for key, value in self._entries(self._block(extent)):
                if last is not None and key <= last:
                    raise Unreadable("malformed", "the keys of a table are out of order, or one is there twice")
                last = key
                yield key, value

    def unexplained(self) -> int:
        """Bytes that are in no block, once all entries were met."""
        reached = total = 0
        for begin, end in sorted(self._blocks):
            if begin < reached:
                raise Unreadable("inconsistent", "two blocks of a table overlap")
            total += begin - reached
            reached = end
        return total + len(self._data) - FOOTER - reached

    def value(self, extent: Extent) -> bytes:
        return self._data[extent[0] : extent[1]]

    def _handle(self, data: bytes, at: int) -> tuple[Extent, int]:
        """ "BlockHandle: offset varint64, size varint64"."""
        try:
            begin, at = varint(data, at)
            size, at = varint(data, at)
        except IndexError as error:
            raise Unreadable("malformed", "a block's place is cut off") from error
        if begin + size + _TRAILER > len(self._data) - FOOTER:
            raise Unreadable("truncated", f"a block of {size} bytes at {begin}, in a table of {len(self._data)} bytes")
        return (begin, begin + size), at

    def _block(self, extent: Extent) -> Extent:
        """The same extent, its block checked, without its restart points."""
        begin, end = extent
        self._blocks.append((begin, end + _TRAILER))
        if self._data[end]:
            raise Unreadable("unsupported", "a compressed block in a table")
        stored = int.from_bytes(self._data[end + 1 : end + _TRAILER], "little")
        rotated = (stored - _MASK) & 0xFFFFFFFF
        if _crc32c(self._data[begin : end + 1]) != (rotated >> 17 | rotated << 15) & 0xFFFFFFFF:
            raise Unreadable("inconsistent", f"the block at {begin} does not match its checksum")
        restarts = int.from_bytes(self._data[end - 4 : end], "little") if end - begin >= 4 else 0
        if not 0 < 4 * restarts + 4 <= end - begin:
            raise Unreadable("malformed", f"the block at {begin} has more restart points than bytes")
        return begin, end - 4 - 4 * restarts

    def _entries(self, extent: Extent) -> Iterator[tuple[bytes, Extent]]:
        """Keys and values of a block: each key says how much of the one before it it shares."""
        at, end = extent
        key = b""
        count = carried = 0
        while at < end:
            try:
                shared, at = varint(self._data, at)
                own, at = varint(self._data, at)
                length, at = varint(self._data, at)
            except IndexError as error:
                raise Unreadable("malformed", "an entry of a table is cut off") from error
            if shared > len(key) or at + own + length > end:
                raise Unreadable("malformed", f"an entry of a table goes on past its block, at byte {at}")
            key = key[:shared] + self._data[at : at + own]
            count += 1
            carried += len(key)
            if count > self._limits.tensors or carried > 16 * _LARGEST:
                raise Unreadable("limit", f"more than {self._limits.tensors} entries, or keys that are too long")
            yield key, (at + own, at + own + length)
            at += own + length


def _make_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _make_table()


def _crc32c(data: bytes) -> int:
    """RFC 3720, appendix B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
