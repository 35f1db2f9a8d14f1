"""What sidecars claim: transformers' trainer state, the card's front matter and prose, the index's metadata."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightguard.evidence.sidecars import collect


def claims(**files: str) -> dict[str, Fraction]:
    texts = {name.replace("__", "."): text.encode() for name, text in files.items()}
    return {c.quantity: c.high for c in collect(texts, {}, "m").claims}


def test_trainer_state_claims_its_flos_and_its_tokens() -> None:
    state = json.dumps({"total_flos": 1.5e20, "num_input_tokens_seen": 123, "global_step": 7})
    assert claims(trainer_state__json=state) == {"training operations": 15 * 10**19, "training tokens": 123}


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


@given(st.binary(max_size=200), st.sampled_from(["trainer_state.json", "README.md"]))
def test_no_bytes_make_it_fail(text: bytes, name: str) -> None:
    collect({name: text}, {}, "")
    collect({name: b"---\n" + text + b"\n---\n"}, {}, "")
