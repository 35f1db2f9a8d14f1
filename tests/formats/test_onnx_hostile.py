"""ONNX models with data in other files, and hostile ones."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weightguard
from tests.formats._bounds import rows
from tests.formats._onnx_files import (
    TensorProto,
    by_library,
    graph_of,
    helper,
    model,
    model_of,
    one,
    onnx,
    raw,
    read,
    refused,
    shape_of,
    tensor,
)
from tests.formats._wire import HUGE, LARGE, field, varint
from tests.layouts import header_of
from tests.layouts import raw as tensors_of
from weightguard.errors import Unreadable
from weightguard.formats import identify
from weightguard.limits import LIMITS
from weightguard.stores.local import LocalFile
from weightguard.stores.memory import InMemory
from weightguard.tensors import FLOATING

# ---- data in other files


def external(name: str, shape: tuple[int, ...], location: str, kind: int = TensorProto.FLOAT, **more: object) -> Any:
    proto = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        proto.external_data.add(key=key, value=str(value))
    return proto


def test_external_data_is_what_the_library_writes(tmp_path: Path) -> None:
    proto = model(
        [one(np.ones((300, 7), np.float32)), one(np.ones(5000, np.float16)), one(np.zeros(3, np.int64))],
        [helper.make_node("Constant", [], ["c"], value=one(np.zeros((50, 50))))],
    )
    for number, t in enumerate(proto.graph.initializer):
        t.name = f"t{number}"
    onnx.save_model(
        proto,
        str(tmp_path / "m.onnx"),
        save_as_external_data=True,
        location="m.data",
        size_threshold=64,
        convert_attribute=True,
    )
    data, beside = (tmp_path / "m.onnx").read_bytes(), (tmp_path / "m.data").read_bytes()
    container = read(data, {"m.data": beside})
    assert Counter(rows(container).values()) == by_library(onnx.load(str(tmp_path / "m.onnx")))
    [(path, part)] = container.parts.items()
    assert (path, part.unexplained, part.headers) == ("m.data", 0, 0)
    assert part.tensors == 300 * 7 * 4 + 5000 * 2 + 2500 * 8 and part.tensors + part.padding == len(beside)


def test_identical_extents_are_one_tensor_under_two_names() -> None:
    made = [
        external("a", (4, 4), "d", offset=0, length=64),
        external("b", (16,), "d", offset=0),
        external("c", (2,), "./d", offset=64),
    ]
    container = read(raw(made), {"d": bytes(72)})
    a, b, c = container.tensors.storages.tolist()
    assert a == b != c
    assert container.parts["d"].tensors == 72


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ([external("a", (4,), "d", offset=60)], "truncated"),
        ([external("a", (4,), "d", offset=1 << 62)], "truncated"),
        ([external("a", (4,), "d", offset=-4)], "malformed"),
        ([external("a", (4,), "d", offset="0x10")], "malformed"),
        ([external("a", (4,), "d", length=12)], "inconsistent"),
        ([external("a", (4,), "d", length=1 << 62)], "inconsistent"),
        ([external("a", (4,), "d"), external("b", (4,), "d", offset=8)], "inconsistent"),
        ([external("a", (4,), "gone")], "missing"),
        ([external("a", (4,), "/etc/passwd")], "malformed"),
        ([external("a", (4,), "../d")], "malformed"),
        ([external("a", (4,), "x/../../d")], "malformed"),
        ([external("a", (4,), "..\\d")], "malformed"),
        ([external("a", (4,), "C:/d")], "malformed"),
        ([external("a", (4,), "")], "malformed"),
        ([external("a", (4,), "d\0")], "malformed"),
        ([external("a", (1 << 31, 1 << 31), "d")], "inconsistent"),
    ],
)
def test_external_data_that_lies_is_refused(made: list[Any], reason: str) -> None:
    error = refused(raw(made), {"d": bytes(64)})
    assert error.reason == reason
    if reason == "malformed" and made[0].external_data[0].value not in ("d", ""):
        assert "external-data-path" in error.detail


def test_bytes_beside_the_tensors_of_another_file_are_not_padding_unless_they_are_zeros() -> None:
    made = [external("a", (4,), "d", offset=0), external("b", (4,), "d", offset=32)]
    assert read(raw(made), {"d": bytes(48)}).parts["d"].padding == 16
    assert read(raw(made), {"d": bytes(16) + b"x" * 16 + bytes(16)}).parts["d"].unexplained == 16
    assert read(raw(made), {"d": bytes(48) + b"weights"}).parts["d"].unexplained == 7
    assert read(raw(made), {"d": bytes(1 << 20)}).parts["d"].unexplained == (1 << 20) - 48


def test_a_container_is_not_read_as_bare_numbers() -> None:
    """A million weights of 16 bits in a safetensors file would be a quarter as many of 64."""
    header, size = header_of([("w", "F16", (1000, 1000))])
    content = tensors_of(header, bytes(size))
    error = refused(raw([external("x", (len(content) // 8,), "a.safetensors", TensorProto.DOUBLE)]), {"a.safetensors": content})
    assert error.reason == "inconsistent" and "safetensors" in error.detail


def test_a_sparse_file_of_many_gigabytes_is_read_by_its_structure(tmp_path: Path) -> None:
    """A 3 GB tensor inside, 40 GB beside: neither is read."""
    size = 3 << 30
    body = b"\x08" + varint(size // 4) + b"\x10\x01" + b"\x42\x01w" + b"\x4a" + varint(size)
    graph_size = len(varint(len(body) + size)) + 1 + len(body) + size
    start = b"\x08\x08" + b"\x3a" + varint(graph_size) + b"\x2a" + varint(len(body) + size) + body
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(len(start) + size)
        file.seek(0, 2)
        file.write(b"\x42\x02\x10\x11")
    asked: list[int] = []

    class Counting(LocalFile):
        def read(self, offset: int, length: int) -> bytes:
            asked.append(length)
            return super().read(offset, length)

    with Counting(str(path), "m.onnx") as source:
        container = identify(source, LIMITS)
    assert container is not None and container.tensors.elements.tolist() == [size // 4]
    assert container.accounts.tensors == size and container.accounts.unexplained == 0
    assert sum(asked) < 1 << 20


# ---- hostile files


GOOD = field(8, b"w") + b"\x08\x02\x10\x01" + field(9, bytes(8))


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "length-2^64": b"\x08\x08\x42\x02\x10\x11\x3a" + HUGE + bytes(100),
        "length-2^63": b"\x08\x08\x42\x02\x10\x11\x3a" + LARGE + bytes(100),
        "inner-length": model_of(b"\x2a" + HUGE + GOOD),
        "raw-length": model_of(graph_of(initializer=b"\x4a" + HUGE + GOOD)),
        "overlong-varint": model_of(b"\x2a" + b"\x80" * 10 + b"\x01"),
        "varint-above-64-bits": model_of(graph_of(initializer=b"\x10" + b"\xff" * 9 + b"\x7f" + GOOD)),
        "group": model_of(b"\x0b\x0c" + graph_of(initializer=GOOD)),
        "wire-type-7": model_of(b"\x0f" + graph_of(initializer=GOOD)),
        "field-0": model_of(b"\x02\x00" + graph_of(initializer=GOOD)),
        "twice-graph": model_of(graph_of(initializer=GOOD)) + field(7, b""),
        "twice-raw": model_of(graph_of(initializer=GOOD + field(9, bytes(8)))),
        "twice-name": model_of(graph_of(initializer=GOOD + field(8, b"v"))),
        "two-of-a-name": model_of(field(5, GOOD) + field(5, GOOD)),
        "no-graph": b"\x08\x08" + field(8, b"\x10\x11"),
        "dim-negative": model_of(graph_of(initializer=GOOD[3:].replace(b"\x08\x02", b"\x08" + HUGE, 1))),
        "dims-2^126": model_of(graph_of(initializer=b"\x08" + varint(1 << 62) + b"\x08" + varint(1 << 62) + GOOD)),
        "too-many-dims": model_of(graph_of(initializer=field(1, b"\x01" * 5000) + GOOD)),
        "size": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x03\x10\x01" + field(9, bytes(8)))),
        "no-data": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x03\x10\x01")),
        "type-0": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x02" + field(9, bytes(8)))),
        "type-99": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x02\x10\x63" + field(9, bytes(8)))),
        "wrong-field": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x02\x10\x01" + field(7, b"\x01\x01"))),
        "two-fields": model_of(graph_of(initializer=GOOD + field(4, bytes(8)))),
        "packed-remainder": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x02\x10\x01" + field(4, bytes(7)))),
        "varint-cut": model_of(graph_of(initializer=field(8, b"w") + b"\x08\x02\x10\x07" + field(7, b"\x01\x80"))),
        "segment": model_of(graph_of(initializer=GOOD + field(3, b"\x08\x00\x10\x02"))),
        "name-not-text": model_of(graph_of(initializer=GOOD[3:] + field(8, b"\xff\xfe"))),
        "name-too-long": model_of(graph_of(initializer=GOOD[3:] + field(8, b"w" * 100_000))),
        "past-its-parent": model_of(b"\x2a\x04" + GOOD)[:-4],
    }.items(),
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_breaks_a_rule_is_refused(name: str, data: bytes) -> None:
    assert refused(data).reason in ("malformed", "truncated", "inconsistent", "limit", "unsupported", "unrecognised")


@pytest.mark.parametrize("levels", [20, 200, 5000])
def test_nesting_has_a_limit(levels: int) -> None:
    graph = graph_of(initializer=GOOD)
    for _ in range(levels):
        graph = graph_of(node=field(2, b"y") + field(5, field(1, b"body") + field(6, graph)))
    if levels == 20:
        assert len(rows(read(model_of(graph)))) == 1
    else:
        assert refused(model_of(graph)).reason == "limit"


def test_a_model_cut_anywhere_is_refused_or_counts_no_more_than_it_did() -> None:
    made = [tensor("w", (6, 6)), helper.make_tensor("v", TensorProto.FLOAT16, (3,), [1.0, 2.0, 3.0])]
    data = raw(made, [helper.make_node("Constant", [], ["c"], value=tensor("t", (5,)))])
    whole = rows(read(data))
    for length in range(len(data)):
        try:
            container = identify(InMemory("model.onnx", data[:length]), LIMITS)
        except Unreadable:
            continue
        # what is whole without the records that are cut off
        assert container is None or rows(container) == whole, length


@pytest.mark.parametrize(
    "more",
    [
        field(99, b"weights" * 1000),  # a field that the schema does not have
        field(6, bytes(range(256)) * 300),  # documentation too long to be any
        field(14, field(1, b"k") + field(2, b"x" * 70_000)),
        varint(100 << 3 | 1) + bytes(8),
    ],
)
def test_what_no_field_explains_is_unexplained(more: bytes) -> None:
    data = raw([tensor("w", (6, 6))])
    assert read(data).unexplained == 0
    assert len(more) - 16 <= read(data + more).unexplained <= len(more)


def test_text_that_carries_what_text_does_not_is_unexplained() -> None:
    hidden = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).hexdigest().encode() for i in range(8000))
    pairs = b"".join(field(14, field(1, b"k%d" % i) + field(2, hidden[i : i + 50_000])) for i in range(0, len(hidden), 50_000))
    assert read(raw([tensor("w", (6, 6))]) + pairs).unexplained >= len(hidden)
    names = b"".join(field(1, field(3, hidden[i : i + 200])) for i in range(0, len(hidden), 200))
    assert read(model_of(names)).unexplained >= len(hidden)


def test_text_that_repeats_as_stack_traces_do_is_text() -> None:
    trace = "\n".join(f'  File "/srv/site-packages/torch/nn/modules/module.py", line {n}, in _call_impl' for n in range(20))
    nodes = [helper.make_node("Relu", [f"/model/layers.{i}/out"], [f"/model/layers.{i + 1}/out"]) for i in range(3000)]
    for number, node in enumerate(nodes):
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
        node.metadata_props.add(key="namespace", value=f"/model.layers.{number}: Layer")
    assert read(raw(nodes=nodes)).unexplained == 0


def test_a_graph_compiled_for_a_device_is_not_read() -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="model.bin", embed_mode=0)
    assert refused(raw(nodes=[node])).reason == "unsupported"


@pytest.mark.parametrize("what", [b"\x0a\x00", b"\x2a\x00", b"\x6a\x00"])
def test_millions_of_empty_messages_end_at_a_limit(what: bytes) -> None:
    assert refused(model_of(what * 3_000_000)).reason in ("limit", "unsupported")


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_changed_bytes_never_surprise(data: st.DataObject) -> None:
    good = bytearray(raw([tensor("w", (6, 6)), shape_of("s", 3, 4)], [helper.make_node("ConstantOfShape", ["s"], ["c"])]))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        container = identify(InMemory("model.onnx", bytes(good)), LIMITS)
    except Unreadable:
        return
    if container is not None and container.format == "onnx":
        a = container.accounts
        assert a.tensors + a.headers + a.padding + a.unexplained == len(good)
        rows(container)


# ---- files of the library's own wheel

LIGHT = {
    "bvlc_alexnet": (60_965_224, 0),
    "vgg19": (143_667_112, 128),
    "zfnet512": (87_250_536, 1),
    "resnet50": (25_608_360, 1_793),
    "densenet121": (8_145_384, 768),
    "inception_v1": (6_997_480, 1_072),
    "inception_v2": (11_229_992, 4_800),
    "shufflenet": (1_420_032, 120),
    "squeezenet": (1_234_856, 640),
}


@pytest.mark.parametrize("name", sorted(LIGHT))
def test_graphs_that_build_their_weights_count_in_full(name: str) -> None:
    """Counted by hand from the library's own messages: products of the shape initializers, and the floats stored beside them."""
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    if not path.is_file():
        pytest.skip("this release of onnx does not ship its light models")
    table = read(path.read_bytes()).tensors
    floating = np.isin(table.dtypes, sorted(FLOATING))
    built, stored = (int(table.elements[floating & at].sum()) for at in (table.spans == 0, table.spans > 0))
    assert (built, stored) == LIGHT[name]
    [report] = weightguard.scan(str(path)).models
    assert report.parameters.total == sum(LIGHT[name])


def test_the_graphs_of_the_librarys_own_tests_are_read() -> None:
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data"
    paths = sorted(folder.rglob("*.onnx"))
    if not paths:
        pytest.skip("this release of onnx does not ship its test models")
    spell: Callable[[Any], Counter[tuple[str, tuple[int, ...]]]] = by_library
    for path in paths:
        proto = onnx.load(str(path))
        container = read(path.read_bytes())
        stored = Counter(
            s for n, s in rows(container).items() if container.tensors.spans[list(container.tensors.names).index(n)]
        )
        assert container.unexplained == 0, path
        if "light_" not in path.name and not any(n.op_type == "ConstantOfShape" for n in proto.graph.node):
            assert not Counter(s for s in spell(proto).elements() if prod(s[1])) - stored, path
