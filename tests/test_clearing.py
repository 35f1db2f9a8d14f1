"""What a declaration may not clear, though it says so: each was once cleared by a draft of this code."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

import weightguard
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_model, write_safetensors
from weightguard.policy import Policy, Waiver, built_in
from weightguard.report import ModelReport

HEAD = 'schema = "weightguard/declaration/1"\n[model]\n{model}\n'
DERIVED = """[[run]]
id = "sft"
kind = "fine-tuning"
starts_from = [{{model = "acme/open", published = true, operations = {base}}}]
operations = {more}
"""
PUBLISHED = 'published = {{url = "https://example.org/w", date = 2024-01-01, licence = "{licence}", unrestricted = true}}'


def judged(folder: Path, text: str, policy: Policy | None = None, **files: str) -> ModelReport:
    """The 405B layout with a declaration given, and files beside it."""
    write_model(str(folder / "m"), llama_405b())
    for name, content in files.items():
        (folder / "m" / name.replace("__", ".")).write_text(content)
    (folder / "given.toml").write_text(text)
    (model,) = weightguard.scan(str(folder / "m"), policy=policy, declarations=[str(folder / "given.toml")]).models
    return model


def derived(base: str, more: str, model: str = "") -> str:
    return HEAD.format(model=model) + DERIVED.format(base=base, more=more)


def test_a_small_addition_to_a_published_base_clears(tmp_path: Path) -> None:
    model = judged(tmp_path, derived("9e25", "2e25"))
    assert (model.decision, model.verdicts[0].clause) == ("allow", "4E091 Note 1")


def test_what_lies_beside_the_weights_raises_the_addition(tmp_path: Path) -> None:
    beside = HEAD.format(model="") + '[[run]]\nid = "a"\noperations = 9e26\n'
    given = replace(built_in(), declarations="given")
    assert judged(tmp_path, derived("1e27", "1e24"), given, weightguard__toml=beside).decision == "block"


def test_a_claim_above_the_declared_addition_may_be_later_training(tmp_path: Path) -> None:
    assert judged(tmp_path, derived("1e27", "1e24"), trainer_state__json='{"total_flos": 9e26}').decision == "block"


def test_a_contradicted_declaration_is_no_ground_for_note_1(tmp_path: Path) -> None:
    assert judged(tmp_path, derived("1e27", "1e24", "parameters = 1000")).decision == "block"


def test_a_base_larger_than_the_weights_can_be_licenses_nothing(tmp_path: Path) -> None:
    assert judged(tmp_path, derived("1e30", "2.4e29")).decision == "block"


@pytest.mark.parametrize("licence", ["apache-2.0", "MIT", "cc-by-4.0"])
def test_an_open_licence_clears(tmp_path: Path, licence: str) -> None:
    model = judged(tmp_path, HEAD.format(model=PUBLISHED.format(licence=licence)))
    assert (model.decision, model.verdicts[0].clause) == ("allow", "§ 734.7")


@pytest.mark.parametrize(
    "licence",
    ["non-commercial", "CC BY NoDerivatives", "all rights reserved", "internal use", "llama3.1", "apache-2.0 with limits", "x"],
)
def test_any_other_licence_does_not(tmp_path: Path, licence: str) -> None:
    model = judged(tmp_path, HEAD.format(model=PUBLISHED.format(licence=licence)))
    assert (model.decision, model.verdicts[0].status, model.verdicts[0].clause) == ("block", "undetermined", "§ 734.7")


@pytest.mark.parametrize("card", ["license: cc-by-nc-4.0", "extra_gated_prompt: agree first", "license: other"])
def test_a_card_that_says_otherwise_makes_publication_unclear(tmp_path: Path, card: str) -> None:
    text = HEAD.format(model=PUBLISHED.format(licence="mit"))
    assert judged(tmp_path, text, README__md=f"---\n{card}\n---\n").decision == "block"


def test_weights_that_contradict_a_declaration_are_not_the_published_ones(tmp_path: Path) -> None:
    text = HEAD.format(model="parameters = 7e9\n" + PUBLISHED.format(licence="mit"))
    assert judged(tmp_path, text).decision == "block"


def test_a_waiver_covers_no_part(tmp_path: Path) -> None:
    write_safetensors(str(tmp_path / "model-00001-of-00002.safetensors"), [("w", "F32", (8, 8))])
    content = (tmp_path / "model-00001-of-00002.safetensors").read_bytes()
    listed = frozenset({(len(content), hashlib.sha256(content).hexdigest())})
    waiver = Waiver(listed, ("us-ear-4e091",), "r", "a", datetime.date(2030, 1, 1))
    policy = replace(built_in(), waivers=(waiver,))
    assert weightguard.scan(str(tmp_path), policy=policy).decision == "block"
