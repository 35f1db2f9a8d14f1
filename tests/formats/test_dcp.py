"""Distributed checkpoints of torch: written by torch itself, by torch's classes as many ranks write them, and by hand, wrong."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

import weightguard
from tests.models import layouts
from weightguard.errors import Unreadable
from weightguard.formats import torch_dcp
from weightguard.formats.protocol import PART_MISSING, Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory
from weightguard.tensors import DTYPES

Chunk = tuple[int, tuple[int, ...], torch.Tensor]
"""(rank, offsets, what is there)."""


def saved(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


class Checkpoint:
    """A checkpoint as ranks write it: pieces end to end in a file a rank."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.described: dict[str, Any] = {}
        self.stored: dict[MetadataIndex, _StorageInfo] = {}

    def add(self, rank: int, index: MetadataIndex, content: bytes) -> None:
        name = f"__{rank}_0.distcp"
        at = len(self.files.setdefault(name, bytearray()))
        self.files[name] += content
        self.stored[index] = _StorageInfo(name, at, len(content))

    def tensor(self, name: str, size: tuple[int, ...], chunks: list[Chunk], dtype: torch.dtype = torch.float32) -> None:
        parts = [ChunkStorageMetadata(torch.Size(o), c.size()) for _, o, c in chunks]
        self.described[name] = TensorStorageMetadata(TensorProperties(dtype), torch.Size(size), parts)
        for i, (rank, offsets, content) in enumerate(chunks):
            self.add(rank, MetadataIndex(name, offsets, i), saved(content.clone()))

    def split(self, name: str, whole: torch.Tensor, ranks: int, axis: int = 0) -> None:
        at, chunks = 0, []
        for rank, part in enumerate(whole.chunk(ranks, axis)):
            offsets = tuple(at if i == axis else 0 for i in range(whole.ndim))
            chunks.append((rank, offsets, part))
            at += part.shape[axis]
        self.tensor(name, tuple(whole.shape), chunks, whole.dtype)

    def object(self, name: str, value: object, rank: int = 0) -> None:
        self.described[name] = BytesStorageMetadata()
        self.add(rank, MetadataIndex(name), value if isinstance(value, bytes) else saved(value))

    def metadata(self, protocol: int = 4) -> bytes:
        return pickle.dumps(Metadata(self.described, None, self.stored), protocol)

    def read(self, metadata: bytes | None = None) -> Container:
        return torch_dcp.read(
            InMemory("m/.metadata", metadata or self.metadata(), {n: bytes(c) for n, c in self.files.items()}), LIMITS
        )

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        (folder / ".metadata").write_bytes(self.metadata())
        return folder


def of(sd: Mapping[str, torch.Tensor], ranks: int) -> Checkpoint:
    made = Checkpoint()
    for name, tensor in sd.items():
        made.split(name, tensor, ranks)
    return made


def small() -> Checkpoint:
    made = Checkpoint()
    made.split("a.weight", torch.rand(8, 6), 2)
    made.split("b.weight", torch.rand(4, 6), 2, 1)
    made.object("step", 7)
    return made


def assert_adds_up(container: Container, made: Checkpoint) -> None:
    for name, content in made.files.items():
        a = container.parts[name]
        assert a.tensors + a.headers + a.padding + a.unexplained == len(content)


# ---- what torch writes


def test_torchs_own_checkpoint_tensor_by_tensor(tmp_path: Path) -> None:
    model = layouts.llama()
    sd = layouts.state()
    moments = {f"state.{n}.{s}": t.clone() for n, t in sd.items() for s in ("exp_avg", "exp_avg_sq")}
    value = {"model": sd, "optim": moments, "step": 3, "note": {"a": [1, 2.5, "x"], "t": torch.arange(5)}}
    dcp.save(value, checkpoint_id=str(tmp_path / "m"), no_dist=True)
    report = weightguard.scan(str(tmp_path / "m"))
    assert not report.unread
    [found] = report.models
    assert found.complete and found.decision == "allow" and found.files[0].format == "torch-dcp"
    assert found.parameters.total == sum(p.numel() for p in model.parameters())
    assert found.parameters.by_role["optimizer"] == 2 * found.parameters.total
    assert not [f for f in found.findings if f.severity not in ("info", "low")]
    source = InMemory(
        "m/.metadata", (tmp_path / "m/.metadata").read_bytes(), {p.name: p.read_bytes() for p in (tmp_path / "m").glob("__*")}
    )
    table = torch_dcp.read(source, LIMITS).tensors
    rows = {n: (table.shape(i), DTYPES[table.dtypes[i]][0]) for i, n in enumerate(table.names)}
    for name, tensor in sd.items():
        assert rows[f"model.{name}"] == (tuple(tensor.shape), "F32")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool, torch.float8_e4m3fn])
def test_every_type(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.zeros(6, 4).to(dtype)
    dcp.save(
        {"w": tensor, "scalar": torch.tensor(1.5).to(dtype), "empty": tensor[:0]}, checkpoint_id=str(tmp_path), no_dist=True
    )
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    found = torch_dcp.read(InMemory("m/.metadata", files[".metadata"], files), LIMITS)
    assert {n: found.tensors.shape(i) for i, n in enumerate(found.tensors.names)} == {
        "w": (6, 4),
        "scalar": (),
        "empty": (0, 4),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_recognised_and_read(protocol: int) -> None:
    made = small()
    data = made.metadata(protocol)
    assert torch_dcp.sniff(data[:4096], b"")
    assert sum(made.read(data).tensors.elements.tolist()) == 72


def test_the_module_names_before_torch_2() -> None:
    """torch.distributed._shard.checkpoint.metadata, whose properties were those of sharded tensors."""
    made = small()
    old = b"torch.distributed._shard.checkpoint.metadata"
    data = made.metadata(2)
    new = b"ctorch.distributed.checkpoint.metadata\n"
    data = data.replace(new, b"c" + old + b"\n").replace(
        b"ctorch.distributed.checkpoint.filesystem\n", b"ctorch.distributed._shard.checkpoint.filesystem\n"
    )
    assert torch_dcp.sniff(data, b"")
    found = made.read(data)
    assert sum(found.tensors.elements.tolist()) == 72 and not found.findings


@pytest.mark.parametrize("ranks", [1, 2, 5, 16])
def test_many_ranks_are_one_model(tmp_path: Path, ranks: int) -> None:
    of(layouts.state(), ranks).write(tmp_path / "m")
    report = weightguard.scan(str(tmp_path / "m"))
    [found] = report.models
    assert found.complete and found.parameters.total == layouts.total() and report.decision == "allow"
    assert len(found.files) == ranks + 1


def test_a_piece_as_target_stands_for_the_checkpoint(tmp_path: Path) -> None:
    made = of(layouts.state(), 3)
    made.write(tmp_path / "m")
    for name in (*made.files, ".metadata"):
        [found] = weightguard.scan(str(tmp_path / "m" / name)).models
        assert found.complete and found.parameters.total == layouts.total()


def test_an_irregular_cut(tmp_path: Path) -> None:
    """Chunks in no grid: a row, a column, and the rest."""
    whole = torch.rand(4, 4)
    made = Checkpoint()
    made.tensor("w", (4, 4), [(0, (0, 0), whole[:1]), (0, (1, 0), whole[1:, :1]), (1, (1, 1), whole[1:, 1:])])
    assert made.read().tensors.shape(0) == (4, 4)


def test_megatrons_stacked_layers_are_layers(tmp_path: Path) -> None:
    """[layers, out, in] under decoder.layers: no convolution kernels, each matrix once a token."""
    names = layouts.megatron_names(layouts.state())
    made = Checkpoint()
    for name in dict.fromkeys(n.replace(f".{n.split('.')[2]}.", ".", 1) for n in names if ".layers." in n):
        rest = name.removeprefix("decoder.layers.")
        made.split(name, torch.stack([names[f"decoder.layers.{i}.{rest}"] for i in range(layouts.LAYERS)]), 2)
    for name in (n for n in names if ".layers." not in n):
        made.split(name, names[name], 2)
    for i in range(4):
        made.object(f"decoder.layers.self_attention._extra_state/shard_{i}_4", {"fp8": i})
    made.write(tmp_path / "m")
    [stacked] = weightguard.scan(str(tmp_path / "m")).models
    of(names, 2).write(tmp_path / "n")
    [plain] = weightguard.scan(str(tmp_path / "n")).models
    assert stacked.complete and stacked.parameters.total == layouts.total()
    assert stacked.training_operations.interval == plain.training_operations.interval


def test_a_large_model_reads_in_seconds(tmp_path: Path) -> None:
    made = Checkpoint()
    one = saved(torch.zeros(2, 2))
    for i in range(3000):
        name = f"layers.{i}.w"
        parts = [ChunkStorageMetadata(torch.Size((2 * r, 0)), torch.Size((2, 2))) for r in range(4)]
        made.described[name] = TensorStorageMetadata(TensorProperties(torch.float32), torch.Size((8, 2)), parts)
        for r in range(4):
            made.add(r, MetadataIndex(name, (2 * r, 0), r), one)
    began = time.perf_counter()
    assert sum(made.read().tensors.elements.tolist()) == 3000 * 16
    assert time.perf_counter() - began < 5


# ---- parts


def test_a_missing_file_makes_a_part(tmp_path: Path) -> None:
    made = of(layouts.state(), 3)
    for name in made.files:
        folder = made.write(tmp_path / name / "m")
        (folder / name).unlink()
        report = weightguard.scan(str(folder))
        [found] = report.models
        assert not found.complete and found.training_operations.interval.high is None and found.decision == "block"


def test_a_file_cut_short_makes_a_part_and_is_unread(tmp_path: Path) -> None:
    folder = of(layouts.state(), 2).write(tmp_path / "m")
    path = folder / "__1_0.distcp"
    content = path.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        report = weightguard.scan(str(folder))
        [found] = report.models
        assert not found.complete and report.decision == "block" and report.unread


def test_pieces_without_their_description_are_blocked(tmp_path: Path) -> None:
    made = Checkpoint()
    made.tensor("w", (3, 3), [(0, (0, 0), torch.rand(3, 3))])
    folder = made.write(tmp_path / "m")
    (folder / ".metadata").unlink()
    report = weightguard.scan(str(folder))
    assert report.decision == "block" and all(not m.complete for m in report.models)


def test_files_of_another_checkpoint_are_refused(tmp_path: Path) -> None:
    folder = of(layouts.state(), 2).write(tmp_path / "m")
    other = {k: v.half() for k, v in layouts.state().items()}
    of(other, 2).write(tmp_path / "n")
    (folder / "__1_0.distcp").write_bytes((tmp_path / "n" / "__1_0.distcp").read_bytes())
    assert weightguard.scan(str(folder)).decision == "block"


# ---- hostile


def changed(edit: Callable[[Checkpoint], object]) -> Checkpoint:
    made = small()
    edit(made)
    return made


def swap(made: Checkpoint, name: str, **fields: Any) -> None:
    for index, info in made.stored.items():
        if index.fqn == name:
            made.stored[index] = _StorageInfo(**{**vars(info), **fields})
            return


def size(made: Checkpoint, name: str, value: object) -> None:
    made.described[name].size = value


def chunks(made: Checkpoint, name: str, value: object) -> None:
    made.described[name].chunks = value


def twice(made: Checkpoint) -> None:
    index, info = next(iter(made.stored.items()))
    made.stored[MetadataIndex(index.fqn, (0, 3), 9)] = info


C = ChunkStorageMetadata
S = torch.Size

HOSTILE: dict[str, Callable[[Checkpoint], object]] = {
    "a size larger than its chunks": lambda m: size(m, "a.weight", S((80, 6))),
    "a size smaller than its chunks": lambda m: size(m, "a.weight", S((4, 6))),
    "a size of 2^62": lambda m: size(m, "a.weight", S((1 << 62, 1 << 62))),
    "a negative size": lambda m: size(m, "a.weight", [-8, -6]),
    "a size of text": lambda m: size(m, "a.weight", ["8", "6"]),
    "a size of 2^100": lambda m: size(m, "a.weight", [1 << 100]),
    "no size": lambda m: size(m, "a.weight", None),
    "overlapping chunks": lambda m: chunks(m, "a.weight", [C(S((0, 0)), S((4, 6))), C(S((2, 0)), S((4, 6)))]),
    "the same chunk twice": lambda m: chunks(m, "a.weight", [C(S((0, 0)), S((4, 6)))] * 2),
    "a hole": lambda m: chunks(m, "a.weight", [C(S((0, 0)), S((4, 6))), C(S((5, 0)), S((3, 6)))]),
    "a chunk outside": lambda m: chunks(m, "a.weight", [C(S((4, 0)), S((8, 6)))]),
    "a chunk of other dimensions": lambda m: chunks(m, "a.weight", [C(S((0,)), S((48,)))]),
    "no chunks": lambda m: chunks(m, "a.weight", []),
    "chunks that are none": lambda m: chunks(m, "a.weight", "abc"),
    "an offset beyond the file": lambda m: swap(m, "a.weight", offset=1 << 40),
    "an offset of 2^63": lambda m: swap(m, "a.weight", offset=1 << 63),
    "a negative offset": lambda m: swap(m, "a.weight", offset=-1),
    "a length of 2^64": lambda m: swap(m, "a.weight", length=1 << 64),
    "a length of nothing": lambda m: swap(m, "a.weight", length=0),
    "a length too long by one": lambda m: swap(m, "b.weight", length=1 + next(v.length for v in m.stored.values())),
    "a path of numbers": lambda m: swap(m, "a.weight", relative_path=7),
    "a path that isn't there": lambda m: swap(m, "a.weight", relative_path="../../etc/passwd"),
    "a compressed piece": lambda m: swap(m, "a.weight", transform_descriptors=["zstd"]),
    "a place of nothing": lambda m: m.stored.update({MetadataIndex("c", (0,), 0): _StorageInfo("__0_0.distcp", 0, 1)}),
    "two places of one piece": twice,
    "no places": lambda m: m.stored.clear(),
    "no tensors, but places": lambda m: m.described.clear(),
    "places that are no dictionary": lambda m: setattr(m, "stored", [1]),
    "tensors that are no dictionary": lambda m: setattr(m, "described", [1]),
    "a tensor that is a number": lambda m: m.described.update({"a.weight": 3}),
    "an unknown type": lambda m: setattr(m.described["a.weight"].properties, "dtype", "float32"),
    "another type": lambda m: setattr(m.described["a.weight"].properties, "dtype", torch.bfloat16),
    "an object in place of a tensor": lambda m: m.described.update({"a.weight": BytesStorageMetadata()}),
    "an object that is noise": lambda m: m.object("noise", os.urandom(200_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_contradicts_itself_is_refused_or_a_part(name: str) -> None:
    began = time.perf_counter()
    made = changed(HOSTILE[name])
    try:
        found = made.read()
    except Unreadable as error:
        assert "\n" not in error.detail
    else:
        assert any(f.id == PART_MISSING for f in found.findings)
    assert time.perf_counter() - began < 5


def test_the_description_cut_anywhere_is_refused() -> None:
    made = small()
    data = made.metadata()
    for end in range(0, len(data), 7):
        with pytest.raises(Unreadable):
            made.read(data[:end] or b"\x80")


def test_flipped_bytes_never_count_less_in_silence() -> None:
    made = small()
    data = made.metadata()
    for at in range(60, len(data), 11):
        broken = bytearray(data)
        broken[at] ^= 0x11
        try:
            found = made.read(bytes(broken))
        except Unreadable:
            continue
        assert sum(found.tensors.elements.tolist()) >= 72 or any(f.id == PART_MISSING for f in found.findings)


@pytest.mark.parametrize("where", ["before", "between", "after"])
def test_hidden_bytes_are_unexplained(where: str) -> None:
    made = small()
    hidden = os.urandom(100_000)
    name = "__0_0.distcp"
    if where == "after":
        made.files[name] += hidden
    else:
        cut = 0 if where == "before" else next(i.length for i in made.stored.values() if i.relative_path == name)
        made.files[name] = made.files[name][:cut] + hidden + made.files[name][cut:]
        for index, info in made.stored.items():
            if info.relative_path == name and info.offset >= cut:
                made.stored[index] = _StorageInfo(name, info.offset + len(hidden), info.length)
    found = made.read()
    assert_adds_up(found, made)
    assert found.parts[name].unexplained == len(hidden)


def test_bytes_after_the_description_are_unexplained() -> None:
    made = small()
    found = made.read(made.metadata() + b"\0" * 1000)
    assert found.unexplained == 1000


def test_weights_in_the_description_are_unexplained() -> None:
    made = small()
    made.described["b.weight"].hidden = os.urandom(200_000)
    assert made.read().unexplained >= 200_000


def test_weights_in_an_object_count() -> None:
    made = small()
    made.object("state", {"hidden": torch.zeros(300, 300)})
    found = made.read()
    assert sum(found.tensors.elements.tolist()) == 72 + 90_000
    assert "state.hidden" in found.tensors.names


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def test_a_call_in_the_description_is_found() -> None:
    made = small()
    made.described["b.weight"].extra = Payload()
    assert any(f.severity == "critical" and "system" in f.message for f in made.read().findings)


def test_a_call_in_an_object_is_found(tmp_path: Path) -> None:
    made = small()
    made.object("x", Payload())
    assert any(f.severity == "critical" and "system" in f.message for f in made.read().findings)
    assert weightguard.scan(str(made.write(tmp_path / "m"))).decision == "block"


def test_a_call_in_a_refused_description_is_named() -> None:
    made = small()
    made.described["b.weight"].extra = Payload()
    size(made, "a.weight", S((80, 6)))
    with pytest.raises(Unreadable, match="system"):
        made.read()


def test_a_pickle_that_begins_like_a_description_is_refused(tmp_path: Path) -> None:
    data = b"\x80\x02ctorch.distributed.checkpoint.metadata\nMetadata\n0cos\nsystem\n(X\x04\0\0\0truetR."
    with pytest.raises(Unreadable, match="system"):
        torch_dcp.read(InMemory("m/.metadata", data, {}), LIMITS)
    (tmp_path / "x.pkl").write_bytes(data)
    assert weightguard.scan(str(tmp_path)).decision == "block"


def test_a_path_out_of_the_folder_is_not_opened(tmp_path: Path) -> None:
    made = small()
    swap(made, "a.weight", relative_path="../outside.distcp")
    (tmp_path / "outside.distcp").write_bytes(made.files["__0_0.distcp"])
    report = weightguard.scan(str(made.write(tmp_path / "m")))
    assert report.decision == "block" and "outside" not in {f.path for m in report.models for f in m.files}


def test_many_chunks_in_no_grid_end_in_time() -> None:
    made = Checkpoint()
    n = 6000
    parts = [C(S((i, 0)), S((1, n - i))) for i in range(n)] + [C(S((i, n - i)), S((1, i))) for i in range(1, n)]
    made.described["w"] = TensorStorageMetadata(TensorProperties(torch.float32), S((n, n)), parts)
    began = time.perf_counter()
    with pytest.raises(Unreadable):
        made.read()
    assert time.perf_counter() - began < 5


def test_a_deep_description_is_bounded() -> None:
    data = b"\x80\x02ctorch.distributed.checkpoint.metadata\nMetadata\n)\x81" + b"(" * 200_000 + b"."
    with pytest.raises(Unreadable):
        torch_dcp.read(InMemory("m/.metadata", data, {}), LIMITS)
    nested = b"\x80\x02ctorch.distributed.checkpoint.metadata\nMetadata\n)\x81" + b"]" * 50_000 + b"a" * 49_999 + b"b."
    with pytest.raises(Unreadable):
        torch_dcp.read(InMemory("m/.metadata", nested, {}), LIMITS)


def test_a_text_longer_than_the_file() -> None:
    data = small().metadata(2).replace(b"X\x08\0\0\0a.weight", b"X" + struct.pack("<I", 0xFFFFFFFF) + b"a.weight", 1)
    with pytest.raises(Unreadable):
        small().read(data)


def test_two_thousand_ranks_are_read_with_few_files_open(tmp_path: Path) -> None:
    import resource

    made = Checkpoint()
    made.split("w", torch.rand(2000, 3), 2000)
    folder = made.write(tmp_path / "m")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        [found] = weightguard.scan(str(folder)).models
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found.complete and found.parameters.total == 6000 and len(found.files) == 2001


@pytest.mark.parametrize(
    "optimizer", ["optimizer.state.{slot}.{name}", "chained_0.optimizer.state.{slot}.{name}", "optim.state.{name}.{slot}"]
)
def test_optimizer_state_of_a_large_model_is_of_that_model(optimizer: str, tmp_path: Path) -> None:
    """Megatron writes the slot before the parameter's name, torch after it."""
    made = Checkpoint()
    for name in ("decoder.layers.0.mlp.linear_fc1.weight", "decoder.layers.0.mlp.linear_fc2.weight", "embedding.weight"):
        made.split(name, torch.zeros(800, 1000, dtype=torch.bfloat16), 2)
        for slot in ("exp_avg", "exp_avg_sq", "fp32_param"):
            made.split(optimizer.format(name=name, slot=slot), torch.zeros(800, 1000), 2)
    made.split("decoder.final_layernorm.weight", torch.zeros(1000), 2)
    [found] = weightguard.scan(str(made.write(tmp_path / "m"))).models
    assert found.complete, found.missing
    assert found.parameters.total == 2_401_000 and found.parameters.by_role["optimizer"] == 7_200_000


@pytest.mark.parametrize("path", ["model.safetensors", "sub/__0_0.distcp", "a\\__0_0.distcp", "", ".distcp"])
def test_a_description_takes_no_other_files(path: str, tmp_path: Path) -> None:
    """Else it could say of a file of weights that it is something smaller."""
    made = small()
    made.files[path] = made.files["__0_0.distcp"]
    swap(made, "a.weight", relative_path=path)
    with pytest.raises(Unreadable):
        made.read()


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4), st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 99)
)
def test_a_grid_of_chunks_is_read_and_one_chunk_moved_is_not(rows: list[int], columns: list[int], seed: int) -> None:
    whole = torch.rand(sum(rows), sum(columns))
    cells: list[Chunk] = []
    for i, height in enumerate(rows):
        for j, width in enumerate(columns):
            at = (sum(rows[:i]), sum(columns[:j]))
            cells.append(((i + j) % 3, at, whole[at[0] : at[0] + height, at[1] : at[1] + width]))
    made = Checkpoint()
    made.tensor("w", tuple(whole.shape), cells)
    found = made.read()
    assert found.tensors.shape(0) == tuple(whole.shape) and not found.findings
    assert_adds_up(found, made)
    chunk = made.described["w"].chunks[seed % len(cells)]
    chunk.offsets = S((chunk.offsets[0] + 1, chunk.offsets[1]))
    with pytest.raises(Unreadable):
        made.read()
