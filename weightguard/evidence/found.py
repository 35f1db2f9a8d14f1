"""Plain values of a file, by dotted path, and numbers read from them with suspicion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

LARGEST = Fraction(10) ** 40
_VALUES = 4096
_DEPTH = 8
_ENDS = 64  # of a list: its first and its last entries

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """One quantity as an interval, the keys that it was read from, and what to know about them."""

    quantity: str  # "training operations", "training tokens", "training samples", "optimizer steps"
    low: Fraction
    high: Fraction
    keys: tuple[str, ...]
    note: str = ""


def exactly(quantity: str, value: Fraction | None, *keys: str, note: str = "") -> list[Found]:
    """One number, if it is one and no larger than any sense."""
    return [Found(quantity, value, value, keys, note)] if value is not None and 0 < value <= LARGEST else []


def number(values: Values, *keys: str) -> Fraction | None:
    """The first of these keys that holds a positive number; None for text, true, NaN, 0 and what is beyond any sense."""
    for key in keys:
        found = positive(values.get(key))
        if found is not None:
            return found
    return None


def positive(value: object) -> Fraction | None:
    """A positive number, exactly; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    if isinstance(value, int) and value.bit_length() > 200:
        return None
    try:
        if isinstance(value, Decimal) and not -100 < value.adjusted() < 100:  # its fraction would fill the memory
            return None
        found = Fraction(value)
    except (ValueError, OverflowError, ArithmeticError):
        return None
    return found if 0 < found <= LARGEST else None


def product(*factors: Fraction | None) -> Fraction | None:
    """The product; None if a factor is not known."""
    result = Fraction(1)
    for factor in factors:
        if factor is None:
            return None
        result *= factor
    return result


def key_like(values: Values, ending: str) -> str:
    """The shortest key that is `ending` or ends with it after a dot; "" for none."""
    found = [key for key in values if key == ending or key.endswith("." + ending)]
    return min(found, key=len, default="")


def flat(value: object) -> dict[str, Any]:
    """Plain values of nested objects and lists by dotted path: at most 4,096 of them, eight levels deep."""
    values: dict[str, Any] = {}
    stack: list[tuple[str, object, int]] = [("", value, 0)]
    while stack and len(values) < _VALUES:
        path, item, depth = stack.pop()
        if isinstance(item, dict) and depth < _DEPTH:
            stack += [
                (f"{path}.{k}" if path else str(k), v, depth + 1) for k, v in list(item.items())[:_VALUES] if len(str(k)) < 256
            ]
        elif isinstance(item, list) and depth < _DEPTH:
            numbered = list(enumerate(item))
            ends = numbered if len(numbered) <= _ENDS else numbered[: _ENDS // 2] + numbered[-_ENDS // 2 :]
            stack += [(f"{path}.{n}", v, depth + 1) for n, v in ends]
        elif isinstance(item, (int, float, Decimal, bool, str)) and path and len(str(item)[:4097]) <= 4096:
            values[path] = item
    return values
