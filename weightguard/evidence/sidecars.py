"""What the files beside the weights claim about training. Claims of whoever wrote them: they raise, they never clear."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from weightguard.evidence.publication import restricts
from weightguard.values import Claim, Finding

_LARGEST = Fraction(10) ** 40
_CARD_CHARACTERS = 1 << 20  # of prose, and a sixteenth of them of front matter
_TOKENS = re.compile(
    r"\b(?:pre-?)?train\w{0,6}\b[^.\n]{0,80}?\b(\d{1,6}(?:\.\d{1,6})?)\s?(T|B|M|trillion|billion|million)\b[ -]?tokens",
    re.IGNORECASE,
)
_UNITS = {"t": 12, "trillion": 12, "b": 9, "billion": 9, "m": 6, "million": 6}


@dataclass(frozen=True)
class Sidecars:
    """Claims found, what they say the model derives from, why it is not published (or ""), and what was wrong with the files."""

    claims: tuple[Claim, ...]
    bases: tuple[str, ...]
    restricted: str
    findings: tuple[Finding, ...]


def collect(texts: Mapping[str, bytes], index_metadata: Mapping[str, Any], folder: str) -> Sidecars:
    """Claims of `trainer_state.json`, the model card and the index's metadata. `texts`: file name -> bytes."""
    claims: list[Claim] = []
    findings: list[Finding] = []
    bases: tuple[str, ...] = ()
    restricted = ""
    if "trainer_state.json" in texts:
        claims += trainer_state(texts["trainer_state.json"], _path(folder, "trainer_state.json"))
    if "README.md" in texts:
        path = _path(folder, "README.md")
        text = texts["README.md"][:_CARD_CHARACTERS].decode(errors="replace")
        claims += card_tokens(text, path)
        front, problem = front_matter(text)
        bases, restricted = card_bases(front), card_restriction(front)
        if problem:
            findings.append(Finding("card-unread", "low", problem, path))
    claims += _claim("parameters", index_metadata.get("total_parameters"), "index", "metadata.total_parameters")
    return Sidecars(tuple(claims), bases, restricted, tuple(findings))


def trainer_state(text: bytes, path: str) -> list[Claim]:
    """`total_flos` and `num_input_tokens_seen` of transformers' Trainer.

    total_flos is 6 x tokens x parameters without embeddings, of this run alone: no attention, frozen weights counted, halved or
    less under sharding. num_input_tokens_seen is 0 where it was not tracked.
    """
    try:
        state = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return []
    if not isinstance(state, dict):
        return []
    claims = _claim("training operations", state.get("total_flos"), "trainer_state.json", f"{path}: total_flos")
    tokens = state.get("num_input_tokens_seen")
    return claims + _claim("training tokens", tokens, "trainer_state.json", f"{path}: num_input_tokens_seen")


def card_tokens(text: str, path: str) -> list[Claim]:
    """ "trained on 1.5T tokens" in a model card; the largest number said."""
    said = [(Fraction(m[1]) * 10 ** _UNITS[m[2].lower()], m[0]) for m in _TOKENS.finditer(text)]
    if not said:
        return []
    tokens, words = max(said)
    quote = " ".join(words.split())
    return [Claim("training tokens", tokens, tokens, "model card", f'{path}: "{quote[:100]}"', "claimed")]


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
    if len(match[1]) > _CARD_CHARACTERS // 16:
        return {}, "the front matter is longer than any card's"
    import yaml  # a third of a small scan's time: only where there is a card

    try:
        front = yaml.load(match[1], Loader=yaml.SafeLoader) if "&" not in match[1] else None  # no aliases: no billion laughs
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}, "the front matter is not YAML"
    return (front if isinstance(front, dict) else {}), ""


def _claim(quantity: str, value: object, source: str, where: str) -> list[Claim]:
    """One claim of a positive number; nothing of zero, text, true, NaN or a number beyond any sense."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return []
    try:
        if isinstance(value, Decimal) and not -100 < value.adjusted() < 100:  # its fraction would fill the memory
            return []
        number = Fraction(value)
    except (ValueError, OverflowError, InvalidOperation):
        return []
    return [Claim(quantity, number, number, source, where, "claimed")] if 0 < number <= _LARGEST else []


def _path(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
