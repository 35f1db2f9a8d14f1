"""OpenVINO's IR: what the runtime itself saves, constant by constant, and graphs by hand that lie."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats._bounds import attempt, counted, unexplained
from weightguard.errors import Unreadable
from weightguard.formats import openvino as reader
from weightguard.formats import readers_of
from weightguard.formats.protocol import Container
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPE_CODES, DTYPES

NOISE = os.urandom(1 << 17)
KINDS = {
    "f32": ("F32", 32),
    "f16": ("F16", 16),
    "i8": ("I8", 8),
    "u4": ("U4", 4),
    "i64": ("I64", 64),
    "nf4": ("U4", 4),
    "u1": ("U8", 1),
}


def const(id: int, kind: str, shape: str, offset: object, size: object, name: str = "") -> str:
    data = f'<data element_type="{kind}" shape="{shape}" offset="{offset}" size="{size}" />'
    return f'<layer id="{id}" name="{name or f"c{id}"}" type="Const" version="opset1">{data}</layer>'


def layer(id: int, type: str, **data: str) -> str:
    inner = " ".join(f'{k}="{v}"' for k, v in data.items())
    return f'<layer id="{id}" name="{type}_{id}" type="{type}" version="opset1"><data {inner} /></layer>'


def edge(begin: int, end: int, port: int = 0) -> str:
    return f'<edge from-layer="{begin}" from-port="0" to-layer="{end}" to-port="{port}" />'


def net(layers: str, edges: str = "", version: str = "11", before: str = '<?xml version="1.0"?>\n') -> bytes:
    return f'{before}<net name="n" version="{version}"><layers>{layers}</layers><edges>{edges}</edges></net>'.encode()


def read(xml: bytes, weights: bytes | None) -> Container:
    head, readers = readers_of(InMemory("model", xml))
    assert [r.NAME for r in readers] == ["openvino"], head[:80]
    found = attempt(reader, xml, {} if weights is None else {"model.bin": weights})
    assert isinstance(found, Container), found
    return found


def test_constants_are_rows() -> None:
    found = read(net(const(0, "f32", "4, 3", 0, 48) + const(1, "i64", "2", 48, 16) + const(2, "f16", "", 64, 2)), NOISE[:66])
    assert counted(found) == [
        ("c0", (4, 3), DTYPE_CODES["F32"], -1),
        ("c1", (2,), DTYPE_CODES["I64"], -1),
        ("c2", (), DTYPE_CODES["F16"], -1),
    ]
    assert found.unexplained == 0 and found.parts["model.bin"].tensors == 66 and found.parts["model.bin"].unexplained == 0


def test_each_constant_is_what_the_runtime_has(tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    op: Any = ov.opset13
    x = op.parameter([1, 8], ov.Type.f32)
    rng = np.random.default_rng(0)
    plain = op.constant(rng.normal(size=(16, 8)).astype(np.float32), name="plain")
    packed = op.constant(rng.integers(-9, 9, (16, 8)).astype(np.int8), name="packed")
    scale = op.constant(rng.normal(size=(16, 1)).astype(np.float16), name="scale")
    zero = op.convert(op.constant(rng.integers(0, 9, (16, 1)).astype(np.int8), name="zero"), "f16")
    whole = op.convert(op.multiply(op.subtract(op.convert(packed, "f16"), zero), scale), "f32")
    y = op.add(op.matmul(x, plain, False, True), op.matmul(x, whole, False, True))
    shape = op.constant(np.array([4, 4], np.int64), name="shape")
    model = ov.Model([op.reshape(y, shape, False)], [x], "made")
    ov.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    loaded = ov.Core().read_model(tmp_path / "model.xml")
    theirs = {}
    for node in loaded.get_ordered_ops():
        if node.get_type_name() == "Constant":
            theirs[node.get_friendly_name()] = (tuple(node.shape), node.get_element_type().get_type_name(), node.data.nbytes)
    found = read((tmp_path / "model.xml").read_bytes(), (tmp_path / "model.bin").read_bytes())
    t = found.tensors
    ours = {t.names[i]: (t.shape(i), DTYPES[t.dtypes[i]][0].lower(), int(t.spans[i])) for i in range(len(t))}
    assert ours == theirs
    assert dict(zip(t.names, t.logical.tolist(), strict=True)) == {
        "plain": -1,
        "packed": 128,
        "scale": 0,
        "zero": 0,
        "shape": -1,
    }
    assert found.parts["model.bin"].unexplained == 0 == found.unexplained


def compressed(kind: str, shape: str, size: int, scales: int) -> bytes:
    layers = (
        const(0, kind, shape, 0, size)
        + layer(1, "Convert", destination_type="f16")
        + const(2, "f16", f"{scales}", size, 2 * scales)
    )
    return net(layers + layer(3, "Multiply"), edge(0, 1) + edge(1, 3) + edge(2, 3, 1))


@pytest.mark.parametrize(("kind", "bits"), [("i8", 8), ("u4", 4), ("nf4", 4), ("u1", 1)])
def test_compressed_weights_count_as_weights_and_their_scales_do_not(kind: str, bits: int) -> None:
    size = 64 * 32 * bits // 8
    found = read(compressed(kind, "64, 32", size, 64), NOISE[: size + 128])
    assert found.tensors.logical.tolist() == [64 * 32, 0]


def test_weights_that_only_look_like_scales_count() -> None:
    assert read(compressed("i8", "64", 64, 64), NOISE[:192]).tensors.logical.tolist() == [64, -1]


def test_constants_of_one_place_are_one_storage() -> None:
    found = read(net(const(0, "f32", "4", 0, 16) + const(1, "f32", "2, 2", 0, 16)), NOISE[:16])
    assert len(set(found.tensors.storages.tolist())) == 1 and found.parts["model.bin"].tensors == 16


def test_constants_of_bodies_are_read() -> None:
    inner = f'<layer id="1" name="loop" type="Loop"><body><layers>{const(0, "f32", "4", 16, 16)}</layers></body></layer>'
    found = read(net(const(0, "f32", "4", 0, 16) + inner), NOISE[:32])
    assert list(found.tensors.names) == ["c0", "body1.c0"]


def test_blobs_of_the_old_ir_are_read() -> None:
    blobs = '<blobs><weights offset="0" size="64"/><biases offset="64" size="16"/></blobs>'
    found = read(
        net(f'<layer id="0" name="conv" type="Convolution" precision="FP32"><data kernel="3"/>{blobs}</layer>', version="6"),
        NOISE[:80],
    )
    assert counted(found) == [("conv.weights", (16,), DTYPE_CODES["F32"], -1), ("conv.biases", (4,), DTYPE_CODES["F32"], -1)]


def test_what_no_constant_has_is_unexplained() -> None:
    assert read(net(const(0, "f32", "4", 0, 16)), NOISE).parts["model.bin"].unexplained == len(NOISE) - 16


def test_a_graph_without_constants_needs_no_file() -> None:
    assert len(read(net(layer(0, "Relu")), None).tensors) == 0


@pytest.mark.parametrize(
    "text", [b'<?xml version="1.0"?><svg/>', b"<network/>", b"<!-- <net x='1'> --><a/>", b"<?xml?><networks version='1'/>"]
)
def test_other_xml_is_none(text: bytes) -> None:
    assert not reader.sniff(text, b"")


@pytest.mark.parametrize(
    "before", ["", "\ufeff", '<?xml version="1.0" encoding="UTF-8"?>\n<!-- made -->\n', '<?xml version="1.0"?>']
)
def test_ways_to_begin(before: str) -> None:
    xml = net(const(0, "f32", "4", 0, 16), before=before)
    assert reader.sniff(xml, b"") and isinstance(attempt(reader, xml, {"model.bin": NOISE[:16]}), Container)


BOMB = '<?xml version="1.0"?><!DOCTYPE n [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>\n'
DEEP = "<a>" * 100_000
HOSTILE: Mapping[str, tuple[bytes, bytes | None]] = {
    "no file beside": (net(const(0, "f32", "4", 0, 16)), None),
    "an empty file beside": (net(const(0, "f32", "4", 0, 16)), b""),
    "a file cut short": (net(const(0, "f32", "4", 0, 16)), NOISE[:15]),
    "more bytes than its shape": (net(const(0, "f32", "4", 0, 20)), NOISE[:20]),
    "fewer bytes than its shape": (net(const(0, "f32", "40", 0, 16)), NOISE[:16]),
    "2^62 x 2^62": (net(const(0, "f32", f"{2**62},{2**62}", 0, 16)), NOISE[:16]),
    "an offset of 2^63": (net(const(0, "f32", "4", 2**63, 16)), NOISE[:16]),
    "a size of 2^64": (net(const(0, "f32", "4", 0, 2**64)), NOISE[:16]),
    "a negative offset": (net(const(0, "f32", "4", -16, 16)), NOISE[:16]),
    "a negative dimension": (net(const(0, "f32", "-1", 0, 16)), NOISE[:16]),
    "an offset that is text": (net(const(0, "f32", "4", "x", 16)), NOISE[:16]),
    "a number in other digits": (net(const(0, "f32", "\u0664", 0, 16)), NOISE[:16]),
    "no size": (net('<layer id="0" name="c" type="Const"><data element_type="f32" shape="4"/></layer>'), NOISE[:16]),
    "no data": (net('<layer id="0" name="c" type="Const"></layer>'), NOISE[:16]),
    "a type that there is not": (net(const(0, "f128", "4", 0, 64)), NOISE[:64]),
    "constants that overlap": (net(const(0, "f32", "4", 0, 16) + const(1, "f32", "4", 8, 16)), NOISE[:24]),
    "an id twice": (net(const(0, "f32", "4", 0, 16) + const(0, "f32", "4", 16, 16)), NOISE[:32]),
    "entities": (net(const(0, "f32", "4", 0, 16), before=BOMB), NOISE[:16]),
    "cut short": (net(const(0, "f32", "4", 0, 16))[:-10], NOISE[:16]),
    "two roots": (net(const(0, "f32", "4", 0, 16)) * 2, NOISE[:16]),
    "100,000 deep": (net(DEEP), NOISE[:16]),
    "an edge to a port that is text": (
        net(const(0, "f32", "4", 0, 16) + layer(1, "X"), edge(0, 1).replace('to-port="0"', 'to-port="x"')),
        NOISE[:16],
    ),
    "a blob of no precision": (
        net('<layer id="0" name="c" type="C"><blobs><weights offset="0" size="16"/></blobs></layer>'),
        NOISE[:16],
    ),
    "another encoding": (net(const(0, "f32", "4", 0, 16), before='<?xml version="1.0" encoding="UTF-7"?>'), NOISE[:16]),
}


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_what_is_wrong_is_unread(case: str) -> None:
    xml, weights = HOSTILE[case]
    assert isinstance(attempt(reader, xml, {} if weights is None else {"model.bin": weights}), Unreadable)


USUAL = compressed("i8", "64, 32", 2048, 64)


def test_truncated_anywhere_it_is_unread() -> None:
    for cut in range(0, len(USUAL), 7):
        assert isinstance(attempt(reader, USUAL[:cut], {"model.bin": NOISE[:2176]}), Unreadable)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=6)), min_size=1, max_size=5))
def test_any_bytes_that_lie_end_well(edits: list[tuple[int, bytes]]) -> None:
    content = bytearray(USUAL)
    for at, new in edits:
        at %= len(content)
        content[at : at + len(new)] = new
    attempt(reader, bytes(content), {"model.bin": NOISE[:2176]})


def test_an_edge_in_a_circle_ends() -> None:
    layers = (
        const(0, "i8", "64", 0, 64) + layer(1, "Convert", destination_type="f16") + layer(2, "Subtract") + layer(3, "Subtract")
    )
    xml = net(layers, edge(0, 1) + edge(1, 2) + edge(2, 3) + edge(3, 2))
    assert not unexplained(attempt(reader, xml, {"model.bin": NOISE[:64]}), 1)
