"""Whether a model is subject to the EAR at all: in or from the United States, of US origin, or foreign-produced under § 734.9(l)."""

from __future__ import annotations

from dataclasses import replace

from weightguard.evidence.devices import device
from weightguard.rules.regime import Answer, Origin
from weightguard.rules.us_ear_3a090.entry import of_device
from weightguard.values import Verdict

CONDITIONS = (
    "§ 734.3: the weights are not in the United States, of US origin, or made of US-origin parts, as declared by [origin] country",
    "§ 734.9(l): no other plant or major component that made them is subject to the EAR and specified in 3A001.z, 3A090, 4A003.z,"
    " 4A004.z, 4A005.z, 4A090, 5A002.z, 5A004.z or 5A992.z",
)
HARDWARE = 'declare what every run was trained on: [[run]] accelerators = ["..."] (weightguard rules devices lists those known)'


def jurisdiction(origin: Origin | None) -> Answer:
    """§ 734.3(a): whether the item is subject to the EAR. Unknown counts as subject."""
    if origin is None or origin.country is None:
        return Answer("yes", "taken to be subject to the EAR: no country of origin is declared")
    if origin.country == "US":
        return Answer("yes", "subject to the EAR: made or held in the United States, as declared")
    return foreign_produced(origin)


def foreign_produced(origin: Origin) -> Answer:
    """§ 734.9(l)(1), § 734.9(l)(1) Note 7: produced outside the United States "by a complete plant or 'major component' of a plant"
    specified in 3A090 or 4A090 among others: trained, or trained further, on such accelerators.
    """
    unknown = []
    for run, name in origin.accelerators:
        known = device(name) if name is not None else None
        found = of_device(known).specified if known is not None else "open"
        if found == "yes":
            return Answer("yes", f'subject to the EAR by § 734.9(l): run "{run}" was trained on {name}, 3A090 and 4A090')
        if found == "open":
            unknown.append(f'"{run}" ({name or "no hardware declared"})')
    if unknown or not origin.accelerators:
        which = ", ".join(unknown[:5]) or "no run is declared"
        return Answer("open", f"whether § 734.9(l) reaches weights made in {origin.country} is open: {which}", (HARDWARE,))
    return Answer("no", f"made in {origin.country} and trained on accelerators that 3A090 and 4A090 don't specify, as declared")


def by_jurisdiction(verdict: Verdict, answer: Answer, *, complete: bool) -> Verdict:
    """§ 734.3(a): the verdict on an item that is subject to the EAR, for one that may not be.

    A model that is not reached is not controlled, on conditions that nobody attested; where it is open, neither is its control.
    """
    if verdict.status == "not_controlled" or answer.value == "yes" or not complete:
        return verdict
    reason = f"{answer.reason}; if it is subject: {verdict.status}, {verdict.clause}: {verdict.reason}"
    if answer.value == "no":
        conditions = tuple(dict.fromkeys((*verdict.conditions, *CONDITIONS)))
        unattested = tuple(dict.fromkeys((*verdict.unattested, *CONDITIONS)))
        return replace(
            verdict,
            status="not_controlled",
            clause="§ 734.9(l)",
            reason=reason,
            conditions=conditions,
            unattested=unattested,
            to_settle=(),
        )
    settle = tuple(dict.fromkeys((*answer.to_settle, *verdict.to_settle)))
    return replace(verdict, status="undetermined", clause="§ 734.9(l)", reason=reason, to_settle=settle)
