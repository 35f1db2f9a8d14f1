"""Every report validates against schemas/report.schema.json, and the schema lets nothing else through."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from fractions import Fraction
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import weightguard
from tests.layouts import (
    ADAPTER,
    PNG,
    PUBLISHED,
    SMALL,
    Small,
    declaration,
    raw,
    write_json,
    write_shards,
    write_small,
    write_sparse,
)
from weightguard.demo import corpus
from weightguard.demo.layouts import deepseek_v3, gptq, llama_8b
from weightguard.demo.write import write_model
from weightguard.errors import REASONS
from weightguard.formats import FORMATS
from weightguard.policy import built_in, strict
from weightguard.roles import ROLES
from weightguard.tensors import DTYPES
from weightguard.values import SEVERITIES

AS_OF = date(2026, 11, 24)


@cache
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(resources.files("weightguard.schemas").joinpath("report.schema.json").read_text())
    return found


def faults(report: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema(), format_checker=jsonschema.FormatChecker())
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in validator.iter_errors(report)]


def scan(folder: Path, monkeypatch: pytest.MonkeyPatch, *targets: str, **options: Any) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    return weightguard.scan(*(targets or (".",)), as_of=AS_OF, **options).to_dict()


def fine(folder: Path) -> None:
    write_small(folder)


def shards_with_claims(folder: Path) -> None:
    write_shards(folder)
    (folder / "README.md").write_text("---\nbase_model: a/b\n---\nTrained on 1.5T tokens.\n")
    write_json(folder / "trainer_state.json", {"total_flos": 1e22, "num_input_tokens_seen": 10})


def declared(folder: Path) -> None:
    write_small(folder)
    (folder / "weightguard.toml").write_text(declaration("[1e24, 2e26]"))


def published(folder: Path) -> None:
    write_small(folder)
    (folder / "weightguard.toml").write_text(declaration("1.2e26", PUBLISHED))


def one_shard_missing(folder: Path) -> None:
    write_shards(folder)[1].unlink()


def no_architecture(folder: Path) -> None:
    write_sparse(folder / "a.safetensors", [("conv.weight", "F32", (8, 3, 3, 3)), ("fc.weight", "BF16", (10, 8))])


def large_and_packed(folder: Path) -> None:
    write_model(str(folder / "moe"), deepseek_v3())
    write_model(str(folder / "packed"), gptq(llama_8b()))
    write_sparse(folder / "adapter" / "adapter_model.safetensors", ADAPTER)


def hostile(folder: Path) -> None:
    (folder / "cut.safetensors").write_bytes(raw(b'{"a":')[:11])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "overlap.safetensors").write_bytes(
        raw(
            b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}', b"abc"
        )
    )
    (folder / "noise.bin").write_bytes(bytes(range(256)) * 1000)
    (folder / "esc\x1b[31m\n.safetensors").write_bytes(raw(b"{"))
    (folder / "out").symlink_to("/etc")
    (folder / "nothing").symlink_to("gone")
    write_small(folder / "fine")


def no_model(folder: Path) -> None:
    (folder / "a.txt").write_text("text")
    (folder / "a.png").write_bytes(PNG)
    (folder / ".git").mkdir()


CASES = (
    fine,
    shards_with_claims,
    declared,
    published,
    one_shard_missing,
    no_architecture,
    large_and_packed,
    hostile,
    no_model,
)


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_every_report_validates(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    report = scan(tmp_path, monkeypatch)
    assert faults(report) == []
    assert report == json.loads(json.dumps(report, allow_nan=False))


def test_a_report_under_a_strict_policy_with_a_waiver_validates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small(tmp_path)
    (tmp_path / "p.toml").write_text(
        'schema = "weightguard/policy/1"\nsigners = ["a@example.org ssh-ed25519 AAAA"]\n'
        '[[rule]]\ndecision = "block"\nreason = "r"\npaths = ["x"]\n[[waiver]]\nfiles = [{bytes = 7, sha256 = "'
        + "0"
        * 64
        + '"}]\n'
        'regimes = ["us-ear-4e091"]\nreason = "r"\napproved_by = "a"\nexpires = 2027-06-30\n'
    )
    given = scan(tmp_path, monkeypatch, "model.safetensors", policy="p.toml")
    assert given["policy"]["waivers"][0]["expires"] == "2027-06-30"
    assert faults(given) == []
    assert faults(scan(tmp_path, monkeypatch, policy=strict(built_in()))) == []


def objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from objects(below, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def rich_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A report in which every kind of object stands at least once."""
    hostile(folder)
    shards_with_claims(folder / "shards")
    (folder / "shards" / "weightguard.toml").write_text(declaration())
    (folder / "small.dat").write_bytes(b"\xff\xfe" * 100)
    (folder / "p.toml").write_text(
        'schema = "weightguard/policy/1"\n[[waiver]]\nfiles = [{bytes = 7, sha256 = "' + "0" * 64 + '"}]\n'
        'regimes = ["us-ear-4e091"]\nreason = "r"\napproved_by = "a"\nexpires = 2027-06-30\n'
    )
    report = scan(folder, monkeypatch, ".", policy="p.toml")
    assert report["models"] and report["unread"] and report["findings"]
    assert any(m["findings"] for m in report["models"])
    assert any(m["training_operations"]["evidence"] for m in report["models"])
    assert faults(report) == []
    return report


def test_no_object_takes_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = rich_report(tmp_path, monkeypatch)
    for path, _ in objects(report):
        changed = copy.deepcopy(report)
        at(changed, path)["surprise"] = 1
        assert faults(changed), f"another key at {path}"


def test_no_object_lacks_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = rich_report(tmp_path, monkeypatch)
    for path, found in objects(report):
        for key in found:
            if path[-1:] == ("by_dtype",):  # only dtypes that occur
                continue
            changed = copy.deepcopy(report)
            del at(changed, path)[key]
            assert faults(changed), f"{key} missing at {path}"


CLOSED = (
    (("models", 0, "decision"), "maybe"),
    (("models", 0, "verdicts", 0, "status"), "fine"),
    (("models", 0, "verdicts", 0, "law", "text_as_of"), "24 Nov 2026"),
    (("models", 0, "forward_operations", "unit"), "word"),
    (("models", 0, "training_operations", "low"), -1),
    (("models", 0, "training_operations", "best"), "1e24"),
    (("models", 0, "parameters", "total"), 1.5),
    (("models", 0, "parameters", "active"), -1),
    (("models", 0, "complete"), 1),
    (("unread", 0, "reason"), "because"),
    (("findings", 0, "severity"), "grave"),
    (("findings", 0, "id"), "Not Kebab"),
    (("policy", "source"), "somewhere"),
    (("policy", "declarations"), "none"),
    (("schema",), "weightguard/report/2"),
    (("summary", "models"), -1),
)


def test_closed_values_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = rich_report(tmp_path, monkeypatch)
    for path, value in CLOSED:
        changed = copy.deepcopy(report)
        at(changed, path[:-1])[path[-1]] = value
        assert faults(changed), f"{path} = {value!r}"


def test_an_incomplete_model_has_no_upper_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_shard_missing(tmp_path)
    report = scan(tmp_path, monkeypatch)
    assert report["models"][0]["complete"] is False and faults(report) == []
    report["models"][0]["training_operations"]["high"] = 1e24
    assert faults(report)


def test_every_schema_object_is_closed() -> None:
    def closed(node: Any) -> Iterator[bool]:
        if isinstance(node, dict):
            if node.get("type") == "object":
                yield node.get("additionalProperties") is False
            for below in node.values():
                yield from closed(below)
        elif isinstance(node, list):
            for below in node:
                yield from closed(below)

    found = list(closed(schema()))
    assert len(found) > 15 and all(found)


def test_the_schema_names_what_the_code_names() -> None:
    defs = schema()["$defs"]
    jsonschema.Draft202012Validator.check_schema(schema())
    assert tuple(defs["unread"]["properties"]["reason"]["enum"]) == REASONS
    assert tuple(defs["severity"]["enum"]) == SEVERITIES
    assert tuple(defs["parameters"]["properties"]["by_role"]["properties"]) == ROLES
    assert tuple(defs["parameters"]["properties"]["by_dtype"]["properties"]) == tuple(name for name, _ in DTYPES)
    pattern = defs["file"]["properties"]["format"]["pattern"]
    validator = jsonschema.Draft202012Validator({"type": "string", "pattern": pattern})
    assert all(validator.is_valid(import_module(f"weightguard.formats.{module}").NAME) for module, _, _ in FORMATS)


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_the_numbers_of_a_report_agree(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    report = scan(tmp_path, monkeypatch)
    summary = report["summary"]
    assert summary["models"] == len(report["models"]) == summary["allowed"] + summary["blocked"]
    assert summary["blocked"] == sum(m["decision"] == "block" for m in report["models"])
    assert summary["unread"] == len(report["unread"])
    for m in report["models"]:
        p, t = m["parameters"], m["training_operations"]
        assert sum(p["by_role"].values()) == sum(p["by_dtype"].values()) == p["stored_elements"]
        assert p["active"] <= p["total"]
        low, best, high = t["low"], t["best"], t["high"]
        ends = [low, *([best] if best is not None else []), *([high] if high is not None else [])]
        assert ends == sorted(ends) and all(math.isfinite(e) for e in ends)


def test_numbers_that_nothing_bounds_are_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 x 2^22 weights x 2^40 positions pass 2^62."""
    write_sparse(tmp_path / "a.safetensors", [("a.weight", "F8_E4M3", (1 << 10, 1 << 10, 4))])
    report = scan(
        tmp_path, monkeypatch, policy=replace(built_in(), kernel_positions=1 << 40, maximum_training_pixels=Fraction(10**30))
    )
    [model] = report["models"]
    assert faults(report) == []
    assert model["forward_operations"] is None and model["training_operations"]["high"] is None
    assert model["decision"] == "block"


def test_a_small_model_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: 2 x 80 x 32 embeddings, 2 layers of 2 x 32^2 + 2 x 16 x 32 + 3 x 48 x 32 + 2 x 32, a norm of 32."""
    write_small(tmp_path, Small())
    parameters = scan(tmp_path, monkeypatch)["models"][0]["parameters"]
    by_hand = 2 * 80 * 32 + 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32 + 2 * 32) + 32
    assert parameters["total"] == by_hand
    assert SMALL.config["vocab_size"] == 80


def test_the_report_of_the_demo_validates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus.write(str(tmp_path))
    report = scan(tmp_path, monkeypatch)
    assert len(report["models"]) >= 6
    assert faults(report) == []
