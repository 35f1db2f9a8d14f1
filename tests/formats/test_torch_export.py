"""torch.export's archives and torch.package's: torch writes them and is the oracle for every tensor."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn
from torch.package import PackageExporter

from tests.formats._bounds import attempt, check_truncations, counted, unexplained, words
from tests.formats._torch_files import sniffs
from weightguard.errors import Unreadable
from weightguard.formats import identify, torch_export, torch_package
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPE_CODES

DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64", torch.float16: "F16"}
NOISE = os.urandom(200_000)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.embedding.weight
        self.norm = nn.BatchNorm1d(8)
        self.table = torch.arange(6.0).reshape(2, 3)
        self.low = nn.Parameter(torch.ones(3, 5, dtype=torch.bfloat16))
        self.register_buffer("loose", torch.ones(3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.embedding(x).mean(1))
        return self.head(h) + self.table.sum() + self.low.float().sum() + self.loose.sum()


@pytest.fixture(scope="module")
def exported() -> bytes:
    program = torch.export.export(Small().eval(), (torch.zeros(4, 3, dtype=torch.long),))
    out = io.BytesIO()
    torch.export.save(program, out)
    return out.getvalue()


def remade(data: bytes, change: Mapping[str, bytes | None], compress: bool = False) -> bytes:
    """The archive with members replaced, added, or (None) left out; names as in its folder."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as new,
    ):
        root = old.namelist()[0].partition("/")[0]
        members: dict[str, bytes | None] = {n.partition("/")[2]: old.read(n) for n in old.namelist()}
        members |= change
        for name, content in members.items():
            if content is not None:
                new.writestr(f"{root}/{name}", content)
    return out.getvalue()


def config(data: bytes, edit: Mapping[str, Any], key: str = "embedding.weight") -> bytes:
    """The archive with one weight's TensorMeta changed."""
    name = "data/weights/model_weights_config.json"
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        root = old.namelist()[0].partition("/")[0]
        found = json.loads(old.read(f"{root}/{name}"))
    found["config"][key]["tensor_meta"] |= edit
    return remade(data, {name: json.dumps(found).encode()})


def read(data: bytes) -> Container:
    assert sniffs(torch_export, data)
    found = attempt(torch_export, data)
    assert isinstance(found, Container), found
    return found


def test_each_tensor_is_torchs(exported: bytes) -> None:
    program = torch.export.load(io.BytesIO(exported))
    theirs = {**program.state_dict, **{k: v for k, v in program.constants.items() if isinstance(v, torch.Tensor)}}
    found = read(exported).tensors
    assert {n: (found.shape(i), int(found.dtypes[i])) for i, n in enumerate(found.names)} == {
        n: (tuple(t.shape), DTYPE_CODES[DTYPES[t.dtype]]) for n, t in theirs.items()
    }
    assert len(theirs) == 10
    places = dict(zip(found.names, found.storages.tolist(), strict=True))
    assert places["embedding.weight"] == places["head.weight"] and len(set(places.values())) == len(places) - 1


def test_every_byte_is_explained_and_no_other_reader_makes_anything_of_it(exported: bytes) -> None:
    found = read(exported)
    assert found.unexplained == 0
    assert found.accounts.tensors == 4 * (80 + 4 * 8 + 6 + 3) + 8 + 2 * 15
    container = identify(InMemory("m.pt2", exported), LIMITS)
    assert container is not None and container.format == "torch-export" and container.findings == ()


def old_layout(state: dict[str, torch.Tensor], compress: bool = False) -> bytes:
    def saved(value: object) -> bytes:
        out = io.BytesIO()
        torch.save(value, out)
        return out.getvalue()

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        archive.writestr("version", "8.8")
        archive.writestr("serialized_exported_program.json", json.dumps({"graph_module": {}}))
        archive.writestr("serialized_state_dict.pt", saved(state))
        archive.writestr("serialized_constants.pt", saved({"table": torch.ones(7)}))
        archive.writestr("serialized_example_inputs.pt", saved((torch.ones(3),)))
    return out.getvalue()


@pytest.mark.parametrize("compress", [False, True])
def test_the_layout_before_the_archive_is_read(compress: bool) -> None:
    state = {"a.weight": torch.ones(4, 5), "a.bias": torch.ones(5, dtype=torch.float16)}
    data = old_layout(state, compress)
    found = read(data)
    rows = counted(found)
    assert rows is not None
    assert sorted(rows) == [
        ("a.bias", (5,), DTYPE_CODES["F16"], -1),
        ("a.weight", (4, 5), DTYPE_CODES["F32"], -1),
        ("table", (7,), DTYPE_CODES["F32"], -1),
    ]
    assert found.unexplained == 0
    container = identify(InMemory("m.pt2", data), LIMITS)
    assert container is not None and container.format == "torch-export"


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def test_what_a_nested_pickle_calls_is_found(exported: bytes) -> None:
    out = io.BytesIO()
    torch.save({"x": Payload()}, out)
    found = read(remade(exported, {"data/sample_inputs/model.pt": out.getvalue()}))
    assert [f.severity for f in found.findings] == ["critical"] and "system" in found.findings[0].message


def test_many_sample_inputs_are_counted(exported: bytes) -> None:
    out = io.BytesIO()
    torch.save((torch.ones(100_000),), out)
    found = read(remade(exported, {"data/sample_inputs/model.pt": out.getvalue()}))
    assert int(found.tensors.elements.sum()) > 100_000 and "sample-inputs" in [f.id for f in found.findings]


@pytest.mark.parametrize(
    "name", ["data/weights/weight_99", "extra/w.bin", "data/hidden", "models/model.bin", "data/sample_inputs/x"]
)
def test_records_that_nothing_names_are_unexplained(exported: bytes, name: str) -> None:
    assert read(remade(exported, {name: NOISE})).unexplained >= len(NOISE)


def test_bytes_that_no_tensor_shows_are_unexplained(exported: bytes) -> None:
    assert read(remade(exported, {"data/weights/weight_1": NOISE})).unexplained >= len(NOISE) - 320


def test_compiled_code_is_unread_by_name(exported: bytes) -> None:
    error = attempt(torch_export, remade(exported, {"data/aotinductor/model/c.so": b"\x7fELF" + NOISE}))
    assert isinstance(error, Unreadable) and error.reason == "unsupported" and "compiled" in error.detail


LIES: dict[str, Mapping[str, Any]] = {
    "a longer shape": {"sizes": [{"as_int": 11}, {"as_int": 8}]},
    "2^62 elements": {"sizes": [{"as_int": 2**31}, {"as_int": 2**31}], "strides": [{"as_int": 2**31}, {"as_int": 1}]},
    "2^64 elements": {"sizes": [{"as_int": 2**64}, {"as_int": 8}]},
    "a negative size": {"sizes": [{"as_int": -1}, {"as_int": 8}]},
    "a symbol": {"sizes": [{"as_expr": "s0"}, {"as_int": 8}]},
    "a float": {"sizes": [{"as_int": 10.0}, {"as_int": 8}]},
    "a truth": {"sizes": [{"as_int": True}, {"as_int": 8}]},
    "no sizes": {"sizes": None},
    "fewer strides": {"strides": [{"as_int": 1}]},
    "a negative stride": {"strides": [{"as_int": -8}, {"as_int": 1}]},
    "an offset past the end": {"storage_offset": {"as_int": 1}},
    "an offset of 2^63": {"storage_offset": {"as_int": 2**63}},
    "a type that there is not": {"dtype": 99},
    "a type by name": {"dtype": "float32"},
    "sparse": {"layout": 1},
    "no layout": {"layout": None},
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_what_contradicts_the_bytes_is_unread(exported: bytes, lie: str) -> None:
    assert isinstance(attempt(torch_export, config(exported, LIES[lie])), Unreadable)


CHANGES: dict[str, Mapping[str, bytes | None]] = {
    "a weight that isn't there": {"data/weights/weight_1": None},
    "a weight cut short": {"data/weights/weight_1": bytes(316)},
    "another byte order": {"byteorder": b"big"},
    "another format": {"archive_format": b"pt3"},
    "no JSON": {"data/weights/model_weights_config.json": b"{"},
    "JSON 100,000 deep": {"data/weights/model_weights_config.json": b"[" * 100_000},
    "a list": {"data/weights/model_weights_config.json": b"[]"},
    "a weight twice": {"data/weights/model_weights_config.json": b'{"config": {"a": {}, "a": {}}}'},
    "a path upwards": {"data/weights/model_weights_config.json": b'{"config": {"a": {"path_name": "../../x"}}}'},
    "a pickle that is none": {
        "data/weights/model_weights_config.json": b'{"config": {"a": {"path_name": "weight_1", "use_pickle": true}}}'
    },
    "an archive in itself": {"data/sample_inputs/model.pt": b"PK\3\4" + bytes(60)},
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_archives_that_are_wrong_are_unread(exported: bytes, change: str) -> None:
    assert isinstance(attempt(torch_export, remade(exported, CHANGES[change])), Unreadable)


def test_an_archive_within_an_archive_is_not_followed(exported: bytes) -> None:
    assert isinstance(attempt(torch_export, remade(exported, {"data/sample_inputs/model.pt": exported})), Unreadable)


def test_compressed_raw_weights_are_unread(exported: bytes) -> None:
    assert isinstance(attempt(torch_export, remade(exported, {}, compress=True)), Unreadable)


def test_truncated_anywhere_or_with_any_word_changed_it_ends_well(exported: bytes) -> None:
    check_truncations(torch_export, exported, step=97)
    for content in words(exported, (0, 0xFFFFFFFF), step=236):
        attempt(torch_export, content)


# -- torch.package


@pytest.fixture(scope="module")
def packaged() -> bytes:
    out = io.BytesIO()
    with PackageExporter(out) as exporter:
        exporter.extern("**")
        exporter.save_pickle("model", "weights.pkl", {"a": torch.ones(4, 5), "b": torch.ones(3, dtype=torch.bfloat16)})
        exporter.save_source_string("code", "x = 1\n")
        exporter.save_text("model", "notes.txt", "made for a test")
    return out.getvalue()


def test_a_package_is_read(packaged: bytes) -> None:
    assert sniffs(torch_package, packaged)
    found = attempt(torch_package, packaged)
    assert isinstance(found, Container)
    rows = counted(found)
    assert rows is not None and [r[1:3] for r in rows] == [((4, 5), DTYPE_CODES["F32"]), ((3,), DTYPE_CODES["BF16"])]
    assert found.unexplained == 0 and [f.severity for f in found.findings] == ["medium"]
    container = identify(InMemory("m.pt", packaged), LIMITS)
    assert container is not None and container.format == "torch-package"


def test_a_package_hides_nothing(packaged: bytes) -> None:
    assert unexplained(attempt(torch_package, remade(packaged, {"model/w.bin": NOISE})), len(NOISE))
    assert unexplained(attempt(torch_package, remade(packaged, {".data/9.storage": NOISE})), len(NOISE))
    assert isinstance(attempt(torch_package, remade(packaged, {".data/0.storage": b"1234"})), Unreadable)
    assert isinstance(attempt(torch_package, remade(packaged, {".data/0.storage": None})), Unreadable)
    found = attempt(torch_package, remade(packaged, {"model/x.pkl": pickle.dumps(Payload(), 2)}))
    assert isinstance(found, Container) and "critical" in [f.severity for f in found.findings]
    check_truncations(torch_package, packaged, step=31)
