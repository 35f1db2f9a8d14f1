"""Options that several commands share, and the request that they make."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from weightguard.errors import ConfigurationError

if TYPE_CHECKING:
    from weightguard.pipeline import Request
    from weightguard.policy import Policy


def add_scan_options(parser: argparse.ArgumentParser) -> None:
    """Targets and what decides: policy, regimes, declarations, date."""
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help="files, folders, and URIs of stores; put -- before a list from a hook"
    )
    parser.add_argument("--hf-cache", action="store_true", help="add the local Hugging Face cache")
    parser.add_argument(
        "--policy", metavar="FILE", help="policy file; else $WEIGHTGUARD_POLICY, else one found that only tightens"
    )
    parser.add_argument(
        "--regime", metavar="ID", action="append", help="regime to decide under, or all; repeatable (default: the policy's)"
    )
    parser.add_argument("--declaration", metavar="FILE", action="append", default=[], help="training declaration; repeatable")
    parser.add_argument("--strict", action="store_true", help="block on what nobody attested; count every expert as active")
    parser.add_argument("--as-of", metavar="DATE", type=_date, help="the day whose law holds, YYYY-MM-DD (default: today)")
    where = parser.add_argument_group("the transaction, where the item is controlled or may be")
    for option, text in (
        ("--destination", "country that the weights are sent to or kept in"),
        ("--consignee-hq", "country where who gets them is headquartered"),
        ("--consignee-parent", "country where its ultimate parent is headquartered"),
    ):
        where.add_argument(option, metavar="CC", type=_country, help=f"{text}, ISO 3166")
    where.add_argument(
        "--facility-attested",
        action="store_true",
        dest="facility",
        help="it is kept as Supp. No. 10 to part 748, paragraphs 14, 15 and 18, asks",
    )
    where.add_argument("--deemed-export", action="store_true", help="a release to permanent regular employees of the consignee")
    where.add_argument(
        "--encrypted-storage", action="store_true", dest="encrypted", help="kept end-to-end encrypted as § 734.18(a)(5) asks"
    )


def request(args: argparse.Namespace) -> Request:
    """The scan that the options ask for. Raises `ConfigurationError`."""
    from weightguard import policy as policies
    from weightguard.evidence.attached import read_given
    from weightguard.pipeline import Request

    targets = list(args.targets)
    if args.hf_cache:
        targets.append(_hf_cache())
    if not targets:
        raise ConfigurationError("no target: name a file or folder to scan")
    policy = policies.resolve(args.policy, os.getcwd(), os.environ)
    if args.strict:
        policy = policies.strict(policy)
    if args.regime:
        known = policy.all_regimes
        unknown = [
            f"--regime {id}: no such regime; known are: {', '.join(known)}, or all"
            for id in args.regime
            if id not in (*known, "all")
        ]
        if unknown:
            raise ConfigurationError(*unknown)
        policy = replace(policy, regimes=known if "all" in args.regime else tuple(dict.fromkeys(args.regime)))
    policy = _with_transaction(policy, args)
    declarations = [read_given(path) for path in args.declaration]
    return Request(targets, policy, args.as_of or datetime.date.today(), declarations)


def _with_transaction(policy: Policy, args: argparse.Namespace) -> Policy:
    """The policy with what the command line says of the transaction, over what the policy says."""
    from weightguard.policy import ATTESTED, COUNTRIES
    from weightguard.rules.regime import Transaction

    given = {name: getattr(args, name) for name in (*COUNTRIES, *ATTESTED) if getattr(args, name)}
    return replace(policy, transaction=replace(policy.transaction or Transaction(), **given)) if given else policy


def _country(text: str) -> str:
    from weightguard.policy import country

    code = country(text)
    if code is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a country; write two letters of ISO 3166, such as DE")
    return code


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write YYYY-MM-DD") from None


def _hf_cache() -> str:
    home = os.environ.get("HF_HOME", os.path.join(os.path.expanduser("~"), ".cache", "huggingface"))
    path = os.environ.get("HF_HUB_CACHE", os.path.join(home, "hub"))
    if not os.path.isdir(path):
        raise ConfigurationError(f"--hf-cache: {path} is not a folder (set HF_HUB_CACHE or HF_HOME)")
    return path


def write(output: str, path: str | None, what: str) -> None:
    """Write to a file, or to standard output. Raises `ConfigurationError` where the file can't be written."""
    if path is None:
        sys.stdout.write(output)
        sys.stdout.flush()
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(output)
    except OSError as error:
        raise ConfigurationError(f"{path}: can't write the {what}: {error.strerror}") from error
