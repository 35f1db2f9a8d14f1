"""What a transaction with an item of 4E091 takes: first whether it is an export, then the requirement, then License Exception AIA.

What the text does not settle is open. Nothing here says that an item may go: part 744 and sanctions apply to any item.
"""

from __future__ import annotations

from dataclasses import replace

from weightguard.rules.provenance import country_groups
from weightguard.rules.regime import Facts, Transaction
from weightguard.values import License, Verdict

CHINA = {"HK": "CN"}  # Hong Kong counts as China
APPLY = "apply for a licence: § 748.1; or send it elsewhere"


def license(given: Transaction) -> License:
    """4E091 License Requirements RS, 4E091 License Requirements AT: "To or within any destination worldwide". The answer for one
    transaction; AT Column 1 asks for no less.
    """
    for provision in (not_an_export, within_the_united_states, deemed_export, exception_aia):
        found = provision(given)
        if found is not None:
            return found
    return review(given)


def not_an_export(given: Transaction) -> License | None:
    """§ 734.18(a)(5): sending and keeping technology end-to-end encrypted, "not intentionally stored in" D:5 or Russia."""
    if not given.encrypted:
        return None
    if given.destination is None or _in(given.destination, "D:5") or _in(given.destination, "russia"):
        return None
    condition = (
        "§ 734.18(a)(5): the weights stay end-to-end encrypted (FIPS 140-2 or successor) and nobody decrypts them there: serving"
        " from there is not covered"
    )
    return License("not_required", "§ 734.18(a)(5)", "encrypted storage is not an export", conditions=(condition,))


def within_the_united_states(given: Transaction) -> License | None:
    """§ 734.13(a): an export is a sending out of the United States, or a release in it to a foreign person."""
    if (given.destination, given.consignee_hq, given.consignee_parent) != ("US", "US", "US") or given.deemed_export:
        return None
    condition = "§ 734.13(a)(2): nobody in the United States who is a foreign person gets the weights by it"
    return License("not_required", "§ 734.13", "nothing leaves the United States", conditions=(condition,))


def deemed_export(given: Transaction) -> License | None:
    """§ 742.6(a)(13): no licence for "deemed exports or deemed reexports for 'permanent regular employees,'" of entities
    headquartered in, or with an ultimate parent headquartered in, a destination of Supplement No. 5 to part 740, paragraph (a).
    """
    if not given.deemed_export:
        return None
    inside = [_in(country, "supplement-5a") for country in (given.consignee_hq, given.consignee_parent) if country]
    if any(inside):
        conditions = (
            "§ 734.20(d)(2): the persons are permanent regular employees of that entity, released to nobody else",
            "4E091 License Requirements AT: none of them is a national of a destination in Country Group E:1 or E:2",
        )
        return License("not_required", "§ 742.6(a)(13)", "a deemed export to employees of a 5(a) entity", conditions=conditions)
    if not inside or None in (given.consignee_hq, given.consignee_parent):
        text = "give --consignee-hq and --consignee-parent, the employer's"
        return _open(
            "§ 742.6(a)(13)", "whether the employer or its parent is headquartered in a 5(a) destination is not said", text
        )
    return None


def exception_aia(given: Transaction) -> License | None:
    """§ 740.27(a)(3), § 740.2(a)(9)(ii), 4E091 License Exceptions AIA, 4E091 License Exceptions STA: AIA for entities headquartered,
    "or whose ultimate parent company is headquartered," in a 5(a) destination, located outside Macau and D:5, with storage in a
    facility that complies with paragraphs 14, 15 and 18 of Supplement No. 10 to part 748. STA and ACM never.
    """
    if given.deemed_export or given.destination is None or _barred(given.destination):
        return None
    inside = [c is not None and _in(c, "supplement-5a") for c in (given.consignee_hq, given.consignee_parent)]
    if not any(inside):
        return None
    if not all(inside):
        # § 740.27(a)(3) says "or"; § 742.6(b)(14) denies where either is outside
        if given.consignee_hq is None or given.consignee_parent is None:
            return _open(
                "§ 740.27(a)(3)",
                "headquarters and ultimate parent are not both said",
                "give --consignee-hq and --consignee-parent",
            )
        text = "headquarters and ultimate parent are not both in 5(a): § 740.27(a)(3) says or, § 742.6(b)(14) denies either"
        return _open("§ 740.27(a)(3)", text, "ask BIS for an advisory opinion (§ 748.3), or apply for a licence")
    if not given.facility:
        text = "attest the facility (--facility-attested): paragraphs 14, 15 and 18 of Supplement No. 10 to part 748"
        return _open("§ 740.27(a)(3)(ii)", "whether the facility complies is not attested", text)
    condition = (
        "§ 740.27(a)(3)(ii): the weights are kept in a facility that complies with paragraphs 14, 15 and 18 of Supplement No. 10 to"
        " part 748, and the entity is located where they are sent"
    )
    return License("exception", "§ 740.27(a)(3)", "License Exception AIA", conditions=(condition,))


def review(given: Transaction) -> License:
    """§ 742.6(b)(14): a licence is required; "a presumption of denial for end users headquartered, or with an ultimate parent
    headquartered, outside of" 5(a). Nothing is said of those inside.
    """
    named = [country for country in (given.consignee_hq, given.consignee_parent) if country is not None]
    outside = any(not _in(country, "supplement-5a") for country in named)
    policy = "presumption of denial, § 742.6(b)(14)" if outside else ""
    missing = [
        option
        for option, value in (
            ("--destination", given.destination),
            ("--consignee-hq", given.consignee_hq),
            ("--consignee-parent", given.consignee_parent),
        )
        if value is None
    ]
    settle = (APPLY,) if not missing else (f"give {', '.join(missing)}; {APPLY}",)
    where = f"to {given.destination}" if given.destination else "to a destination not said"
    if given.destination is not None and _in(given.destination, "E:1 and E:2"):
        policy = "presumption of denial, § 742.6(b)(14), and the embargoes of part 746"
    return License("required", "§ 742.6(a)(13)", f"a licence is required {where}", policy, to_settle=settle)


def by_transaction(verdict: Verdict, facts: Facts) -> Verdict:
    """4E091 License Requirements RS: the verdict with what the given transaction takes, "only if the item is controlled" or may be."""
    if facts.transaction is None or not facts.complete or verdict.status == "not_controlled":
        return verdict
    found = license(facts.transaction)
    review_words = f"; {found.review}" if found.review else ""
    reason = f"{verdict.reason}; the transaction: {found.reason} ({found.clause}{review_words})"
    settle = tuple(dict.fromkeys((*verdict.to_settle, *found.to_settle)))
    conditions = tuple(dict.fromkeys((*verdict.conditions, *found.conditions)))
    unattested = tuple(dict.fromkeys((*verdict.unattested, *found.conditions)))
    return replace(verdict, reason=reason, to_settle=settle, conditions=conditions, unattested=unattested, license=found)


def _open(clause: str, reason: str, settle: str) -> License:
    return License("open", clause, reason, to_settle=(settle,))


def _barred(country: str) -> bool:
    return _in(country, "D:5") or _in(country, "macau")


def _in(country: str, group: str) -> bool:
    return CHINA.get(country, country) in country_groups()[group].members
