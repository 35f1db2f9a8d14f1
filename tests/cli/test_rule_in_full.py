"""The rule from the command line: transactions, other regimes, the age of the law's data, what `rules` prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.layouts import declaration, write_small
from weightguard.cli import main
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_model

AS_OF = ("--as-of", "2026-11-25")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """405B dense without a statement: undetermined."""
    folder = tmp_path_factory.mktemp("large")
    write_model(str(folder), llama_405b())
    return str(folder)


def scanned(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:  # type: ignore[type-arg]
    status = main(["scan", "--format", "json", *AS_OF, *arguments])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "status", "answer"),
    [
        (["--destination", "US", "--consignee-hq", "US", "--consignee-parent", "us"], 0, "not_required"),
        (["--destination", "CN", "--consignee-hq", "US", "--consignee-parent", "US", "--facility-attested"], 1, "required"),
        (["--destination", "DE", "--consignee-hq", "DE", "--consignee-parent", "DE"], 1, "open"),
        (["--destination", "DE", "--consignee-hq", "DE", "--consignee-parent", "DE", "--facility-attested"], 0, "exception"),
        (["--destination", "DE", "--encrypted-storage"], 0, "not_required"),
        (["--destination", "DE", "--encrypted-storage", "--strict"], 1, "not_required"),
        (["--destination", "DE"], 1, "required"),
    ],
)
def test_where_it_goes(large: str, options: list[str], status: int, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, report = scanned(large, *options, capsys=capsys)
    verdict = report["models"][0]["verdicts"][0]
    assert (found, verdict["status"], verdict["license"]["answer"]) == (status, "undetermined", answer)
    assert report["policy"]["transaction"]["destination"] == options[1]


def test_the_policy_of_a_gate_names_its_bucket(large: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "p.toml"
    rules.write_text(
        'schema = "weightguard/policy/1"\n[transaction]\ndestination = "US"\nconsignee_hq = "US"\nconsignee_parent = "US"\n'
    )
    assert scanned(large, "--policy", str(rules), capsys=capsys)[0] == 0
    # the command line goes before it
    assert scanned(large, "--policy", str(rules), "--destination", "CN", capsys=capsys)[0] == 1


def test_a_small_model_goes_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, report = scanned(str(write_small(tmp_path)), "--destination", "CN", capsys=capsys)
    assert found == 0 and "license" not in report["models"][0]["verdicts"][0]


def test_no_country_is_wrong_usage(large: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["scan", large, "--destination", "Germany"])
    assert raised.value.code == 2 and "two letters" in capsys.readouterr().err


def test_all_regimes_are_a_table_and_block_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small(tmp_path)
    (tmp_path / "weightguard.toml").write_text(declaration("3e25", model='generates = ["text"]\nbiological = false'))
    assert main(["scan", str(tmp_path), "--regime", "all", *AS_OF]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1] for line in lines if line.startswith("  ") and line[2:4] in ("us", "eu", "kr")}
    assert rows == {
        "us-ear-4e091": "no",
        "eu-ai-act-51": "meets",
        "eu-gpai": "meets",
        "eu-gpai-modification": "no",
        "us-ca-sb53": "no",
        "us-ny-raise": "no",
        "kr-ai-basic-act": "no",
        "us-outbound-850": "meets",
        "us-eo-14110": "no",
        "us-bis-702-7": "no",
    }
    assert all(len(line) <= 80 for line in lines)


def test_a_regime_of_the_policy_s_own_blocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small(tmp_path)
    (tmp_path / "weightguard.toml").write_text(declaration("3e25"))
    rules = tmp_path / "p.toml"
    rules.write_text(
        'schema = "weightguard/policy/1"\nregimes = ["us-ear-4e091", "acme"]\n[[regime]]\nid = "acme"\ntitle = "Acme"\n'
        'level = [{value = 1e25, comparison = ">", effect = "ask the board"}]\n'
    )
    found, report = scanned(str(tmp_path), "--policy", str(rules), capsys=capsys)
    verdict = report["models"][0]["verdicts"][1]
    assert (found, verdict["regime"], verdict["status"]) == (1, "acme", "controlled")
    assert "ask the board" in verdict["reason"] and verdict["law"]["status"].startswith("a threshold of this policy")
    assert scanned(str(tmp_path), "--policy", str(rules), "--regime", "us-ear-4e091", capsys=capsys)[0] == 0


@pytest.mark.parametrize(("day", "old"), [("2027-03-24", False), ("2027-03-25", True), ("2026-11-25", False)])
def test_old_data_says_so(tmp_path: Path, day: str, old: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Last checked on 2026-11-24, 120 days."""
    main(["scan", "--format", "json", "--as-of", day, str(write_small(tmp_path))])
    found = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["id"] == "law-data-old"]
    assert bool(found) == old
    if old:
        assert "2026-11-24" in found[0]["message"] and "rules show" in found[0]["message"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["devices"], ["H100-SXM", "15,832", "3A090.a", "1,699 H100-SXM", "cover chips and not weights"]),
        (["show", "country-groups"], ["Supplement No. 5 to part 740", "AU, BE, CA", "Macau"]),
        (["show", "us-outbound-850"], ["prohibited: > 1e25", "notifiable", "China, Hong Kong or Macau"]),
        (["show", "eu-gpai-modification"], ["1/3 of the original's"]),
        (["list"], ["us-ear-4e091", "us-eo-14110", "revoked"]),
    ],
)
def test_rules(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", *arguments]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in words:
        assert word in text


def test_a_check_draws_the_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "d.toml"
    path.write_text(
        'schema = "weightguard/declaration/1"\n[[run]]\nid = "sft"\nkind = "fine-tuning"\nstarts_from = ["pretrain"]\n'
        'operations = 4e23\n[[run.data]]\nshare = 0.12\ngenerator = "teacher"\n[[run]]\nid = "pretrain"\noperations = 9e25\n'
        '[[generator]]\nid = "teacher"\ngeneration_operations = 4e23\ntraining_runs = ["pretrain"]\n[[run]]\nid = "lost"\n'
        'starts_from = ["pretrain"]\noperations = 1\n'
    )
    path.write_text(path.read_text().replace("[[run]]", '[model]\nrun = "sft"\n[[run]]', 1))
    assert main(["declare", "--check", str(path)]) == 0
    text = capsys.readouterr().out
    for words in ("run sft (fine-tuning)", "12 percent", "generator teacher (weights not published)", "not drawn: lost"):
        assert words in text
