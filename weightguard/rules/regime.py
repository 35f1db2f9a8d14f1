"""What a regime is, what it is asked about, and the regimes shipped.

A regime is a module with ID, TITLE, FOLDER (its data) and `classify`. It sees intervals and attested facts, never tensors or
files; it answers in three values and always says why.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, Protocol, cast

from weightguard.evidence.publication import Published, Unclear
from weightguard.rules.provenance import Event, Standing, latest
from weightguard.values import ZERO, Interval, Law, Verdict

if TYPE_CHECKING:  # read only where there is one
    from weightguard.evidence.declaration import Recorded

CODED = {"us-ear-4e091": "weightguard.rules.us_ear_4e091"}  # id -> module
SHIPPED = (  # in the order of reports; those without a module are files of thresholds
    "us-ear-4e091",
    "eu-ai-act-51",
    "eu-gpai",
    "eu-gpai-modification",
    "us-ca-sb53",
    "us-ny-raise",
    "kr-ai-basic-act",
    "us-outbound-850",
    "us-eo-14110",
    "us-bis-702-7",
)


@dataclass(frozen=True)
class Reading:
    """One reading of a provision that adds the operations of other models: `added` to a model's own. `reason` says whose, or "".

    uncounted: operations that may count and that nobody states; `added` then has no upper end.
    """

    name: str
    added: Interval
    uncounted: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Origin:
    """Where a model comes from: the country (ISO 3166, None: not said) and, for each run, the accelerator it was trained on."""

    country: str | None
    accelerators: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Transaction:
    """Where a model is to go. Countries are ISO 3166 alpha-2; None and false: not said.

    destination: where it is sent or kept; consignee_hq, consignee_parent: where who gets it, and its ultimate parent, have their
    headquarters. facility: paragraphs 14, 15 and 18 of Supplement No. 10 to part 748 are attested. deemed_export: a release to
    permanent regular employees (§ 734.20(d)(2)). encrypted: kept as § 734.18(a)(5) asks, and decrypted nowhere else.
    """

    destination: str | None = None
    consignee_hq: str | None = None
    consignee_parent: str | None = None
    facility: bool = False
    deemed_export: bool = False
    encrypted: bool = False


@dataclass(frozen=True)
class Facts:
    """What a regime may know about one model. Every default is the one that clears least.

    `operations` are those of the whole lineage, `readings` what Technical Note 3 of 4E091 adds, one for each way to read it (none:
    nothing). `base` are the operations of the published model from which this one derives
    (None: not derived), `additional` those since. `whole` and `data_complete` are attestations. `conditions` come from earlier
    stages; those that nobody attested are also in `unattested`. `method` says how `operations` came about, in a few words.
    `uncounted` names operations that count but are in no interval: while there are any, no upper end holds.

    `generation`: what generated the unpublished data that its runs used, by whatever share. `original`, `modification`: of a model
    that starts from another, what that one took and what came since (None: it starts from nothing). `generates`: "text", "audio",
    "image", "video" ..., `biological`: whether it was trained primarily on biological sequence data; None: not said.
    """

    complete: bool
    operations: Interval
    incomplete: str = ""
    published: Published | Unclear | None = None
    base: Interval | None = None
    additional: Interval | None = None
    whole: bool = False
    data_complete: bool = False
    conditions: tuple[str, ...] = ()
    unattested: tuple[str, ...] = ()
    method: str = ""
    uncounted: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()
    note_2: Recorded | None = None
    origin: Origin | None = None
    transaction: Transaction | None = None
    generation: Interval = ZERO
    original: Interval | None = None
    modification: Interval | None = None
    generates: tuple[str, ...] | None = None
    biological: bool | None = None


@dataclass(frozen=True)
class Answer:
    """A provision's answer: whether what it says holds of the model, why, and what would settle it if that is open."""

    value: Literal["yes", "no", "open"]
    reason: str
    to_settle: tuple[str, ...] = ()


class Regime(Protocol):
    """A regime's module, or its `Threshold`. `FOLDER` holds text.toml, values.toml and status.toml, or is one file with all."""

    @property
    def ID(self) -> str: ...  # noqa: N802

    @property
    def TITLE(self) -> str: ...  # noqa: N802

    @property
    def FOLDER(self) -> str: ...  # noqa: N802

    @property
    def SOURCES(self) -> tuple[str, ...]: ...  # noqa: N802

    def classify(self, facts: Facts, as_of: date) -> Verdict:
        """The regime's answer for a model with these facts under the law as known on `as_of`."""


def regime(id: str) -> Regime:
    """The shipped regime of that id (KeyError if there is none). Loads no other."""
    if id in CODED:
        return cast(Regime, importlib.import_module(CODED[id]))
    from weightguard.rules import thresholds  # most scans ask 4E091 alone

    return thresholds.regime(id)


def law(standing: Standing, as_of: date) -> Law:
    """Legal status and enforcement on `as_of`; before the first dated entry, that is what the text says."""
    legal, enforcement = latest(standing.legal, as_of), latest(standing.enforcement, as_of)
    return Law(
        text_as_of=(legal or standing.legal[0]).date,
        status=legal.text if legal else _before(standing.legal[0], as_of),
        enforcement=enforcement.text if enforcement else _before(standing.enforcement[0], as_of),
        enforcement_as_of=(enforcement or standing.enforcement[0]).date,
    )


def _before(first: Event, as_of: date) -> str:
    return f"not in force on {as_of}: the first entry known is of {first.date}; classified as if it were"


def written(number: Fraction, against: Fraction | None = None) -> str:
    """A count as people write it (9.99e25): three significant digits or, where `against` is given, as many as it takes
    to stand on the same side of it."""
    if number == 0:
        return "0"
    for digits in range(3, 60):
        with localcontext(prec=digits):
            rounded = Decimal(number.numerator) / Decimal(number.denominator)
        near = Fraction(rounded)
        if against is None or ((near < against) == (number < against) and (near > against) == (number > against)):
            break
    mantissa, exponent = f"{rounded:e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"
