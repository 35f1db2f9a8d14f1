"""A model card: what its front matter and its prose claim of tokens, device hours, bases and licence.

The prose is often the best evidence there is, and it is a claim like any other. Hours are of all devices together, as cards have them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from weightguard.evidence.devices import operations_of_hours
from weightguard.evidence.found import positive
from weightguard.evidence.publication import restricts
from weightguard.values import Claim

CHARACTERS = 1 << 20  # of prose, and a sixteenth of them of front matter
_NUMBER = r"(\d{1,3}(?:,\d{3}){1,5}|\d{1,6}(?:\.\d{1,6})?)"
_UNIT = r"(T|B|M|K|trillion|billion|million|thousand)?"
_TOKENS = re.compile(
    r"\b(?:pre-?)?train\w{0,6}\b[^.\n]{0,80}?\b(\d{1,6}(?:\.\d{1,6})?)\+?\s?(T|B|M|trillion|billion|million)\b\+?[ -]?tokens",
    re.IGNORECASE,
)
_DEVICE = r"(?:[VAHBL]\d{2,4}S?|GB\d00|H20|MI\d{3}X?|TPU[ -]?v\d\w?|T4)(?:[ -](?:SXM\d?|PCIe|NVL|\d{2,3}GB))?"
_HOURS = re.compile(
    rf"{_NUMBER}\s?{_UNIT}\s(?:({_DEVICE})[ -])?((?:GPU|TPU|accelerator|chip)s?[ -])?hours"
    rf"(?:\s(?:of\s(?:comput|train|pre-?train)\w{{1,6}}\s)?on\s[^.\n]{{0,60}}?({_DEVICE}))?",
    re.IGNORECASE,
)
_DAYS = re.compile(
    rf"\b(\d{{1,6}})\s(?:x\s)?(?:NVIDIA\s)?({_DEVICE})s?\b[^.\n]{{0,60}}?\b(\d{{1,4}}(?:\.\d)?)\s(days|weeks|hours|months)",
    re.IGNORECASE,
)
_UNITS = {"t": 12, "trillion": 12, "b": 9, "billion": 9, "m": 6, "million": 6, "k": 3, "thousand": 3}
_TIMES = {"hours": 1, "days": 24, "weeks": 168, "months": 730}


def card_claims(front: Mapping[str, Any], text: str, path: str) -> list[Claim]:
    """Tokens and device hours, these as operations at the prior utilisation; the largest number said of each."""
    hours = [*_hours(text, path), *_reported_hours(front, path)]
    return card_tokens(text, path) + sorted(hours, key=lambda claim: claim.high)[-1:]


def card_tokens(text: str, path: str) -> list[Claim]:
    """ "trained on 1.5T tokens" in a model card; the largest number said."""
    said = [(Fraction(m[1]) * 10 ** _UNITS[m[2].lower()], m[0]) for m in _TOKENS.finditer(text)]
    if not said:
        return []
    tokens, words = max(said)
    return [Claim("training tokens", tokens, tokens, "model card", f'{path}: "{_quote(words)}"', "claimed")]


def _hours(text: str, path: str) -> list[Claim]:
    claims = []
    named = re.search(_DEVICE, text)
    for match in _HOURS.finditer(text):
        hours = Fraction(match[1].replace(",", "")) * 10 ** _UNITS.get((match[2] or "").lower(), 0)
        if not (match[3] or match[4] or match[5]):
            continue  # hours of audio, of waiting
        device = match[3] or match[5] or (named[0] if named else "")
        claims += _operations(device, hours, match[0], path)
    for match in _DAYS.finditer(text):
        hours = int(match[1]) * Fraction(match[3]) * _TIMES[match[4].lower()]
        claims += _operations(match[2], hours, match[0], path)
    return claims


def _reported_hours(front: Mapping[str, Any], path: str) -> list[Claim]:
    """`co2_eq_emissions` as sentence-transformers writes it: hours_used and hardware_used. Grams say nothing of operations."""
    table = front.get("co2_eq_emissions")
    if not isinstance(table, dict) or not isinstance(table.get("hardware_used"), str):
        return []
    hours = positive(table.get("hours_used"))
    if hours is None:
        return []
    count = re.match(r"\s*(\d{1,6})\s*x\s", table["hardware_used"])
    device = re.search(_DEVICE, table["hardware_used"])
    words = f"co2_eq_emissions: hours_used {float(hours):g}, hardware_used {table['hardware_used'][:60]}"
    return _operations(device[0] if device else "", hours * (int(count[1]) if count else 1), words, path)


def _operations(device: str, hours: Fraction, words: str, path: str) -> list[Claim]:
    found = operations_of_hours(device, hours)
    if found is None or hours <= 0:
        return []
    note = f'{path}: "{_quote(words)}" (an estimate: dense peak x utilisation not stated)'
    return [Claim("training operations", found[0], found[1], "model card", note, "claimed")]


def card_bases(front: Mapping[str, Any]) -> tuple[str, ...]:
    """`base_model` of a card: a name or a list of names."""
    base = front.get("base_model")
    names = [base] if isinstance(base, str) else base if isinstance(base, list) else []
    return tuple(n for n in names if isinstance(n, str))


def card_restriction(front: Mapping[str, Any]) -> str:
    """What a card says against the weights being anyone's to pass on: its licence, or a gate in front of the files."""
    licence = front.get("license")
    if isinstance(licence, str) and restricts(licence):
        return f"README.md says license: {licence[:60]}"
    gates = sorted(k for k in front if isinstance(k, str) and k.startswith("extra_gated"))
    return f"README.md has {gates[0]}: the files are gated" if gates else ""


def front_matter(text: str) -> tuple[Mapping[str, Any], str]:
    """A card's YAML front matter, empty if it has none; and what is wrong with it, if anything."""
    match = re.match(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", text, re.DOTALL)
    if match is None:
        return {}, ""
    if len(match[1]) > CHARACTERS // 16:
        return {}, "the front matter is longer than any card's"
    front = plain_yaml(match[1])
    return (front, "") if isinstance(front, dict) else ({}, "" if front is not None else "the front matter is not YAML")


def plain_yaml(text: str) -> object:
    """YAML without aliases, by its safe loader; None if it is none."""
    import yaml  # a third of a small scan's time: only where there is a card

    try:
        return yaml.load(text, Loader=yaml.SafeLoader) if "&" not in text else {}  # no aliases: no billion laughs
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _quote(words: str) -> str:
    return " ".join(words.split())[:100]
