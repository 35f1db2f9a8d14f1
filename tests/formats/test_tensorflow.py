"""TensorFlow's checkpoints and graphs: as TensorFlow reads them (`make_tensorflow.py`); everything else refused with its reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weightguard
from tests.formats._bounds import attempt, counted
from tests.formats._wire import HUGE, LARGE, field, number, varint
from weightguard.errors import Unreadable
from weightguard.formats import identify, saved_model, tf_checkpoint
from weightguard.formats._tensorflow.tables import MAGIC
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.roles import BUFFER, OPTIMIZER, WEIGHT, roles_by_name
from weightguard.stores.local import LocalFile
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPES, from_rows

DATA = Path(__file__).parent / "data"
FILES = DATA / "tensorflow"
SAID: dict[str, Any] = json.loads((DATA / "tensorflow.json").read_text(encoding="utf-8"))
OURS = {
    "float32": "F32",
    "float64": "F64",
    "float16": "F16",
    "bfloat16": "BF16",
    "bool": "BOOL",
    "complex64": "C64",
    "complex128": "C128",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3",
    **{f"int{n}": f"I{n}" for n in (4, 8, 16, 32, 64)},
    **{f"uint{n}": f"U{n}" for n in (4, 8, 16, 32, 64)},
}
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def opened(path: str) -> Container:
    """A fixture, as it lies on the disk."""
    folder = (FILES / path).parent
    with LocalFile(str(FILES / path), Path(path).name, lambda other: LocalFile(str(folder / other), other)) as source:
        container = identify(source, LIMITS)
    assert container is not None
    a = container.accounts
    assert a.tensors + a.headers + a.padding + a.unexplained == (FILES / path).stat().st_size
    return container


def rows(container: Container) -> dict[str, tuple[str, tuple[int, ...]]]:
    table = container.tensors
    found = {n: (DTYPES[table.dtypes[i]][0], table.shape(i)) for i, n in enumerate(table.names)}
    assert len(found) == len(table)
    assert table.elements.tolist() == [prod(shape) for _, shape in found.values()]
    return found


def expected(said: Mapping[str, tuple[str, list[int]]]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (OURS[kind], tuple(shape)) for name, (kind, shape) in said.items() if kind != "string"}


# ---- what TensorFlow wrote


@pytest.mark.parametrize("path", sorted(SAID["checkpoints"]))
def test_variables_are_those_that_tensorflow_reads(path: str) -> None:
    container = opened(path)
    assert container.format == "tensorflow-checkpoint" and not container.unexplained
    found = {n: v for n, v in rows(container).items() if v[0] != "STRING"}
    plain = {n.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): v for n, v in expected(SAID["checkpoints"][path]).items()}
    assert found == plain
    for part, accounts in container.parts.items():
        size = (FILES / path).parent.joinpath(part).stat().st_size
        assert (accounts.tensors + accounts.headers, accounts.padding, accounts.unexplained) == (size, 0, 0)


def test_text_in_a_checkpoint_is_counted_by_its_bytes() -> None:
    """Three texts of 4 letters together, before them a length each and a checksum."""
    assert rows(opened("every.index"))["text"] == ("STRING", (4 + 3 + 4,))


def test_the_object_graph_is_no_tensor() -> None:
    container = opened("keras/variables/variables.index")
    assert GRAPH in SAID["checkpoints"]["keras/variables/variables.index"] and GRAPH not in container.tensors.names
    [part] = container.parts.values()
    assert part.headers > 1000
    assert container.scalars == {"optimizer._iterations": 1}


@pytest.mark.parametrize("path", sorted(SAID["constants"]))
def test_constants_are_those_that_tensorflow_reads(path: str) -> None:
    container = opened(path)
    assert container.format == "tensorflow-saved-model" and not container.unexplained
    variables = set(opened("keras/variables/variables.index").tensors.names) if path.startswith("keras") else set()
    found = {n: v for n, v in rows(container).items() if v[0] != "STRING" and n not in variables}
    assert found == expected(SAID["constants"][path])


def test_a_saved_model_is_one_model_with_its_variables() -> None:
    """Dense 8 to 16, a batch norm of 16, Dense 16 to 4; Adam keeps two values a weight and two counters.

    Keras 3 keeps the weights under the optimizer's name: they are weights all the same.
    """
    report = weightguard.scan(str(FILES / "keras"))
    assert not report.unread
    [model] = report.models
    weights = 8 * 16 + 16 + 2 * 16 + 16 * 4 + 4
    assert model.parameters.total == weights and model.parameters.by_role["optimizer"] == 2 * weights + 2
    assert {f.path.rpartition("/")[2] for f in model.files} == {
        "saved_model.pb",
        "variables.index",
        "variables.data-00000-of-00001",
    }


def test_a_graph_that_reads_files_blocks() -> None:
    container = opened("reads/saved_model.pb")
    assert [(f.id, f.severity) for f in container.findings] == [("tensorflow-op", "critical")]
    assert weightguard.scan(str(FILES / "reads")).decision == "block"


def test_a_checkpoint_without_its_data_is_missing() -> None:
    for name in ("every.index", "keras/saved_model.pb"):
        found = attempt(tf_checkpoint if name.endswith("x") else saved_model, (FILES / name).read_bytes())
        assert isinstance(found, Unreadable) and found.reason == "missing"


# ---- tables by hand


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def block(entries: list[tuple[bytes, bytes]], kind: int = 0, wrong: int = 0) -> bytes:
    body = b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in entries)
    return sealed(body + bytes(4) + b"\1\0\0\0", kind, wrong)


def sealed(body: bytes, kind: int = 0, wrong: int = 0) -> bytes:
    crc = crc32c(body + bytes([kind])) ^ wrong
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return body + bytes([kind]) + masked.to_bytes(4, "little")


def table(*blocks: bytes, index: bytes | None = None, last: bytes = b"") -> bytes:
    out, handles = b"", []
    for number_, data in enumerate(blocks):
        handles.append((b"%08d" % number_, varint(len(out)) + varint(len(data) - 5)))
        out += data
    meta_at, meta = len(out), block([])
    out += meta
    index_at, own = len(out), index if index is not None else block(handles)
    out += own
    footer = varint(meta_at) + varint(len(meta) - 5) + varint(index_at) + varint(len(own) - 5)
    return out + last + footer.ljust(40, b"\0") + MAGIC


HEADER = number(1, 1) + field(3, number(1, 1))


def entry(dtype: int = 1, shape: tuple[int, ...] = (2, 3), begin: int = 0, size: int = 24, **more: int) -> bytes:
    dims = b"".join(field(2, number(1, d)) for d in shape)
    return number(1, dtype) + field(2, dims) + number(3, more.get("shard", 0)) + number(4, begin) + number(5, size)


def index_of(*entries: tuple[bytes, bytes], header: bytes = HEADER) -> bytes:
    return table(block([(b"", header), *entries]))


def read(index: bytes, data: bytes = bytes(24)) -> Container | Unreadable:
    return attempt(Named, index, {"m.data-00000-of-00001": data})


class Named:
    """The reader, of a file with the name that an index has."""

    NAME, SPEC = tf_checkpoint.NAME, tf_checkpoint.SPEC
    sniff = staticmethod(tf_checkpoint.sniff)

    @staticmethod
    def read(source: Any, limits: Any) -> Container:
        source.name = "m.index"
        return tf_checkpoint.read(source, limits)


def test_a_table_by_hand_is_a_table() -> None:
    assert counted(read(index_of((b"w", entry())))) == [("w", (2, 3), DTYPES.index(("F32", 32)), -1)]


BLOCK = block([(b"", HEADER)])
TWICE = b"\0" + varint(len(BLOCK) - 5)


def slice_key(name: bytes, *starts: int) -> bytes:
    return b"\0" + name + b"\0\1" + bytes(starts)


@pytest.mark.parametrize(
    ("reason", "index"),
    [
        ("inconsistent", index_of((b"w", entry(size=20)))),
        ("inconsistent", index_of((b"w", entry(shape=(1 << 40, 1 << 40))))),
        ("inconsistent", index_of((b"v", entry()), (b"w", entry()))),  # the same bytes twice
        ("inconsistent", index_of((b"v", entry()), (b"w", entry(begin=8, size=16, shape=(4,))))),
        ("truncated", index_of((b"w", entry(begin=1 << 62)))),
        ("truncated", index_of((b"w", entry(begin=4)))),
        ("malformed", index_of((b"w", entry(begin=-1)))),
        ("malformed", index_of((b"w", entry(size=-1)))),
        ("malformed", index_of((b"w", entry(shape=(-2, -3))))),
        ("malformed", index_of((b"w", entry(shard=7)))),
        ("unsupported", index_of((b"w", entry(dtype=99)))),
        ("unsupported", index_of((b"w", entry(dtype=101)))),  # a reference
        ("malformed", index_of((b"w", entry()), (b"w", entry()))),
        ("malformed", index_of((b"w", entry()), (b"a", entry()))),
        ("malformed", index_of((b"\xff\xfe", entry()))),
        ("malformed", index_of((b"w", entry()), header=number(1, 0))),
        ("limit", index_of((b"w", entry()), header=number(1, 1 << 40))),
        ("unsupported", index_of((b"w", entry()), header=HEADER + number(2, 1))),  # big-endian
        ("unsupported", index_of((b"w", entry()), header=field(1, b"\x0a\x00"))),  # a V1 checkpoint
        ("unsupported", table(block([(b"key", b"value")]))),  # LevelDB's own
        ("unsupported", table(block([(b"", HEADER)], kind=1))),  # snappy
        ("inconsistent", table(block([(b"", HEADER)], wrong=1))),
        ("malformed", table(sealed(b"\0\1\xffw"))),  # a value past its block
        ("malformed", table(sealed(b"\5\0\0" + bytes(4) + b"\1\0\0\0"))),  # shares more than there was
        ("malformed", table(sealed(b"\0\0\0" + b"\xff\xff\xff\xff"))),  # restart points past its start
        ("malformed", table(sealed(b"\0" + HUGE + b"\0" + bytes(4) + b"\1\0\0\0"))),
        ("truncated", table(block([(b"", HEADER)]), index=block([(b"x", HUGE + b"\1")]))),
        ("truncated", table(block([(b"", HEADER)]), index=block([(b"x", LARGE + b"\1")]))),
        ("malformed", table(BLOCK, index=block([(b"x", TWICE), (b"y", TWICE)]))),
        ("inconsistent", index_of((slice_key(b"w", 1), entry()), (b"z", entry()))),  # a slice of nothing
        ("inconsistent", index_of((slice_key(b"w", 1), entry()), (b"w", entry(shape=(4, 3)) + field(7, b"")))),
        ("inconsistent", index_of((b"w", entry(shape=(4, 3)) + field(7, b"")))),
    ],
)
def test_an_index_that_lies_is_refused(reason: str, index: bytes) -> None:
    found = read(index)
    assert isinstance(found, Unreadable), counted(found)
    assert found.reason in (reason, "malformed") and found.detail.isprintable()


def test_slices_add_up_to_their_tensor() -> None:
    index = index_of((slice_key(b"w", 1), entry()), (b"w", entry(shape=(2, 3), size=0) + field(7, b"")))
    assert counted(read(index)) == [("w", (2, 3), DTYPES.index(("F32", 32)), -1)]


def test_an_index_cut_anywhere_is_refused() -> None:
    whole = index_of((b"v", entry(shape=(3,), size=12)), (b"w", entry(begin=12, shape=(3,), size=12)))
    assert len(counted(read(whole)) or ()) == 2
    for length in range(len(whole)):
        assert isinstance(read(whole[:length]), Unreadable), length


def test_bytes_that_nothing_explains_are_unexplained() -> None:
    good = block([(b"", HEADER), (b"w", entry())])
    hidden = b"weights" * 100
    found = read(table(good, last=hidden))
    assert isinstance(found, Container) and found.unexplained == len(hidden)
    found = read(index_of((b"w", entry() + field(99, hidden))))
    assert isinstance(found, Container) and found.unexplained == len(field(99, hidden))
    found = read(index_of((b"w", entry())), bytes(24) + hidden)
    assert isinstance(found, Container) and found.parts["m.data-00000-of-00001"].unexplained == len(hidden)


def test_what_is_hidden_in_the_object_graph_is_unexplained() -> None:
    hidden = b"weights" * 1000
    graph = field(1, field(2, field(1, "VARIABLE_VALUE"))) + field(9, hidden)
    text = varint(len(graph)) + bytes(4) + graph
    found = read(index_of((GRAPH.encode(), entry(7, (), 24, len(text))), (b"w", entry())), bytes(24) + text)
    assert isinstance(found, Container)
    part = found.parts["m.data-00000-of-00001"]
    assert part.unexplained == len(field(9, hidden)) and part.tensors == 24


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_changed_bytes_of_an_index_never_surprise(data: st.DataObject) -> None:
    """Past the checksums: the blocks are sealed again."""
    body = bytearray(b"".join(varint(0) + varint(len(k)) + varint(len(v)) + k + v for k, v in ((b"", HEADER), (b"w", entry()))))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    read(table(sealed(bytes(body) + bytes(4) + b"\1\0\0\0")))


def test_a_large_index_is_told_by_its_end() -> None:
    many = [(b"%07d" % i, entry(shape=(0,), size=0)) for i in range(4000)]
    source = InMemory("m.index", index_of(*many), {"m.data-00000-of-00001": b""})
    assert source.size > 1 << 16
    container = identify(source, LIMITS)
    assert container is not None and container.format == "tensorflow-checkpoint" and len(container.tensors) == 4000


def test_the_names_that_tensorflow_gives_say_what_a_variable_is() -> None:
    """Of TF 1, Keras 2 and Keras 3; a name alone hides no weights: see `roles`."""
    names = {
        "conv/kernel": WEIGHT,
        "conv/kernel/Adam": OPTIMIZER,
        "conv/kernel/Adam_1": OPTIMIZER,
        "beta1_power": OPTIMIZER,
        "layer_with_weights-0/kernel/.OPTIMIZER_SLOT/opt/m": OPTIMIZER,
        "optimizer/_variables/3": OPTIMIZER,
        "optimizer/_trainable_variables/0": WEIGHT,
        "bn/moving_mean": BUFFER,
        "bn/moving_variance:0": BUFFER,
        "keras_api/metrics/0/total": BUFFER,
        "keras_api/metric": WEIGHT,
    }
    table = from_rows(list(names), [F32] * len(names), [(3,)] * len(names), [12] * len(names))
    assert roles_by_name(table).tolist() == list(names.values())


# ---- graphs by hand


def constant(name: str, tensor: bytes, op: str = "Const") -> bytes:
    return field(1, name) + field(2, op) + field(5, field(1, "value") + field(2, field(8, tensor)))


def shaped(*dims: int) -> bytes:
    return field(2, b"".join(field(2, number(1, d)) for d in dims))


def saved(*nodes: bytes, more: bytes = b"") -> bytes:
    graph = b"".join(field(1, node) for node in nodes) + more
    return number(1, 1) + field(2, field(1, field(5, "2.21.0")) + field(2, graph))


def of_graph(data: bytes) -> Container | Unreadable:
    return attempt(saved_model, data)


FLOATS = number(1, 1) + shaped(100)
F32 = DTYPES.index(("F32", 32))


@pytest.mark.parametrize(
    "tensor",
    [
        FLOATS + field(4, bytes(400)),
        FLOATS + field(5, bytes(400)),
        FLOATS + field(5, bytes(4)),  # "used for all elements"
        FLOATS + b"\x2d\0\0\0\0" * 3,  # unpacked
        FLOATS,  # zeros
    ],
)
def test_constants_in_every_form(tensor: bytes) -> None:
    assert counted(of_graph(saved(constant("w", tensor)))) == [("w", (100,), F32, -1)]


def test_a_graph_alone_holds_its_weights() -> None:
    nodes = [field(1, "x") + field(2, "Placeholder"), constant("w", FLOATS + field(4, bytes(400)))]
    graph = b"".join(field(1, node) for node in nodes)
    container = identify(InMemory("frozen.pb", graph), LIMITS)
    assert container is not None and container.format == "tensorflow-saved-model" and rows(container) == {"w": ("F32", (100,))}


def test_a_sentencepiece_model_is_no_graph() -> None:
    pieces = b"".join(field(1, field(1, f"piece{i}") + b"\x15\0\0\0\0") for i in range(300)) + field(2, b"\x1a\x01x")
    assert identify(InMemory("tokenizer.model", pieces), LIMITS) is None


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("inconsistent", saved(constant("w", FLOATS + field(4, bytes(404))))),
        ("inconsistent", saved(constant("w", FLOATS + field(4, bytes(396))))),
        ("inconsistent", saved(constant("w", FLOATS + field(5, bytes(404))))),
        ("inconsistent", saved(constant("w", FLOATS + field(4, bytes(400)) + field(5, bytes(400))))),
        ("inconsistent", saved(constant("w", FLOATS + field(6, bytes(800))))),
        ("inconsistent", saved(constant("w", number(1, 1) + shaped(1 << 40, 1 << 40)))),
        ("inconsistent", saved(constant("w", number(1, 1) + shaped(-1)))),
        ("unsupported", saved(constant("w", number(1, 77) + shaped(100)))),
        ("malformed", saved(constant("w", FLOATS + field(5, bytes(7))))),
        ("malformed", saved(constant("w", FLOATS + field(4, bytes(400)) + field(4, bytes(400))))),
        ("malformed", saved(field(1, b"\xff\xfe") + field(2, "Const"))),
        ("malformed", saved(b"\x0b" + constant("w", FLOATS))),
        ("malformed", saved(constant("w", b"\x0a" + HUGE))),
        ("missing", saved(field(1, "v") + field(2, "VarHandleOp"))),
        ("missing", field(1, field(1, "v") + field(2, "VariableV2"))),
        ("truncated", saved(constant("w", FLOATS))[:-3]),
    ],
)
def test_a_graph_that_lies_is_refused(reason: str, data: bytes) -> None:
    found = of_graph(data)
    assert isinstance(found, Unreadable), counted(found)
    assert found.reason in (reason, "truncated")


def test_functions_in_attributes_have_a_limit_of_depth() -> None:
    def nested(levels: int) -> bytes:
        value = field(8, FLOATS + field(4, bytes(400)))
        for _ in range(levels):
            value = field(10, field(1, "f") + field(2, field(1, "value") + field(2, value)))
        return saved(field(1, "w") + field(2, "PartitionedCall") + field(5, field(1, "value") + field(2, value)))

    assert counted(of_graph(nested(5))) == [("w", (100,), F32, -1)]
    found = of_graph(nested(2000))
    assert isinstance(found, Unreadable) and found.reason == "limit"


def test_what_no_field_of_a_graph_explains_is_unexplained() -> None:
    hidden = bytes(range(256)) * 300
    good = saved(constant("w", FLOATS))
    for data in (
        good + field(77, hidden),
        saved(constant("w", FLOATS), more=field(77, hidden)),
        saved(constant("w", FLOATS + field(77, hidden))),
        saved(constant("w", FLOATS), field(1, "n") + field(2, "Op") + field(5, field(1, "blob") + field(2, field(2, hidden)))),
    ):
        found = of_graph(data)
        assert isinstance(found, Container) and found.unexplained >= len(hidden)


@pytest.mark.parametrize("op", ["PyFunc", "EagerPyFunc", "ReadFile", "WriteFile", "Save"])
def test_operators_that_reach_out_are_found_in_functions_too(op: str) -> None:
    function = field(1, field(1, field(1, "f")) + field(3, field(1, "n") + field(2, op)))
    for data in (saved(field(1, "n") + field(2, op)), saved(more=field(2, function))):
        found = of_graph(data)
        assert isinstance(found, Container)
        assert [(f.id, f.severity) for f in found.findings] == [("tensorflow-op", "critical")]
