"""Values of every kind that torch saves, and the check of what is read against what torch itself loads."""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.formats._torch_files import (
    criticals,
    read,
    sniffs,
)
from weightguard.formats import pickle_file, torch_legacy, torch_zip
from weightguard.formats.protocol import Container, Format
from weightguard.tensors import DTYPE_CODES

DTYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.uint8: "U8",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
    torch.bool: "BOOL",
    torch.complex64: "C64",
    torch.complex128: "C128",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.quint8: "U8",
    torch.qint8: "I8",
    torch.qint32: "I32",
}


def saved(value: object, legacy: bool = False, protocol: int = 2) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return out.getvalue()


def reader_of(data: bytes) -> Format:
    """The one reader that says the bytes are its own."""
    found: list[Format] = [r for r in (torch_zip, torch_legacy, pickle_file) if sniffs(r, data)]
    assert len(found) == 1, [r.NAME for r in found]
    return found[0]


def loaded(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=False)


def flat(value: Any, path: str = "") -> dict[str, torch.Tensor]:
    """Tensors by dotted path: what torch itself makes of the file."""
    if isinstance(value, torch.Tensor):
        return {path: value}
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, (list, tuple)):
        children = list(enumerate(value))
    else:
        return {}
    out: dict[str, torch.Tensor] = {}
    for key, child in children:
        out |= flat(child, f"{path}.{key}" if path else str(key))
    return out


def check(value: object, data: bytes) -> Container:
    """Each row is torch's tensor: name, shape, dtype, place within its storage, and which share a storage."""
    container = read(reader_of(data), data)
    tensors = flat(loaded(data)) if not isinstance(value, nn.Module) else dict(value.state_dict())
    t = container.tensors
    assert list(t.names) == list(tensors)
    pointers: dict[int, int] = {}
    for i, (name, tensor) in enumerate(tensors.items()):
        assert t.shape(i) == tuple(tensor.shape), name
        assert t.dtypes[i] == DTYPE_CODES[DTYPES[tensor.dtype]], name
        assert t.begins[i] == tensor.storage_offset() * tensor.element_size(), name
        if tensor.is_contiguous():
            assert t.elements[i] == tensor.numel(), name
        if tensor.numel():
            pointer = tensor.untyped_storage().data_ptr()
            assert pointers.setdefault(pointer, int(t.storages[i])) == t.storages[i], name
    assert len(set(pointers.values())) == len(pointers)
    assert not criticals(container)
    assert container.unexplained == 0
    return container


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(8, 5, bias=False), nn.ReLU()))


def training() -> dict[str, Any]:
    net = model()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    return {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 7, "args": {"lr": 1e-3, "name": "x"}}


def tied() -> dict[str, torch.Tensor]:
    net = nn.ModuleDict({"embed": nn.Embedding(11, 6), "head": nn.Linear(6, 11, bias=False)})
    net["head"].weight = net["embed"].weight
    return dict(net.state_dict())


def views() -> dict[str, torch.Tensor]:
    whole = torch.arange(60.0)
    return {"q": whole[:20].view(4, 5), "k": whole[20:40], "v": whole[40:].view(5, 4).t()}


KINDS: dict[str, Callable[[], Any]] = {
    "state dict": lambda: model().state_dict(),
    "optimizer": training,
    "tied": tied,
    "views": views,
    "same tensor twice": lambda: (lambda t: {"a": t, "b": t, "c": [t, t[1:]]})(torch.ones(5, 3)),
    "empty": lambda: {"a": torch.zeros(0), "b": torch.zeros(3, 0, 2), "c": torch.ones(1)},
    "scalars": lambda: {"a": torch.tensor(3.0), "b": torch.tensor(True)},
    "lists": lambda: [torch.ones(2), (torch.ones(3), {"x": torch.ones(4)}), OrderedDict(y=torch.ones(5))],
    "one tensor": lambda: torch.ones(3, 4),
    "five dimensions": lambda: {"a": torch.ones(2, 3, 4, 5, 6), "b": torch.ones(1, 1, 1, 1, 300)},
    "large shapes": lambda: {"a": torch.zeros(70_000, 3, dtype=torch.int8), "b": torch.zeros(300, 300)},
    "parameters": lambda: {"p": nn.Parameter(torch.ones(3, 2)), "b": nn.Buffer(torch.ones(4))},
    "nothing": dict,
}
# torch can't read its own legacy files with these: they need _rebuild_tensor_v3 and an untyped storage.
NOT_IN_LEGACY = [d for d in DTYPES if "float8" in str(d) or d in (torch.uint16, torch.uint32, torch.uint64)]


def scripted(net: Any) -> bytes:
    out = io.BytesIO()
    torch.jit.save(net, out)
    return out.getvalue()


def pickle_of(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return z.read(next(n for n in z.namelist() if n.endswith("/data.pkl")))
