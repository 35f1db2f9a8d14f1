"""Plain twins of the kernels: Python's own integers, lists and JSON reader, as slow and as clear as can be."""

from __future__ import annotations

import json
import pickletools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

INT64_MAX = 2**63 - 1


def count_elements(shapes: Sequence[Sequence[int]]) -> list[int] | int:
    """The product of each shape, or the first row whose product is above 2^63 - 1."""
    products = [prod(shape) for shape in shapes]
    wrong = [row for row, product in enumerate(products) if product > INT64_MAX]
    return wrong[0] if wrong else products


def covers(rows: Sequence[tuple[int, int, int, int]], size: int) -> bool:
    """Whether rows (elements, bits an element, first byte, end byte), in this order, fill bytes 0 to `size` exactly."""
    at = 0
    for elements, bits, begin, end in rows:
        if begin != at or (end - begin) * 8 != elements * bits:
            return False
        at = end
    return at == size


def first_repeated(names: Sequence[bytes]) -> int:
    """The first row whose name stands in an earlier one; -1 if there is none."""
    return next((row for row, name in enumerate(names) if name in names[:row]), -1)


def skip_strings(data: bytes, start: int, count: int, width: int, order: str) -> tuple[int, int]:
    """(how many strings were walked over, where the next begins), of strings that are each a length and its bytes."""
    at = start
    walked = 0
    while walked < count and at + width <= len(data):
        at += width + int.from_bytes(data[at : at + width], "big" if order == "big" else "little")
        walked += 1
    return walked, at


def sums_by_group(values: Sequence[int], groups: Sequence[int], starts: Sequence[int]) -> list[int] | int:
    """Sums added to `starts`, or the first row at which one would pass 2^63 - 1."""
    sums = list(starts)
    for row, (value, group) in enumerate(zip(values, groups, strict=True)):
        sums[group] += value
        if sums[group] > INT64_MAX:
            return row
    return sums


def forward_of_layer(dense: int, routed: int, used: int, experts: int, heads: int, qk: int, v: int) -> tuple[int, int]:
    """2 a multiply-accumulate: what a token meets of the matrices (rounded up), and q.k and p.v of each head a key."""
    return 2 * (dense - (-routed * used) // experts), 2 * heads * (qk + v)


def twice_at_context(matmul: int, attention: int, window: int, context: int, causal: bool) -> int:
    """Twice the mean operations a token, counted token by token."""
    keys = []
    for position in range(1, context + 1):
        seen = position if causal else context
        keys.append(min(seen, window) if window else seen)
    twice_mean = -(-2 * sum(keys) // context) if context else 0
    return 2 * matmul + attention * twice_mean


def twice_at_long_context(matmul: int, attention: int, window: int, context: int, causal: bool) -> int:
    """The same in closed form, for contexts too long to count."""
    w = min(window, context) if window else context
    total = w * (w + 1) // 2 + (context - w) * w if causal else context * w
    return 2 * matmul + attention * -(-2 * total // context)


@dataclass(frozen=True)
class Header:
    """A safetensors header: (name, dtype, shape, data_offsets) of each tensor in order, and the metadata."""

    tensors: list[tuple[str, str, list[int], list[int]]]
    metadata: dict[str, str]


class _Refused(ValueError):
    pass


class _Object(list[tuple[str, Any]]):
    pass


def _refuse(text: str) -> None:
    raise _Refused(text)


def _natural(text: str) -> int:
    if text.startswith("-") or len(text) > 19 or int(text) > INT64_MAX:
        raise _Refused(text)
    return int(text)


def read_header(header: bytes, dtypes: Sequence[str]) -> Header | None:
    """What the header says, or None if it breaks a rule of the format (names given twice are the caller's to refuse)."""
    try:
        top = json.loads(
            header.decode("utf-8"),
            object_pairs_hook=_Object,
            parse_int=_natural,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
        if not isinstance(top, _Object):
            return None
        tensors, metadata = [], []
        for name, value in top:
            if not isinstance(value, _Object):
                return None
            if name == "__metadata__":
                metadata.append(_strings(value))
                continue
            if sorted(key for key, _ in value) != ["data_offsets", "dtype", "shape"]:
                return None
            fields = dict(value)
            if not isinstance(fields["dtype"], str) or fields["dtype"] not in dtypes:
                return None
            shape, offsets = _numbers(fields["shape"]), _numbers(fields["data_offsets"])
            if len(offsets) != 2:
                return None
            tensors.append((name, fields["dtype"], shape, offsets))
        return Header(tensors, metadata[0] if metadata else {}) if len(metadata) <= 1 else None
    except (ValueError, RecursionError):
        return None


def _numbers(value: object) -> list[int]:
    if isinstance(value, _Object) or not isinstance(value, list) or not all(type(n) is int for n in value):
        raise _Refused
    return value


def _strings(pairs: _Object) -> dict[str, str]:
    if len({key for key, _ in pairs}) != len(pairs) or not all(isinstance(v, str) for _, v in pairs):
        raise _Refused
    return dict(pairs)


_PUTS, _GETS, _INTEGERS = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET"), ("BININT1", "BININT2", "BININT")
Opcodes = list[tuple[str, Any, int]]


class _Differs(Exception):
    pass


def torch_items(
    pickle: bytes, at: int, top: int, key: int, refs: Sequence[int]
) -> tuple[list[tuple[str, int, int, list[int], int]], int, int]:
    """The items (name, class, elements, shape, memo index of the name) before the last SETITEMS that the run of tensors reaches,
    the offset of that SETITEMS, and the memo index after it; by the standard library's list of opcodes.
    """
    opcodes = list(_opcodes(pickle, at))
    items: list[tuple[str, int, int, list[int], int]] = []
    done, end, after = 0, at, top
    place = 0
    try:
        while True:
            item, place, top = _torch_item(opcodes, place, top, key, refs)
            items.append(item)
            key += 1
            if opcodes[place][0] == "SETITEMS":
                done, end, after = len(items), opcodes[place][2], top
                if opcodes[place + 1][0] != "MARK":
                    break
                place += 2
    except (_Differs, IndexError):
        pass
    return items[:done], end, after


def _opcodes(pickle: bytes, at: int) -> Iterator[tuple[str, Any, int]]:
    """Those that are whole, up to the first that is none, or STOP."""
    try:
        for opcode, argument, where in pickletools.genops(pickle[at:]):
            yield opcode.name, argument, at + (where or 0)
    except ValueError:
        pass


def _torch_item(
    opcodes: Opcodes, place: int, top: int, key: int, refs: Sequence[int]
) -> tuple[tuple[str, int, int, list[int], int], int, int]:
    rebuild, storage, location, hooks, *classes = refs
    first = top

    def take(*names: str) -> Any:
        nonlocal place
        name, argument, _ = opcodes[place]
        if name not in names:
            raise _Differs
        place += 1
        return argument

    def must(holds: bool) -> None:
        if not holds:
            raise _Differs

    def put() -> None:
        nonlocal top
        must(take(*_PUTS) == top)
        top += 1

    def numbers() -> list[int]:
        if opcodes[place][0] == "EMPTY_TUPLE":
            take("EMPTY_TUPLE")
            return []
        marked = opcodes[place][0] == "MARK"
        if marked:
            take("MARK")
        found = [take(*_INTEGERS)]
        while opcodes[place][0] in _INTEGERS:
            found.append(take(*_INTEGERS))
        must(len(found) <= 64)
        take("TUPLE" if marked else f"TUPLE{len(found)}")
        put()
        return found

    name = take("BINUNICODE")
    must(name.isascii() and len(name) <= 1024 and "\n" not in name)
    put()
    must(take(*_GETS) == rebuild)
    take("MARK")
    take("MARK")
    must(take(*_GETS) == storage)
    kind = take(*_GETS)
    must(kind in classes)
    must(take("BINUNICODE") == str(key) and key < 10**9)
    put()
    must(take(*_GETS) == location)
    elements = take(*_INTEGERS)
    take("TUPLE")
    put()
    take("BINPERSID")
    must(take(*_INTEGERS) == 0)
    shape, strides = numbers(), numbers()
    must(len(shape) == len(strides) and all(d > 0 for d in shape) and all(s >= 0 for s in strides))
    must(all(d == 1 or s == prod(shape[i + 1 :]) for i, (d, s) in enumerate(zip(shape, strides, strict=True))))
    must(prod(shape) == elements)
    take("NEWTRUE", "NEWFALSE")
    must(take(*_GETS) == hooks)
    take("EMPTY_TUPLE")
    take("REDUCE")
    put()
    take("TUPLE")
    put()
    take("REDUCE")
    put()
    return (name, classes.index(kind), elements, shape, first), place, top


def zip_directory(data: bytes, prefix: bytes, numbers: int, capacity: int) -> list[tuple[int, int, int, int]]:
    """(number, offset of the entry, offset of the local header, bytes) of the first members in a row named by prefix and number."""
    entries = []
    at = 0
    while at + 46 <= len(data):
        fields = struct.unpack_from("<4s6H3I5H2I", data, at)
        end = at + 46 + sum(fields[10:13])
        if fields[0] != b"PK\1\2" or end > len(data):
            break
        entries.append((at, end, fields, data[at + 46 : at + 46 + fields[10]]))
        at = end
    found: list[tuple[int, int, int, int]] = []
    for place, (at, _, fields, name) in enumerate(entries):
        _, _, _, flags, method, _, _, _, stored, size, _, extra, comment, disk, _, _, header = fields
        digits = name[len(prefix) :]
        plain = not (method or extra or comment or disk or flags & ~0b1000_0000_1110)
        whole = stored == size != 2**32 - 1 != header
        named = name.startswith(prefix) and digits.isdigit() and str(int(digits[:9])).encode() == digits
        number = int(digits) if named else -1
        fits = 0 <= number < numbers and number not in [f[0] for f in found] and header > (found[-1][2] if found else -1)
        if place > 0 and plain and whole and fits:
            found.append((number, at, header, stored))
        elif found or place == 1000:
            break
        if len(found) == capacity:
            break
    return found


def local_headers_match(file: bytes, directory: bytes, rows: Sequence[tuple[int, int, int, int]]) -> tuple[int, int] | int:
    """(offset after the last member's data, bytes of padding), or the first row whose header, or what lies before it, differs."""
    end = padding = 0
    descriptor = b""
    for row, (_, entry, header, stored) in enumerate(rows):
        fields = directory[entry + 6 : entry + 30]
        described = fields[2] & 8
        name = directory[entry + 46 :][: int.from_bytes(fields[22:24], "little")]
        expected = b"PK\3\4" + fields[:10] + (bytes(12) if described else fields[10:22]) + fields[22:24]
        extra = int.from_bytes(file[header + 28 : header + 30], "little")
        held = file[header + 30 + len(name) :][:extra]
        explained = not held or (4 <= extra < 512 and held == b"FB" + struct.pack("<H", extra - 4) + b"Z" * (extra - 4))
        follows = row == 0 or (header == end + len(descriptor) and file[end:header] == descriptor)
        alike = file[header : header + 28] == expected and file[header + 30 :].startswith(name)
        if not (follows and alike and explained and len(held) == extra):
            return row
        end = header + 30 + len(name) + extra + stored
        padding += extra
        descriptor = b"PK\7\x08" + fields[10:22] if described else b""
    return end, padding
