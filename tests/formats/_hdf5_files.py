"""HDF5 files for tests, by h5py, and what it says of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest

from tests.formats._bounds import identified, rows
from weightguard.errors import Unreadable
from weightguard.formats import identify
from weightguard.formats.protocol import Container
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory

Fill = Callable[[Any], object]
OLD, NEW = "earliest", "latest"
both = pytest.mark.parametrize("libver", [OLD, "v108", "v110", NEW])


def made(fill: Fill, libver: str = OLD, **options: Any) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w", libver=libver if libver in (OLD, NEW) else ("earliest", libver), **options) as f:
        fill(f)
    return out.getvalue()


def read(data: bytes) -> Container:
    return identified(data, "model.h5", "hdf5")


NAMES = {
    **{f"{o}f{n}": f"F{8 * n}" for o in "<>" for n in (2, 4, 8)},
    **{f"{o}i{n}": f"I{8 * n}" for o in "<>" for n in (2, 4, 8)},
    **{f"{o}u{n}": f"U{8 * n}" for o in "<>" for n in (2, 4, 8)},
    **{f"{o}c{n}": f"C{8 * n}" for o in "<>" for n in (8, 16)},
    "|i1": "I8",
    "|u1": "U8",
    "|b1": "BOOL",
}


def by_h5py(data: bytes) -> dict[str, tuple[str, tuple[int, ...]]]:
    """name -> (dtype, shape) of the datasets of plain numbers."""
    found = {}
    with h5py.File(io.BytesIO(data), "r") as f:

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.dtype.str in NAMES:
                found[name] = NAMES[item.dtype.str], (0,) if item.shape is None else item.shape

        f.visititems(visit)
    return found


def same(data: bytes) -> Container:
    """Checks a file of plain numbers against h5py."""
    container = read(data)
    assert rows(container) == by_h5py(data)
    return container


def refused(data: bytes, *reasons: str) -> str:
    with pytest.raises(Unreadable) as caught:
        identify(InMemory("model.h5", data), LIMITS)
    assert caught.value.reason in reasons, (caught.value.reason, caught.value.detail)
    assert caught.value.detail.isprintable()
    return caught.value.detail


def many(count: int) -> Fill:
    def fill(f: Any) -> None:
        for i in range(count):
            f[f"layer_{i}"] = np.ones(3, "f4")

    return fill


def kinds(f: Any) -> None:
    for code in NAMES:
        f[f"of_{code[1:]}_{ord(code[0])}"] = np.zeros((2, 3), code)
    f["scalar"] = np.float32(1.5)
    f["empty"] = h5py.Empty("f4")
    f["none"] = np.zeros((0, 4))
    f["late"] = np.zeros(5)
    f.create_dataset("unwritten", shape=(100, 100), dtype="f4")
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    compact = h5py.h5d.create(f.id, b"compact", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((5,)), plist)
    compact.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones(5, "f4"))
    f["type"] = np.dtype("f8")
    f.create_dataset("of_committed_type", (3,), dtype=f["type"])[:] = 1


CHUNKED: dict[str, dict[str, Any]] = {
    "edges": {"data": np.random.default_rng(0).random((100, 37)), "chunks": (16, 16)},
    "deflated": {
        "data": np.random.default_rng(0).random((100, 37)),
        "chunks": (16, 16),
        "compression": "gzip",
        "shuffle": True,
    },
    "checked": {"data": np.ones((100, 37), "i4"), "chunks": (16, 16), "compression": 9, "fletcher32": True, "shuffle": True},
    "fletcher": {"data": np.ones((100, 37), "i4"), "chunks": (16, 16), "fletcher32": True},
    "lzf": {"data": np.arange(3700).reshape(100, 37) // 9, "chunks": (16, 16), "compression": "lzf", "shuffle": True},
    "lzf of noise": {"data": np.random.default_rng(0).random((100, 37)), "chunks": (16, 16), "compression": "lzf"},
    "one chunk": {"data": np.ones((10, 10)), "chunks": (10, 10)},
    "one deflated": {"data": np.ones((10, 10)), "chunks": (10, 10), "compression": "gzip"},
    "one too large": {"data": np.ones((10, 10)), "chunks": (10, 10), "maxshape": (40, 10)},
    "fixed array": {"data": np.ones(5000), "chunks": (2,)},
    "fixed deflated": {"data": np.ones(5000), "chunks": (2,), "compression": "gzip"},
    "extensible": {"data": np.ones((3000, 3)), "chunks": (1, 3), "maxshape": (None, 3)},
    "extensible deflated": {"data": np.ones((3000, 3)), "chunks": (1, 3), "maxshape": (None, 3), "compression": "gzip"},
    "extensible second": {"data": np.ones((5, 400)), "chunks": (2, 3), "maxshape": (7, None)},
    "tree": {"data": np.ones((50, 300)), "chunks": (2, 3), "maxshape": (None, None)},
    "tree deflated": {"data": np.ones((50, 300)), "chunks": (2, 3), "maxshape": (None, None), "compression": "gzip"},
    "three": {"data": np.ones((7, 11, 13), "f2"), "chunks": (2, 3, 5)},
    "unwritten": {"shape": (100, 100), "dtype": "f4", "chunks": (10, 10)},
    "empty": {"shape": (0, 10), "dtype": "f4", "chunks": (10, 10), "maxshape": (None, 10)},
    "filled": {"shape": (25, 25), "dtype": "f4", "chunks": (10, 10), "fillvalue": 7.0},
}
