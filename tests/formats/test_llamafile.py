"""llamafile: the models inside are counted, the executable around them is not explained."""

from __future__ import annotations

import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import pytest

from tests.formats._bounds import identified
from tests.formats._gguf_files import V3, Info, gguf, llama
from tests.layouts import scan_json
from weightguard.errors import Unreadable
from weightguard.formats import identify
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory

APE = b"MZqFpD='\n" + b"\x90\x12" * 60_000
ELF = b"\x7fELF" + b"\x90\x12" * 60_000
JUST_APE = b"jartsr='\n" + b"\x90\x12" * 60_000
ALIGNMENT = 65_536
MODEL = llama(2, 256, 256, 512, 1024)
PROJECTOR: list[Info] = [("v.patch_embd.weight", (14, 14, 3, 8), 0), ("v.post_ln.weight", (8,), 0)]


def zipalign(front: bytes, members: dict[str, bytes]) -> bytes:
    """As llamafile/zipalign.c -j0 writes: members stored, zip64 sizes, data at multiples of 64 KiB."""
    out = bytearray(front)
    directory = b""
    for name, data in members.items():
        raw, crc = name.encode(), zlib.crc32(data)
        extra = struct.pack("<HHQQ", 1, 16, len(data), len(data))
        out += bytes(-(len(out) + 30 + len(raw) + len(extra)) % ALIGNMENT)
        at = len(out)
        full = 0xFFFFFFFF
        out += struct.pack("<4s5H3I2H", b"PK\3\4", 20, 2048, 0, 0, 22383, crc, full, full, len(raw), len(extra)) + raw + extra
        assert len(out) % ALIGNMENT == 0
        out += data
        extra = struct.pack("<HHQQQ", 1, 24, len(data), len(data), at)
        head = struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 0x0314, 20, 2048, 0, 0, 22383, crc, full, full, len(raw), 28, 0, 0, 0, 0, full
        )
        directory += head + raw + extra
    start, count = len(out), len(members)
    out += directory
    end = len(out)
    out += struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0x0314, 20, 0, 0, count, count, len(directory), start)
    out += struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    out += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), 0xFFFFFFFF, 0)
    return bytes(out)


def read(data: bytes) -> Container:
    return identified(data, "m.llamafile", "llamafile")


@pytest.mark.parametrize("front", [APE, ELF, JUST_APE], ids=["ape", "elf", "ape without windows"])
def test_the_model_is_read_and_the_executable_is_unexplained(front: bytes) -> None:
    model = gguf(MODEL, [V3.string("general.architecture", "llama")])
    container = read(zipalign(front, {"m.gguf": model, ".args": b"-m\nm.gguf\n..."}))
    alone = identify(InMemory("m.gguf", model), LIMITS)
    assert alone is not None
    assert list(container.tensors.names) == [name for name, _, _ in MODEL]
    assert container.accounts.tensors == alone.accounts.tensors
    assert len(front) < container.unexplained < len(front) + 3 * ALIGNMENT
    assert container.metadata["general.architecture"] == "llama"
    assert [f.id for f in container.findings] == ["llamafile"]


def test_several_models_are_all_counted() -> None:
    container = read(zipalign(APE, {"m.gguf": gguf(MODEL), "mmproj.gguf": gguf(PROJECTOR)}))
    assert len(container.tensors) == len(MODEL) + len(PROJECTOR)
    assert len(set(container.tensors.storages.tolist())) == len(container.tensors) and not container.tensors.files.any()


def test_it_blocks_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "m.llamafile").write_bytes(zipalign(APE, {"m.gguf": gguf(MODEL)}))
    status, report = scan_json("m", cwd=tmp_path)
    [unread], [model] = report["unread"], report["models"]
    assert status == 3
    assert "no rule of llamafile explains" in unread["detail"]
    assert model["parameters"]["total"] > 0


def test_what_is_inside_is_held_to_its_rules() -> None:
    bad = V3.string("tokenizer.chat_template", "{{ x.__class__ }}")
    container = read(zipalign(APE, {"m.gguf": gguf(MODEL, [bad])}))
    assert "chat-template-code" in [f.id for f in container.findings]
    hidden = gguf(MODEL) + b"\1" * 5000
    assert read(zipalign(APE, {"m.gguf": hidden})).unexplained > len(APE) + 5000


def stored(data: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    file = BytesIO()
    file.write(APE)
    with zipfile.ZipFile(file, "a", method) as archive:
        archive.writestr("m.gguf", data)
    return file.getvalue()


def test_a_zip_of_any_writer_will_do() -> None:
    assert len(read(stored(gguf(MODEL))).tensors) == len(MODEL)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (stored(gguf(MODEL), zipfile.ZIP_DEFLATED), "unsupported"),
        (stored(b"no model at all, but long enough for one"), "malformed"),
        (stored(b"GGUF"), "malformed"),
        (stored(gguf(MODEL)[:-2000]), "truncated"),
        (zipalign(APE, {"m.gguf.txt": b"text"}), "unsupported"),
        (zipalign(APE, {"m.gguf": gguf(MODEL)})[:-1], "truncated"),
        (APE, "unrecognised"),
        (ELF + b"PK\5\6 m.gguf", "truncated"),
        (ELF + b"PK\5\6 m.gguf" + bytes(50), "inconsistent"),
    ],
)
def test_anything_else_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        identify(InMemory("m.llamafile", data), LIMITS)
    assert caught.value.reason == reason and caught.value.detail.isprintable()
