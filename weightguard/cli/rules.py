"""`weightguard rules`: the regimes shipped, their words, numbers and dated status, and the policy's bounds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import date

from weightguard.errors import ConfigurationError
from weightguard.evidence.devices import BITS
from weightguard.rules.citations import implementers
from weightguard.rules.provenance import Event, bounds, country_groups, latest, sentences, standing, values
from weightguard.rules.regime import SHIPPED, Regime, regime, written
from weightguard.rules.thresholds import Threshold
from weightguard.toml_lines import nearest, shown

WIDTH = 80
_IDS = (*SHIPPED, "bounds", "country-groups")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `weightguard rules`."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "show", "devices"),
        default="list",
        help="list regimes, show one, or the accelerators under ECCN 3A090",
    )
    parser.add_argument(
        "id", nargs="?", metavar="ID", help='a regime, "bounds" (the built-in policy\'s numbers) or "country-groups"'
    )
    parser.add_argument("--as-of", type=date.fromisoformat, metavar="DATE", help="status on that day (default: today)")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for to standard output; 0. Raises `ConfigurationError` for an id that isn't shipped."""
    as_of = args.as_of or date.today()
    if args.action == "devices":
        lines = _devices()
    elif args.action == "list":
        if args.id is not None:
            raise ConfigurationError(f"rules list takes no ID; did you mean: weightguard rules show {args.id}?")
        lines = _list(as_of)
    elif args.id is None:
        raise ConfigurationError(f"rules show needs an ID: one of {', '.join(_IDS)}")
    elif args.id == "bounds":
        lines = _bounds()
    elif args.id == "country-groups":
        lines = _groups()
    elif args.id in SHIPPED:
        lines = _regime(regime(args.id), as_of)
    else:
        guess = nearest(args.id, list(_IDS))
        hint = f"did you mean {guess}?" if guess else f"shipped: {', '.join(_IDS)}"
        raise ConfigurationError(f"no regime has the id {shown(args.id)}; {hint}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _list(as_of: date) -> Iterator[str]:
    for id in SHIPPED:
        found = regime(id)
        yield id
        yield from _wrapped(found.TITLE, "  ")
        yield from _status(found, as_of)
    yield ""
    yield from _wrapped("weightguard rules show ID prints a regime's text and numbers, show bounds the policy's.", "")


def _status(found: Regime, as_of: date) -> Iterator[str]:
    dated = standing(found.FOLDER)
    for label, events in (("Legal status", dated.legal), ("Enforcement", dated.enforcement)):
        event = latest(events, as_of)
        text = _event(event) if event else f"none on {as_of}; the first entry known is of {events[0].date}"
        yield from _wrapped(f"{label}: {text}", "  ")


def _event(event: Event) -> str:
    return f"{event.text} ({event.date})"


def _regime(found: Regime, as_of: date) -> Iterator[str]:
    dated, implemented = standing(found.FOLDER), _implementers(found)
    yield found.ID
    yield from _wrapped(found.TITLE, "")
    yield ""
    yield f"Status on {as_of} (last checked {dated.checked_on})"
    yield from _status(found, as_of)
    for label, events in (("Legal status by date", dated.legal), ("Enforcement by date", dated.enforcement)):
        yield from ("", label)
        for event in events:
            yield from _wrapped(f"{event.date}: {event.text}", "  ")
            yield from _wrapped(f"source ({event.confidence}): {event.source}", "    ")
    yield from ("", "Numbers")
    for value in values(found.FOLDER).values():
        number = written(value.value) if value.value >= 1000 else f"{float(value.value):g}"
        yield from _wrapped(f"{value.id}: {value.comparison} {number} {value.unit}, {value.citation}", "  ")
        checked = f"in force from {value.in_force_from}, checked {value.checked_on}"
        yield from _wrapped(f"source ({value.confidence}), {checked}: {value.source}", "    ")
    if isinstance(found, Threshold):
        for level in found.levels:
            line = written(level.value) if level.share is None else f"{level.share} of the original's"
            yield from _wrapped(f"{level.id}: {level.comparison} {line} operations ({level.counts}), {level.citation}", "  ")
            yield from _wrapped(f"then: {level.effect}", "    ")
            yield from _wrapped(f"source ({level.confidence}): {level.source}", "    ")
        yield "  Meeting it is reported and blocks nothing, unless a policy's [[rule]] says so."
        yield from ("", "What else it asks")
        for text in found.asks:
            yield from _wrapped(text, "  ")
    yield from ("", "Text")
    for sentence in sentences(found.FOLDER).values():
        yield f"  [{sentence.id}] ({sentence.confidence})"
        yield from _wrapped(sentence.words, "    ")
        by = ", ".join(implemented.get(sentence.id, ()))
        if by or sentence.not_evaluated:
            yield from _wrapped(f"-> {by}" if by else f"-> not evaluated: {sentence.not_evaluated}", "    ")
    yield from ("", "Sources")
    for source in found.SOURCES:
        yield from _wrapped(source, "  ")


_QUANTITIES = (("lpp_year", "a calendar year to one consignee"), ("lpp_notify", "from which a shipment is notified"))


def _devices() -> Iterator[str]:
    """The accelerators known, the figures their class rests on, and how many make up the low-processing-performance quantity."""
    from weightguard.evidence.devices import devices
    from weightguard.rules.us_ear_3a090.entry import FOLDER, ROUNDED, of_device

    known = devices()
    yield "Accelerators under ECCN 3A090 (and the computers that hold them under 4A090)"
    yield ""
    yield f"{'device':<13} {'TPP':>8}  {'from':<20} {'mm2':>6} {'TPP/mm2':>8}  {'datacenter':<10}  class"
    for one in known:
        precision, rate = max(one.rates.items(), key=lambda r: r[1] * BITS[r[0]])
        tpp, density, found = one.total_processing_performance, one.performance_density, of_device(one)
        least = "" if one.all_rates else "+"
        market = {True: "yes", False: "no", None: "unknown"}[one.datacenter]
        what = {"yes": found.paragraph, "no": "neither", "open": f"open: {found.reason}"}[found.specified]
        yield (
            f"{one.name:<13} {f'{float(tpp):,.0f}{least}':>8}  {f'{float(rate) / 1e12:g}e12 {precision} x {BITS[precision]}':<20}"
            f" {float(one.die_area or 0) or '?':>6} {'?' if density is None else f'{float(density):.2f}':>8}  {market:<10}  {what}"
        )
    yield ""
    yield from _wrapped(
        "+: a faster rate may exist, so TPP is at least this. Figures are makers' dense peaks from other hands;"
        f" within {float(ROUNDED):.0%} of a limit they settle nothing.",
        "",
    )
    quantities = values(FOLDER)
    for id, words in _QUANTITIES:
        limit = quantities[id]
        yield ""
        yield from _wrapped(f"License Exception LPP, {limit.citation}: {float(limit.value):,.0f} TPP {words} is at most", "")
        counts = [f"{int(limit.value / one.total_processing_performance):,} {one.name}" for one in known if one.all_rates]
        yield from _wrapped(", ".join(counts), "  ")
    yield ""
    yield from _wrapped(
        'LPP (§ 740.29) and ACM (§ 740.28) cover chips and not weights: 4E091 says "ACM: No" and lists no LPP.', ""
    )
    for source in dict.fromkeys(one.source for one in known):
        yield from _wrapped(f"source: {source}", "  ")


def _implementers(found: Regime) -> dict[str, list[str]]:
    """The names of the functions that implement each sentence."""
    names: dict[str, list[str]] = {}
    for function in implementers(sentences(found.FOLDER)):
        for id in function.cites:
            names.setdefault(id, []).append(function.name)
    return names


def _bounds() -> Iterator[str]:
    yield from _wrapped("Bounds of the built-in policy. They are judgements, not law; a policy may set others.", "")
    for bound in bounds().values():
        number = written(bound.value) if bound.value >= 10**6 else f"{float(bound.value):g}"
        yield ""
        yield from _wrapped(f"{bound.symbol} = {number} ({bound.unit})", "")
        yield from _wrapped(bound.means, "  ")
        yield from _wrapped(f"source ({bound.confidence}, checked {bound.checked_on}): {bound.source}", "  ")


def _groups() -> Iterator[str]:
    """The country groups that transactions are held against, as dated data."""
    for group in country_groups().values():
        yield from _wrapped(f"{group.id}: {group.title}", "")
        yield from _wrapped(", ".join(group.members), "  ")
        checked = f"in force from {group.in_force_from}, checked {group.checked_on}"
        yield from _wrapped(f"source ({group.confidence}), {checked}: {group.source}", "  ")


def _wrapped(text: str, indent: str) -> list[str]:
    """Text in lines of at most `WIDTH` columns, each after the first indented two more."""
    import textwrap

    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)
