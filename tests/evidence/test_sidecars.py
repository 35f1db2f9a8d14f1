"""What sidecars claim: transformers' trainer state, the card's front matter and prose, the index's metadata."""

from __future__ import annotations

import json
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightguard.evidence.devices import operations_of_hours
from weightguard.evidence.sidecars import collect


def claims(**files: str) -> dict[str, Fraction]:
    texts = {name.replace("__", "."): text.encode() for name, text in files.items()}
    return {c.quantity: c.high for c in collect(texts, {}, "m").claims}


def test_trainer_state_claims_its_flos_and_its_tokens() -> None:
    state = json.dumps({"total_flos": 1.5e20, "num_input_tokens_seen": 123, "global_step": 7})
    found = {"training operations": 15 * 10**19, "training tokens": 123, "optimizer steps": 7}
    assert claims(trainer_state__json=state) == found


@pytest.mark.parametrize("value", ["0", "-1", "null", "true", '"1e20"', "NaN", "Infinity", "1e999", "[1]"])
def test_a_number_that_is_none_claims_nothing(value: str) -> None:
    assert claims(trainer_state__json='{"total_flos": X, "num_input_tokens_seen": 0}'.replace("X", value)) == {}


@pytest.mark.parametrize(
    ("words", "tokens"),
    [
        ("It was trained on 1T tokens of text.", 10**12),
        ("Trained on 15.6 trillion tokens.", 156 * 10**11),
        ("pre-trained with 300B tokens, then trained on 2B tokens", 300 * 10**9),
        ("pretraining used 500 million tokens", 500 * 10**6),
    ],
)
def test_a_card_that_says_tokens_claims_the_most_it_says(words: str, tokens: int) -> None:
    assert claims(README__md=f"---\nlicense: mit\n---\n# Model\n{words}\n") == {"training tokens": tokens}


@pytest.mark.parametrize("words", ["a 7B model", "context of 8192 tokens", "1T parameters", "tokens: 5"])
def test_a_card_that_says_no_training_tokens_claims_none(words: str) -> None:
    assert claims(README__md=words) == {}


@pytest.mark.parametrize(
    ("front", "bases"),
    [
        ("base_model: acme/base", ("acme/base",)),
        ("base_model:\n- a/b\n- c/d", ("a/b", "c/d")),
        ("base_model: 7", ()),
        ("license: mit", ()),
        ("a: &a [x]\nbase_model: *a", ()),
        ("base_model: !!python/object/apply:os.system [true]", ()),
        ("[", ()),
        ("- just\n- a list", ()),
    ],
)
def test_the_front_matter_names_the_base(front: str, bases: tuple[str, ...]) -> None:
    assert collect({"README.md": f"---\n{front}\n---\n".encode()}, {}, "").bases == bases


def test_the_index_claims_parameters() -> None:
    (found,) = collect({}, {"total_parameters": 7 * 10**9}, "").claims
    assert (found.quantity, found.trust) == ("parameters", "claimed")
    assert found.high == 7 * 10**9


@pytest.mark.parametrize(
    ("words", "device", "hours"),
    [
        ("It used 2.788M H800 GPU hours for its full training.", "H800", 2_788_000),
        ("Training took a cumulative 39.3M GPU hours of computation on H100-80GB hardware", "H100-80GB", 39_300_000),
        ("took 1,720,320 A100-80GB GPU hours", "A100-80GB", 1_720_320),
        ("trained on 64 A100 GPUs for 3 weeks", "A100", 64 * 504),
        ("512 H100 for 23 days", "H100", 512 * 552),
        ("150 thousand A100 hours", "A100", 150_000),
    ],
)
def test_a_card_that_says_device_hours_claims_operations(words: str, device: str, hours: int) -> None:
    (found,) = collect({"README.md": words.encode()}, {}, "").claims
    expected = operations_of_hours(device, Fraction(hours))
    assert expected is not None and (found.low, found.high) == expected
    assert found.quantity == "training operations" and "estimate" in found.where


@pytest.mark.parametrize(
    "words",
    [
        "trained on 680,000 hours of audio, on H100s",
        "updated every 24 hours; served on an A100",
        "5 million hours of speech. A100",
    ],
)
def test_hours_of_something_else_claim_nothing(words: str) -> None:
    assert collect({"README.md": words.encode()}, {}, "").claims == ()


def test_hours_of_an_ambiguous_device_span_its_variants() -> None:
    """An "H100" is SXM, PCIe or NVL: the slowest 16-bit peak at the lowest utilisation to FP8 at the highest."""
    found = operations_of_hours("H100", Fraction(1))
    assert found is not None
    assert found[0] == Fraction("756e12") * 3600 * Fraction("0.15")
    assert found[1] == Fraction("1979e12") * 3600 * Fraction("0.6")
    assert operations_of_hours("quantum annealer", Fraction(1)) is None


def test_the_co2_block_says_hours_and_hardware() -> None:
    front = "co2_eq_emissions:\n  emissions: 12.5\n  hours_used: 10\n  hardware_used: 8 x NVIDIA A100-SXM4-80GB"
    (found,) = collect({"README.md": f"---\n{front}\n---\n".encode()}, {}, "").claims
    assert found.low == 80 * 3600 * Fraction("312e12") * Fraction("0.15")
    assert not collect({"README.md": b"---\nco2_eq_emissions: 12.5\n---\n"}, {}, "").claims


def test_results_claim_samples_and_megatrons_progress_operations_and_tokens() -> None:
    results = json.dumps({"train_runtime": 100.0, "train_samples_per_second": 4.5, "total_flos": 7e15})
    assert claims(train_results__json=results) == {"training samples": 450, "training operations": 7 * 10**15}
    progress = (
        "2026-01-01\tSaved checkpoint\tIteration: 10\tJob throughput: 400.1 TFLOP/s/GPU\t"
        "Floating-point operations: 1.20e+20\tTokens (in billions): 1.50\n"
        "2026-01-02\tSaved checkpoint\tIteration: 20\tFloating-point operations: 2.40e+20\tTokens (in billions): 3.00\n"
    )
    assert claims(progress__txt=progress) == {"training operations": 24 * 10**19, "training tokens": 3 * 10**9}


def test_an_adapters_config_names_its_base() -> None:
    assert collect({"adapter_config.json": b'{"base_model_name_or_path": "acme/base"}'}, {}, "").bases == ("acme/base",)


@pytest.mark.parametrize("words", ["trained " * 50_000, "1,000" * 50_000, "5 H100 " * 50_000, "9 " * 200_000, "a" * 10**6])
def test_long_prose_takes_no_time(words: str) -> None:
    start = time.monotonic()
    collect({"README.md": words.encode()}, {}, "")
    assert time.monotonic() - start < 20  # a bound, not a measure: a regular expression that backtracks takes hours


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["total_flos", "global_step", "num_input_tokens_seen", "args", "x"]), x)
        ),
    )
)
def test_no_json_makes_it_fail(value: object) -> None:
    collect({"trainer_state.json": json.dumps(value).encode(), "all_results.json": json.dumps(value).encode()}, {}, "")


def test_nested_ten_thousand_deep() -> None:
    for name in ("trainer_state.json", "hyperparameters.yaml", "model_config.yaml"):
        assert collect({name: b"[" * 10_000 + b"]" * 10_000}, {}, "").claims == ()
        assert collect({name: b'{"a":' * 10_000 + b"1" + b"}" * 10_000}, {}, "").claims == ()


@given(st.binary(max_size=200), st.sampled_from(["trainer_state.json", "README.md"]))
def test_no_bytes_make_it_fail(text: bytes, name: str) -> None:
    collect({name: text}, {}, "")
    collect({name: b"---\n" + text + b"\n---\n"}, {}, "")
