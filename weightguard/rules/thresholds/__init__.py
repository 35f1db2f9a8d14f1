"""Regimes that hold a number of operations against a threshold: one TOML file each, and the code that reads any of them.

A policy states regimes of its own in the same form. What counts is one of COUNTS; where a level also asks what no checkpoint
shows, meeting its number leaves it open. Outside of 4E091 published weights are not excluded.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any

from weightguard.rules.provenance import COMPARISONS, Standing, latest, load, sentences, standing
from weightguard.rules.regime import Answer, Facts, law, written
from weightguard.values import UNBOUNDED, Interval, Law, Status, Verdict

HERE = os.path.dirname(__file__)
COUNTS = ("training", "training and generation", "modification")
DECLARE = "declare the training operations, or the training tokens: weightguard declare PATH writes a weightguard.toml"
WHOLE = "the weights are whole: nothing else that counts went into them (attested by [model] whole = true)"
GENERATED = "every model that generated unpublished data is declared (attested by data_complete = true in each [[run]])"


@dataclass(frozen=True)
class Level:
    """One threshold: `counts` (of COUNTS), in operations, is held against `value` by `comparison`, and `effect` follows.

    share: of the original's operations instead of `value` (of `otherwise` where the original's are not known). generates, biological:
    it holds only for models that generate one of these, or were trained primarily on biological sequences. also: criteria that a
    person has to answer.
    """

    id: str
    value: Fraction
    comparison: str
    counts: str
    citation: str
    effect: str
    share: Fraction | None = None
    otherwise: Fraction | None = None
    generates: tuple[str, ...] | None = None
    biological: bool = False
    also: tuple[str, ...] = ()
    unit: str = "operations"
    source: str = ""
    confidence: str = ""


@dataclass(frozen=True)
class Threshold:
    """A regime of levels, the gravest first. FOLDER: its file, "" for one that a policy states; blocks: whether meeting it does."""

    ID: str
    TITLE: str
    FOLDER: str
    SOURCES: tuple[str, ...]
    levels: tuple[Level, ...]
    blocks: bool
    asks: tuple[str, ...]

    def classify(self, facts: Facts, as_of: date) -> Verdict:
        """The gravest level that is met, surely or perhaps; a regime that isn't in force on `as_of` controls nothing."""
        answers = [(level, _met(level, facts)) for level in self.levels]
        met = next(((level, a) for level, a in answers if a.value == "yes"), None)
        perhaps = [(level, a) for level, a in answers if a.value == "open" and (met is None or _graver(level, met[0], self))]
        shown = met or (perhaps[0] if perhaps else answers[-1])
        status: Status = "controlled" if met else "undetermined" if perhaps else "not_controlled"
        reason, settle = shown[1].reason, tuple(text for _, a in perhaps for text in a.to_settle)
        for level, answer in perhaps:
            if level is not shown[0]:
                reason += f"; perhaps {level.effect}: {answer.reason}"
        dated = _standing(self)
        event = latest(dated.legal, as_of) if dated else None
        if dated and (event is None or not event.in_force):
            if event is None:
                told = f"not in force on {as_of}: the first entry known is of {dated.legal[0].date}"
            else:
                told = f"not in force on {as_of}: {event.text} ({event.date})"
            status, reason, settle = "not_controlled", f"{told}; if it were: {reason}", ()
        own = _conditions(self, facts) if status == "not_controlled" else ()
        unattested = tuple(text for text, attested in own if not attested)
        return Verdict(
            regime=self.ID,
            status=status,
            clause=shown[0].citation,
            reason=reason,
            law=law(dated, as_of) if dated else _of_policy(as_of),
            conditions=tuple(dict.fromkeys((*facts.conditions, *(text for text, _ in own)))),
            unattested=tuple(dict.fromkeys((*facts.unattested, *unattested))),
            to_settle=tuple(dict.fromkeys(settle)),
            not_assessed=(*self.asks, "an aid to self-classification, not legal advice"),
            blocks=self.blocks,
        )


def _graver(level: Level, than: Level, regime: Threshold) -> bool:
    return regime.levels.index(level) < regime.levels.index(than)


def _met(level: Level, facts: Facts) -> Answer:
    """Whether one level is met: by the ends of what counts, then by what else has to be so of the model."""
    if level.counts == "modification" and facts.original is None:
        return Answer("no", "no modification of another model is declared")
    quantity, limits = _quantity(level, facts), _limits(level, facts)
    counted = "" if level.counts == "training" else f" ({level.counts})"
    words = f"{_shown(quantity, limits)} operations{counted} against {level.comparison} {_line(limits)}"
    if quantity.high is not None and not _over(level, quantity.high, limits.low):
        return Answer("no", f"{words}: not met")
    applies = _applies(level, facts)
    if applies.value == "no":
        return Answer("no", f"{words}, {applies.reason}")
    if limits.high is None or not _over(level, quantity.low, limits.high):
        if facts.complete:
            return Answer("open", f"{words}: open", (DECLARE,))
        why = facts.incomplete or "a part is missing"
        return Answer("open", f"the model is incomplete ({why})", (f"put all parts together and scan again ({why})",))
    if applies.value == "open":
        return Answer("open", f"{words}: met, {applies.reason}", applies.to_settle)
    return Answer("yes", f"{words}: {level.effect}")


def _applies(level: Level, facts: Facts) -> Answer:
    """Whether a level is about such a model: by what it generates, what it was trained on, and what a person has to answer."""
    kinds = ", ".join(level.generates or ())
    if level.generates is not None and facts.generates is not None and not set(level.generates) & set(facts.generates):
        return Answer("no", f"of models that generate {kinds}")
    if level.biological and facts.biological is False:
        return Answer("no", "of models trained primarily on biological sequences")
    settle = []
    if level.generates is not None and facts.generates is None:
        settle.append(f'say what it generates: [model] generates = ["text"] (of {kinds}, other)')
    if level.biological and facts.biological is None:
        settle.append("say whether it was trained primarily on biological sequences: [model] biological = false")
    settle += [f"answer {text}" for text in level.also]
    if settle:
        return Answer("open", "if what else it asks is so of the model", tuple(settle))
    return Answer("yes", "")


def _quantity(level: Level, facts: Facts) -> Interval:
    if level.counts == "modification":
        found = facts.modification or UNBOUNDED
    else:
        found = facts.operations + (facts.generation if level.counts == "training and generation" else Interval(_0, None, _0))
    return found if facts.complete and not facts.uncounted else Interval(found.low, None, None)


_0 = Fraction(0)


def _limits(level: Level, facts: Facts) -> Interval:
    """The threshold: a number or, as a share, as wide as what the original took."""
    if level.share is None:
        return Interval(level.value, None, level.value)
    original = facts.original
    if original is None or original.high is None:
        line = level.share * (level.otherwise or _0)
        return Interval(line, None, line)
    return Interval(level.share * original.low, None, level.share * original.high)


def _over(level: Level, quantity: Fraction, limit: Fraction) -> bool:
    return quantity >= limit if level.comparison == ">=" else quantity > limit


def _shown(quantity: Interval, limits: Interval) -> str:
    line = limits.low
    if quantity.high is None:
        return f"at least {written(quantity.low, line)}"
    if quantity.low == quantity.high:
        return written(quantity.low, line)
    return f"{written(quantity.low, line)} to {written(quantity.high, line)}"


def _line(limits: Interval) -> str:
    return (
        written(limits.low)
        if limits.low == limits.high or limits.high is None
        else f"{written(limits.low)} to {written(limits.high)}"
    )


def _conditions(regime: Threshold, facts: Facts) -> tuple[tuple[str, bool], ...]:
    generation = any(level.counts == "training and generation" for level in regime.levels)
    return ((WHOLE, facts.whole), *(((GENERATED, facts.data_complete),) if generation else ()))


def _of_policy(as_of: date) -> Law:
    return Law(as_of, "a threshold of this policy, not law", "by this policy", as_of)


def _standing(regime: Threshold) -> Standing | None:
    return standing(regime.FOLDER) if regime.FOLDER else None


# ---- the files


def shipped() -> tuple[str, ...]:
    """The ids of the regimes that ship as files, sorted."""
    return tuple(sorted(name.removesuffix(".toml") for name in os.listdir(HERE) if name.endswith(".toml")))


@functools.cache
def regime(id: str) -> Threshold:
    """A regime that ships as a file (KeyError if there is none). Refuses unknown keys, comparisons and countings."""
    if id not in shipped():
        raise KeyError(id)
    path = os.path.join(HERE, f"{id}.toml")
    data = dict(load(path))
    sentences(path)
    for name in ("legal", "enforcement", "sentence", "checked_on"):
        data.pop(name)
    levels = tuple(level(entry) for entry in data.pop("level"))
    if data.pop("id") != id:
        raise ValueError(f"{path}: another id than its name")
    names: dict[str, Any] = {"TITLE": data.pop("title"), "SOURCES": tuple(data.pop("sources")), "asks": tuple(data.pop("asks"))}
    return Threshold(ID=id, FOLDER=path, levels=levels, **names, **data)


def level(entry: Mapping[str, Any]) -> Level:
    """A level from its table."""
    values = dict(entry)
    for name in ("value", "otherwise"):
        if name in values:
            values[name] = Fraction(values[name])
    if "share" in values:
        values["share"] = Fraction(*values["share"])
    for name in ("generates", "also"):
        if name in values:
            values[name] = tuple(values[name])
    found = Level(**values)
    if found.comparison not in COMPARISONS or found.counts not in COUNTS:
        raise ValueError(f"{found.id}: comparison must be one of {COMPARISONS}, counts one of {COUNTS}")
    return found
