"""The policy: its keys, where it comes from, what may tighten, and what blocks."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import tomllib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import weightguard
from weightguard.decision import decide, waived
from weightguard.errors import ConfigurationError
from weightguard.policy import Policy, as_json, built_in, find, load_given, resolve, strict
from weightguard.rules.provenance import bounds
from weightguard.values import SEVERITIES, Finding, Law, Status, Verdict

AS_OF = dt.date(2026, 11, 24)
SCHEMA = 'schema = "weightguard/policy/1"\n'
DIGEST = hashlib.sha256(b"weights").hexdigest()
WAIVER = f"""
[[waiver]]
files = [{{bytes = 7, sha256 = "{DIGEST.upper()}"}}]
regimes = ["us-ear-4e091"]
reason = "accepted"
approved_by = "A. Person"
expires = 2027-06-30
"""
WHOLE = (
    SCHEMA
    + f"""
regimes = ["us-ear-4e091"]
undetermined = "allow"
undeclared_conditions = "block"
declarations = "signed"
unread = "report"
maximum_training_tokens = 4e13
bound_context = 4096
post_training_factor = 1.2
kernel_positions = 512
unexplained_bytes = 1000000
findings = "high"
signers = ["a@example.org ssh-ed25519 AAAA"]
{WAIVER}"""
)


def given_policy(folder: Path, text: str) -> Policy:
    path = folder / "p.toml"
    path.write_text(text, encoding="utf-8")
    return load_given(str(path))


def problems(call: Callable[[], object]) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        call()
    return list(error.value.problems)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a folder inside; nothing above it counts."""
    (tmp_path / "weightguard-policy.toml").write_text('undetermined = "nonsense"')
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "inner").mkdir()
    return tmp_path / "repo"


# ---- what is read


def test_built_in_values_are_those_of_the_bounds() -> None:
    policy = built_in()
    for symbol, bound in bounds().items():
        assert getattr(policy, symbol) == bound.value
    assert (policy.undetermined, policy.undeclared_conditions, policy.declarations, policy.unread) == (
        "block",
        "allow",
        "any",
        "block",
    )
    assert (policy.findings, policy.regimes, policy.source, policy.waivers, policy.all_experts) == (
        "critical", ("us-ear-4e091",), "built-in", (), False,
    )  # fmt: skip


def test_a_given_policy_may_say_anything(tmp_path: Path) -> None:
    policy = given_policy(tmp_path, WHOLE)
    assert (policy.undetermined, policy.undeclared_conditions, policy.declarations, policy.unread) == (
        "allow",
        "block",
        "signed",
        "report",
    )
    assert (policy.maximum_training_tokens, policy.bound_context) == (Fraction(4 * 10**13), 4096)
    assert (policy.post_training_factor, policy.kernel_positions, policy.unexplained_bytes) == (
        Fraction(12, 10),
        512,
        1_000_000,
    )
    assert (policy.findings, policy.signers, policy.source) == ("high", ("a@example.org ssh-ed25519 AAAA",), "--policy")
    assert policy.sha256 == hashlib.sha256(WHOLE.encode()).hexdigest()
    (waiver,) = policy.waivers
    assert waiver.files == {(7, DIGEST)} and waiver.expires == dt.date(2027, 6, 30)
    assert type(policy.bound_context) is int and type(policy.unexplained_bytes) is int


def test_strict_blocks_what_nobody_attested() -> None:
    policy = strict(built_in())
    assert (policy.undeclared_conditions, policy.declarations, policy.all_experts) == ("block", "given", True)
    assert strict(replace(built_in(), declarations="signed")).declarations == "signed"


@pytest.mark.parametrize(
    ("body", "words", "line"),
    [
        ("undeterminde = 1", ('unknown key "undeterminde"', "did you mean undetermined?"), 2),
        ("all_experts = true", ("unknown key",), 2),
        ('undetermined = "alow"', ('can\'t be "alow"', "did you mean allow?"), 2),
        ("undetermined = true", ("must be a string",), 2),
        ('findings = "severe"', ("write one of",), 2),
        ("maximum_training_tokens = 1e999999", ("larger than 1e40",), 2),
        ("maximum_training_tokens = nan", ("finite",), 2),
        ("maximum_training_tokens = 0", ("at least 1",), 2),
        ("post_training_factor = 0.9", ("at least 1",), 2),
        ("bound_context = 0", ("at least 1",), 2),
        ("bound_context = 1.5", ("whole number",), 2),
        ("unexplained_bytes = -1", ("negative",), 2),
        ("regimes = []", ("regimes is empty",), 2),
        ('regimes = "us-ear-4e091"', ("list of strings",), 2),
        ('regimes = ["us-ear-4e90"]', ("did you mean us-ear-4e091?",), 2),
        ("signers = [1]", ("list of strings",), 2),
        ("waiver = 1", ("array of tables",), 2),
        (WAIVER.replace("reason", "reasons"), ("did you mean reason?",), 6),
        (WAIVER.replace("expires = 2027-06-30", ""), ("expires is missing",), 3),
        (WAIVER.replace(DIGEST.upper(), "abc"), ("64 hexadecimal",), 4),
        (WAIVER.replace("bytes = 7", "bytes = 0"), ("at least 1",), 4),
        (WAIVER.replace(', sha256 = "' + DIGEST.upper() + '"', ""), ("64 hexadecimal",), 4),
        (WAIVER.replace("[{", "{").replace("}]", "}"), ("list every weight file",), 4),
    ],
)
def test_problem_names_the_line(tmp_path: Path, body: str, words: tuple[str, ...], line: int) -> None:
    found = problems(lambda: given_policy(tmp_path, SCHEMA + body + "\n"))
    assert any(all(word in text for word in words) and f"p.toml:{line}: " in text for text in found), found


def test_schema_is_required_in_a_file_of_its_own(tmp_path: Path) -> None:
    assert "schema is missing" in problems(lambda: given_policy(tmp_path, ""))[0]
    assert "schema must be" in problems(lambda: given_policy(tmp_path, 'schema = "weightguard/policy/2"'))[0]


def test_a_file_that_can_t_be_read_is_a_configuration_error(tmp_path: Path) -> None:
    assert "can't be read" in problems(lambda: load_given(str(tmp_path / "missing.toml")))[0]
    (tmp_path / "p.toml").write_bytes(b"#" * (16 << 20) + b"#")
    assert "not a policy" in problems(lambda: load_given(str(tmp_path / "p.toml")))[0]
    (tmp_path / "p.toml").write_bytes(b"\xff\xfe")
    assert "UTF-8" in problems(lambda: load_given(str(tmp_path / "p.toml")))[0]
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert "[tool.weightguard]" in problems(lambda: load_given(str(tmp_path / "pyproject.toml")))[0]
    (tmp_path / "pyproject.toml").write_text("[tool]\nweightguard = 1\n")
    assert "must be a table" in problems(lambda: load_given(str(tmp_path / "pyproject.toml")))[0]


# ---- where it comes from


def test_search_goes_up_to_the_root_of_the_repository(repository: Path) -> None:
    assert find(str(repository / "inner")) is None
    (repository / "weightguard-policy.toml").write_text(SCHEMA + 'findings = "high"\n')
    policy = find(str(repository / "inner"))
    assert policy is not None
    assert (policy.findings, policy.source, policy.path) == ("high", "found", "../weightguard-policy.toml")
    (repository / "inner" / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.weightguard]\nfindings = "low"\n')
    nearest = find(str(repository / "inner"))
    assert nearest is not None and (nearest.findings, nearest.path) == ("low", "pyproject.toml")


def test_without_a_repository_only_the_folder_itself_counts(tmp_path: Path) -> None:
    (tmp_path / "weightguard-policy.toml").write_text(SCHEMA + 'findings = "high"\n')
    (tmp_path / "inner").mkdir()
    assert find(str(tmp_path / "inner")) is None
    assert find(str(tmp_path)) is not None


def test_a_pyproject_of_another_tool_is_not_parsed(repository: Path) -> None:
    (repository / "pyproject.toml").write_text("not toml at all")
    assert find(str(repository)) is None
    (repository / "pyproject.toml").write_text("weightguard but not toml")
    assert "not valid TOML" in problems(lambda: find(str(repository)))[0]


def test_two_policies_in_one_folder_are_refused(repository: Path) -> None:
    (repository / "weightguard-policy.toml").write_text(SCHEMA)
    (repository / "pyproject.toml").write_text("[tool.weightguard]\n")
    assert "two policies" in problems(lambda: find(str(repository)))[0]


def test_a_policy_that_is_no_file_is_refused(repository: Path) -> None:
    os.symlink(repository / "nowhere", repository / "weightguard-policy.toml")
    assert "is not a file" in problems(lambda: find(str(repository)))[0]


def test_order_of_sources(tmp_path: Path, repository: Path) -> None:
    (repository / "weightguard-policy.toml").write_text(SCHEMA)
    given = tmp_path / "given.toml"
    given.write_text(SCHEMA + 'undetermined = "allow"\n')
    environment = {"WEIGHTGUARD_POLICY": str(given)}
    assert resolve(str(given), str(repository), environment).source == "--policy"
    assert resolve(None, str(repository), environment).source == "environment"
    assert resolve(None, str(repository), {"WEIGHTGUARD_POLICY": ""}).source == "found"
    assert resolve(None, None, {}) == built_in()
    assert resolve(None, str(tmp_path / "repo" / "inner"), {}).source == "found"


# ---- a found policy may only tighten

LOOSER = [
    'undetermined = "allow"',
    'unread = "report"',
    "maximum_training_tokens = 99999999999999",
    "bound_context = 8191",
    "post_training_factor = 1.49",
    "kernel_positions = 1023",
    "unexplained_bytes = 65537",
    'signers = ["a@example.org ssh-ed25519 AAAA"]',
    WAIVER.strip(),
]
AS_TIGHT = [
    'undetermined = "block"',
    'undeclared_conditions = "block"',
    'undeclared_conditions = "allow"',
    'declarations = "given"',
    'declarations = "signed"',
    'unread = "block"',
    "maximum_training_tokens = 1e14",
    "maximum_training_tokens = 3e14",
    "bound_context = 131072",
    "post_training_factor = 2",
    "kernel_positions = 4096",
    "unexplained_bytes = 0",
    'findings = "info"',
    "signers = []",
    'regimes = ["us-ear-4e091"]',
]


@pytest.mark.parametrize("body", LOOSER)
def test_found_policy_may_not_loosen(repository: Path, body: str) -> None:
    (repository / "weightguard-policy.toml").write_text(SCHEMA + body + "\n")
    found = problems(lambda: find(str(repository)))
    assert len(found) == 1 and found[0].startswith("weightguard-policy.toml:2: ") and "--policy" in found[0]
    (repository / "weightguard-policy.toml").unlink()
    (repository / "pyproject.toml").write_text(
        "[tool.weightguard]\n" + body.replace("[[waiver]]", "[[tool.weightguard.waiver]]") + "\n"
    )
    assert problems(lambda: find(str(repository)))[0].startswith("pyproject.toml:2: ")
    assert load_given(str(repository / "pyproject.toml")).source == "--policy"


@pytest.mark.parametrize("body", AS_TIGHT)
def test_found_policy_may_tighten(repository: Path, body: str) -> None:
    (repository / "weightguard-policy.toml").write_text(SCHEMA + body + "\n")
    assert find(str(repository)) is not None


# ---- what blocks


def verdict(status: Status, unattested: tuple[str, ...] = ()) -> Verdict:
    law = Law(AS_OF, "", "", AS_OF)
    return Verdict("us-ear-4e091", status, "4E091", "", law, conditions=unattested, unattested=unattested)


def finding(severity: Any) -> Finding:
    return Finding("x", severity, "", "")


def test_decision_by_verdict() -> None:
    policy, open_ = built_in(), replace(built_in(), undetermined="allow")
    assert decide([verdict("controlled")], [], policy) == decide([verdict("controlled")], [], open_) == "block"
    assert decide([verdict("undetermined")], [], policy) == "block"
    assert decide([verdict("undetermined")], [], open_) == "allow"
    assert decide([verdict("not_controlled")], [], policy) == "allow"
    assert decide([verdict("not_controlled"), verdict("controlled")], [], open_) == "block"


def test_decision_by_conditions() -> None:
    rests, attested = verdict("not_controlled", ("a",)), verdict("not_controlled")
    assert decide([rests], [], built_in()) == "allow"
    assert decide([rests], [], strict(built_in())) == "block"
    assert decide([attested], [], strict(built_in())) == "allow"
    open_ = replace(strict(built_in()), undetermined="allow")
    assert decide([verdict("undetermined", ("a",))], [], open_) == "allow"


@pytest.mark.parametrize("limit", SEVERITIES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_decision_by_findings(limit: Any, severity: Any) -> None:
    policy = replace(built_in(), findings=limit)
    blocks = SEVERITIES.index(severity) >= SEVERITIES.index(limit)
    assert decide([verdict("not_controlled")], [finding(severity)], policy) == ("block" if blocks else "allow")


POLICIES = st.builds(
    lambda undetermined, conditions, findings: replace(
        built_in(), undetermined=undetermined, undeclared_conditions=conditions, findings=findings
    ),
    st.sampled_from(["block", "allow"]),
    st.sampled_from(["block", "allow"]),
    st.sampled_from(SEVERITIES),
)
VERDICTS = st.builds(verdict, st.sampled_from(["controlled", "not_controlled", "undetermined"]), st.sampled_from([(), ("a",)]))


@given(st.lists(VERDICTS), st.lists(st.sampled_from(SEVERITIES).map(finding)), VERDICTS, POLICIES)
def test_one_more_verdict_or_strictness_never_unblocks(
    verdicts: list[Verdict], findings: list[Finding], more: Verdict, policy: Policy
) -> None:
    if decide(verdicts, findings, policy) == "block":
        assert decide([*verdicts, more], findings, policy) == "block"
        assert decide(verdicts, [*findings, finding("info")], policy) == "block"
        assert decide(verdicts, findings, strict(policy)) == "block"


# ---- waivers


class Weights:
    """A weight file that counts how often it is hashed."""

    def __init__(self, data: bytes) -> None:
        self.data, self.hashed = data, 0

    def sha256(self) -> str:
        self.hashed += 1
        return hashlib.sha256(self.data).hexdigest()

    @property
    def entry(self) -> tuple[int, Callable[[], str]]:
        return len(self.data), self.sha256


def test_waiver_covers_by_content(tmp_path: Path) -> None:
    policy, weights = given_policy(tmp_path, SCHEMA + WAIVER), Weights(b"weights")
    assert waived(policy, [weights.entry], "us-ear-4e091", AS_OF).waiver is policy.waivers[0]
    assert weights.hashed == 1
    assert waived(policy, [Weights(b"weighty").entry], "us-ear-4e091", AS_OF).waiver is None


def test_waiver_hashes_only_listed_sizes(tmp_path: Path) -> None:
    policy, weights, other = given_policy(tmp_path, SCHEMA + WAIVER), Weights(b"weights"), Weights(b"larger weights")
    assert waived(policy, [weights.entry, other.entry], "us-ear-4e091", AS_OF).waiver is None
    assert (weights.hashed, other.hashed) == (0, 0)


def test_waiver_must_list_every_file(tmp_path: Path) -> None:
    policy, weights, same_size = given_policy(tmp_path, SCHEMA + WAIVER), Weights(b"weights"), Weights(b"hidden!")
    assert waived(policy, [weights.entry, same_size.entry], "us-ear-4e091", AS_OF).waiver is None
    assert waived(policy, [], "us-ear-4e091", AS_OF).waiver is None


def test_waiver_covers_its_regimes_only(tmp_path: Path) -> None:
    policy = given_policy(tmp_path, SCHEMA + WAIVER)
    assert waived(policy, [Weights(b"weights").entry], "eu-ai-act", AS_OF).waiver is None


def test_waiver_holds_through_its_last_day_and_is_a_finding_after_it(tmp_path: Path) -> None:
    policy, last = given_policy(tmp_path, SCHEMA + WAIVER), dt.date(2027, 6, 30)
    assert waived(policy, [Weights(b"weights").entry], "us-ear-4e091", last).findings == ()
    expired = waived(policy, [Weights(b"weights").entry], "us-ear-4e091", last + dt.timedelta(1))
    assert expired.waiver is None
    assert [(found.id, found.severity, found.path) for found in expired.findings] == [("waiver-expired", "medium", "p.toml")]
    assert waived(policy, [Weights(b"others!").entry], "us-ear-4e091", dt.date(2030, 1, 1)).findings == ()


# ---- as the report prints it


def test_json_holds_every_value_and_no_absolute_path(tmp_path: Path) -> None:
    printed = json.loads(json.dumps(as_json(given_policy(tmp_path, WHOLE))))
    assert printed["path"] == "p.toml" and str(tmp_path) not in json.dumps(printed)
    assert printed["maximum_training_tokens"] == 40_000_000_000_000 and printed["post_training_factor"] == 1.2
    fields = set(Policy.__dataclass_fields__)
    assert set(printed) == fields
    assert as_json(built_in())["path"] is None


def schema_errors(text: str) -> list[Any]:
    jsonschema = pytest.importorskip("jsonschema")
    with open(os.path.join(os.path.dirname(weightguard.__file__), "schemas", "policy.schema.json"), encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    return list(jsonschema.Draft202012Validator(schema).iter_errors(json.loads(json.dumps(tomllib.loads(text), default=str))))


def test_json_schema_accepts_what_is_accepted(tmp_path: Path) -> None:
    assert schema_errors(WHOLE) == [] and schema_errors(SCHEMA) == []
    assert schema_errors(SCHEMA + "undeterminde = 1") and schema_errors(SCHEMA + "post_training_factor = 0.5")
