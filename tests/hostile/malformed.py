"""Files that break their format: nothing may be counted from them. Safetensors, torch zips, GGUF, ONNX and NumPy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from struct import pack

from tests.formats._torch_files import Entry, state_dict_ops, tensor_ops, torch_entries, write_zip
from tests.hostile.case import Case
from tests.hostile.wire import gguf, onnx_model, protobuf, raw_safetensors


def _header(**tensors: object) -> bytes:
    return json.dumps(tensors).encode()


def _one(dtype: object = "F32", shape: object = (2, 2), offsets: object = (0, 16)) -> bytes:
    return _header(w={"dtype": dtype, "shape": shape, "data_offsets": offsets})


def safetensors() -> Iterator[Case]:
    data = b"\0" * 16
    plain = raw_safetensors(_one(), data)
    two = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    rows: tuple[tuple[str, bytes, str], ...] = (
        ("huge-length", raw_safetensors(_one(), data, 1 << 63), "a header of 2^63 bytes"),
        ("all-ones-length", b"\xff" * 8 + _one() + data, "a header of 2^64 - 1 bytes"),
        ("length-past-end", raw_safetensors(_one(), data, 5000), "a header longer than the file"),
        ("cut-header", plain[:40], "cut in the header"),
        ("cut-data", plain[:-1], "cut in the data"),
        ("seven-bytes", plain[:7], "seven bytes"),
        ("not-json", raw_safetensors(b"{not json}", data), "no JSON"),
        ("array", raw_safetensors(b"[1, 2]", data), "an array"),
        (
            "duplicate",
            raw_safetensors(b'{"w":' + json.dumps(two).encode() + b',"w":' + json.dumps(two).encode() + b"}", data),
            "a name twice",
        ),
        ("shape-product", raw_safetensors(_one(shape=[10**9, 10**6]), data), "10^15 elements in 16 bytes"),
        ("shape-less", raw_safetensors(_one(shape=[1]), data), "one element in 16 bytes"),
        ("shape-huge", raw_safetensors(_one(shape=[10**30]), data), "10^30 elements"),
        ("shape-wraps", raw_safetensors(_one(shape=[1 << 32, 1 << 32, 4]), data), "a product that wraps to zero"),
        ("shape-negative", raw_safetensors(_one(shape=[-2, -2]), data), "-2 times -2"),
        ("shape-float", raw_safetensors(_one(shape=[2.0, 2]), data), "a dimension with a point"),
        ("shape-nan", raw_safetensors(_one().replace(b"[2, 2]", b"[NaN, 2]"), data), "a dimension that is no number"),
        ("shape-bool", raw_safetensors(_one(shape=[True, 4]), data), "a dimension that is true"),
        ("shape-text", raw_safetensors(_one(shape="22"), data), "a shape that is text"),
        ("dtype-unknown", raw_safetensors(_one(dtype="F33"), data), "an unknown dtype"),
        ("dtype-number", raw_safetensors(_one(dtype=5), data), "a dtype that is a number"),
        ("offsets-swapped", raw_safetensors(_one(offsets=[16, 0]), data), "ends before it begins"),
        ("offsets-past", raw_safetensors(_one(shape=[4, 4], offsets=[0, 64]), data), "ends behind the file"),
        ("offsets-negative", raw_safetensors(_one(offsets=[-16, 0]), data), "begins before the data"),
        ("offsets-three", raw_safetensors(_one(offsets=[0, 8, 16]), data), "three offsets"),
        ("overlap", raw_safetensors(_header(a=two, b={**two, "data_offsets": [8, 24]}), b"\0" * 24), "tensors that overlap"),
        ("hole", raw_safetensors(_header(a=two, b={**two, "data_offsets": [32, 48]}), b"\0" * 48), "bytes between tensors"),
        ("hole-first", raw_safetensors(_one(offsets=[16, 32]), b"\0" * 32), "bytes before the first tensor"),
        ("trailing", plain + b"\1" * 64, "bytes behind the last tensor"),
        ("deep", raw_safetensors(b'{"a":' * 5000 + b"1" + b"}" * 5000, data), "five thousand objects deep"),
        ("no-shape", raw_safetensors(_header(w={"dtype": "F32", "data_offsets": [0, 16]}), data), "no shape"),
        ("metadata-number", raw_safetensors(_header(__metadata__={"a": 1}, w=two), data), "metadata that isn't text"),
        ("not-utf8", raw_safetensors(b'{"\xff\xfe":' + json.dumps(two).encode() + b"}", data), "a name that isn't UTF-8"),
    )
    for name, content, why in rows:
        yield Case(f"bad-safetensors-{name}", "safetensors", "model.safetensors", content, "malformed", why)


def torch_zips() -> Iterator[Case]:
    def of(
        name: str,
        why: str,
        count: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        stored: int,
        offset: int = 0,
        storage: str = "FloatStorage",
    ) -> Case:
        pickle = state_dict_ops({"w": tensor_ops("0", count, size, stride, offset, storage)})
        content = write_zip(torch_entries(pickle, {"0": b"\1" * stored}))
        return Case(f"bad-torch-{name}", "torch-zip", "model.pt", content, "malformed", why)

    yield of("shape", "10^18 elements over a storage of 4", 4, (10**9, 10**9), (10**9, 1), 16)
    yield of("storage-short", "a storage shorter than the pickle says", 1 << 40, (1 << 40,), (1,), 16)
    yield of("storage-long", "a storage longer than the pickle says", 4, (4,), (1,), 4096)
    yield of("offset", "a view that begins behind its storage", 4, (2,), (1,), 16, offset=1000)
    yield of("negative-size", "a negative size", 4, (-2, -2), (2, 1), 16)
    yield of("negative-stride", "a negative stride", 4, (2, 2), (-2, 1), 16)
    yield of("negative-offset", "a negative offset", 4, (2,), (1,), 16, offset=-2)
    yield of("unknown-storage", "a storage of no known type", 4, (4,), (1,), 16, storage="WeightStorage")
    good = torch_entries(state_dict_ops({"w": tensor_ops("0", 4, (4,), (1,))}), {"0": b"\1" * 16})
    whole = write_zip(good)
    yield Case(
        "bad-torch-missing-record",
        "torch-zip",
        "model.pt",
        write_zip([e for e in good if e.name != "archive/data/0"]),
        "malformed",
        "a storage that isn't there",
    )
    for at in (10, 60, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        yield Case(f"bad-torch-cut-{at}", "torch-zip", "model.pt", whole[:at], "malformed", "cut")
    extra = write_zip([*good, Entry("archive/data/1", b"\1" * 100_000)])
    yield Case(
        "bad-torch-unnamed-record", "torch-zip", "model.pt", extra, "malformed", "a hundred kilobytes that nothing names"
    )
    order = write_zip([Entry("archive/byteorder", b"middle") if e.name.endswith("byteorder") else e for e in good])
    yield Case("bad-torch-byteorder", "torch-zip", "model.pt", order, "malformed", "an unknown byte order")


def ggufs() -> Iterator[Case]:
    base = {"general.architecture": "llama"}
    whole = gguf(base)
    rows: tuple[tuple[str, bytes, str], ...] = (
        ("version-0", gguf(base, version=0), "version 0"),
        ("version-99", gguf(base, version=99), "version 99"),
        ("byte-order", b"GGUF" + whole[7:3:-1] + whole[8:], "the other byte order for the version alone"),
        ("tensor-count", gguf(base, tensor_count=1 << 62), "2^62 tensors"),
        ("pair-count", gguf(base, pair_count=1 << 62), "2^62 pairs"),
        ("string-length", gguf({}, pair_count=1, raw_pairs=pack("<Q", 1 << 62)), "a key of 2^62 bytes"),
        (
            "array-length",
            gguf({}, pair_count=1, raw_pairs=pack("<Q", 1) + b"a" + pack("<IIQ", 9, 4, 1 << 62)),
            "an array of 2^62 numbers",
        ),
        (
            "array-deep",
            gguf({}, pair_count=1, raw_pairs=pack("<Q", 1) + b"a" + pack("<IIQ", 9, 9, 1) * 3000),
            "arrays in arrays",
        ),
        ("value-type", gguf({}, pair_count=1, raw_pairs=pack("<Q", 1) + b"a" + pack("<II", 77, 1)), "an unknown kind of value"),
        ("dims-many", gguf(base, [("w", (1,) * 64, 0, 0)]), "64 dimensions"),
        ("dims-wrap", gguf(base, [("w", (1 << 32, 1 << 32, 4), 0, 0)]), "a product that wraps to zero"),
        ("dims-huge", gguf(base, [("w", (1 << 63, 2), 0, 0)]), "a dimension of 2^63"),
        ("type-unknown", gguf(base, [("w", (32, 2), 4242, 0)]), "an unknown tensor type"),
        ("offset-past", gguf(base, [("w", (32, 2), 0, 1 << 40)]), "a tensor behind the file"),
        ("offset-wraps", gguf(base, [("w", (32, 2), 0, (1 << 64) - 32)]), "an offset that wraps"),
        ("offset-odd", gguf(base, [("w", (32, 1), 0, 7)]), "an offset that isn't aligned"),
        ("overlap", gguf(base, [("a", (32, 2), 0, 0), ("b", (32, 2), 0, 128)], data=b"\0" * 384), "tensors that overlap"),
        ("duplicate", gguf(base, [("a", (32, 2), 0, 0), ("a", (32, 2), 0, 256)], data=b"\0" * 512), "a name twice"),
        ("block", gguf(base, [("w", (31, 2), 2, 0)]), "a row that its blocks don't divide"),
        ("alignment-0", gguf({**base, "general.alignment": 0}), "an alignment of 0"),
        ("alignment-odd", gguf({**base, "general.alignment": 33}), "an alignment of 33"),
        ("cut-header", whole[:40], "cut in the header"),
        ("cut-data", whole[:-8], "cut in the data"),
        ("trailing", whole + b"\1" * 100_000, "a hundred kilobytes behind the tensors"),
        (
            "hole",
            gguf(base, [("w", (32, 2), 0, 1 << 17)], data=b"\1" * (1 << 17) + b"\0" * 256),
            "128 kB before the first tensor",
        ),
    )
    for name, content, why in rows:
        yield Case(f"bad-gguf-{name}", "gguf", "model.gguf", content, "malformed", why)


def others() -> Iterator[Case]:
    whole = onnx_model()
    rows: tuple[tuple[str, bytes, str], ...] = (
        ("dims", onnx_model(dims=(1 << 40, 1 << 40)), "2^80 elements in 16 bytes"),
        ("negative", onnx_model(dims=(-2, -2)), "-2 times -2"),
        ("short", onnx_model(raw=b"\0" * 4), "four bytes for four floats"),
        ("long", onnx_model(raw=b"\0" * 4096), "four kilobytes for four floats"),
        ("type", onnx_model(data_type=999), "an unknown data type"),
        ("cut", whole[:-10], "cut"),
        ("unknown-field", whole + protobuf((500, b"\1" * 100_000)), "a hundred kilobytes in a field that ONNX doesn't have"),
        ("deep", protobuf((1, 8), (7, b"\x0a\x7f" * 5000)), "messages in messages"),
    )
    for name, content, why in rows:
        yield Case(f"bad-onnx-{name}", "onnx", "model.onnx", content, "malformed", why)
    npy: tuple[tuple[str, bytes, str], ...] = (
        ("cut", b"\x93NUMPY\x01\x00\x76\x00{'descr'", "cut"),
        ("shape", _npy("'<f4'", "(1000000000, 1000000000)", b"\0" * 16), "10^18 elements in 16 bytes"),
        ("negative", _npy("'<f4'", "(-2, -2)", b"\0" * 16), "-2 times -2"),
        ("less", _npy("'<f4'", "(1,)", b"\1" * 100_000), "a hundred kilobytes for one element"),
        ("dtype", _npy("'<q9'", "(1,)", b"\0" * 9), "an unknown dtype"),
        ("code", _npy("'<f4'", "(1, print(2))", b"\0" * 8), "a call in the header"),
        ("version", b"\x93NUMPY\x09\x00" + _npy("'<f4'", "(1,)", b"\0" * 4)[8:], "version 9"),
    )
    for name, content, why in npy:
        yield Case(f"bad-npy-{name}", "npy", "array.npy", content, "malformed", why)
    for name, content in (
        ("named-only", b""),
        ("text", b"no weights here\n"),
        ("zeros", b"\0" * 5000),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    ):
        yield Case(f"bad-{name}", "none", "model.safetensors", content, "malformed", "named like weights and isn't")


def _npy(dtype: str, shape: str, data: bytes) -> bytes:
    head = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + pack("<H", len(head)) + head.encode() + data


def cases() -> Iterator[Case]:
    for source in (safetensors, torch_zips, ggufs, others):
        yield from source()
