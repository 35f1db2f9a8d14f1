"""What is known by its first bytes and not read is unread by its name, however small, and text stays text."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

import weightguard
from weightguard.errors import Unreadable
from weightguard.formats import identify, signatures
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory

NOISE = random.Random(1).randbytes(4096)


def why(data: bytes) -> Unreadable | None:
    try:
        assert identify(InMemory("x", data), LIMITS) is None
    except Unreadable as error:
        return error
    return None


@pytest.mark.parametrize(("offset", "magic", "name"), signatures.OTHER_MODELS)
def test_a_model_of_another_kind_is_unread_by_name(offset: int, magic: bytes, name: str, tmp_path: Path) -> None:
    data = NOISE[:offset] + magic + NOISE
    error = why(data)
    assert error is not None and error.reason == "unsupported" and name in error.detail
    path = tmp_path / "model"
    path.write_bytes(data)
    report = weightguard.scan(str(path))
    assert [u.reason for u in report.unread] == ["unsupported"] and not report.models


@pytest.mark.parametrize(("magic", "maker"), signatures.ENCRYPTED)
def test_what_is_encrypted_says_so(magic: bytes, maker: str) -> None:
    for rest in (NOISE, b"\naGVsbG8=\n"):  # armoured, it is text
        error = why(magic + rest)
        assert error is not None and error.reason == "encrypted" and maker in error.detail


ORBAX = {"tree_metadata": {"('w',)": {"value_metadata": {"value_type": "jax.Array", "write_shape": [4]}}}, "use_zarr3": False}
ZARR_2 = {"chunks": [2], "compressor": None, "dtype": "<f4", "fill_value": 0, "order": "C", "shape": [4], "zarr_format": 2}
ZARR_3 = {"zarr_format": 3, "node_type": "array", "shape": [4], "chunk_grid": {"name": "regular"}}


@pytest.mark.parametrize("found", [ORBAX, ZARR_2, ZARR_3], ids=["orbax", "zarr-2", "zarr-3"])
def test_json_that_stands_for_arrays_beside_it_is_unread(found: object) -> None:
    for indent in (None, 4):
        error = why(json.dumps(found, indent=indent).encode())
        assert error is not None and error.reason == "unsupported"


def test_a_group_of_zarr_is_text() -> None:
    assert why(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}).encode()) is None


def test_what_tensorstore_writes_is_unread(tmp_path: Path) -> None:
    tensorstore = pytest.importorskip("tensorstore")
    stores = {
        "zarr": {"driver": "zarr", "kvstore": {"driver": "file", "path": str(tmp_path / "zarr/")}},
        "zarr3": {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(tmp_path / "zarr3/")}},
        "ocdbt": {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": f"file://{tmp_path}/ocdbt/", "path": "w/"}},
    }
    for name, spec in stores.items():
        tensorstore.open({**spec, "create": True}, dtype="float32", shape=[8, 4]).result().write(1.0).result()
        report = weightguard.scan(str(tmp_path / name))
        assert "unsupported" in [u.reason for u in report.unread] and not report.models, name


def run(*command: str, stdin: bytes) -> bytes:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=60).stdout


def test_openssl_itself() -> None:
    error = why(run("openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-k", "x", stdin=NOISE))
    assert error is not None and error.reason == "encrypted"


@pytest.mark.parametrize("armour", [[], ["--armor"]])
def test_gpg_itself(armour: list[str], tmp_path: Path) -> None:
    options = ["--homedir", str(tmp_path), "--batch", "--pinentry-mode", "loopback", "--passphrase", "x", "--symmetric"]
    error = why(run("gpg", *options, *armour, stdin=NOISE))
    assert error is not None and error.reason == "encrypted"


@pytest.mark.parametrize(
    "head",
    [
        b"\x85\x01\x0c\x03" + NOISE[:8] + b"\x01",
        b"\xc1\xc0\x4c\x03" + NOISE[:8] + b"\x10",
        b"\x8c\x0d\x04\x09\x03",
        b"\xc3\x2e\x05\x09\x02",
    ],
)
def test_openpgp_by_its_packets(head: bytes) -> None:
    error = why(head + NOISE)
    assert error is not None and error.reason == "encrypted"


def test_a_caffe_model_is_unread_by_name() -> None:
    error = why(b"\x0a\x07AlexNet\xa2\x06\xff\x01" + NOISE)
    assert error is not None and "Caffe" in error.detail


@pytest.mark.parametrize(
    "text", ["tree of life\n", json.dumps({"learner_rate": 1}), "7767517 is a number\n", "# age\n", "RKN\n", "Salted\n"]
)
def test_text_is_text(text: str) -> None:
    assert why(text.encode()) is None
