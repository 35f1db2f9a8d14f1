"""VPTQ: vectors along the output from one codebook (and a residual one) a group of columns; a few columns may have their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weightguard.parameters.packing.scheme import Packed, Stored, larger

NAME = "vptq"
SPEC = (
    "vptq layers/vqlinear.py: indices int16 [codebooks, out / v, columns] or packed int32 [codebooks, out / v, columns * bits / 32],"
    " centroids.weight [codebooks, centroids * v], res_*, outlier_*, perm, weight_scale, weight_bias [in]"
)

_BESIDE = ("perm", "weight_scale", "weight_bias", "res_indices", "outlier_indices")
_TABLES = ("centroids.weight", "res_centroids.weight", "outlier_centroids.weight")
_LONGEST = 32
_VECTORS = 16


def find(stored: Stored, config: Mapping[str, Any]) -> Iterator[Packed]:
    """Vectors x their length x columns; the length follows from packed indices and the columns, or from the config."""
    layers = config.get("config_for_layers")
    for prefix, row in stored.ending("indices"):
        books = stored.get(prefix, "centroids.weight")
        shape = stored.shape(row)
        if books is None or len(shape) != 3 or not stored.is_integer(row) or len(stored.shape(books)) != 2:
            continue
        width = stored.shape(books)[1]
        lengths = stored.get(prefix, "weight_scale", "weight_bias")
        residual = stored.get(prefix, "res_centroids.weight")
        outliers = stored.get(prefix, "outlier_indices")
        own = stored.shape(outliers)[-1] if outliers is not None and stored.shape(outliers) else 0
        columns = stored.elements(lengths) if lengths is not None else None
        packed = stored.dtype(row) == "I32"
        within = shape[2] * shape[0]  # columns of all codebooks; packed: words
        claimed = _claimed(layers.get(prefix[:-1]) if isinstance(layers, dict) else None, width)
        v = claimed or _longest(width)
        if packed and columns is not None:
            shown = _length(within * 32 // max(columns - own, 1), width, _width(stored, residual))
            v = max(shown or v, claimed or 0)
        if columns is None:
            columns = (within * 32 if packed else within) + own
        count = shape[1] * v * columns
        other = None
        if not packed:
            count, other = larger(count, shape[1] * v * (within + own))
        yield Packed(row, count, stored.beside(prefix, _BESIDE), stored.beside(prefix, _TABLES), other)


def _width(stored: Stored, books: int | None) -> int:
    return stored.shape(books)[-1] if books is not None and stored.shape(books) else 0


def _length(bits: int, width: int, residual: int) -> int:
    """A vector's length, where an index and its residual have `bits` together, and the codebooks these widths; 0 if none."""
    for main in range(1, min(bits, 24) + 1):
        rest = bits - main
        v = width >> main
        if v and v << main == width and (v << rest == residual if residual else rest == 0):
            return v
    return 0


def _claimed(layer: Any, width: int) -> int:
    """The length that the config gives a layer, if a power of two of such vectors fills the codebook."""
    lengths = layer.get("vector_lens") if isinstance(layer, dict) else None
    v = lengths[1] if isinstance(lengths, list) and len(lengths) == 2 else None
    if type(v) is not int or v <= 0 or width % v or (width // v) & (width // v - 1):
        return 0
    return v


def _longest(width: int) -> int:
    """The longest usual vector that fills the codebook a power of two of times."""
    return max(
        (v for v in range(1, _LONGEST + 1) if width % v == 0 and not (n := width // v) & (n - 1) and n >= _VECTORS), default=1
    )
