"""`weightguard attest` and `verify`: an in-toto statement over real files, and every way in which they may differ from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.layouts import declaration, write_shards, write_small
from tests.signing import key, policy, sign, signer
from weightguard.cli import main

AS_OF = ("--as-of", "2026-11-25")


@pytest.fixture
def attested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model, and beside its folder a statement about it."""
    pytest.importorskip("in_toto_attestation")
    monkeypatch.chdir(tmp_path)
    write_small(tmp_path / "m")
    assert main(["attest", "m", "-o", "s.json", *AS_OF]) == 0
    return tmp_path


def verified(*more: str) -> int:
    return main(["verify", "s.json", "m", *AS_OF, *more])


def test_the_statement_is_in_toto_s(attested: Path) -> None:
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    content = json.loads((attested / "s.json").read_text())
    Statement.copy_from_pb(ParseDict(content, Message())).validate()
    assert {s["name"] for s in content["subject"]} == {"config.json", "model.safetensors"}
    assert content["predicate"]["model"]["verdicts"][0]["status"] == "not_controlled"
    assert content["predicate"]["tool"]["name"] == "weightguard" and content["predicate"]["as_of"] == "2026-11-25"
    with pytest.raises(ValueError, match="subject"):
        Statement.copy_from_pb(ParseDict({**content, "subject": []}, Message())).validate()


def test_the_same_input_gives_the_same_bytes(attested: Path) -> None:
    assert main(["attest", "m", "-o", "t.json", *AS_OF]) == 0
    assert (attested / "s.json").read_bytes() == (attested / "t.json").read_bytes()


def test_it_verifies(attested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verified() == 0
    assert capsys.readouterr().out.startswith("VERIFIED m/model.safetensors: 2 files")


def test_what_lies_beside_it_counts(attested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (attested / "m" / "start.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert main(["attest", "m", "-o", "s.json", *AS_OF]) == 1
    assert json.loads((attested / "s.json").read_text())["predicate"]["decision"] == "block"
    assert verified() == 1
    said = capsys.readouterr().out
    assert "VERIFIED" not in said and "dangerous to load" in said


def flip(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def add(folder: Path) -> None:
    (folder / "notes.txt").write_text("later")


def remove(folder: Path) -> None:
    (folder / "config.json").unlink()


def change(folder: Path) -> None:
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("2048", "4096"))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (flip, "model.safetensors: its content is not what was attested"),
        (add, "notes.txt: not in the statement"),
        (remove, "config.json: named by the statement, and not there"),
        (change, "config.json: its content"),
    ],
)
def test_other_files_are_refused(
    attested: Path, capsys: pytest.CaptureFixture[str], how: Callable[[Path], None], words: str
) -> None:
    how(attested / "m")
    assert verified() == 1
    assert f"REFUSED {words}" in capsys.readouterr().out


def test_a_blocked_model_is_attested_and_never_verified(attested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (attested / "m" / "weightguard.toml").write_text(declaration("1.2e26"))
    assert main(["attest", "m", "-o", "s.json", *AS_OF]) == 1
    assert verified() == 1
    assert "it attests block" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "[" * 100_000,
        lambda text: text.replace("urn:weightguard:verdict:1", "urn:other"),
        lambda text: text.replace("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"),
        lambda text: text.replace('"_type"', '"_type": "x", "_type"', 1),
        lambda text: text.replace('"subject": [', '"subject": [], "other": ['),
    ],
)
def test_what_is_no_statement_is_wrong_usage(
    attested: Path, capsys: pytest.CaptureFixture[str], change: Callable[[str], str]
) -> None:
    path = attested / "s.json"
    path.write_text(change(path.read_text()))
    assert verified() == 2
    assert "s.json" in capsys.readouterr().err


def test_a_signed_statement(attested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = key(attested)
    rules = str(policy(attested / "p.toml", signer(secret)))
    assert verified("--policy", rules, "--signed") == 1
    sign(attested / "s.json", secret)
    assert main(["attest", "m", "-o", "t.json", "--policy", rules, *AS_OF]) == 0
    assert verified("--policy", rules, "--signed") == 0
    sign(attested / "s.json", key(attested, "other"))
    assert verified("--policy", rules, "--signed") == 1
    assert "not signed by one of the policy's signers" in capsys.readouterr().out


def test_a_statement_in_the_folder_is_no_part_of_the_model(attested: Path) -> None:
    (attested / "s.json").rename(attested / "m" / "s.json")
    assert main(["verify", "m/s.json", "m", *AS_OF]) == 0
    assert main(["attest", "m", "-o", "m/s.json", *AS_OF]) == 0
    assert main(["verify", "m/s.json", "m", *AS_OF]) == 0


def test_shards_and_several_models(attested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(attested / "n")
    assert main(["attest", "n", "-o", "s.json", *AS_OF]) == 0
    assert main(["verify", "s.json", "n", *AS_OF]) == 0
    assert main(["attest", "m", "n", "-o", "u.json", *AS_OF]) == 2
    assert "name one" in capsys.readouterr().err


def test_a_shard_too_many_is_named(attested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small(attested / "m" / "more")
    assert verified() == 1
    out = capsys.readouterr().out
    assert "REFUSED more/model.safetensors: not in the statement" in out and "there are 2" in out


def test_every_path_to_a_file_is_a_subject(attested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (attested / "m" / "same.safetensors").symlink_to("model.safetensors")
    assert verified() == 1
    assert "REFUSED same.safetensors: not in the statement" in capsys.readouterr().out
    assert main(["attest", "m", "-o", "s.json", *AS_OF]) == 0
    assert {s["name"] for s in json.loads((attested / "s.json").read_text())["subject"]} >= {
        "same.safetensors",
        "model.safetensors",
    }
    assert verified() == 0


def test_what_an_archive_holds_is_hashed_with_it(attested: Path) -> None:
    import tarfile

    with tarfile.open(attested / "m.tar", "w") as tar:
        tar.add(attested / "m", "m")
    assert main(["attest", "m.tar", "-o", "t.json", *AS_OF]) == 0
    assert [s["name"] for s in json.loads((attested / "t.json").read_text())["subject"]] == ["m.tar"]


def test_a_store_is_not_hashed(attested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attest", "s3://bucket/m", "-o", "t.json", *AS_OF]) == 2
    assert "name local ones" in capsys.readouterr().err and not (attested / "t.json").exists()
