"""SARIF, CycloneDX and JSON lines: each held by another's validator, which fails on a bad file, and by what it must say."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import weightguard
from tests.layouts import declaration, write_small
from weightguard.report import Report
from weightguard.reports import cyclonedx, jsonl, sarif


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """An allowed, a blocked and an unread part, with a name that needs escaping."""
    monkeypatch.chdir(tmp_path)
    write_small(tmp_path / "fine")
    write_small(tmp_path / "über grund")
    (tmp_path / "über grund" / "weightguard.toml").write_text(declaration("1.2e26"))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "x.dat").write_bytes(b"\xff\xfe" * 100_000)
    return weightguard.scan("fine", "über grund", "odd")


@pytest.fixture(scope="session")
def sarif_schema() -> Any:
    path = os.environ.get("WEIGHTGUARD_SARIF_SCHEMA")
    if not path:
        pytest.skip("WEIGHTGUARD_SARIF_SCHEMA names no sarif-2.1.0.json (OASIS; npm @microsoft/sarif-multitool-linux ships it)")
    return json.loads(Path(path).read_text())


def faults(content: Any, schema: Any) -> list[str]:
    return [error.message for error in jsonschema.validators.validator_for(schema)(schema).iter_errors(content)]


def test_sarif_is_valid_and_a_bad_one_is_not(report: Report, sarif_schema: Any) -> None:
    content = json.loads(sarif.render(report))
    assert faults(content, sarif_schema) == []
    content["runs"][0]["results"][0]["level"] = "critical"
    assert faults(content, sarif_schema)


def test_sarif_has_one_result_a_model_with_stable_fingerprints(report: Report) -> None:
    (run,) = json.loads(sarif.render(report))["runs"]
    results = {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]: result for result in run["results"]}
    assert {uri: (r["ruleId"], r["level"]) for uri, r in results.items()} == {
        "fine/model.safetensors": ("allowed", "none"),
        "%C3%BCber%20grund/model.safetensors": ("controlled", "error"),
        "odd/x.dat": ("unread", "error"),
    }
    assert all(run["tool"]["driver"]["rules"][r["ruleIndex"]]["id"] == r["ruleId"] for r in run["results"])
    again = json.loads(sarif.render(weightguard.scan("odd", "über grund", "fine")))["runs"][0]["results"]
    prints = [{tuple(r["partialFingerprints"].items()) for r in rs} for rs in (run["results"], again)]
    assert prints[0] == prints[1] and len(prints[0]) == 3


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_cyclonedx_is_valid_and_a_bad_one_is_not(report: Report, version: str) -> None:
    pytest.importorskip("cyclonedx.validation.json", reason="cyclonedx-python-lib[json-validation] is not installed")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion[f"V{version.replace('.', '_')}"])
    text = cyclonedx.render(report, version)
    assert validator.validate_str(text) is None
    content = json.loads(text)
    content["components"][0]["modelCard"]["modelParameters"]["parameterCount"] = 1
    assert validator.validate_str(json.dumps(content)) is not None


def test_cyclonedx_carries_count_interval_and_claim(report: Report) -> None:
    content = json.loads(cyclonedx.render(report))
    blocked = next(c for c in content["components"] if {"name": "weightguard:decision", "value": "block"} in c["properties"])
    properties = {p["name"]: p["value"] for p in blocked["properties"]}
    assert properties["weightguard:us-ear-4e091:status"] == "controlled"
    model = next(m for m in report.models if m.decision == "block")
    assert properties["weightguard:parameters:total"] == str(model.parameters.total)
    metric = blocked["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]
    assert metric["confidenceInterval"] == {"lowerBound": "1.2e+26", "upperBound": "1.2e+26"}
    claims = {claim["target"]: claim["predicate"] for claim in content["declarations"]["claims"]}
    assert claims[blocked["bom-ref"]].startswith("us-ear-4e091: controlled")


def test_json_lines_are_the_json_report_in_parts(report: Report) -> None:
    lines = [json.loads(line) for line in jsonl.render(report).splitlines()]
    whole = report.to_dict()
    assert [line["model"] for line in lines if "model" in line] == whole["models"]
    assert [line["unread"] for line in lines if "unread" in line] == whole["unread"]
    assert {k: lines[-1]["summary"][k] for k in whole["summary"]} == whole["summary"]
    assert all(len(line) == 1 for line in lines)


@pytest.mark.parametrize("render", [sarif.render, cyclonedx.render, jsonl.render])
def test_the_same_report_gives_the_same_bytes(report: Report, render: Any) -> None:
    assert render(report) == render(report)
