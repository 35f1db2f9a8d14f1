"""What a policy's rules make of verdicts: the first that matches decides, and none lets an incomplete model pass."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import weightguard
from tests.layouts import write_small
from weightguard.decision import Subject, decide
from weightguard.errors import ConfigurationError
from weightguard.policy import Rule, built_in, find, load_given
from weightguard.values import Law, Verdict

LAW = Law(dt.date(2026, 1, 1), "", "", dt.date(2026, 1, 1))
OPEN = Verdict("us-ear-4e091", "undetermined", "4E091", "r", LAW)
CONTROLLED = replace(OPEN, status="controlled")
CLEAR = replace(OPEN, status="not_controlled")
EU = replace(CONTROLLED, regime="eu-gpai", blocks=False)


def rule(decision: Any, **more: Any) -> Rule:
    return Rule(decision, "because", **more)


def decided(verdict: Verdict, *rules: Rule, **subject: Any) -> str:
    return decide((verdict,), (), replace(built_in(), rules=rules), Subject(**{"path": "a/b/model.safetensors", **subject}))


def test_without_rules_the_defaults_hold() -> None:
    assert [decided(v) for v in (OPEN, CONTROLLED, CLEAR, EU)] == ["block", "block", "allow", "allow"]


@pytest.mark.parametrize(
    ("verdict", "rules", "expected"),
    [
        (OPEN, [rule("allow")], "allow"),
        (OPEN, [rule("allow", status=("controlled",))], "block"),
        (CLEAR, [rule("block", paths=("a/*",))], "block"),
        (CLEAR, [rule("block", paths=("b/*",))], "allow"),
        (EU, [rule("block", regimes=("eu-gpai",), status=("controlled",))], "block"),
        (EU, [rule("block", regimes=("us-ear-4e091",))], "allow"),
        (CONTROLLED, [rule("allow", paths=("a/*",)), rule("block")], "allow"),
        (CONTROLLED, [rule("block"), rule("allow")], "block"),
        (CLEAR, [rule("approve")], "block"),
    ],
)
def test_the_first_rule_that_matches_decides(verdict: Verdict, rules: list[Rule], expected: str) -> None:
    assert decided(verdict, *rules) == expected


def test_by_digest_and_hashed_only_where_the_size_is_listed() -> None:
    hashed = []

    def digest() -> str:
        hashed.append(1)
        return "ab" * 32

    allow = rule("allow", files=frozenset({(7, "ab" * 32)}))
    assert decided(OPEN, allow, files=((7, digest),)) == "allow"
    assert decided(OPEN, allow, files=((7, lambda: "cd" * 32),)) == "block"
    before = len(hashed)
    assert decided(OPEN, allow, files=((8, digest),)) == "block"
    assert decided(OPEN, allow, files=((7, digest), (8, digest))) == "block"
    assert len(hashed) == before
    assert decided(OPEN, allow) == "block"  # no files: nothing is listed


VERDICTS = st.sampled_from([OPEN, CONTROLLED, CLEAR, EU])
RULES = st.lists(st.builds(rule, st.sampled_from(["allow", "block", "approve"]), status=st.sampled_from([(), ("controlled",)])))


@given(VERDICTS, RULES, st.sampled_from([frozenset(), frozenset({""})]))
def test_no_rule_and_no_approval_lets_an_incomplete_model_pass(verdict: Verdict, rules: list[Rule], approved: Any) -> None:
    if verdict.status != "not_controlled" and verdict.blocks:
        assert decided(verdict, *rules, complete=False, approved=approved) == "block"


@given(VERDICTS, RULES)
def test_an_approval_never_blocks(verdict: Verdict, rules: list[Rule]) -> None:
    if decided(verdict, *rules) == "allow":
        assert decided(verdict, *rules, approved=frozenset({""})) == "allow"


def policy(path: Path, text: str) -> Path:
    path.write_text(f'schema = "weightguard/policy/1"\n{text}')
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[rule]]\nreason = "r"', "decision is missing"),
        ('[[rule]]\ndecision = "alow"\nreason = "r"', 'did you mean "allow"|did you mean allow'),
        ('[[rule]]\ndecision = "allow"', "reason is missing"),
        ('[[rule]]\ndecision = "allow"\nreason = "r"\nstatus = ["fine"]', "status can't be"),
        ('[[rule]]\ndecision = "allow"\nreason = "r"\npaths = []', "would match anything"),
        ('[[rule]]\ndecision = "allow"\nreason = "r"\nregimes = ["x"]', "no regime has the id"),
        ('[[rule]]\ndecision = "allow"\nreason = "r"\nfiles = [{bytes = 1}]', "sha256"),
        ('[[rule]]\ndecision = "allow"\nreason = "r"\nname = "x"', "unknown key"),
        ('[[regime]]\nid = "us-ca-sb53"\ntitle = "t"\n[[regime.level]]\nvalue = 1', "is taken"),
        ('[[regime]]\nid = "acme"\ntitle = "t"', "needs a level"),
        ('[[regime]]\nid = "acme"\ntitle = "t"\n[[regime.level]]\ncomparison = ">"', "needs a value"),
        ('[[regime]]\nid = "acme"\ntitle = "t"\n[[regime.level]]\nvalue = 1\ncomparison = "<"', "can't be"),
        ('[transaction]\ndestination = "Germany"', "two letters"),
        ('[transaction]\nfacility = "yes"', "true or false"),
    ],
)
def test_problems_name_their_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as raised:
        load_given(str(policy(tmp_path / "p.toml", text)))
    assert all(":" in problem for problem in raised.value.problems)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ('[[rule]]\ndecision = "block"\nreason = "r"', True),
        ('[[rule]]\ndecision = "approve"\nreason = "r"', True),
        ('[[rule]]\ndecision = "allow"\nreason = "r"', False),
        ('[transaction]\ndestination = "US"', False),
        ('regimes = ["us-ear-4e091", "acme"]\n[[regime]]\nid = "acme"\ntitle = "t"\n[[regime.level]]\nvalue = 1e20', True),
        ("maximum_data_age = 30", True),
        ("maximum_data_age = 300", False),
    ],
)
def test_a_policy_found_by_search_only_tightens(tmp_path: Path, text: str, allowed: bool) -> None:
    (tmp_path / ".git").mkdir()
    policy(tmp_path / "weightguard-policy.toml", text)
    if allowed:
        assert find(str(tmp_path)) is not None
    else:
        with pytest.raises(ConfigurationError, match="--policy"):
            find(str(tmp_path))


def test_a_file_is_hashed_once_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weightguard import pipeline

    write_small(tmp_path)
    size = (tmp_path / "model.safetensors").stat().st_size
    rule = '[[rule]]\ndecision = "block"\nreason = "x"\nfiles = [{{bytes = {}, sha256 = "{}"}}]\n'
    (tmp_path / "p.toml").write_text(
        'schema = "weightguard/policy/1"\n' + "".join(rule.format(size, str(n) * 64) for n in range(5))
    )
    hashed: list[str] = []

    def digest(path: str) -> str:
        hashed.append(path)
        return "a" * 64

    monkeypatch.setattr(pipeline, "sha256", digest)
    assert weightguard.scan(str(tmp_path), policy=str(tmp_path / "p.toml")).decision == "allow"
    assert len(hashed) == 1
