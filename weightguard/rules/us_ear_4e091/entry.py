"""ECCN 4E091 in the order in which it is printed: heading, Technical Notes, Note 1, Note 2; then `classify`.

Each function is a provision; the first words of its docstring cite the sentences of text.toml that it implements. Numbers come
from values.toml. Inputs are intervals, so an answer is yes, no or open. Where the text can be read two ways, both readings are
functions; where they differ, the answer is open and shows both.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from fractions import Fraction

from weightguard.evidence.publication import Published, Unclear
from weightguard.rules.provenance import Value, standing, values
from weightguard.rules.regime import Answer, Facts, Reading, law, written
from weightguard.rules.us_ear_4e091.jurisdiction import by_jurisdiction, jurisdiction
from weightguard.rules.us_ear_4e091.transaction import by_transaction
from weightguard.values import ZERO, Interval, Status, Verdict

ID = "us-ear-4e091"
TITLE = "US EAR, ECCN 4E091: parameters of AI models trained with very many operations"
FOLDER = os.path.dirname(__file__)
SOURCES = (
    "eCFR, 15 CFR part 774, Supplement No. 1, issue of 2026-07-23 (text of the entry)",
    "90 FR 4544, 15 January 2025, FR Doc. 2025-00636, RIN 0694-AJ90 (the rule)",
    "GAO B-337935, 12 May 2026 (on the announcement of non-enforcement)",
)
NOT_ASSESSED = (
    "part 744 of the EAR: end-use, end-user and 'is informed' controls, which apply at any number of operations",
    "sanctions, and entries other than 4E091",
    "a transaction, unless --destination, --consignee-hq and --consignee-parent say which",
    "an aid to self-classification, not legal advice and not a determination by BIS",
)

DECLARE = (
    "declare the training operations, or the training tokens: weightguard declare PATH writes a weightguard.toml;"
    " give each [[run]] one of operations, tokens with context, or hardware"
)
PUBLISHED = (
    "if anyone may get these weights and pass them on, write in weightguard.toml: [model] published ="
    ' {url = "...", date = 2026-01-31, licence = "...", unrestricted = true}'
)
DERIVED = (
    "if the model derives from a published one, write the later training as its own [[run]] with"
    ' starts_from = [{model = "...", published = true, operations = ...}]'
)


def _value(id: str) -> Value:
    return values(FOLDER)[id]


def _high(facts: Facts, interval: Interval) -> Fraction | None:
    """The upper end of an interval, None while parts or operations are missing from it."""
    return interval.high if facts.complete and not facts.uncounted else None


# ---- heading


def heading(facts: Facts) -> Answer:
    """4E091 heading: "trained utilizing 10^26 or more 'operations.'" Is it met?"""
    threshold = _value("heading_operations")
    low, high = facts.operations.low, _high(facts, facts.operations)
    limit, least = written(threshold.value), written(facts.operations.low, threshold.value)
    how = f" ({facts.method})" if facts.method else ""
    # "or more": a model of exactly the number meets it
    if threshold.meets(low):
        return Answer("yes", f"at least {least} training operations{how}: {limit} or more")
    if high is not None and not threshold.meets(high):
        most = written(high, threshold.value)
        return Answer("no", f"heading not met: at most {most} training operations{how}, fewer than {limit}")
    if not facts.complete:
        why = facts.incomplete or "a part is missing or could not be read"
        settle = f"put all parts of the model together and scan again ({why})"
        return Answer("open", f"the model is incomplete ({why}), so nothing bounds its operations below {limit}", (settle,))
    if facts.uncounted:
        why = "; ".join(facts.uncounted)
        return Answer(
            "open", f"operations that count are in no number ({why}), so nothing bounds them below {limit}", (DECLARE,)
        )
    if high is None:
        return Answer("open", f"nothing bounds the training operations{how} below {limit}", (DECLARE,))
    most = written(high, threshold.value)
    return Answer("open", f"between {least} and {most} training operations{how}, and {limit} lies in between", (DECLARE,))


# ---- Technical Notes 1 and 2 say what a parameter and an operation are: `parameters` and `operations` follow them


def technical_note_3_condition(facts: Facts) -> tuple[str, bool]:
    """4E091 Technical Note 3 s.1: the condition under which no other model's operations count, and whether it is attested."""
    share = written_share(_value("generated_data_share").value)
    return (
        f"Technical Note 3: not more than {share} of the training operations used unpublished data that one model generated,"
        " or the operations behind that data are counted (attested by data_complete = true in each [[run]])",
        facts.data_complete,
    )


def with_technical_note_3(facts: Facts, reading: Reading) -> Facts:
    """4E091 Technical Note 3 s.1: the facts with what one reading of the note adds to the model's own operations.

    It counts as additional to a published model too: the data were generated for the later training, or nobody says otherwise.
    """
    return replace(
        facts,
        operations=facts.operations + reading.added,
        additional=None if facts.additional is None else facts.additional + reading.added,
        uncounted=facts.uncounted + reading.uncounted,
        method="; ".join(x for x in (facts.method, reading.reason and f"{reading.reason}, {reading.name}") if x),
        readings=(),
    )


# ---- Note 1


def note_1_published(facts: Facts) -> Answer:
    """4E091 Note 1 s.1, § 734.7(a): parameters "that have been 'published'" are not controlled. Have they?"""
    said = facts.published
    if said is None:
        return Answer("no", "not said to be published")
    if isinstance(said, Unclear):
        # § 734.7(a) "without restrictions upon its further dissemination": said, but not shown
        return Answer("open", f"publication is unclear: {said.reason}", (PUBLISHED,))
    if not facts.complete:
        why = facts.incomplete or "a part is missing or could not be read"
        return Answer(
            "open", f"the model is incomplete ({why}), so it can't be said to be the published one", (_whole_scan(why),)
        )
    return Answer("yes", f"published at {said.url} since {said.date}, licence {said.licence}, as declared")


def _whole_scan(why: str) -> str:
    return f"put all parts of the model together and scan again ({why})"


def note_1_derived(facts: Facts) -> Answer:
    """4E091 Note 1 s.2: "derived from a model whose parameters have been 'published,' except where ..." Is it excluded?

    "25 percent of the training 'operations' defined in Note 2" does not say whose operations: both readings are asked.
    """
    if facts.base is None:
        return Answer("no", "not derived from a published model")
    additional = facts.additional or replace(facts.operations, low=Fraction(0))
    additional = replace(additional, best=None, high=_high(facts, additional))
    original = note_1_base_original(facts.base, additional)
    total = note_1_base_total(facts.base, additional)
    if original.value == total.value:
        return Answer(original.value, f"{original.reason}; {total.reason}", original.to_settle)
    return Answer(
        "open",
        f"the readings of Note 1 differ: {original.reason}; {total.reason}",
        original.to_settle + total.to_settle,
    )


def note_1_base_original(base: Interval, additional: Interval) -> Answer:
    """4E091 Note 1 s.2: read with "25 percent" of the operations of the original model.

    Supplement No. 10 to part 748, paragraph 7, has it so ("of the original AI model").
    """
    return _excluded(base, additional, "the original model's operations", lambda base, added: base)


def note_1_base_total(base: Interval, additional: Interval) -> Answer:
    """4E091 Note 1 s.2: read with "25 percent" of all operations of the derived model, the original's and the additional."""
    return _excluded(base, additional, "all its operations", lambda base, added: base + added)


def _excluded(base: Interval, additional: Interval, words: str, whole: Callable[[Fraction, Fraction], Fraction]) -> Answer:
    """Whether the exception of Note 1 s.2 leaves the model excluded when its share is taken of `whole(base, additional)`.

    The exception gains by additional operations and loses by those of the base, so the corners of the intervals decide.
    """
    floor, share = _value("derived_operations"), _value("derived_share")

    def limit(base: Fraction, added: Fraction) -> Fraction:
        # s.2 "whichever is higher"
        return max(floor.value, share.value * whole(base, added))

    def lost(base: Fraction, added: Fraction) -> bool:
        # s.2 "more than ... or more than": the exclusion is lost above the higher of the two
        return replace(floor, value=limit(base, added)).meets(added)

    words = f"{written_share(share.value)} of {words}"
    least = written(additional.low)
    if additional.high is not None and not lost(base.low, additional.high):
        line = limit(base.low, additional.high)
        reason = f"at most {written(additional.high, line)} additional operations, not more than {written(line)} ({words})"
        return Answer("yes", reason)
    if base.high is not None and lost(base.high, additional.low):
        line = limit(base.high, additional.low)
        return Answer(
            "no", f"at least {written(additional.low, line)} additional operations, more than {written(line)} ({words})"
        )
    most = "an unbounded number of" if additional.high is None else f"up to {written(additional.high)}"
    line = limit(base.low, additional.low if additional.high is None else additional.high)
    reason = f"{least} to {most} additional operations against a limit of {written(line)} or more ({words})"
    settle = (
        "narrow the operations of the later training ([[run]] operations) and of the published model (starts_from operations)"
    )
    return Answer("open", reason, (settle,))


# ---- Note 2


def note_2(facts: Facts) -> Answer:
    """4E091 Note 2 s.1, 4E091 Note 2 s.2, 4E091 Note 2.a, 4E091 Note 2.a.1, 4E091 Note 2.a.2, § 748.3(f): fewer "than the number
    needed" to match the best published model.

    Never granted by itself: the number of the largest published model is not it. Only a recorded number counts, of guidance
    published by BIS, of an opinion, or of a classification by BIS; it "should not decrease" (s.2), so an old one holds.
    """
    recorded = facts.note_2
    if recorded is None:
        settle = (
            "Note 2 excludes a model trained with fewer operations than it takes to match the best published one: rely on"
            " guidance that BIS has published, or ask BIS for a classification under § 748.3(f); record its number as [note_2]"
        )
        return Answer("open", "Note 2 is not granted automatically", (settle,))
    limit, high = recorded.operations, _high(facts, facts.operations)
    name = f"{recorded.kind} {recorded.reference} of {recorded.date}"
    if high is not None and high < limit:
        return Answer("yes", f"at most {written(high, limit)} operations, fewer than the {written(limit)} of {name}")
    if facts.operations.low >= limit:
        settle = "Note 2: ask BIS for a classification of this model under § 748.3(f)"
        return Answer("no", f"not fewer operations than the {written(limit)} of {name}", (settle,))
    return Answer("open", f"whether they are fewer than the {written(limit)} of {name} is open", (DECLARE,))


# ---- the whole entry


def classify(facts: Facts, as_of: date) -> Verdict:
    """The entry's answer for one model: whether it is the item, whether it is subject to the EAR, what the transaction takes."""
    verdict = by_jurisdiction(_item(facts, as_of), jurisdiction(facts.origin), complete=facts.complete)
    return by_transaction(verdict, facts)


def _item(facts: Facts, as_of: date) -> Verdict:
    """The answer under each reading of Technical Note 3; where they differ, both, and neither."""
    readings = facts.readings or (_NOTHING_ADDED,)
    verdicts = [_classify(with_technical_note_3(facts, reading), as_of) for reading in readings]
    if len({v.status for v in verdicts}) == 1:
        return verdicts[-1]  # the reading that counts all together, which is no less
    reason = "; ".join(f"{r.name}: {v.status} ({v.reason})" for r, v in zip(readings, verdicts, strict=True))
    settle = tuple(text for v in verdicts for text in v.to_settle)
    return _verdict(
        facts,
        as_of,
        "undetermined",
        "4E091 Technical Note 3",
        f"the readings of Technical Note 3 differ: {reason}",
        to_settle=(*settle, "or ask BIS for a classification under §§ 748.1 and 748.3"),
    )


_NOTHING_ADDED = Reading("", ZERO, (), "")


def _classify(facts: Facts, as_of: date) -> Verdict:
    """The general rule first, then the exclusions in printed order."""
    published = note_1_published(facts)
    # Note 1 s.1, § 734.7: published parameters are not controlled whatever their operations
    if published.value == "yes":
        return _verdict(facts, as_of, "not_controlled", "§ 734.7", published.reason, conditions=(_publication(facts),))
    verdict = _by_operations(facts, as_of)
    # an unclear publication never makes a clear model worse, and never clears one
    if published.value == "open" and verdict.status != "not_controlled":
        reason = f"{published.reason}; {verdict.reason}" if facts.complete else published.reason
        return _verdict(facts, as_of, "undetermined", "§ 734.7", reason, to_settle=published.to_settle + verdict.to_settle)
    return verdict


def _by_operations(facts: Facts, as_of: date) -> Verdict:
    """The heading, Note 1 s.2 and Note 2."""
    met, derived, needed = heading(facts), note_1_derived(facts), note_2(facts)
    # heading "10^26 or more": fewer is not the item
    if met.value == "no":
        return _verdict(facts, as_of, "not_controlled", "4E091", met.reason, conditions=_rests_on(facts))
    # Note 1 s.2 "also does not control": whether or not the heading is met
    if derived.value == "yes":
        base = ("the model from which this one derives is published without restriction, as declared",)
        reason = f"derived from a published model: {derived.reason}"
        return _verdict(facts, as_of, "not_controlled", "4E091 Note 1", reason, conditions=base + _rests_on(facts))
    # Note 2 "does not control": only by a number that somebody recorded
    if needed.value == "yes":
        recorded = (f"the number of Note 2 is recorded as declared: {needed.reason}",)
        return _verdict(facts, as_of, "not_controlled", "4E091 Note 2", needed.reason, conditions=recorded + _rests_on(facts))
    if met.value == "open":
        if not facts.complete:  # no statement helps before all parts are there
            return _verdict(facts, as_of, "undetermined", "4E091", met.reason, to_settle=met.to_settle)
        extra = f"; Note 1: {derived.reason}" if facts.base is not None else ""
        others = derived.to_settle if facts.base is not None else (DERIVED,)
        public = () if facts.published is not None else (PUBLISHED,)
        return _verdict(facts, as_of, "undetermined", "4E091", met.reason + extra, to_settle=met.to_settle + public + others)
    # Note 1 s.2 "except where": open means that an estimate or the reading decides
    if derived.value == "open":
        settle = (*derived.to_settle, "or ask BIS for a classification under §§ 748.1 and 748.3")
        return _verdict(facts, as_of, "undetermined", "4E091 Note 1", f"{met.reason}; {derived.reason}", to_settle=settle)
    extra = f"; the exclusion of Note 1 is lost: {derived.reason}" if facts.base is not None else ""
    # Note 2 "fewer ... than the number needed": a recorded number that the interval straddles leaves it open
    if facts.note_2 is not None and needed.value == "open":
        reason = f"{met.reason}{extra}; {needed.reason}"
        return _verdict(facts, as_of, "undetermined", "4E091 Note 2", reason, to_settle=needed.to_settle)
    return _verdict(facts, as_of, "controlled", "4E091", f"{met.reason}{extra}; {needed.reason}", to_settle=needed.to_settle)


def _publication(facts: Facts) -> str:
    """§ 734.7(a): "without restrictions upon its further dissemination", the condition under which publication clears."""
    url = facts.published.url if isinstance(facts.published, Published) else ""
    return f"these weights are the ones that anyone may get at {url} and pass on, as declared"


def _rests_on(facts: Facts) -> tuple[str, ...]:
    """What no header shows, and every answer by operations therefore rests on."""
    return (technical_note_3_condition(facts)[0], _whole_condition())


def _whole_condition() -> str:
    return (
        "the weights are whole: not pruned, cut, distilled or merged from larger or further models, whose operations they would"
        " inherit (attested by [model] whole = true)"
    )


def _verdict(
    facts: Facts,
    as_of: date,
    status: Status,
    clause: str,
    reason: str,
    *,
    conditions: tuple[str, ...] = (),
    to_settle: tuple[str, ...] = (),
) -> Verdict:
    attested = dict((technical_note_3_condition(facts), (_whole_condition(), facts.whole)))
    unattested = tuple(condition for condition in conditions if not attested.get(condition, True))
    return Verdict(
        regime=ID,
        status=status,
        clause=clause,
        reason=reason,
        law=law(standing(FOLDER), as_of),
        conditions=tuple(dict.fromkeys(facts.conditions + conditions)),
        unattested=tuple(dict.fromkeys(facts.unattested + unattested)),
        to_settle=tuple(dict.fromkeys(to_settle)),
        not_assessed=NOT_ASSESSED,
    )


def written_share(share: Fraction) -> str:
    """A share as a percentage."""
    return f"{float(share * 100):g} percent"
