"""What the files beside the weights claim about training. Claims of whoever wrote them: they raise, they never clear."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from weightguard.evidence.found import Values, flat, positive
from weightguard.values import Claim, Finding

CARD = "README.md"
_YAML_BYTES = 1 << 16  # a configuration of a run; its loader is slow
_PROGRESS = {
    "progress.floating_point_operations": re.compile(r"Floating-point operations: ([0-9.eE+]{1,24})"),
    "progress.tokens_in_billions": re.compile(r"Tokens \(in billions\): ([0-9.eE+]{1,24})"),
}
_NOT_A_RUNS = frozenset({"config.json", "adapter_config.json", "model_index.json", "weightguard.toml", CARD})


@dataclass(frozen=True)
class Sidecars:
    """Claims found, what they say the model derives from, why it is not published (or ""), and what was wrong with the files."""

    claims: tuple[Claim, ...]
    bases: tuple[str, ...]
    restricted: str
    findings: tuple[Finding, ...]


def collect(texts: Mapping[str, bytes], index_metadata: Mapping[str, Any], folder: str) -> Sidecars:
    """Claims of a run's own files, the model card and the index's metadata. `texts`: file name -> bytes."""
    claims: list[Claim] = []
    findings: list[Finding] = []
    bases: tuple[str, ...] = ()
    restricted = ""
    for name, text in texts.items():
        if name not in _NOT_A_RUNS and not name.endswith(".index.json"):
            claims += _of_a_run(name, text, _path(folder, name))
    if CARD in texts:
        from weightguard.evidence import card

        path = _path(folder, CARD)
        prose = texts[CARD][: card.CHARACTERS].decode(errors="replace")
        front, problem = card.front_matter(prose)
        claims += card.card_claims(front, prose, path)
        bases, restricted = card.card_bases(front), card.card_restriction(front)
        if problem:
            findings.append(Finding("card-unread", "low", problem, path))
    adapter = texts.get("adapter_config.json")
    if adapter is not None:
        base = _json(adapter).get("base_model_name_or_path")
        bases += (base,) if isinstance(base, str) and base and base not in bases else ()
    said = positive(index_metadata.get("total_parameters"))
    if said is not None:
        claims.append(Claim("parameters", said, said, "index", "metadata.total_parameters", "claimed"))
    return Sidecars(tuple(claims), bases, restricted, tuple(findings))


def _of_a_run(name: str, text: bytes, path: str) -> list[Claim]:
    values = _values(name, text)
    if not values:
        return []
    from weightguard.evidence.trainers import claims_of

    return claims_of(values, path)


def _values(name: str, text: bytes) -> Values:
    """Plain values of a JSON or YAML file, or of Megatron's progress.txt, by dotted path."""
    if name.endswith(".json"):
        return flat(_json(text))
    if name.endswith((".yaml", ".yml")):
        from weightguard.evidence.card import plain_yaml

        return flat(plain_yaml(text.decode(errors="replace"))) if len(text) <= _YAML_BYTES else {}
    if name == "progress.txt":
        found = {}
        for key, pattern in _PROGRESS.items():
            said = [x for m in pattern.findall(text.decode(errors="replace")) if (x := _number(m)) is not None]
            if said:
                found[key] = max(said)
        return found
    return {}


def _json(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _number(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except ArithmeticError:
        return None
    return value if value.is_finite() else None


def _path(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
