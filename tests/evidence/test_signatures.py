"""Approvals and declarations signed by the real ssh-keygen: accepted; altered, expired, for other files, by another key: refused."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pytest

import weightguard
from tests.layouts import declaration, write_small
from tests.signing import digests, key, policy, sign, signer
from weightguard.errors import ConfigurationError
from weightguard.evidence.signatures import faulty_signer, verify
from weightguard.report import ModelReport

AS_OF = dt.date(2026, 11, 25)
APPROVAL = '[approval]\nby = "Export control"\nreference = "EC-7"\ndate = 2026-11-01\nexpires = 2027-11-01\n'


@pytest.fixture(autouse=True)
def needs_openssh() -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen (OpenSSH) is not installed")


def approved(folder: Path, operations: str = "1.2e26", approval: str = APPROVAL, files: str | None = None) -> Path:
    """A small model that is declared to be controlled, with an approval for its files."""
    write_small(folder)
    text = declaration(operations, model=digests(folder) if files is None else files)
    (folder / "weightguard.toml").write_text(text + approval)
    return folder


def scanned(folder: Path, rules: Path, *given: str) -> ModelReport:
    (model,) = weightguard.scan(str(folder), policy=str(rules), declarations=given, as_of=AS_OF).models
    return model


def ids(model: ModelReport) -> set[str]:
    return {finding.id for finding in model.findings}


def test_a_signed_approval_lifts_a_block(tmp_path: Path) -> None:
    secret, folder = key(tmp_path), approved(tmp_path / "m")
    rules = policy(tmp_path / "p.toml", signer(secret))
    before = scanned(folder, rules)
    assert before.decision == "block" and "not-signed" in ids(before)
    sign(folder / "weightguard.toml", secret)
    after = scanned(folder, rules)
    assert after.decision == "allow" and after.verdicts[0].status == "controlled"
    (told,) = [f.message for f in after.findings if f.id == "approved"]
    assert "Export control" in told and "EC-7" in told and "alice@example.org" in told and "2027-11-01" in told


def test_given_on_the_command_line(tmp_path: Path) -> None:
    secret, folder = key(tmp_path), approved(tmp_path / "m")
    given = (folder / "weightguard.toml").rename(tmp_path / "approval.toml")
    sign(given, secret)
    assert scanned(folder, policy(tmp_path / "p.toml", signer(secret)), str(given)).decision == "allow"


def test_altered_after_signing_is_refused(tmp_path: Path) -> None:
    secret, folder = key(tmp_path), approved(tmp_path / "m")
    rules = policy(tmp_path / "p.toml", signer(secret))
    sign(folder / "weightguard.toml", secret)
    text = (folder / "weightguard.toml").read_text()
    (folder / "weightguard.toml").write_text(text.replace("EC-7", "EC-8"))
    model = scanned(folder, rules)
    assert model.decision == "block" and "approved" not in ids(model)


def test_by_another_key_is_refused(tmp_path: Path) -> None:
    secret, other, folder = key(tmp_path), key(tmp_path, "other"), approved(tmp_path / "m")
    sign(folder / "weightguard.toml", other)
    assert scanned(folder, policy(tmp_path / "p.toml", signer(secret))).decision == "block"
    assert scanned(folder, policy(tmp_path / "q.toml")).decision == "block"  # nobody may sign


def test_in_another_namespace_is_refused(tmp_path: Path) -> None:
    secret, folder = key(tmp_path), approved(tmp_path / "m")
    sign(folder / "weightguard.toml", secret, namespace="git")
    assert scanned(folder, policy(tmp_path / "p.toml", signer(secret))).decision == "block"


def test_for_other_files_is_refused(tmp_path: Path) -> None:
    secret, folder = key(tmp_path), approved(tmp_path / "m")
    rules = policy(tmp_path / "p.toml", signer(secret))
    sign(folder / "weightguard.toml", secret)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # the last weight of the last tensor
    weights.write_bytes(content)
    with pytest.raises(ConfigurationError, match="pick none of the models"):
        scanned(folder, rules)


def test_naming_no_files_is_refused(tmp_path: Path) -> None:
    secret, folder = key(tmp_path), approved(tmp_path / "m", files="")
    sign(folder / "weightguard.toml", secret)
    model = scanned(folder, policy(tmp_path / "p.toml", signer(secret)))
    assert model.decision == "block"
    assert any("names no [model] files" in f.message for f in model.findings)


def test_expired_is_refused(tmp_path: Path) -> None:
    secret = key(tmp_path)
    folder = approved(tmp_path / "m", approval=APPROVAL.replace("expires = 2027-11-01", "expires = 2026-11-24"))
    sign(folder / "weightguard.toml", secret)
    with pytest.raises(ConfigurationError, match="expired on 2026-11-24"):
        scanned(folder, policy(tmp_path / "p.toml", signer(secret)))


def test_a_key_is_valid_for_as_long_as_the_policy_says(tmp_path: Path) -> None:
    secret, folder = key(tmp_path), approved(tmp_path / "m")
    sign(folder / "weightguard.toml", secret)
    late = policy(tmp_path / "p.toml", signer(secret, options='valid-before="20261124"'))
    assert scanned(folder, late).decision == "block"
    able = policy(tmp_path / "q.toml", signer(secret, options='valid-before="20261201"'))
    assert scanned(folder, able).decision == "allow"


def test_for_other_regimes_is_refused(tmp_path: Path) -> None:
    secret = key(tmp_path)
    folder = approved(tmp_path / "m", approval=APPROVAL + 'regimes = ["acme"]\n')
    sign(folder / "weightguard.toml", secret)
    assert scanned(folder, policy(tmp_path / "p.toml", signer(secret))).decision == "block"


def test_an_incomplete_model_stays_blocked(tmp_path: Path) -> None:
    secret, folder = key(tmp_path), approved(tmp_path / "m")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 9'))
    sign(folder / "weightguard.toml", secret)
    model = scanned(folder, policy(tmp_path / "p.toml", signer(secret)))
    assert not model.complete and model.decision == "block"


def test_a_rule_may_ask_for_an_approval_or_refuse_one(tmp_path: Path) -> None:
    secret, folder = key(tmp_path), approved(tmp_path / "m", operations="3e24")
    rule = '[[rule]]\ndecision = "{}"\nreason = "house rule"\npaths = ["*/model.safetensors"]\n'
    rules = policy(tmp_path / "p.toml", signer(secret), more=rule.format("approve"))
    assert scanned(folder, rules).decision == "block"
    sign(folder / "weightguard.toml", secret)
    assert scanned(folder, rules).decision == "allow"
    assert scanned(folder, policy(tmp_path / "q.toml", signer(secret), more=rule.format("block"))).decision == "block"


def test_only_signed_declarations_clear_where_the_policy_says_so(tmp_path: Path) -> None:
    secret, folder = key(tmp_path), tmp_path / "m"
    write_small(folder)
    published = 'published = {url = "https://example.org/m", date = 2024-07-23, licence = "apache-2.0", unrestricted = true}\n'
    (folder / "weightguard.toml").write_text(declaration("1.2e26", model=published + digests(folder)))
    rules = policy(tmp_path / "p.toml", signer(secret), more='declarations = "signed"\n')
    assert scanned(folder, rules).decision == "block"
    sign(folder / "weightguard.toml", secret)
    model = scanned(folder, rules)
    assert model.decision == "allow" and model.verdicts[0].clause == "§ 734.7"
    # replayed beside other weights, it speaks for none
    (tmp_path / "n").mkdir()
    for name in ("weightguard.toml", "weightguard.toml.sig", "config.json"):
        shutil.copy(folder / name, tmp_path / "n")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "n" / "model.safetensors").write_bytes(content)
    with pytest.raises(ConfigurationError):
        scanned(tmp_path / "n", rules)


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """A pipeline's parts share a file name: each has to be listed by its path."""
    from weightguard.evidence.attached import _names_all

    class File:
        def __init__(self, path: str) -> None:
            self.whole = (path, 1)

    class Model:
        folder = "m"
        files = (File("m/unet/model.safetensors"), File("m/vae/model.safetensors"))

    content = {"m/unet/model.safetensors": "a", "m/vae/model.safetensors": "b"}
    assert not _names_all({"model.safetensors": "b"}, Model(), content.__getitem__)  # type: ignore[arg-type]
    listed = {"unet/model.safetensors": "a", "vae/model.safetensors": "b"}
    assert _names_all(listed, Model(), content.__getitem__)  # type: ignore[arg-type]
    assert not _names_all({**listed, "vae/model.safetensors": "c"}, Model(), content.__getitem__)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("", "no line"),
        ("alice@example.org", "no line"),
        ("ssh-ed25519 AAAA", "no line"),
        ("alice ssh-ed25519 ***", "base64"),
        ("alice cert-authority ssh-ed25519 AAAA", "certificate authority"),
        ("alice ssh-ed25519 AAAA\nmallory ssh-ed25519 AAAA", "control"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "private"),
    ],
)
def test_faulty_signers(line: str, word: str) -> None:
    assert word in faulty_signer(line)
    assert faulty_signer("alice@example.org ssh-ed25519 AAAA") == ""


def test_a_policy_names_the_line_of_a_faulty_signer(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"p.toml:2: a line of signers"):
        scanned(tmp_path, policy(tmp_path / "p.toml", "alice"))


@pytest.mark.parametrize(
    "signature", [b"", b"x", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n", b"-" * 10**6]
)
def test_what_is_no_signature_is_refused_with_a_reason(tmp_path: Path, signature: bytes) -> None:
    found = verify(b"text", signature, [signer(key(tmp_path))], AS_OF)
    assert found.principal is None and found.reason


def test_without_openssh_nothing_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [signer(key(tmp_path))]
    monkeypatch.setenv("PATH", str(tmp_path))
    found = verify(b"text", b"-----BEGIN SSH SIGNATURE-----", lines, AS_OF)
    assert found.principal is None and "OpenSSH" in found.reason


KEY = "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAIIf5bVnYb5V0PvQx8mvPzF8b4Q8N3z0o5mP3oY2mK8aB"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (f"alice@example.org {KEY}", ""),
        (f'alice@example.org namespaces="git,weightguard",valid-before=20270101 {KEY}', ""),
        (f'alice@example.org valid-after="20260101000000Z" {KEY}', ""),
        (f"*@example.org {KEY}", "in full"),
        (f"alic?@example.org {KEY}", "in full"),
        (f"!bob@example.org,alice@example.org {KEY}", "in full"),
        (f"#alice@example.org {KEY}", "in full"),
        (f"# alice@example.org {KEY}", "in full"),
        (f'alice@example.org namespaces="git" {KEY}', "may not sign"),
        (f'alice@example.org namespaces="*" {KEY}', "may not sign"),
        (f'alice@example.org namespaces="weightguard",namespaces="git" {KEY}', "may not sign"),
        (f"alice@example.org cert-authority {KEY}", "not taken"),
        (f"alice@example.org no-touch-required {KEY}", "not taken"),
        (f"alice@example.org valid-before=tomorrow {KEY}", "not taken"),
    ],
)
def test_lines_of_signers(line: str, wrong: str) -> None:
    found = faulty_signer(line)
    assert wrong in found if wrong else found == ""
