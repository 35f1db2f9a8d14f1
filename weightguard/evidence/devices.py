"""Training operations from hardware: devices x time x dense peak x utilisation.

An estimate, never a count. Where the device, or the precision that was stated, isn't in devices.toml, nothing bounds it.
"""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from weightguard.toml_lines import nearest, shown
from weightguard.values import UNBOUNDED, Interval, geometric_mean

if TYPE_CHECKING:  # a card's hours need none
    from weightguard.evidence.declaration import Hardware

BITS = {"fp64": 64, "fp32": 32, "tf32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8, "fp4": 4}
_NEAR = Fraction("0.02")
SECONDS = 3600  # of an hour


@dataclass(frozen=True)
class Device:
    """A device's dense peaks, precision -> FLOP/s; `complete`: none of its training precisions is faster than these.

    die_area: mm2 of the dies that compute, None where it is not known. other: rates that only TPP counts; `all_rates`: none of
    any bit length gives a larger TPP. datacenter: whether it is designed or marketed for datacenters, None where not known.
    """

    name: str
    peaks: Mapping[str, Fraction]
    complete: bool
    source: str
    die_area: Fraction | None = None
    other: Mapping[str, Fraction] = field(default_factory=dict)
    all_rates: bool = False
    datacenter: bool | None = None

    @property
    def total_processing_performance(self) -> Fraction:
        """3A090 Technical Note TPP: of the rates known, the largest of tera-operations a second x bits, "2 x 'MacTOPS' x 'bit length
        of the operation'", dense.
        """
        return max(rate / 10**12 * BITS[precision] for precision, rate in self.rates.items())

    @property
    def rates(self) -> Mapping[str, Fraction]:
        """All rates known, in operations a second."""
        return {**self.peaks, **self.other}

    @property
    def performance_density(self) -> Fraction | None:
        """3A090 Technical Note density: TPP a mm2 of die; None where the area is not known."""
        return self.total_processing_performance / self.die_area if self.die_area else None


def devices() -> list[Device]:
    """All devices of devices.toml, each once, in its order."""
    return list({known.name: known for known in _devices().values()}.values())


def device(name: str) -> Device | None:
    """The device of a name, however it is spelt; None for an unknown one."""
    return _devices().get(_plain(name))


def sparse_peak(name: str, rate: Fraction) -> bool:
    """Whether a stated rate in FLOP/s is about twice a dense peak of the device, as datasheets print it with 2:4 sparsity."""
    known = _devices().get(_plain(name))
    if known is None:
        return False
    dense = any(abs(rate / peak - 1) < _NEAR for peak in known.peaks.values())
    return not dense and any(abs(rate / (2 * peak) - 1) < _NEAR for peak in known.peaks.values())


def peak(device: str, precision: str | None) -> tuple[Fraction, str] | None:
    """The dense peak in FLOP/s and its source; the 16-bit one where no precision is stated; None for an unknown one."""
    known = _devices().get(_plain(device))
    if known is None:
        return None
    rate = _sixteen_bit(known) if precision is None else known.peaks.get(_plain(precision))
    return None if rate is None else (rate, known.source)


def hardware_operations(hardware: Hardware) -> tuple[Interval, str]:
    """Operations of a run from what it ran on, and the formula with its inputs.

    Without a stated utilisation the prior of devices.toml holds; without a stated precision `low` takes the 16-bit peak and
    `high` the device's highest. An unknown device or precision gives an interval without an upper end.
    """
    known = _devices().get(_plain(hardware.device))
    if known is None:
        return UNBOUNDED, f"no peak is known of the device {shown(hardware.device)}{_meant(hardware.device)}"
    if hardware.precision is None:
        slow, fast = _sixteen_bit(known), max(known.peaks.values()) if known.complete else None
        label = "precision not stated"
    else:
        found = known.peaks.get(_plain(hardware.precision))
        if found is None:
            names = ", ".join(known.peaks)
            return UNBOUNDED, f"no peak of {known.name} is known for {shown(hardware.precision)} (known: {names})"
        slow, fast, label = found, found, hardware.precision
    if hardware.utilisation is None:
        low_share, best_share, high_share = _prior()
        share = f"utilisation {float(low_share):g} to {float(high_share):g} (not stated: prior)"
    else:
        low_share, high_share = hardware.utilisation
        best_share = geometric_mean(low_share, high_share)
        share = f"utilisation {float(low_share):g}" + (f" to {float(high_share):g}" if high_share != low_share else "")
    time = hardware.count * hardware.hours * SECONDS
    rates = f"{float(slow):.5g}" + ("" if fast == slow else f" to {float(fast):.5g}" if fast is not None else " or more")
    formula = (
        f"{float(hardware.count):g} devices x {float(hardware.hours):g} h x {SECONDS} s/h x {rates} FLOP/s"
        f" ({known.name}, {label}, dense) x {share}"
    )
    high = None if fast is None else time * fast * high_share
    return Interval(time * slow * low_share, time * slow * best_share, high), formula


def operations_of_hours(device: str, hours: Fraction) -> tuple[Fraction, Fraction] | None:
    """[low, high] of operations in so many hours of one device, at the prior utilisation; None for an unknown device.

    A name that several devices share ("H100") is any of them: from the slowest 16-bit peak to the fastest of all.
    """
    plain = _plain(device)
    meant = [known for key, known in _devices().items() if plain and (key.startswith(plain) or plain.startswith(key))]
    exact = _devices().get(plain)
    meant = [exact] if exact is not None else meant
    rates = [rate for known in meant for rate in (_sixteen_bit(known), *known.peaks.values()) if rate]
    if not rates or hours <= 0:
        return None
    low, _, high = _prior()
    return hours * SECONDS * min(rates) * low, hours * SECONDS * max(rates) * high


def utilisation_source() -> str:
    """Where the prior on utilisation comes from."""
    return str(_table()["utilisation"]["source"])


def _meant(name: str) -> str:
    """The devices that a name may mean: "H100" is three of them, at different rates."""
    plain = _plain(name)
    names = dict.fromkeys(device.name for key, device in _devices().items() if plain and key.startswith(plain))
    guesses = list(names) or [guess for guess in (nearest(name, [d.name for d in _devices().values()]),) if guess]
    return f"; did you mean {' or '.join(guesses)}?" if guesses else ""


def _sixteen_bit(device: Device) -> Fraction:
    return device.peaks.get("bf16", device.peaks.get("fp16", Fraction(0)))


def _plain(name: str) -> str:
    """A device's or precision's name without spelling: "NVIDIA H100 SXM5" and "h100-sxm5" are the same."""
    text = "".join(c for c in name.lower() if c.isalnum())
    for maker in ("nvidia", "amd", "google", "instinct", "tesla"):
        text = text.removeprefix(maker)
    return {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float8": "fp8"}.get(text, text)


@functools.cache
def _table() -> dict[str, Any]:
    with open(os.path.join(os.path.dirname(__file__), "devices.toml"), "rb") as file:
        return tomllib.load(file, parse_float=Decimal)


@functools.cache
def _devices() -> dict[str, Device]:
    found = {}
    for entry in _table()["device"]:
        peaks = {precision: Fraction(rate) for precision, rate in entry["peaks"].items()}
        area = entry.get("die_area_mm2")
        one = Device(
            entry["names"][0],
            peaks,
            entry["complete"],
            entry["source"],
            None if area is None else Fraction(area),
            {precision: Fraction(rate) for precision, rate in entry.get("other_rates", {}).items()},
            entry.get("all_rates", False),
            entry.get("datacenter"),
        )
        for name in entry["names"]:
            found[_plain(name)] = one
    return found


def _prior() -> tuple[Fraction, Fraction, Fraction]:
    prior = _table()["utilisation"]
    return Fraction(prior["low"]), Fraction(prior["best"]), Fraction(prior["high"])
