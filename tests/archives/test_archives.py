"""Models inside tar, zip and compressed streams are the models they are outside; what an archive hides or claims is seen."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import weightguard
import weightguard.reading
from tests.layouts import Small, header_of, raw, values_in
from weightguard.archives import unpack
from weightguard.demo.layouts import llama_405b
from weightguard.demo.write import write_safetensors
from weightguard.errors import Unreadable
from weightguard.limits import LIMITS
from weightguard.report import Report
from weightguard.stores.memory import InMemory

SMALL = Small()
PARAMETERS = values_in(SMALL.tensors)


def model_bytes() -> bytes:
    header, size = header_of(SMALL.tensors)
    return raw(header, os.urandom(size))


MODEL = model_bytes()
CONFIG = json.dumps(SMALL.config).encode()


def tar_of(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


FILES = {"llama/config.json": CONFIG, "llama/model.safetensors": MODEL}
TAR = tar_of(FILES)
ARCHIVES: dict[str, bytes] = {
    "pax.tar": TAR,
    "gnu.tar": tar_of(FILES, tarfile.GNU_FORMAT),
    "ustar.tar": tar_of(FILES, tarfile.USTAR_FORMAT),
    "a.tar.gz": gzip.compress(TAR),
    "a.tgz": gzip.compress(TAR),
    "a.tar.bz2": bz2.compress(TAR),
    "a.tar.xz": lzma.compress(TAR),
    "a.tar.lzma": lzma.compress(TAR, lzma.FORMAT_ALONE),
    "a.tar.zst": zstandard.compress(TAR),
    "a.tar.zlib": zlib.compress(TAR),
    "stored.zip": zip_of(FILES),
    "deflated.zip": zip_of(FILES, zipfile.ZIP_DEFLATED),
    "no-suffix": gzip.compress(TAR),
    "wrong.png": TAR,
    "zip-in-tar.tar": tar_of({"inner.zip": zip_of(FILES, zipfile.ZIP_DEFLATED)}),
    "tar-in-zip.zip": zip_of({"inner.tar": TAR}, zipfile.ZIP_DEFLATED),
    "twice.tar.gz.xz": lzma.compress(gzip.compress(TAR)),
    "members.gz": gzip.compress(TAR[:5000]) + gzip.compress(TAR[5000:]),
}


def scan(folder: Path) -> Report:
    return weightguard.scan(str(folder))


def contents(data: bytes, name: str = "a") -> list[tuple[str, bytes]]:
    found = unpack(InMemory(name, data), data[: 64 << 10], LIMITS, [LIMITS.unpacked_bytes])
    assert found is not None
    opened = [(e.name, e.open()) for e in found.entries]
    return [(name, source.read(0, source.size)) for name, source in opened]


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_model_in_an_archive_is_the_model(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(ARCHIVES[name])
    report = scan(tmp_path)
    (model,) = report.models
    assert model.parameters.total == PARAMETERS and model.complete and not report.unread
    assert model.architecture is not None and model.architecture.layers == 2
    assert model.path.startswith(f"{tmp_path.as_posix().lstrip('/')}/{name}/") or f"/{name}/" in f"/{model.path}"
    assert report.decision == "allow"


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_as_a_target_stands_for_its_models(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(ARCHIVES[name])
    assert [m.parameters.total for m in scan(tmp_path / name).models] == [PARAMETERS]


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zst", ""])
def test_one_compressed_file(suffix: str, tmp_path: Path) -> None:
    pack: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "zst": zstandard.compress,
        "": zlib.compress,
    }
    (tmp_path / f"model.safetensors.{suffix}").write_bytes(pack[suffix](MODEL))
    (model,) = scan(tmp_path).models
    assert model.parameters.total == PARAMETERS
    assert model.path.rpartition("/")[2].startswith("model.safetensors")


def test_shards_inside_an_archive_are_one_model(tmp_path: Path) -> None:
    half = len(SMALL.tensors) // 2
    shards = {
        "a/model-00001-of-00002.safetensors": SMALL.tensors[:half],
        "a/model-00002-of-00002.safetensors": SMALL.tensors[half:],
    }
    files = {}
    for name, tensors in shards.items():
        header, size = header_of(tensors)
        files[name] = raw(header, bytes(size))
    (tmp_path / "m.tar").write_bytes(tar_of({"a/config.json": CONFIG, **files}))
    (model,) = scan(tmp_path).models
    assert model.parameters.total == PARAMETERS and model.complete
    (tmp_path / "m.tar").write_bytes(tar_of({"a/config.json": CONFIG, **dict(list(files.items())[:1])}))
    (model,) = scan(tmp_path).models
    assert not model.complete and model.decision == "block"


def test_a_405b_model_in_a_tar_is_blocked_from_its_header(tmp_path: Path) -> None:
    """A sparse 800 GB member of a sparse tar: nothing of it is read but headers."""
    whole = llama_405b()
    write_safetensors(str(tmp_path / "model.safetensors"), whole.tensors)
    size = (tmp_path / "model.safetensors").stat().st_size
    info = tarfile.TarInfo("model.safetensors")
    info.size = size
    with (tmp_path / "model.safetensors").open("rb") as file:
        head = file.read(1 << 20)
    with (tmp_path / "model.tar").open("wb") as out:
        out.write(info.tobuf(tarfile.GNU_FORMAT) + head)
        out.truncate(512 + size + -size % 512 + 1024)
    (tmp_path / "model.safetensors").unlink()
    start = time.monotonic()
    report = scan(tmp_path)
    assert time.monotonic() - start < 30
    (model,) = report.models
    assert model.parameters.total == 405_853_388_800 and report.decision == "block"


def test_links_of_a_cache_inside_an_archive_name_their_blobs(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in (("m/blobs/aa", MODEL), ("m/blobs/bb", CONFIG)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (
            ("m/snapshots/x/model.safetensors", "../../blobs/aa"),
            ("m/snapshots/x/config.json", "../../blobs/bb"),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    (tmp_path / "cache.tar").write_bytes(out.getvalue())
    report = scan(tmp_path)
    assert [(m.parameters.total, m.complete) for m in report.models] == [(PARAMETERS, True)] and not report.unread


def special(kind: bytes, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("x")
        info.type, info.linkname = kind, link
        archive.addfile(info)
    return out.getvalue()


def with_header(change: Callable[[bytearray], None], data: bytes = TAR) -> bytes:
    """The archive with its first header changed, and that header's checksum right again."""
    block = bytearray(data[:512])
    change(block)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data[512:]


def put(at: int, value: bytes) -> Callable[[bytearray], None]:
    def change(block: bytearray) -> None:
        block[at : at + len(value)] = value

    return change


def pax(records: bytes) -> bytes:
    info = tarfile.TarInfo("PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    return info.tobuf(tarfile.USTAR_FORMAT) + records.ljust(-(-len(records) // 512) * 512, b"\0")


def nested(depth: int) -> bytes:
    data = TAR
    for _ in range(depth):
        data = gzip.compress(data)
    return data


def bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


def hidden_in_link() -> bytes:
    """A hard link of a size: tarfile reads its data as the next members, others skip them."""
    link = tarfile.TarInfo("link")
    link.type, link.linkname, link.size = tarfile.LNKTYPE, "a.txt", len(TAR)
    first = tarfile.TarInfo("a.txt")
    return first.tobuf(tarfile.USTAR_FORMAT) + link.tobuf(tarfile.USTAR_FORMAT) + TAR + bytes(1024)


def empty_blocks() -> bytes:
    """A member whose deflate stream is 200,000 bytes of stored blocks of no length before its text."""
    stream = b"\0\0\0\xff\xff" * 40_000
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream += packer.compress(b"hello world") + packer.flush()
    name, crc = b"a.txt", zlib.crc32(b"hello world")
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(stream), 11, len(name), 0) + name
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(stream), 11, len(name), 0, 0, 0, 0, 0, 0) + name
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(local) + len(stream), 0)
    return local + stream + entry + end


PICKLE = pickle.dumps(os.getcwd, 2).replace(b"getcwd", b"system")  # names posix.system
HOSTILE: dict[str, bytes] = {
    "tar-cut-in-header": TAR[:300],
    "tar-cut-in-member": TAR[: len(TAR) // 2],
    "tar-without-end": TAR.rstrip(b"\0")[:-1],
    "tar-bad-checksum": TAR[:600] + b"\1" + TAR[601:512] + TAR[512:1024].replace(b"0", b"1") + TAR[1024:],
    "tar-size-2^33": with_header(put(124, b"77777777777\0")),
    "tar-size-binary-2^70": with_header(put(124, b"\x80" + b"\xff" * 11)),
    "tar-size-negative": with_header(put(124, b"\xff" * 12)),
    "tar-size-not-octal": with_header(put(124, b"99999999999\0")),
    "tar-device": special(tarfile.CHRTYPE),
    "tar-fifo": special(tarfile.FIFOTYPE),
    "tar-link-out": special(tarfile.SYMTYPE, "/etc/passwd"),
    "tar-link-up": special(tarfile.SYMTYPE, "../../x"),
    "tar-hardlink-to-nothing": special(tarfile.LNKTYPE, "y"),
    "tar-link-to-itself": special(tarfile.SYMTYPE, "x"),
    "tar-pax-size-2^63": pax(b"28 size=9223372036854775808\n") + TAR,
    "tar-pax-size-text": pax(b"13 size=abcd\n") + TAR,
    "tar-pax-length-lies": pax(b"9999 path=a\n") + TAR,
    "tar-pax-length-0": pax(b"0 path=a\n") + TAR,
    "tar-sparse": pax(b"22 GNU.sparse.major=1\n") + TAR,
    "tar-long-name-1GB": with_header(put(156, b"L"), with_header(put(124, b"10000000000\0"))),
    "tar-escapes": tar_of({"../../model.safetensors": MODEL}),
    "tar-absolute": tar_of({"/etc/model.safetensors": MODEL}),
    "tar-trailing-weights": TAR + os.urandom(100_000),
    "tar-hardlink-with-data": hidden_in_link(),
    "zip-same-path-twice": zip_of({"m/./model.safetensors": b"cposix\nsystem\n(S'true'\ntR.", "m/model.safetensors": MODEL}),
    "gz-extra-fields": gzip.compress(b"hello")
    + b"".join(b"\x1f\x8b\x08\x04" + bytes(6) + b"\xff\xff" + os.urandom(65535) + gzip.compress(b"")[10:] for _ in range(4)),
    "zip-empty-blocks": empty_blocks(),
    "gz-cut": gzip.compress(TAR)[:-20],
    "gz-bad-checksum": gzip.compress(TAR)[:-8] + bytes(8),
    "gz-bad-deflate": gzip.compress(TAR)[:200] + bytes(200) + gzip.compress(TAR)[400:],
    "gz-trailing-weights": gzip.compress(TAR) + os.urandom(100_000),
    "gz-bomb": bomb(1 << 30),
    "gz-bomb-in-zip": zip_of({"a.gz": bomb(256 << 20)}, zipfile.ZIP_DEFLATED),
    "gz-nine-deep": nested(9),
    "bz2-cut": bz2.compress(TAR)[:-20],
    "xz-cut": lzma.compress(TAR)[:-20],
    "zst-cut": zstandard.compress(TAR)[:-20],
    "zst-no-checksum": zstandard.compress(TAR)[:100] + bytes(100),
    "zlib-cut": zlib.compress(TAR)[:-20],
    "zip-escapes": zip_of({"../../model.safetensors": MODEL}),
    "zip-cut": zip_of(FILES)[:-30],
    "zip-bomb": zip_of({"model.safetensors": bytes(300 << 20)}, zipfile.ZIP_DEFLATED),
    "zip-unknown-member": zip_of({"noise": os.urandom(100_000)}),
    "tar-unknown-member": tar_of({"noise": os.urandom(100_000)}),
    "zip-weights-as-text-name": zip_of({"readme.md": MODEL}),
    "7z": b"7z\xbc\xaf\x27\x1c" + os.urandom(100),
    "rar": b"Rar!\x1a\x07\x01\x00" + os.urandom(100),
    "lz4": b"\x04\x22\x4d\x18" + os.urandom(100),
    "pickle-in-tar": tar_of({"a.pkl": b"cposix\nsystem\n(S'true'\ntR."}),
    "pickle-in-gz": gzip.compress(b"cposix\nsystem\n(S'true'\ntR."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_blocked(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(HOSTILE[name])
    start = time.monotonic()
    report = scan(tmp_path)
    assert time.monotonic() - start < 5
    assert report.decision == "block"
    assert not any(u.reason == "internal" for u in report.unread)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(ARCHIVES)), st.integers(0, 10**9), st.integers(0, 255), st.integers(0, 10**9))
def test_a_damaged_archive_never_fails_otherwise(name: str, place: int, byte: int, cut: int) -> None:
    data = bytearray(ARCHIVES[name])
    data[place % len(data)] = byte
    del data[len(data) - cut % (len(data) // 2) if cut % 3 == 0 else len(data) :]
    with suppress(Unreadable, AssertionError):
        contents(bytes(data))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text("abc/.é", min_size=1, max_size=200), st.binary(max_size=2000), max_size=6),
    st.sampled_from([0, 1, 2]),
)
def test_a_tar_holds_what_tarfile_finds(files: dict[str, bytes], form: int) -> None:
    usual = {
        n: d
        for n, d in files.items()
        if not n.startswith("/") and ".." not in n.split("/") and n.strip("/.") and not n.endswith("/")
    }
    try:
        data = tar_of(usual, form)
    except ValueError:  # a name that USTAR can't hold
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [m for m in archive.getmembers() if m.isfile()]
        found = contents(data) if expected else []
        assert [(len(d), d) for _, d in found] == [(m.size, archive.extractfile(m).read()) for m in expected]  # type: ignore[union-attr]


def test_two_members_of_one_name_are_both_read(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for data in (b"cposix\nsystem\n(S'true'\ntR.", b"harmless"):
            info = tarfile.TarInfo("a.txt")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (tmp_path / "a.tar").write_bytes(out.getvalue())
    report = scan(tmp_path)
    assert report.decision == "block" and any(f.severity == "critical" for f in report.findings)


def test_an_oci_layout_is_read_layer_by_layer(tmp_path: Path) -> None:
    layer = gzip.compress(tar_of({"models/config.json": CONFIG, "models/model.safetensors": MODEL}))
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / "aa").write_bytes(layer)
    (blobs / "bb").write_bytes(b'{"schemaVersion": 2}')
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (tmp_path / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    (model,) = scan(tmp_path).models
    assert model.parameters.total == PARAMETERS and model.path.endswith("blobs/sha256/aa/aa/models/model.safetensors")


def test_old_tar_without_magic(tmp_path: Path) -> None:
    data = bytearray(tar_of({"model.safetensors": MODEL}, tarfile.USTAR_FORMAT))
    old = with_header(put(257, bytes(255)), bytes(data))
    assert [n for n, _ in contents(old)] == ["model.safetensors"]


def test_many_small_unknown_files_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights cut into files that are each let be are not let be together."""

    import weightguard.reading

    monkeypatch.setattr(weightguard.reading, "LIMITS", replace(LIMITS, unknown_bytes=1 << 20))
    for at in range(20):
        (tmp_path / f"{at}").write_bytes(b"\xff" + struct.pack("<Q", at) + os.urandom(60_000))
    assert scan(tmp_path).decision == "block"
