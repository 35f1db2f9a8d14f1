"""Plain twins of the kernels: Python's own integers, lists and JSON reader, as slow and as clear as can be."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
