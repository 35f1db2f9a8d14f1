"""One model's verdict bound to the digests of its files: an in-toto Statement v1, and what is wrong with one beside a model.

Specification: in-toto Attestation Framework, spec/v1/statement.md. Built and validated by `in-toto-attestation` (extra `attest`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from weightguard.errors import ConfigurationError
from weightguard.report import Report

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:weightguard:verdict:1"


def render(report: Report, digests: Mapping[str, str], as_of: date) -> str:
    """The statement about the one model of a report. digests: SHA-256 by path in its folder. The same input, the same bytes.

    Raises `ConfigurationError` where in-toto-attestation is not installed.
    """
    whole = report.to_dict()
    (entry,) = whole["models"]
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digests[name]}} for name in sorted(digests)],
        "predicateType": PREDICATE,
        "predicate": {
            "decision": report.decision,
            "as_of": as_of.isoformat(),
            "tool": whole["tool"],
            "policy": whole["policy"],
            "model": entry,
        },
    }
    _validate(statement)
    return json.dumps(statement, indent=2, allow_nan=False) + "\n"


def read(path: str, text: str) -> dict[str, Any]:
    """A statement of ours. Raises `ConfigurationError` for what is none."""
    try:
        statement = json.loads(text, object_pairs_hook=_once)
        _validate(statement)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: is no in-toto statement: {error}") from error
    if statement.get("_type") != STATEMENT or statement.get("predicateType") != PREDICATE:
        raise ConfigurationError(f"{path}: is no statement of weightguard attest (predicateType {PREDICATE})")
    predicate = statement["predicate"]
    if not isinstance(predicate.get("tool"), dict) or not isinstance(predicate.get("decision"), str):
        raise ConfigurationError(f"{path}: its predicate has no decision or no tool")
    return dict(statement)


def differences(statement: Mapping[str, Any], digests: Mapping[str, str]) -> list[str]:
    """How the files of a model differ from those that a statement names, one line each; [] where they are the same."""
    named = {str(s.get("name")): s.get("digest", {}).get("sha256") for s in statement["subject"]}
    lines = [f"{name}: not in the statement" for name in sorted(digests.keys() - named.keys())]
    lines += [f"{name}: named by the statement, and not there" for name in sorted(named.keys() - digests.keys())]
    both = sorted(named.keys() & digests.keys())
    return lines + [f"{name}: its content is not what was attested" for name in both if named[name] != digests[name]]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _validate(statement: object) -> None:
    try:
        from google.protobuf.json_format import ParseDict, ParseError
        from in_toto_attestation.v1.statement import Statement
        from in_toto_attestation.v1.statement_pb2 import Statement as Message
    except ImportError:
        text = "attestations need in-toto-attestation: python -m pip install 'weightguard-gate[attest]'"
        raise ConfigurationError(text) from None
    if not isinstance(statement, dict):
        raise ValueError("not an object")
    try:
        Statement.copy_from_pb(ParseDict(statement, Message())).validate()
    except ParseError as error:
        raise ValueError(str(error)) from error
