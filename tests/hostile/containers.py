"""A payload in every container that carries code, and containers that two readers understand differently."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import marshal
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from struct import pack

from tests.formats._torch_files import Entry, state_dict_ops, tensor_ops, torch_entries, write_zip
from tests.hostile.case import SHELL, SOURCE, Call, Case, Name, ops, stream
from tests.hostile.techniques import STRADDLED
from tests.hostile.wire import gguf, onnx_model, protobuf, safetensors_file, seven_zip

PAYLOAD = stream(Call(Name("posix", "system"), SHELL))
HARMLESS = state_dict_ops({"w": tensor_ops("0", 4, (2, 2), (2, 1))})
STORAGES = {"0": bytes(range(16))}
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_END = b"PK\5\6"


def _zip(name: str, entries: Sequence[Entry], why: str, loads: str = "", file: str = "model.pt", **around: bytes) -> Case:
    return Case(f"torch-{name}", "torch-zip", file, write_zip(entries, **around), "danger", why, loads)


def _with(**lies: object) -> list[Entry]:
    """A torch zip whose data.pkl is the payload, with its entry changed."""
    first, *rest = torch_entries(PAYLOAD, STORAGES)
    return [replace(first, **lies), *rest]  # type: ignore[arg-type]


def torch_zips() -> Iterator[Case]:
    plain = torch_entries(PAYLOAD, STORAGES)
    harmless = torch_entries(HARMLESS, STORAGES)
    data = Entry("archive/data.pkl", PAYLOAD)
    yield _zip("plain", plain, "data.pkl is the payload", "torch")
    inside = state_dict_ops({"w": tensor_ops("0", 4, (2, 2), (2, 1)), "x": PAYLOAD[2:-1]})
    yield _zip("beside-weights", torch_entries(inside, STORAGES), "a call beside a tensor", "torch")
    for suffix in ("bin", "pth", "ckpt", "weights", "model", "png", "txt", "safetensors", "gguf", "zip", "h5"):
        loads = "" if suffix == "safetensors" else "torch"  # which torch.load opens as what it is named
        yield _zip(f"named-{suffix}", plain, "CVE-2025-1889: a name that a scanner doesn't open", loads, f"model.{suffix}")
    yield _zip("no-suffix", plain, "no suffix at all", "torch", "model")
    yield _zip("dot-file", plain, "a hidden file", "torch", ".model")
    yield _zip("twice-first", [data, *harmless], "two members of one name, the hostile one first", "torch")
    yield _zip("twice-last", [*harmless, data], "two members of one name, the hostile one last")
    upper = [Entry("archive/DATA.PKL", PAYLOAD), *harmless]
    yield _zip("other-case", upper, "torch finds records without regard to case", "torch")
    yield _zip("upper-case-only", [Entry("archive/Data.Pkl", PAYLOAD), *harmless[1:]], "the same, alone", "torch")
    yield _zip("wrong-crc", _with(crc=1, local_crc=1), "CVE-2025-10156: a wrong checksum ends a scan", "torch")
    yield _zip("wrong-local-crc", _with(local_crc=1), "checksums that differ", "torch")
    yield _zip(
        "local-name", _with(local_name="archive/data.txt"), "CVE-2025-1944: the name in the local header is another", "torch"
    )
    yield _zip(
        "local-name-benign",
        [
            replace(harmless[0], local_name="archive/data.pkx"),
            *harmless[1:],
            Entry("archive/x.pkl", PAYLOAD, local_name="archive/data.pkl"),
        ],
        "the payload is data.pkl for who goes by local headers",
    )
    for bit in (0x1, 0x20, 0x40, 0x2000):
        yield _zip(
            f"flag-{bit:x}", _with(flags=bit), "CVE-2025-1945: a flag that Python's zipfile minds and an older torch doesn't"
        )
        yield _zip(f"flag-{bit:x}-directory", _with(flags=bit, local_flags=0), "the same in the directory alone")
        yield _zip(f"flag-{bit:x}-local", _with(local_flags=bit), "the same in the local header alone", "torch")
    yield _zip("local-method", _with(local_method=99), "a method in the local header alone", "torch")
    yield _zip("deflated", [replace(data, deflate=True), *plain[1:]], "compressed", "torch")
    yield _zip("local-size", _with(local_size=1), "another size in the local header", "torch")
    yield _zip("gap", [replace(plain[0], gap=PAYLOAD), *plain[1:]], "a pickle between members", "torch")
    yield _zip("comment", plain, "a comment of 60 kB", comment=b"#" * 60_000)
    fake_end = pack("<4s4H2IH", _END, 0, 0, 0, 0, 0, 0, 0)
    yield _zip("two-ends", plain, "an empty archive's end inside the comment", "", comment=fake_end)
    yield _zip("prefix", plain, "bytes before the archive", "", prefix=b"#!/bin/sh\n")
    yield _zip("prefix-pickle", plain, "a pickle before the archive", "pickle", prefix=PAYLOAD)
    yield _zip("suffix", plain, "bytes after the archive", "", suffix=b"\0" * 100)
    corrupt = Entry("archive/aaa", b"x" * 10, local_name="archive/aab", crc=3)
    yield _zip(
        "corrupt-first",
        [replace(corrupt, local_extra=b"\xff" * 7), *plain],
        "modelscan #354: a broken member first ends a scan",
        "torch",
    )
    yield _zip("zip64-lie", _with(extra=pack("<HH2Q", 1, 16, 1 << 40, 1 << 40)), "a size of 2^40 in an extra field")
    yield _zip(
        "unicode-path",
        _with(extra=pack("<HHBI", 0x7075, 5 + 9, 1, zlib.crc32(b"archive/data.pkl")) + b"a/data.tx"),
        "a second name in an extra field",
    )
    yield _zip("two-roots", [*harmless, Entry("other/data.pkl", PAYLOAD)], "a second folder with a data.pkl")
    yield _zip(
        "payload-first-root", [Entry("other/data.pkl", PAYLOAD), *harmless], "torch takes the folder of the first member"
    )
    yield _zip("traversal", [*harmless, Entry("archive/../../evil.py", SOURCE.encode())], "a member that leaves the folder")
    yield _zip("absolute", [*harmless, Entry("/tmp/evil.py", SOURCE.encode())], "a member with an absolute path")
    yield _zip("nul-name", [*harmless, Entry("archive/x\0.txt", PAYLOAD)], "a name with NUL")
    yield _zip("other-pkl", [*harmless, Entry("archive/other.pkl", PAYLOAD)], "another pickle")
    yield _zip("bin-member", [*harmless, Entry("archive/extra/x.bin", PAYLOAD)], "a pickle under another name")
    yield _zip(
        "storage-pickle",
        [*torch_entries(HARMLESS, {"0": PAYLOAD[:16]})[:-1], Entry("archive/data/1", PAYLOAD)],
        "a record that nothing names is a pickle",
    )
    nested = write_zip(plain)
    yield _zip("nested-zip", [*harmless, Entry("archive/extra/inner.pt", nested)], "an archive in the archive")
    yield _zip("frame-straddled", torch_entries(STRADDLED, STORAGES), "CPython #154848 in data.pkl", "torch")
    yield _zip("no-stop", torch_entries(PAYLOAD[:-1], STORAGES), "acts before it fails", "torch")
    yield _zip("then-garbage", torch_entries(PAYLOAD[:-1] + b"\xff", STORAGES), "acts before it fails", "torch")
    yield _zip(
        "constants",
        [*harmless, Entry("archive/constants.pkl", PAYLOAD), Entry("archive/code/__torch__.py", b"")],
        "TorchScript's constants",
    )
    debug = Entry("archive/code/__torch__/a.py.debug_pkl", PAYLOAD)
    yield _zip(
        "debug-pkl", [*harmless, Entry("archive/constants.pkl", b"\x80\x02)."), debug], "TorchScript's debug information"
    )
    yield _zip("version-pickle", [*harmless[:-1], Entry("archive/version", PAYLOAD)], "a pickle as the version")
    yield _zip(
        "byteorder-pickle", [harmless[0], Entry("archive/byteorder", PAYLOAD), *harmless[2:]], "a pickle as the byte order"
    )
    yield _zip("traced-inputs", [*harmless, Entry("archive/traced_inputs.pkl", PAYLOAD)], "the inputs of a trace")


def legacy() -> Iterator[Case]:
    def of(name: str, parts: Sequence[bytes], why: str, file: str = "model.pt", loads: str = "torch") -> Case:
        return Case(f"legacy-{name}", "torch-legacy", file, b"".join(parts), "danger", why, loads)

    magic, version, info, keys = stream(MAGIC), stream(PROTOCOL), stream({"little_endian": True}), stream([])
    yield of("object", (magic, version, info, PAYLOAD, keys), "the object")
    yield of("info", (magic, version, PAYLOAD, stream({}), keys), "the system's description")
    yield of("version", (magic, PAYLOAD, info, stream({}), keys), "the protocol's number")
    yield of("keys", (magic, version, info, stream({}), PAYLOAD), "the list of keys")
    under = b"K\x01" + magic
    yield of("under-magic", (under, version, info, PAYLOAD, keys), "a value under the magic number, no suffix", "model")
    by_eval = stream(Call(Name("builtins", "eval"), f"[{hex(MAGIC)}, {SOURCE}][0]"))
    yield of("magic", (by_eval, version, info, stream({}), keys), "picklescan: the magic number by a call")
    yield of("bin", (magic, version, info, PAYLOAD, keys), "the object, in a .bin", "pytorch_model.bin")
    yield Case(
        "legacy-raw-bin", "pickle", "pytorch_model.bin", PAYLOAD, "danger", "CVE-2025-10155: a bare pickle named .bin", "torch"
    )
    yield of("frame-straddled", (magic, version, info, STRADDLED, keys), "CPython #154848 in the object", loads="")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (("sys_info", info), ("pickle", PAYLOAD), ("storages", stream(0)), ("tensors", stream(0))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    yield Case("legacy-tar", "tar", "model.pt", buffer.getvalue(), "danger", "torch's files of 2016")


def streams() -> Iterator[Case]:
    for name, suffix, squeeze in (
        ("zlib", "z", zlib.compress),
        ("gzip", "gz", gzip.compress),
        ("bz2", "bz2", bz2.compress),
        ("xz", "xz", lzma.compress),
        ("lzma", "lzma", lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE)),
    ):
        packed = squeeze(PAYLOAD)
        yield Case(f"joblib-{name}", name, "model.joblib", packed, "danger", f"joblib opens {name} by itself", "joblib")
        yield Case(f"pickle-{name}", name, f"model.pkl.{suffix}", packed, "danger", f"a pickle in {name}")
        twice = squeeze(squeeze(PAYLOAD))
        yield Case(f"twice-{name}", name, f"model.pkl.{suffix}", twice, "danger", f"{name} in {name}")
    yield Case("joblib-plain", "pickle", "model.joblib", PAYLOAD, "danger", "joblib without compression", "joblib")
    fields = {"subclass": Name("numpy", "ndarray"), "shape": (1,), "order": "C", "dtype": Call(Name("numpy", "dtype"), "O")}
    wrapper = b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81" + ops({**fields, "allow_mmap": False}) + b"b"
    yield Case(
        "joblib-object-array",
        "pickle",
        "model.joblib",
        wrapper + PAYLOAD + b".",
        "danger",
        "joblib unpickles an array of objects from the middle of the file",
        "joblib",
    )
    bomb = gzip.compress(b"\0" * (300 << 20), 9)
    yield Case("gzip-bomb", "gzip", "model.pkl.gz", bomb, "danger", "300 MB of zeros in 300 kB")
    yield Case(
        "zstd-frame", "zstd", "model.pkl.zst", bytes.fromhex("28b52ffd") + b"\x20\x04\x21\0\0" + b"N.  ", "danger", "Zstandard"
    )
    yield Case(
        "lz4-frame",
        "lz4",
        "model.pkl.lz4",
        bytes.fromhex("04224d186440a7") + pack("<I", 0x80000000 | len(PAYLOAD)) + PAYLOAD + b"\0\0\0\0",
        "danger",
        "LZ4 (joblib)",
    )


def _npy(dtype: str, data: bytes, shape: str = "(1,)") -> bytes:
    head = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + pack("<H", len(head)) + head.encode() + data


def arrays() -> Iterator[Case]:
    objects = _npy("'|O'", PAYLOAD)
    yield Case("npy-objects", "npy", "array.npy", objects, "danger", "an array of objects is a pickle", "numpy")
    yield Case("npy-named-bin", "npy", "array.bin", objects, "danger", "the same under another name", "numpy")
    yield Case(
        "npy-structured", "npy", "array.npy", _npy("[('a', '|O')]", PAYLOAD), "danger", "objects in a structure", "numpy"
    )
    yield Case("npy-pickle", "pickle", "array.npy", PAYLOAD, "danger", "numpy.load takes a bare pickle too", "numpy")
    yield Case(
        "npy-eval",
        "npy",
        "array.npy",
        _npy("'<f4'", b"\0" * 4, f"(__import__('os').system('{SHELL}'),)"),
        "danger",
        "a header that somebody may evaluate",
    )
    yield Case("npy-then-pickle", "npy", "array.npy", _npy("'<f4'", b"\0" * 4) + PAYLOAD, "danger", "a pickle behind the array")
    for squeeze in (False, True):
        made = write_zip([Entry("a.npy", _npy("'<f4'", b"\0" * 4)), Entry("b.npy", objects, deflate=squeeze)])
        name = "npz-objects" + ("-deflated" if squeeze else "")
        yield Case(name, "npz", "arrays.npz", made, "danger", "one array of objects among others", "numpy")
    pickled = write_zip([Entry("a.npy", _npy("'<f4'", b"\0" * 4)), Entry("b.npy", PAYLOAD)])
    yield Case("npz-pickle", "npz", "arrays.npz", pickled, "danger", "a bare pickle as a member")
    other = write_zip([Entry("a.npy", _npy("'<f4'", b"\0" * 4)), Entry("b.pkl", PAYLOAD)])
    yield Case("npz-other-member", "npz", "arrays.npz", other, "danger", "a pickle beside the arrays")


def archives() -> Iterator[Case]:
    yield Case("7z", "7z", "model.7z", seven_zip("data.pkl", PAYLOAD), "danger", "an archive that hubs accept")
    yield Case(
        "7z-bin",
        "7z",
        "pytorch_model.bin",
        seven_zip("data.pkl", PAYLOAD),
        "danger",
        "Hugging Face, 2025 (nullifAI): 7z in place of a zip",
    )
    yield Case("rar", "rar", "model.rar", b"Rar!\x1a\x07\x01\0" + PAYLOAD, "danger", "an archive")
    for name in ("data.pkl", "data.bin", "data", "data.txt", "folder/model.joblib", "a.dat"):
        yield Case(
            f"zip-{name.replace('/', '-')}",
            "zip",
            "model.zip",
            write_zip([Entry(name, PAYLOAD)]),
            "danger",
            "a pickle in a plain zip",
        )
    yield Case(
        "zip-encrypted",
        "zip",
        "model.zip",
        write_zip([Entry("data.pkl", PAYLOAD, flags=1)]),
        "danger",
        "CVE-2025-1945's neighbour: marked as encrypted",
    )
    yield Case(
        "zip-nested",
        "zip",
        "model.zip",
        write_zip([Entry("a.zip", write_zip([Entry("data.pkl", PAYLOAD)]))]),
        "danger",
        "a zip in a zip",
    )
    mar = [
        Entry("MAR-INF/MANIFEST.json", b'{"model": {"handler": "h.py", "serializedFile": "m.pt"}}'),
        Entry("h.py", f"import os\nos.system({SHELL!r})\n".encode()),
        Entry("m.pt", PAYLOAD),
    ]
    yield Case("torchserve", "zip", "model.mar", write_zip(mar), "danger", "TorchServe runs its handler")
    skops = [
        Entry("schema.json", b'{"__class__": "call", "__module__": "os", "__loader__": "FunctionNode"}'),
        Entry("0.pkl", PAYLOAD),
    ]
    yield Case("skops", "zip", "model.skops", write_zip(skops), "danger", "skops with a pickle")
    nemo = io.BytesIO()
    with tarfile.open(fileobj=nemo, mode="w:gz") as tar:
        for name, content in (("model_config.yaml", b"target: os.system\n"), ("model_weights.ckpt", PAYLOAD)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    yield Case("nemo", "tar", "model.nemo", nemo.getvalue(), "danger", "NeMo: a tar of weights and a target to call")
    link = io.BytesIO()
    with tarfile.open(fileobj=link, mode="w") as tar:
        member = tarfile.TarInfo("model.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    yield Case("tar-link", "tar", "model.tar", link.getvalue(), "danger", "a link that leaves")


def _lambda_layer() -> bytes:
    code = base64.b64encode(marshal.dumps(compile(f"lambda x: [x, {SOURCE}][0]", "<s>", "eval").co_consts[0])).decode()
    return (
        '{"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": [{"module": "keras.layers", "class_name": '
        '"Lambda", "config": {"name": "l", "function": {"class_name": "__lambda__", "config": {"code": "%s", "defaults": null, '
        '"closure": null}}}, "registered_name": null}]}, "registered_name": null}' % code
    ).encode()


def _sequential(**layer: object) -> bytes:
    return json.dumps({"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}).encode()


def _h5(attributes: dict[str, str], link: str = "") -> bytes:
    import h5py  # type: ignore[import]

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for key, value in attributes.items():
            file.attrs[key] = value
        group = file.create_group("model_weights").create_group("d")
        group["kernel:0"] = [[0.5, 0.25], [1.0, 2.0]]
        if link:
            group["outside"] = h5py.ExternalLink(link, "/x")
    return buffer.getvalue()


def keras() -> Iterator[Case]:
    if not find_spec("h5py"):
        return
    layer = _lambda_layer()
    weights = _h5({})
    meta = Entry("metadata.json", b'{"keras_version": "3.9.0", "date_saved": "2026-01-01@00:00:00"}')

    def zipped(name: str, config: bytes, why: str, *more: Entry) -> Case:
        entries = [meta, Entry("config.json", config), Entry("model.weights.h5", weights), *more]
        return Case(f"keras-{name}", "keras", "model.keras", write_zip(entries), "danger", why)

    yield zipped("lambda", layer, "a Lambda layer is Python's byte code")
    yield zipped(
        "lambda-full-name",
        layer.replace(b'"class_name": "Lambda"', b'"class_name": "keras.layers.Lambda"'),
        "the class by its full name",
    )
    yield zipped(
        "lambda-old",
        layer.replace(b'{"class_name": "__lambda__", "config": {"code": ', b"[")
        .replace(b', "defaults": null, "closure": null}}', b", null, null]")
        .replace(b'"defaults"', b'"d"'),
        "Keras 2's form of it",
    )
    call = _sequential(module="os", class_name="function", config="system", registered_name="system")
    yield zipped("module-os", call, "CVE-2025-1550: a configuration that names a module and a function")
    fetch = _sequential(module="keras.utils", class_name="function", config="get_file", registered_name="get_file")
    yield zipped(
        "get-file",
        fetch,
        "CVE-2025-8747: keras.utils.get_file",
    )
    yield zipped(
        "pickle-member",
        b'{"class_name": "Sequential", "config": {"layers": []}}',
        "a pickle beside the weights",
        Entry("assets/x.pkl", PAYLOAD),
    )
    external = [
        meta,
        Entry("config.json", b'{"class_name": "Sequential", "config": {"layers": []}}'),
        Entry("model.weights.h5", _h5({}, "/etc/passwd")),
    ]
    yield Case("keras-external-link", "keras", "model.keras", write_zip(external), "danger", "HDF5 that leads to another file")
    yield Case(
        "h5-lambda",
        "hdf5",
        "model.h5",
        _h5({"model_config": layer.decode(), "keras_version": "2.15.0"}),
        "danger",
        "a Lambda layer in an attribute",
    )
    yield Case(
        "h5-lambda-bin", "hdf5", "model.bin", _h5({"model_config": layer.decode()}), "danger", "the same under another name"
    )
    yield Case("h5-external-link", "hdf5", "model.h5", _h5({}, "/etc/passwd"), "danger", "a link to another file")
    yield Case("h5-external-storage", "hdf5", "model.h5", _h5_external(), "danger", "data kept in another file")
    custom = _sequential(module="evil.layers", class_name="MyLayer", config={}, registered_name="evil>MyLayer").decode()
    yield Case(
        "h5-pickle-attribute",
        "hdf5",
        "model.h5",
        _h5({"model_config": custom, "x": base64.b64encode(PAYLOAD).decode()}),
        "danger",
        "a class of a package that nobody knows",
    )


def _h5_external() -> bytes:
    import h5py  # type: ignore[import]

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("x", shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)])
    return buffer.getvalue()


def graphs() -> Iterator[Case]:
    for name, location in (
        ("leaves", "../../../etc/passwd"),
        ("absolute", "/etc/passwd"),
        ("missing", "weights.bin"),
        ("nul", "a\0b"),
    ):
        data = onnx_model(location=location)
        yield Case(
            f"onnx-external-{name}", "onnx", "model.onnx", data, "danger", "CVE-2024-27318's kind: weights in another file"
        )
    yield Case(
        "onnx-custom-op",
        "onnx",
        "model.onnx",
        onnx_model(domain="ai.onnx.contrib", op="PyOp"),
        "danger",
        "an operator that runs Python",
    )
    yield Case("onnx-trailing-pickle", "onnx", "model.onnx", onnx_model() + PAYLOAD, "danger", "a pickle behind the model")
    yield Case(
        "onnx-metadata-pickle",
        "onnx",
        "model.onnx",
        onnx_model(metadata={"x": base64.b64encode(PAYLOAD * 2000).decode()}),
        "danger",
        "a hundred kilobytes in the metadata",
    )
    node = protobuf((1, b"PyFunc"), (2, b"PyFunc"), (5, protobuf((1, b"token"), (2, protobuf((2, b"pyfunc_0"))))))
    graph = protobuf((1, node), (4, protobuf((1, 27))))
    saved = protobuf((1, 1), (2, protobuf((1, protobuf((4, b"serve"))), (2, graph))))
    yield Case("savedmodel-pyfunc", "tensorflow", "saved_model.pb", saved, "danger", "an operation that calls Python")
    unversioned = protobuf((2, protobuf((1, protobuf((4, b"serve"))), (2, protobuf((1, node))))))
    yield Case(
        "savedmodel-text", "tensorflow", "saved_model.pb", unversioned, "danger", "no version: its bytes happen to be text"
    )
    for op in (b"ReadFile", b"WriteFile"):
        node = protobuf((1, op), (2, op))
        saved = protobuf((1, 1), (2, protobuf((1, protobuf((4, b"serve"))), (2, protobuf((1, node))))))
        yield Case(
            f"savedmodel-{op.decode().lower()}", "tensorflow", "saved_model.pb", saved, "danger", "an operation on files"
        )
    yield Case(
        "tflite-custom",
        "tflite",
        "model.tflite",
        pack("<I", 24) + b"TFL3" + b"\0" * 16 + b"FlexPyFunc\0\0",
        "danger",
        "a custom operator",
    )


TEMPLATES = {
    "globals": "{{ cycler.__init__.__globals__.os.popen('echo weightguard').read() }}",
    "subclasses": "{% for c in ().__class__.__base__.__subclasses__() %}{{ c(['true']) if 'Popen' in c.__name__ }}{% endfor %}",
    "attr": "{{ x|attr('__init__')|attr('__globals__') }}",
    "import": "{{ self._TemplateReference__context.namespace.__init__.__globals__['__builtins__']['__import__']('os') }}",
    "hex": "{{ ''['\\x5f\\x5fclass\\x5f\\x5f'] }}",
}


def templates() -> Iterator[Case]:
    for name, template in TEMPLATES.items():
        data = gguf({"general.architecture": "llama", "tokenizer.chat_template": template})
        yield Case(
            f"gguf-template-{name}", "gguf", "model.gguf", data, "danger", "CVE-2024-34359: a chat template that reaches Python"
        )
    data = gguf({"general.architecture": "llama"}) + PAYLOAD
    yield Case("gguf-trailing-pickle", "gguf", "model.gguf", data, "danger", "a pickle behind the tensors")


def polyglots() -> Iterator[Case]:
    """One file for two readers."""
    weights = safetensors_file({"w": ("F32", (2, 2), 16)})
    harmless = write_zip(torch_entries(HARMLESS, STORAGES))
    hostile = write_zip(torch_entries(PAYLOAD, STORAGES))
    yield Case("safetensors-zip", "safetensors", "model.safetensors", weights + hostile, "danger", "a zip behind safetensors")
    inside = safetensors_file({"w": ("U8", (len(hostile),), len(hostile))}, data=hostile)
    yield Case(
        "safetensors-zip-inside",
        "safetensors",
        "model.safetensors",
        inside,
        "danger",
        "a zip as a tensor: what looks for an archive's end finds it",
    )
    yield Case(
        "safetensors-pickle", "safetensors", "model.safetensors", weights + PAYLOAD, "danger", "a pickle behind safetensors"
    )
    yield Case(
        "safetensors-named-pickle",
        "pickle",
        "model.safetensors",
        PAYLOAD,
        "danger",
        "a pickle that is named safetensors",
        "pickle",
    )
    yield Case("safetensors-named-zip", "torch-zip", "model.safetensors", hostile, "danger", "a zip that is named safetensors")
    hidden = safetensors_file({"w": ("F32", (2, 2), 16)}, metadata={"x": base64.b64encode(PAYLOAD * 2000).decode()})
    yield Case(
        "safetensors-metadata", "safetensors", "model.safetensors", hidden, "danger", "a hundred kilobytes in the metadata"
    )
    yield Case(
        "pickle-zip", "pickle", "model.pt", PAYLOAD + harmless, "danger", "a pickle for one, an archive for another", "pickle"
    )
    yield Case("zip-pickle", "torch-zip", "model.pt", harmless + PAYLOAD, "danger", "an archive with a pickle behind it")
    yield Case("png-pickle", "pickle", "image.png", PAYLOAD, "danger", "a pickle that is named an image", "pickle")
    yield Case(
        "gif-zip",
        "torch-zip",
        "image.gif",
        b"GIF89a" + b"\x01\0\x01\0\0\0\0;" + hostile,
        "danger",
        "an image with an archive behind it",
    )
    yield Case(
        "pdf-zip", "torch-zip", "paper.pdf", b"%PDF-1.4\n%%EOF\n" + hostile, "danger", "a document with an archive behind it"
    )
    yield Case(
        "text-pickle",
        "pickle",
        "notes.txt",
        b"cposix\nsystem\n(S'" + SHELL.encode() + b"'\ntR.",
        "danger",
        "a pickle that is text",
        "pickle",
    )
    yield Case(
        "text-inst-pickle",
        "pickle",
        "notes.md",
        b"(S'" + SHELL.encode() + b"'\niposix\nsystem\n.",
        "danger",
        "a pickle that is text",
        "pickle",
    )
    yield Case(
        "gguf-zip", "gguf", "model.gguf", gguf({"general.architecture": "llama"}) + hostile, "danger", "a zip behind GGUF"
    )
    legacy_zip = stream(MAGIC) + stream(PROTOCOL) + stream({}) + stream({}) + stream([]) + hostile
    yield Case("legacy-zip", "torch-legacy", "model.pt", legacy_zip, "danger", "a legacy file with an archive behind it")


def with_python_zip() -> Iterator[Case]:
    """Written by Python's own zipfile, as scanners' tests do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("archive/data.pkl", PAYLOAD)
    yield Case("torch-lzma", "zip", "model.pt", buffer.getvalue(), "danger", "a method that torch doesn't read")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        with archive.open("archive/data.pkl", "w", force_zip64=True) as member:
            member.write(PAYLOAD)
        archive.writestr("archive/version", "3\n")
    yield Case("torch-zip64", "torch-zip", "model.pt", buffer.getvalue(), "danger", "zip64 where none is needed", "torch")


def cases() -> Iterator[Case]:
    for source in (torch_zips, legacy, streams, arrays, archives, keras, graphs, templates, polyglots, with_python_zip):
        yield from source()
