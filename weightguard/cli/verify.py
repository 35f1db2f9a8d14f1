"""`weightguard verify`: whether a model's files are those that a statement of `weightguard attest` speaks of, before they leave."""

from __future__ import annotations

import argparse
import os
import sys

from weightguard.cli import exits
from weightguard.cli.options import add_scan_options, request

_LARGEST = 64 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("statement", metavar="STATEMENT", help="what weightguard attest wrote")
    add_scan_options(parser)
    parser.add_argument(
        "--signed", action="store_true", help="the statement must be signed by one of the policy's signers (STATEMENT.sig)"
    )


def run(args: argparse.Namespace) -> int:
    from weightguard.cli.attest import hashed, several
    from weightguard.evidence.attached import read_bytes
    from weightguard.evidence.signatures import SUFFIX, verify
    from weightguard.reports import attestation
    from weightguard.version import VERSION

    wanted = request(args)
    content = read_bytes(args.statement, _LARGEST, "statement")
    statement = attestation.read(args.statement, content.decode("utf-8", "replace"))
    problems = []
    if args.signed:
        beside = args.statement + SUFFIX
        signature = read_bytes(beside, _LARGEST, "signature") if os.path.exists(beside) else None
        signed = verify(content, signature, wanted.policy.signers, wanted.as_of)
        if signed.principal is None:
            problems.append(f"{args.statement}: {signed.reason}")
    report, digests = hashed(wanted, args.statement)
    predicate = statement["predicate"]
    problems += attestation.differences(statement, digests)
    if predicate["decision"] != "allow":
        problems.append(f"{args.statement}: it attests {predicate['decision']}")
    if len(report.models) != 1:
        problems.append(f"a statement is about one model, and there are {several(report)}")
    problems += [f"{m.path}: this policy's decision is {m.decision}" for m in report.models if m.decision != "allow"]
    if report.decision != "allow" and all(m.decision == "allow" for m in report.models):
        problems.append("beside the model lies what is dangerous to load, or could not be read: weightguard scan says what")
    version = predicate["tool"].get("version")
    if version != VERSION:
        print(f"weightguard: attested by version {version}, verified by {VERSION}", file=sys.stderr)
    for line in problems:
        print(f"REFUSED {line}")
    if not problems:
        (model,) = report.models
        day = predicate.get("as_of")
        print(f"VERIFIED {model.path}: {len(digests)} files are those attested, decision allow, as of {day}")
    return exits.BLOCKED if problems else exits.status(report, strict=args.strict)
