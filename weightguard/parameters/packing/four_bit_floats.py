"""MXFP4 and NVFP4: two 4-bit floats a byte, scales in tensors of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, dtype_is, siblings
from weightguard.tensors import TensorTable

NAME = "mxfp4/nvfp4"
SPEC = "transformers mxfp4.py (*_blocks, *_scales); ModelOpt NVFP4 (weight uint8, weight_scale e4m3, weight_scale_2)"


def find(table: TensorTable, rows: Mapping[str, int], config: Mapping[str, Any]) -> Iterator[Packed]:
    """Twice the stored bytes. A uint8 `weight` is packed where its scale is e4m3: an unpacked one has the same name."""
    for name, row in rows.items():
        if not dtype_is(table, row, "U8"):
            continue
        if name.endswith("_blocks") and name[: -len("blocks")] + "scales" in rows:
            yield Packed(row, 2 * int(table.elements[row]), siblings(rows, name[: -len("blocks")], "scales"))
        elif name.endswith(".weight"):
            prefix = name[: -len("weight")]
            scale = rows.get(prefix + "weight_scale")
            if scale is not None and dtype_is(table, scale, "F8_E4M3"):
                yield Packed(
                    row, 2 * int(table.elements[row]), siblings(rows, prefix, "weight_scale", "weight_scale_2", "input_scale")
                )
