"""Operations from hardware: devices x time x dense peak x utilisation."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightguard.evidence.declaration import Hardware
from weightguard.evidence.devices import device, hardware_operations, peak, sparse_peak, utilisation_source
from weightguard.values import UNBOUNDED


def hardware(
    device: str,
    precision: str | None = "bf16",
    utilisation: tuple[str, str] | None = ("0.5", "0.5"),
    count: int = 1,
    hours: int = 1,
) -> Hardware:
    share = None if utilisation is None else (Fraction(utilisation[0]), Fraction(utilisation[1]))
    return Hardware(device, Fraction(count), Fraction(hours), share, precision)


@pytest.mark.parametrize(
    ("device", "precision", "rate"),
    [
        ("V100-SXM", "fp16", "125e12"),
        ("V100-PCIe", "fp16", "112e12"),
        ("A100", "bf16", "312e12"),
        ("H100-SXM", "bf16", "989.5e12"),
        ("H100-SXM", "fp8", "1979e12"),
        ("H200", "fp8", "1979e12"),
        ("H100-PCIe", "bf16", "756e12"),
        ("H100-PCIe", "fp8", "1513e12"),
        ("H100-NVL", "bf16", "835e12"),
        ("H20", "bf16", "148e12"),
        ("B200", "bf16", "2.25e15"),
        ("GB300", "bf16", "2.5e15"),
        ("MI300X", "bf16", "1.3e15"),
        ("MI355X", "bf16", "2.5e15"),
        ("MI250X-GCD", "bf16", "191.5e12"),
        ("T4", "fp16", "65e12"),
        ("L40S", "bf16", "362e12"),
        ("A6000", "bf16", "154.85e12"),
        ("TPU v4", "bf16", "275e12"),
        ("TPU v5p", "bf16", "459e12"),
    ],
)
def test_dense_peaks(device: str, precision: str, rate: str) -> None:
    found = peak(device, precision)
    assert found is not None and found[0] == Fraction(rate) and found[1]


@pytest.mark.parametrize("name", ["H100-SXM", "h100 sxm5", "NVIDIA H100 SXM5 80GB", "nvidia-h100_sxm"])
def test_spelling_of_a_device_does_not_matter(name: str) -> None:
    assert peak(name, "bfloat16") == peak("H100-SXM", "bf16") is not None


def test_formula_of_the_commission_s_examples() -> None:
    """EU guidelines, Annex A.2.1: model H, 370,000 H100-hours at 989e12 and 50 percent, 6.5e23 as printed."""
    interval, formula = hardware_operations(hardware("H100-SXM", count=370_000))
    assert interval.high is not None and float(interval.high) == pytest.approx(6.59e23, rel=1e-3)
    assert interval.low == interval.best == interval.high
    assert "370000 devices x 1 h x 3600 s/h" in formula and "utilisation 0.5" in formula


def test_numbers_are_exact() -> None:
    interval, _ = hardware_operations(hardware("A100", count=1000, hours=10, utilisation=("0.3", "0.4")))
    assert (interval.low, interval.high) == (
        1000 * 10 * 3600 * 312 * 10**12 * Fraction(3, 10),
        1000 * 36000 * 312 * 10**12 * Fraction(4, 10),
    )


def test_unstated_utilisation_takes_the_prior() -> None:
    interval, formula = hardware_operations(hardware("A100", utilisation=None))
    whole = 3600 * 312 * 10**12
    assert (interval.low, interval.best, interval.high) == (
        whole * Fraction(15, 100),
        whole * Fraction(35, 100),
        whole * Fraction(60, 100),
    )
    assert "prior" in formula and utilisation_source()


def test_unstated_precision_reaches_to_the_highest_peak() -> None:
    interval, formula = hardware_operations(hardware("H100-SXM", None))
    assert interval.low == 1800 * Fraction("989.5e12") and interval.high == 1800 * Fraction("1979e12")
    assert "precision not stated" in formula


def test_unstated_precision_is_unbounded_where_a_faster_peak_is_not_known() -> None:
    interval, formula = hardware_operations(hardware("B200", None))
    assert interval.low == 1800 * Fraction("2.25e15") and interval.high is None and "or more" in formula


@pytest.mark.parametrize(
    ("device", "precision"),
    [("abacus", "bf16"), ("H100", "bf16"), ("", "bf16"), ("H100-SXM", "fp4"), ("V100-SXM", "bf16"), ("B200", "fp8")],
)
def test_unknown_device_or_precision_is_unbounded_and_says_so(device: str, precision: str) -> None:
    interval, formula = hardware_operations(hardware(device, precision))
    assert interval == UNBOUNDED
    assert formula.startswith("no peak")


def test_an_ambiguous_name_lists_what_it_may_mean() -> None:
    assert "H100-SXM or H100-PCIe or H100-NVL" in hardware_operations(hardware("H100"))[1]


@given(
    st.sampled_from(["A100", "H100-SXM", "B200", "T4", "what"]),
    st.sampled_from(["bf16", "fp16", "fp8", None]),
    st.one_of(st.none(), st.tuples(st.fractions("0.01", 1), st.fractions("0.01", 1)).map(lambda pair: (min(pair), max(pair)))),
    st.integers(1, 10**5),
    st.fractions(Fraction(1, 100), 10**5),
)
def test_every_answer_is_an_interval(
    device: str, precision: str | None, share: tuple[Fraction, Fraction] | None, count: int, hours: Fraction
) -> None:
    interval, formula = hardware_operations(Hardware(device, Fraction(count), hours, share, precision))
    assert interval.low >= 0 and formula.isprintable()


@pytest.mark.parametrize(
    ("name", "performance", "density"),
    [("A100", 4992, 6.04), ("H100-SXM", 15832, 19.45), ("H20", 2368, 2.91), ("V100-SXM", 2000, 2.45), ("T4", 1040, 1.91)],
)
def test_total_processing_performance_and_density_by_hand(name: str, performance: int, density: float) -> None:
    """A100: 312 tera-operations x 16 bits = 4992, over 826 mm2. Sixteen and eight bits give an H100 the same figure."""
    found = device(name)
    assert found is not None and found.performance_density is not None
    assert round(found.total_processing_performance) == performance
    assert float(found.performance_density) == pytest.approx(density, abs=0.01)


def test_a_datasheets_sparse_figure_is_known_for_what_it_is() -> None:
    assert sparse_peak("A100", Fraction("624e12")) and not sparse_peak("A100", Fraction("312e12"))
    assert not sparse_peak("H100-SXM", Fraction("1979e12"))  # FP8, dense
    assert sparse_peak("H100-SXM", Fraction("3958e12")) and not sparse_peak("nothing", Fraction(1))
