"""How a pickle can hide what it calls: opcodes, memo, frames, planted attributes, streams. The call is os.system throughout.

Sources: the public issues and advisories of the scanners (named in the rows), CPython's `pickle.py`, `_pickle.c` and `pickletools.py`.
"""

from __future__ import annotations

import base64
import pickle
from collections.abc import Iterator
from struct import pack

from tests.hostile.case import SHELL, SOURCE, Build, Call, Case, Name, Ops, ops, short, stream, text

_SYSTEM = b"cposix\nsystem\n"
_ARGUMENT = text(SHELL) + b"\x85"
_CALL = _SYSTEM + _ARGUMENT + b"R"
_DECOY = text("torch._utils") + text("_rebuild_tensor_v2")
_LOAD = Name("torch.utils.collect_env", "run")  # named, not of the standard library, and runs a command


def _framed(body: bytes, length: int) -> bytes:
    return b"\x80\x05\x95" + pack("<Q", length) + body


def _straddled() -> bytes:
    """A frame of two bytes and, in it, bytes of 263: read from a file, the C unpickler goes on behind the frame."""
    hidden = (_SYSTEM + b"V" + SHELL.encode() + b"\n\x85R(").ljust(261, b"N")
    start = b"\x80\x05NV" + b"a" * (8192 * 16 - 17) + b"\n0("
    return start + b"\x95" + pack("<Q", 2) + b"B\x07\x01\0\0\0\0" + hidden + b"1."


STRADDLED = _straddled()
_MAIN = Name("torch.utils.collect_env", "main")  # runs several commands, without being given one
_ORDERED = Call(Name("collections", "OrderedDict"))
_NAMESPACE = Call(Name("types", "SimpleNamespace"))
_PARAMETERS = Call(Name("argparse", "Namespace"))

# (name, the pickle, how it is made live or "", why)
ROWS: tuple[tuple[str, bytes, str, str], ...] = (
    ("reduce-0", b"cposix\nsystem\n(V" + SHELL.encode() + b"\ntR.", "pickle", "protocol 0"),
    ("reduce-1", b"cposix\nsystem\n(" + text(SHELL) + b"tR.", "pickle", "protocol 1"),
    ("reduce-2", b"\x80\x02" + _CALL + b".", "pickle", "protocol 2"),
    ("reduce-3", b"\x80\x03" + _CALL + b".", "pickle", "protocol 3"),
    ("reduce-4", stream(Call(Name("posix", "system"), SHELL), 4), "pickle", "protocol 4, STACK_GLOBAL"),
    ("reduce-5", stream(Call(Name("posix", "system"), SHELL), 5), "pickle", "protocol 5"),
    ("no-proto", _CALL + b".", "pickle", "opcodes of protocol 2 without PROTO"),
    ("proto-later", b"N0\x80\x02" + _CALL + b".", "pickle", "PROTO in the middle"),
    ("proto-twice", b"\x80\x02\x80\x04" + _CALL + b".", "pickle", "two protocols"),
    ("proto-0", b"\x80\x00" + _CALL + b".", "pickle", "PROTO 0"),
    ("inst", b"(" + text(SHELL) + b"iposix\nsystem\n.", "pickle", "INST"),
    ("inst-0", b"(V" + SHELL.encode() + b"\niposix\nsystem\n.", "pickle", "INST in text"),
    ("obj", b"\x80\x02(" + _SYSTEM + text(SHELL) + b"o.", "pickle", "OBJ"),
    ("obj-pop", b"\x80\x02(" + _SYSTEM + text(SHELL) + b"o0N.", "pickle", "fickling GHSA-mxhj-88fx-4pcv: OBJ, then POP"),
    ("newobj", b"\x80\x02csubprocess\nPopen\n" + text(SHELL) + b"\x85\x81.", "", "NEWOBJ makes, doesn't call __init__"),
    ("newobj-io", b"\x80\x02c_io\nFileIO\n" + text("weightguard-ran") + b"\x85\x81.", "", "NEWOBJ of a file"),
    ("newobj-ex", b"\x80\x04csubprocess\nPopen\n)}" + text("args") + text(SHELL) + b"s\x92.", "", "NEWOBJ_EX with names"),
    ("pop", b"\x80\x02" + _CALL + b"0N.", "pickle", "the result is thrown away"),
    ("pop-mark", b"\x80\x02(" + _CALL + b"1N.", "pickle", "modelscan #330's end: POP_MARK"),
    ("in-a-key", b"\x80\x02}" + _CALL + b"Ns.", "pickle", "as a key"),
    ("in-a-state", b"\x80\x02cargparse\nNamespace\n)R}" + text("a") + _CALL + b"sb.", "pickle", "in a state"),
    (
        "behind-weights",
        stream({"weight": [0.5] * 40, "bias": [0.25] * 40, "x": Call(Name("posix", "system"), SHELL)}),
        "pickle",
        "beside numbers",
    ),
    ("dup", b"\x80\x02" + _SYSTEM + b"2" + _ARGUMENT + b"R.", "pickle", "DUP"),
    ("no-stop", b"\x80\x02" + _CALL, "pickle", "acts before it fails: no STOP"),
    ("then-garbage", b"\x80\x02" + _CALL + b"\xff\xff\xff", "pickle", "acts before it fails: an opcode that isn't one"),
    ("then-underflow", b"\x80\x02" + _CALL + b"0000000.", "pickle", "acts before it fails: an empty stack"),
    (
        "then-missing-memo",
        b"\x80\x04" + _CALL + b"0" + short("os") + b"\x94h\x03h\x00\x93K\x42.",
        "pickle",
        "picklescan: acts before a memo entry that isn't there",
    ),
    (
        "then-wrong-type",
        b"\x80\x04" + _CALL + b"0J\x2a\0\0\0\x94" + short("os") + b"\x94h\x00h\x01\x93.",
        "pickle",
        "picklescan: acts before a name that is a number",
    ),
    ("then-bad-global", b"\x80\x02" + _CALL + b"0cno.such.module\nthing\n.", "pickle", "acts before a module that isn't there"),
    ("then-bad-text", b"\x80\x02" + _CALL + b"0X\x02\0\0\0\xff\xfe.", "pickle", "acts before text that isn't UTF-8"),
    ("then-huge-length", b"\x80\x04" + _CALL + b"0\x8d" + pack("<Q", 1 << 62) + b".", "pickle", "acts before a length of 2^62"),
    ("then-persistent", b"\x80\x02" + _CALL + b"0Pno-such-thing\n.", "pickle", "acts before a reference to outside"),
    ("then-extension", b"\x80\x02" + _CALL + b"0\x82\xf0.", "pickle", "acts before an extension code that isn't there"),
    ("then-bad-int", b"\x80\x02" + _CALL + b"0Iabc\n.", "pickle", "acts before a number that isn't one"),
    ("then-proto-9", b"\x80\x02" + _CALL + b"0\x80\x09.", "pickle", "acts before a protocol that isn't one"),
    ("then-build-error", b"\x80\x02" + _CALL + b"0}Nb.", "pickle", "acts before a state that can't be"),
    ("then-deep", b"\x80\x02" + _CALL + b"0" + b"(" * 2000 + b".", "pickle", "acts before two thousand marks"),
    ("bad-first-line", b"\x80\x02c\xff\xff\nsystem\n0" + _CALL + b".", "", "a module's name that isn't text"),
    (
        "stack-global-memo",
        b"\x80\x04" + short("posix") + b"\x940" + short("system") + b"\x940h\x00h\x01\x93" + _ARGUMENT + b"R.",
        "pickle",
        "names out of the memo",
    ),
    (
        "memo-mixed",
        b"\x80\x04"
        + text("posix")
        + b"q\x00"
        + text("system")
        + b"q\x01"
        + text("torch._utils")
        + b"\x94"
        + text("_rebuild_tensor_v2")
        + b"\x94h\x00h\x01\x93"
        + _ARGUMENT
        + b"R.",
        "pickle",
        "picklescan #14: MEMOIZE beside BINPUT",
    ),
    (
        "memo-ctf",
        b"Vposix\np2\n0Vsystem\np3\n0Vtorch\np0\n0VLongStorage\np1\n0g2\ng3\n\x93(V" + SHELL.encode() + b"\ntR.",
        "pickle",
        "picklescan #22: entries out of order",
    ),
    (
        "memo-overwritten",
        b"\x80\x04"
        + short("torch")
        + b"q\x000"
        + short("posix")
        + b"q\x000h\x00"
        + short("system")
        + b"\x93"
        + _ARGUMENT
        + b"R.",
        "pickle",
        "an entry written twice",
    ),
    (
        "memo-put-value",
        b"\x80\x04cnumpy\nprod\nN}"
        + text("a")
        + text("posix")
        + b"s\x86bN}"
        + text("b")
        + text("system")
        + b"s\x86b0cnumpy\nprod.a\nq\x000cnumpy\nprod.b\nq\x010h\x00h\x01\x93"
        + _ARGUMENT
        + b"R.",
        "pickle",
        "modelscan #85: names kept as attributes of a function",
    ),
    (
        "memo-decoys",
        b"\x80\x04" + short("posix") + short("system") + _DECOY + b"00\x93" + _ARGUMENT + b"R.",
        "pickle",
        "modelaudit #518: decoys that are popped",
    ),
    (
        "long-memo",
        b"\x80\x04" + _SYSTEM + b"r\xff\xff\0\0" + b"0j\xff\xff\0\0" + _ARGUMENT + b"R.",
        "pickle",
        "LONG_BINPUT far away",
    ),
    (
        "memo-call",
        b"\x80\x02" + _SYSTEM + b"q\x000h\x00" + _ARGUMENT + b"R.",
        "pickle",
        "modelaudit #518: GLOBAL, PUT, GET, REDUCE",
    ),
    (
        "dynamic-names",
        b"\x80\x04c_codecs\ndecode\n"
        + text("cbfvk")
        + text("rot13")
        + b"\x86R"
        + short("system")
        + b"\x93"
        + _ARGUMENT
        + b"R.",
        "pickle",
        "the module's name is made while loading",
    ),
    (
        "str-made-names",
        b"\x80\x04cbuiltins\nstr\nC\x05posixU\x05ascii\x86R" + short("system") + b"\x93" + _ARGUMENT + b"R.",
        "pickle",
        "the module's name is made by str",
    ),
    (
        "joined-names",
        b"\x80\x04cbuiltins\nstr.join\n"
        + short("")
        + b"("
        + short("pos")
        + short("ix")
        + b"l\x86R"
        + short("system")
        + b"\x93"
        + _ARGUMENT
        + b"R.",
        "pickle",
        "the module's name in two halves",
    ),
    ("bytes-name", b"\x80\x04U\x05posixU\x06system\x93" + _ARGUMENT + b"R.", "pickle", "names by SHORT_BINSTRING"),
    ("string-name", b"\x80\x04S'posix'\nS'sys\\x74em'\n\x93" + _ARGUMENT + b"R.", "pickle", "names with escapes"),
    ("unicode-escape", b"\x80\x04V\\u0070osix\nV\\u0073ystem\n\x93" + _ARGUMENT + b"R.", "pickle", "names with escapes"),
    (
        "dict-module",
        b"\x80\x04cnumpy\nsize\nq\x00cnumpy\n__builtins__\nq\x010"
        + b"0h\x00}}"
        + short("shape")
        + b"h\x01s\x86bh\x00h\x00"
        + short("eval")
        + b"\x86R"
        + text("open('weightguard-ran','w')")
        + b"\x85R.",
        "",
        "modelscan #330: NumPy's own function asks its builtins",
    ),
    ("frame-too-long", _framed(_CALL + b".", 1 << 40), "", "a frame longer than the file"),
    ("frame-too-short", _framed(b"0N." + _CALL, 3), "", "what stands behind a frame"),
    ("frame-straddled", STRADDLED, "pickle", "CPython #154848: a value that crosses its frame's end"),
    (
        "frame-in-frame",
        b"\x80\x05\x95" + pack("<Q", 40) + b"N0\x95" + pack("<Q", 2) + b"N0" + _CALL + b".",
        "pickle",
        "a frame in a frame",
    ),
    (
        "frame-empty",
        b"\x80\x04\x95" + pack("<Q", 0) + b"\x95" + pack("<Q", len(_CALL) + 1) + _CALL + b".",
        "pickle",
        "an empty frame first",
    ),
    ("second-pickle", stream({"a": 1}) + b"\x80\x02" + _CALL + b".", "", "a pickle after the pickle"),
    ("ninth-pickle", stream({"a": 1}) * 8 + b"\x80\x02" + _CALL + b".", "", "a ninth pickle"),
    ("second-after-zeros", stream({"a": 1}) + b"\0" * 64 + b"\x80\x02" + _CALL + b".", "", "a pickle after padding"),
    (
        "extension-1",
        b"\x80\x02ccopyreg\nadd_extension\n" + ops(("posix", "system", 240)) + b"R0\x82\xf0" + _ARGUMENT + b"R.",
        "pickle",
        "EXT1 of a code that the pickle itself plants",
    ),
    ("extension-2", b"\x80\x02\x83\xf0\xf0" + _ARGUMENT + b"R.", "", "EXT2: what it calls stands elsewhere"),
    ("extension-4", b"\x80\x02\x84\xf0\xf0\xf0\x00" + _ARGUMENT + b"R.", "", "EXT4: what it calls stands elsewhere"),
    (
        "persistent-call",
        b"\x80\x02(" + text("storage") + _CALL + text("0") + text("cpu") + b"K\x01tQ.",
        "",
        "a call inside a persistent id",
    ),
    (
        "setitem-modules",
        b"\x80\x02csys\nmodules\n" + text("torch._utils") + b"cos\n__dict__\ns0N.",
        "",
        "another module in a module's place",
    ),
    (
        "modules-swap",
        b"\x80\x04csys\nmodules\n"
        + text("numpy")
        + b"cbuiltins\n__import__\n"
        + text("os")
        + b"\x85Rs0cnumpy\nsystem\n"
        + _ARGUMENT
        + b"R.",
        "pickle",
        "picklescan: sys.modules says that NumPy is os",
    ),
    ("append-path", b"\x80\x02csys\npath\n" + text("/tmp") + b"a.", "", "a folder before all others"),
    ("append-hooks", b"\x80\x02csys\nmeta_path\n" + text("x") + b"a.", "", "what finds modules"),
    ("dispatch-table", b"\x80\x02ccopyreg\ndispatch_table\nNNs.", "", "how things are copied"),
    (
        "state-of-a-class",
        b"\x80\x02ctorch\nTensor\n}" + text("__setstate__") + _SYSTEM + b"sb.",
        "",
        "an attribute of torch.Tensor",
    ),
    (
        "state-of-a-class-slots",
        b"\x80\x02ccollections\nOrderedDict\nN}" + text("weightguard") + text("x") + b"s\x86b.",
        "",
        "an attribute of a class, by slots",
    ),
    (
        "state-of-a-module",
        b"\x80\x04cos\nenviron\n}" + text("x") + text("y") + b"sb.",
        "",
        "an attribute of what every module sees",
    ),
    (
        "planted-setstate",
        stream(Build(Build(_NAMESPACE, {"__setstate__": _LOAD}), SHELL)),
        "pickle",
        "__setstate__ planted, then asked for",
    ),
    (
        "planted-setstate-slots",
        stream(Build(Build(_PARAMETERS, (None, {"__setstate__": _LOAD})), SHELL)),
        "pickle",
        "the same by slots",
    ),
    (
        "planted-append",
        stream(Ops(ops(Build(_NAMESPACE, {"append": _LOAD})) + text(SHELL) + b"a")),
        "pickle",
        "append planted, then used by APPEND",
    ),
    (
        "planted-extend",
        stream(Ops(ops(Build(_NAMESPACE, {"extend": _LOAD})) + b"(" + text(SHELL) + b"e")),
        "pickle",
        "extend planted, then used by APPENDS",
    ),
    (
        "planted-add",
        stream(Ops(ops(Build(_NAMESPACE, {"add": _LOAD}), 4) + b"(" + text(SHELL) + b"\x90"), 4),
        "pickle",
        "add planted, then used by ADDITEMS",
    ),
    (
        "planted-by-memo",
        stream(Ops(ops(_NAMESPACE) + b"q\x00" + ops({"append": _LOAD}) + b"b0h\x00" + text(SHELL) + b"a")),
        "pickle",
        "planted in what the memo keeps",
    ),
    (
        "planted-detach",
        stream(Call(Name("torch._utils", "_rebuild_parameter"), Build(_NAMESPACE, {"detach": _MAIN}), True, _ORDERED)),
        "pickle",
        "detach planted, then used by torch's own function",
    ),
    (
        "planted-parameter",
        stream(Call(Name("torch.nn.parameter", "Parameter"), Build(_NAMESPACE, {"detach": _MAIN}))),
        "pickle",
        "detach planted, then used by torch's own class",
    ),
    (
        "planted-keys-ordered",
        stream(Call(Name("collections", "OrderedDict"), Build(_NAMESPACE, {"keys": _MAIN}))),
        "pickle",
        "keys planted, then used by a dictionary",
    ),
    (
        "planted-keys-dict",
        stream(Call(Name("builtins", "dict"), Build(_PARAMETERS, {"keys": _MAIN}))),
        "pickle",
        "the same by another",
    ),
    (
        "scipy-state",
        b"\x80\x02cscipy.stats._distn_infrastructure\nrv_continuous\n)\x81" + ops({"_parse_arg_template": SOURCE}) + b"b.",
        "pickle",
        "a class of SciPy whose state is source that it runs",
    ),
    (
        "factory",
        stream(Call(Name("collections", "defaultdict"), Name("my_package", "make"))),
        "",
        "a factory of a package that nobody knows",
    ),
    (
        "reconstructor",
        b"\x80\x02ccopy_reg\n_reconstructor\n(" + _SYSTEM + b"c__builtin__\nobject\nNtR.",
        "",
        "names the class to be",
    ),
    (
        "reconstructor-state",
        b"\x80\x02ccopyreg\n_reconstructor\n(cargparse\nNamespace\n" + _SYSTEM + text(SHELL) + b"tR.",
        "",
        "its second argument is called",
    ),
    (
        "newobj-function",
        b"\x80\x02ccopyreg\n__newobj__\n(csubprocess\nPopen\n" + text(SHELL) + b"tR.",
        "",
        "copyreg calls its first argument",
    ),
    (
        "rebuild-from-type",
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(" + _SYSTEM + b"ctorch\nTensor\n(" + text(SHELL) + b"t}tR.",
        "pickle",
        "torch calls its first argument",
    ),
    (
        "rebuild-from-type-twice",
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nctorch\nTensor\n("
        + _SYSTEM
        + b"ctorch\nTensor\n("
        + text(SHELL)
        + b"t}t}tR.",
        "pickle",
        "which may be itself",
    ),
    (
        "rebuild-parameter-hooks",
        stream(Call(Name("torch._utils", "_rebuild_parameter"), 1, True, Call(Name("posix", "system"), SHELL))),
        "pickle",
        "among the hooks",
    ),
    (
        "rebuild-wrapper",
        b"\x80\x02ctorch._utils\n_rebuild_wrapper_subclass\n(" + _SYSTEM + b"NNNNNNNtR.",
        "",
        "torch calls what the class says",
    ),
    (
        "numpy-reconstruct",
        b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n(" + _SYSTEM + b"K\x00\x85U\x01btR.",
        "",
        "NumPy makes what it is told",
    ),
    (
        "numpy-object-state",
        stream(
            Build(
                Call(Name("numpy._core.multiarray", "_reconstruct"), Name("numpy", "ndarray"), (0,), b"b"),
                (1, (1,), Call(Name("numpy", "dtype"), "O"), False, [Call(Name("posix", "system"), SHELL)]),
            )
        ),
        "pickle",
        "an array of objects",
    ),
    ("nested-in-bytes", stream({"x": b"\x80\x02" + _CALL + b"."}), "", "a pickle as bytes: acts once somebody loads those"),
    (
        "nested-in-text",
        stream({"x": "cposix\nsystem\n(S'" + SHELL + "'\ntR."}),
        "",
        "a pickle as text: acts once somebody loads that",
    ),
    (
        "nested-in-base64",
        stream({"x": base64.b64encode(b"\x80\x02" + _CALL + b".").decode()}),
        "",
        "a pickle as base64: acts once somebody decodes and loads it",
    ),
    ("nested-in-hex", stream({"x": (b"\x80\x02" + _CALL + b".").hex()}), "", "the same in hex"),
    (
        "nested-load-bytes",
        stream(
            Call(
                Name("torch.storage", "_load_from_bytes"),
                stream(0x1950A86A20F9469CFC6C) + stream(1001) + stream({}) + b"\x80\x02" + _CALL + b".",
            )
        ),
        "",
        "a legacy file in a storage (weights_only since torch 2.?)",
    ),
    (
        "nested-base64",
        stream(Call(Name("pickle", "loads"), Call(Name("base64", "b64decode"), base64.b64encode(b"\x80\x02" + _CALL + b".")))),
        "pickle",
        "decoded while loading",
    ),
    (
        "nested-three",
        stream(Call(Name("pickle", "loads"), stream(Call(Name("pickle", "loads"), b"\x80\x02" + _CALL + b".")))),
        "pickle",
        "a pickle in a pickle in a pickle",
    ),
    (
        "scanner-off",
        stream(Call(Name("fickling", "hook.deactivate_safe_ml_environment")), 4),
        "",
        "fickling #249: turns a guard off",
    ),
    ("scanner-off-2", stream(Call(Name("picklescan.scanner", "_unsafe_globals.clear")), 4), "", "empties a scanner's list"),
    ("comment-bytes", b"\x80\x02" + text("#" * 3000) + b"0" + _CALL + b".", "pickle", "after three kilobytes of text"),
    ("deep-nesting", b"\x80\x02" + b"(" * 500 + _CALL + b"t" * 500 + b".", "pickle", "five hundred tuples deep"),
    (
        "many-benign-first",
        b"\x80\x02" + b"ccollections\nOrderedDict\n)R0" * 5000 + _CALL + b".",
        "pickle",
        "after five thousand harmless calls",
    ),
    ("buffer-ops", b"\x80\x05" + _CALL + b"0\x97.", "pickle", "NEXT_BUFFER of a buffer that isn't there"),
    ("readonly-buffer", b"\x80\x05" + _CALL + b"\x98.", "pickle", "READONLY_BUFFER"),
    ("frozenset", b"\x80\x04(" + _CALL + b"\x91.", "pickle", "in a frozen set"),
    ("long-ops", b"\x80\x02" + _CALL + b"\x8a\x05\x01\x02\x03\x04\x050.", "pickle", "beside long numbers"),
)

# Expansion: small files that grow without bound once somebody walks, prints or compares them.
_LAUGHS = (
    b"\x80\x02" + b"]q\x00(K\x01K\x02e0" + b"".join(b"]q%c(" % (i + 1) + b"h%c" % i * 10 + b"e0" for i in range(30)) + b"h\x1e."
)
_TUPLES = b"\x80\x02)" + b"2\x86" * 60 + b"."
_LONG_STRING = b"\x80\x04\x8d" + pack("<Q", 1 << 40) + b"x."
_MEMO_FAR = b"\x80\x02Nr\xff\xff\xff\xff."


def cases() -> Iterator[Case]:
    for name, data, loads, why in ROWS:
        yield Case(f"way-{name}", "pickle", "model.pkl", data, "danger", why, loads)
        if loads and not name.startswith(("frame", "memo-put", "joined")):  # a frame's place, and dotted names, need PROTO
            bare = data[2:] if data[:1] == b"\x80" else data
            yield Case(f"bare-{name}", "pickle", "payload", bare, "danger", f"{why}; no PROTO, no suffix", loads)
    late = b"N0" * 40_000 + b"cposix\nsystem\n(V" + SHELL.encode() + b"\ntR."
    yield Case("text-late", "pickle", "notes", late, "danger", "text of eighty kilobytes before the call", "pickle")
    zero = b"\x80\x00cposix\nsystem\n(V" + SHELL.encode() + b"\ntR."
    yield Case("proto-0-unnamed", "pickle", "payload", zero, "danger", "PROTO 0, no suffix", "pickle")
    for name, data, why in (
        ("laughs", _LAUGHS, "ten to the thirtieth items in 800 bytes"),
        ("tuples", _TUPLES, "2^60 items in 200 bytes"),
        ("bytes-bomb", stream(Call(Name("builtins", "bytearray"), (1 << 31) - 1)), "two gigabytes from twenty bytes"),
        (
            "range-bomb",
            stream(Call(Name("builtins", "list"), Call(Name("builtins", "range"), 1 << 50))),
            "a list of 2^50 numbers",
        ),
        ("memo-far", _MEMO_FAR, "a memo entry of number 2^32 - 1: the C unpickler allocates up to it"),
    ):
        yield Case(f"bomb-{name}", "pickle", "model.pkl", data, "danger", why)
    yield Case("bad-pickle-length", "pickle", "model.pkl", _LONG_STRING, "malformed", "text of 2^40 bytes in 20")
    yield Case("bad-pickle-empty", "pickle", "model.pkl", b"\x80\x02.", "malformed", "STOP on an empty stack")
    yield Case("bad-pickle-cut", "pickle", "model.pkl", pickle.dumps({"a": [1.5] * 100})[:-40], "malformed", "cut")
    yield Case("bad-pickle-opcode", "pickle", "model.pkl", b"\x80\x04\xfe.", "malformed", "an opcode that isn't one")
