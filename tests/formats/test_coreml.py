"""CoreML: what coremltools writes (`make_coreml.py`) counts as the model that went in; everything else is refused with its reason."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weightguard
from tests.formats._bounds import attempt, counted
from tests.formats._wire import HUGE, field, number
from weightguard.errors import Unreadable
from weightguard.formats import coreml, identify
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPE_CODES

DATA = Path(__file__).parent / "data"
SAID: dict[str, Any] = json.loads((DATA / "coreml.json").read_text(encoding="utf-8"))
BLOBS = "weights/weight.bin"


def fixture(name: str) -> tuple[bytes, dict[str, bytes]]:
    folder = DATA / "coreml" / name
    others = {BLOBS: (folder / BLOBS).read_bytes()} if (folder / BLOBS).is_file() else {}
    return (folder / "model.mlmodel").read_bytes(), others


@pytest.mark.parametrize("name", sorted(SAID["weights"]))
def test_models_count_as_what_went_in(name: str) -> None:
    """Whole, of 16 bits, of 8, 4, 3 and 2 bits with scales or tables, and with three of four weights cut away."""
    report = weightguard.scan(str(DATA / "coreml" / name))
    [model] = report.models
    assert not report.unread and model.complete
    assert model.parameters.total == SAID["weights"][name]
    assert {f.format for f in model.files} == {"coreml"}


@pytest.mark.parametrize("name", sorted(SAID["weights"]))
def test_every_byte_is_explained(name: str) -> None:
    data, others = fixture(name)
    container = identify(InMemory("model.mlmodel", data, others), LIMITS)
    assert container is not None and container.format == "coreml" and container.unexplained == 0
    assert set(container.parts) == set(others)
    for path, part in container.parts.items():
        assert part.unexplained == 0 and part.tensors + part.headers + part.padding == len(others[path])


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("program32", {"F32"}), ("program16", {"F16"}), ("network32", {"F32"}), ("network16", {"F16"})],
)
def test_tensors_have_their_names_shapes_and_types(name: str, kinds: set[str]) -> None:
    data, others = fixture(name)
    table = attempt(coreml, data, others)
    assert isinstance(table, Container)
    found = counted(table) or []
    flat = name.startswith("network")
    assert sorted(shape for _, shape, _, _ in found) == sorted(
        [(2048,), (64,), (1024,), (16,)] if flat else [(64, 32), (64,), (16, 64), (16,)]
    )
    assert {dtype for *_, dtype, _ in found} == {DTYPE_CODES[k] for k in kinds}
    assert all("first" in n or "second" in n for n, *_ in found)


def test_a_program_without_its_blobs_is_missing() -> None:
    found = attempt(coreml, fixture("program32")[0])
    assert isinstance(found, Unreadable) and found.reason == "missing" and BLOBS in found.detail


def test_a_program_cut_anywhere_is_refused_or_counts_no_more() -> None:
    data, others = fixture("int4")
    whole = counted(attempt(coreml, data, others)) or []
    for length in range(0, len(data), 3):
        found = counted(attempt(coreml, data[:length], others))
        assert found is None or len(found) <= len(whole)
    blobs = others[BLOBS]
    for length in range(0, len(blobs), 61):
        assert isinstance(attempt(coreml, data, {BLOBS: blobs[:length]}), Unreadable), length


# ---- by hand


def blob_file(*blobs: bytes, count: int | None = None, version: int = 2) -> tuple[bytes, list[int]]:
    """A file of blobs of F32, and where the metadata of each is."""
    out = struct.pack("<II", len(blobs) if count is None else count, version).ljust(64, b"\0")
    entries = []
    for data in blobs:
        out = out.ljust(-(-len(out) // 64) * 64, b"\0")
        entries.append(len(out))
        out += struct.pack("<IIQQQ", 0xDEADBEEF, 2, len(data), len(out) + 64, 0).ljust(64, b"\0") + data
    return out, entries


def type_of(*dims: int, kind: int = 11) -> bytes:
    shape = b"".join(field(3, field(1, number(1, d))) for d in dims)
    return field(1, number(1, kind) + number(2, len(dims)) + shape)


def const(name: str, value: bytes, *dims: int, kind: int = 11) -> bytes:
    """An operation `const` whose value has this type."""
    typed = field(2, type_of(*dims, kind=kind)) + value
    return (
        field(1, "const")
        + field(3, field(1, name) + field(2, type_of(*dims, kind=kind)))
        + field(5, field(1, "val") + field(2, typed))
    )


def from_blob(offset: int, path: str = "@model_path/" + BLOBS) -> bytes:
    return field(5, field(1, path) + number(2, offset))


def floats(data: bytes) -> bytes:
    return field(3, field(1, field(1, field(1, data))))


def model(kind: int, content: bytes) -> bytes:
    return number(1, 7) + field(2, field(1, field(1, "x"))) + field(kind, content)


def program(*operations: bytes) -> bytes:
    block = b"".join(field(3, o) for o in operations)
    function = field(2, "CoreML6") + field(3, field(1, "CoreML6") + field(2, block))
    return model(502, number(1, 1) + field(2, field(1, "main") + field(2, function)))


def layers(*contents: bytes) -> bytes:
    return model(500, b"".join(field(1, c) for c in contents))


F32, U8 = DTYPE_CODES["F32"], DTYPE_CODES["U8"]
FILE, (FIRST, SECOND) = blob_file(bytes(400), bytes(40))


def test_blobs_and_values_by_hand() -> None:
    data = program(
        const("a", from_blob(FIRST), 10, 10),
        const("b", from_blob(SECOND), 10),
        const("c", floats(bytes(400)), 100),
        const("eps", floats(bytes(4))),
    )
    found = attempt(coreml, data, {BLOBS: FILE})
    assert counted(found) == [("a", (10, 10), F32, -1), ("b", (10,), F32, -1), ("c", (100,), F32, -1)]
    assert isinstance(found, Container) and found.parts[BLOBS].tensors == 440 and found.parts[BLOBS].headers == 192


def test_one_blob_under_two_names_is_one_tensor() -> None:
    found = attempt(coreml, program(const("a", from_blob(FIRST), 100), const("b", from_blob(FIRST), 10, 10)), {BLOBS: FILE})
    assert isinstance(found, Container)
    first, second = found.tensors.storages.tolist()
    assert first == second
    assert found.parts[BLOBS].unexplained == 48 + 64 + 40  # the second blob is nobody's


def patched(at: int, value: bytes) -> bytes:
    return FILE[:at] + value + FILE[at + len(value) :]


@pytest.mark.parametrize(
    ("reason", "data", "blobs"),
    [
        ("truncated", program(const("a", from_blob(1 << 62), 100)), FILE),
        ("truncated", program(const("a", from_blob(-1), 100)), FILE),
        ("truncated", program(const("a", from_blob(0), 100)), FILE),
        ("malformed", program(const("a", from_blob(FIRST + 64), 100)), FILE),
        ("inconsistent", program(const("a", from_blob(FIRST), 99)), FILE),
        ("inconsistent", program(const("a", from_blob(FIRST), 1 << 40, 1 << 40)), FILE),
        ("inconsistent", program(const("a", from_blob(FIRST), -10, -10)), FILE),
        ("unsupported", program(const("a", from_blob(FIRST), 100, kind=99)), FILE),
        ("unsupported", program(const("a", from_blob(FIRST), 100)), blob_file(bytes(400), version=1)[0]),
        ("truncated", program(const("a", from_blob(FIRST), 100)), patched(FIRST + 16, b"\xff" * 8)),
        ("truncated", program(const("a", from_blob(FIRST), 100)), patched(FIRST + 16, bytes(7) + b"\x80")),
        ("inconsistent", program(const("a", from_blob(FIRST), 100)), patched(FIRST + 8, b"\xff" * 8)),
        ("inconsistent", program(const("a", from_blob(FIRST), 100)), patched(FIRST + 16, struct.pack("<Q", 0))),
        ("malformed", program(const("a", from_blob(FIRST, BLOBS), 100)), FILE),
        ("malformed", program(const("a", from_blob(FIRST, "@model_path/../x"), 100)), FILE),
        ("malformed", program(const("a", from_blob(FIRST, "@model_path//etc/passwd"), 100)), FILE),
        ("missing", program(const("a", from_blob(FIRST, "@model_path/gone"), 100)), FILE),
        ("malformed", program(const("a", floats(bytes(7)), 1)), FILE),
        ("malformed", program(b"\x0b" + const("a", floats(bytes(400)), 100)), FILE),
        ("malformed", program(b"\x0a" + HUGE), FILE),
        ("inconsistent", layers(field(1, "l") + field(140, field(20, field(2, bytes(7))))), FILE),
        ("unsupported", model(302, b"\x0a\x00"), FILE),
        ("unsupported", model(3000, b"\x0a\x00"), FILE),
        ("unsupported", model(556, b"\x0a\x00"), FILE),
        ("malformed", layers(field(1, "l") + b"\x00\x00"), FILE),
    ],
)
def test_a_model_that_lies_is_refused(reason: str, data: bytes, blobs: bytes) -> None:
    found = attempt(coreml, data, {BLOBS: blobs})
    assert isinstance(found, Unreadable), counted(found)
    assert found.reason in (reason, "truncated") and found.detail.isprintable()


def test_bytes_that_no_blob_has_are_unexplained() -> None:
    data = program(const("a", from_blob(FIRST), 100), const("b", from_blob(SECOND), 10))
    found = attempt(coreml, data, {BLOBS: FILE + b"weights" * 50})
    assert isinstance(found, Container) and found.parts[BLOBS].unexplained == 350
    for more in (field(444, b"weights" * 50_000), field(1, b"weights" * 50_000)):
        found = attempt(coreml, data + more, {BLOBS: FILE})
        assert isinstance(found, Container) and found.unexplained >= 350_000


def test_packed_weights_count_by_their_bits_and_their_scales_do_not() -> None:
    """Inner product, field 140, weights 20: 4-bit codes with a scale for each of 10 channels."""
    quantised = field(30, bytes(500)) + field(40, number(1, 4) + field(101, field(1, bytes(40)) + field(2, bytes(40))))
    found = counted(attempt(coreml, layers(field(1, "l") + field(140, field(20, quantised)))))
    assert found == [("l", (500,), U8, 1000), ("l.scale", (10,), F32, 0), ("l.bias", (10,), F32, 0)]


def test_scales_larger_than_scales_are_weights() -> None:
    quantised = field(30, bytes(500)) + field(40, number(1, 8) + field(101, field(1, bytes(4000))))
    found = counted(attempt(coreml, layers(field(1, "l") + field(140, field(20, quantised)))))
    assert found == [("l", (500,), U8, 500), ("l.scale", (1000,), F32, -1)]


def test_a_pipeline_holds_its_models() -> None:
    inner = layers(field(1, "l") + field(140, field(20, field(1, bytes(400)))))
    regressor = model(300, field(1, field(1, bytes(80))) + field(2, bytes(8)))
    found = counted(attempt(coreml, model(202, field(1, inner) + field(1, regressor))))
    assert found == [
        ("0.l", (100,), F32, -1),
        ("1.glmRegressor", (10,), DTYPE_CODES["F64"], -1),
        ("1.glmRegressor#1", (1,), DTYPE_CODES["F64"], -1),
    ]


def test_pipelines_have_a_limit_of_depth() -> None:
    data = layers(field(1, "l") + field(140, field(20, field(1, bytes(400)))))
    for _ in range(500):
        data = model(202, field(1, data))
    found = attempt(coreml, data)
    assert isinstance(found, Unreadable) and found.reason == "limit"


def test_a_custom_layer_is_said() -> None:
    found = attempt(coreml, layers(field(1, "l") + field(500, field(10, "MyLayer") + field(20, field(1, bytes(400))))))
    assert isinstance(found, Container) and counted(found) == [("l", (100,), F32, -1)]
    assert [(f.id, f.severity) for f in found.findings] == [("custom-operators", "info")]


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_changed_bytes_never_surprise(data: st.DataObject) -> None:
    good = bytearray(program(const("a", from_blob(FIRST), 10, 10), const("c", floats(bytes(80)), 20)))
    blobs = bytearray(FILE)
    for changed in (good, blobs):
        for _ in range(data.draw(st.integers(0, 3))):
            changed[data.draw(st.integers(0, min(200, len(changed) - 1)))] = data.draw(st.integers(0, 255))
    attempt(coreml, bytes(good), {BLOBS: bytes(blobs)})
