"""Which calls of a pickle do more than to make what a checkpoint holds: by what they call, and by what they are given."""

from __future__ import annotations

import base64
import collections
import enum
import io
import pickle
import sys
import time
import types
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from struct import pack
from typing import Any

import numpy as np
import pytest

from tests.formats._torch_files import criticals, failure, payloads, read, rows, sniffs
from tests.hostile.case import Build, Call, Name, Ops, ops, stream
from weightguard.errors import Unreadable
from weightguard.formats import identify, pickle_file, signatures, torch_zip
from weightguard.formats._pickle.abstract import Globals
from weightguard.formats._pickle.findings import dangerous
from weightguard.formats._pickle.machine import run
from weightguard.limits import LIMITS
from weightguard.stores.memory import InMemory

FUNCTION = Name("acme.tools", "launch")  # of no known package: merely named it is no finding
NAMESPACE = Call(Name("types", "SimpleNamespace"))
FRAMED = b"\x80\x05\x95"


def calls(value: object, protocol: int = 4) -> list[str]:
    seen = Globals()
    run(stream(value, protocol), 0, LIMITS, seen)
    return dangerous(seen)


@pytest.fixture
def made() -> Iterator[types.ModuleType]:
    """A package that nobody knows, whose classes pickle finds."""
    module = types.ModuleType("acme")
    sys.modules["acme"] = module
    yield module
    del sys.modules["acme"]


def own(module: types.ModuleType, name: str, *bases: type) -> Any:
    found = types.new_class(name, bases, {}, lambda body: body.update(__module__="acme"))
    setattr(module, name, found)
    return found


# -- allowed callables that call what they are given


@pytest.mark.parametrize("ctor", ["__generator_ctor", "__randomstate_ctor"])
def test_a_function_that_numpy_calls_is_called(ctor: str) -> None:
    assert "acme.tools.launch" in calls(Call(Name("numpy.random._pickle", ctor), "echo", FUNCTION))


@pytest.mark.parametrize("ctor", ["__generator_ctor", "__randomstate_ctor", "__bit_generator_ctor"])
def test_a_class_that_numpy_makes_must_be_its_own(ctor: str) -> None:
    assert calls(Call(Name("numpy.random._pickle", ctor), Name("acme", "Client"))) == [f"numpy.random._pickle.{ctor}"]


@pytest.mark.parametrize(
    "generator", [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]
)
@pytest.mark.parametrize("protocol", range(6))
def test_numpys_own_generators_pass(generator: Any, protocol: int) -> None:
    value = [np.random.Generator(generator(0)), np.random.RandomState(generator(0))]
    assert criticals(read(pickle_file, pickle.dumps(value, protocol))) == []


def test_old_numpy_names_its_generator_by_a_text() -> None:
    ctor = Name("numpy.random._pickle", "__bit_generator_ctor")
    assert calls(Call(Name("numpy.random._pickle", "__generator_ctor"), "PCG64", ctor)) == []
    assert calls(Call(ctor, "PCG64")) == []


@pytest.mark.parametrize("key", ["keys", "detach", "to", "requires_grad_", "items", "setdefault", "get", "replace", "append"])
def test_a_function_planted_where_an_allowed_callable_asks_is_called(key: str) -> None:
    planted = Build(NAMESPACE, {key: FUNCTION})
    assert calls(Call(Name("collections", "OrderedDict"), planted)) == ["acme.tools.launch"]


def planted_states() -> Iterator[tuple[str, object]]:
    key = Call(Name("builtins", "str"), "keys")
    made_of = Name("collections", "OrderedDict")
    yield "slots", (None, {"keys": FUNCTION})
    yield "a key made by str", Ops(b"(" + ops(key) + ops(FUNCTION) + b"d")
    yield "a mapping made of pairs", Call(made_of, [["keys", FUNCTION]])
    yield "a mapping made of a mapping", Call(Name("builtins", "dict"), Call(made_of, {"keys": FUNCTION}))
    yield "a mapping given items", Ops(ops(Call(made_of)) + ops("keys") + ops(FUNCTION) + b"s")
    layer = Ops(b"ctorch.nn.modules.linear\nLinear\n)\x81" + ops({"_forward_pre_hooks": {0: FUNCTION}}) + b"b")
    yield "a layer with a hook", {"keys": layer}


@pytest.mark.parametrize(("how", "state"), list(planted_states()), ids=lambda v: v if isinstance(v, str) else "")
def test_no_way_of_planting_hides_it(how: str, state: object) -> None:
    assert calls(Call(Name("builtins", "dict"), Build(NAMESPACE, state)), 2) != []


def test_a_tensor_carries_attributes_too() -> None:
    tensor = (Name("acme", "Tensor"), (), {"detach": FUNCTION})
    rebuild = Name("torch._tensor", "_rebuild_from_type_v2")
    assert "acme.tools.launch" in calls(Call(rebuild, Name("torch._utils", "_rebuild_tensor_v2"), *tensor))


def test_a_namespace_is_given_no_arguments() -> None:
    """Python 3.13's takes a mapping of attributes there."""
    assert calls(Call(Name("types", "SimpleNamespace"), {"x": FUNCTION})) == ["types.SimpleNamespace"]


@pytest.mark.parametrize("key", ["activation", "factory", "func"])
def test_a_function_kept_as_an_ordinary_attribute_is_only_named(key: str) -> None:
    assert calls(Build(NAMESPACE, {key: FUNCTION, "values": [1], "items": Call(Name("collections", "OrderedDict"))})) == []


# -- constructors of unknown classes

REFUSED: list[tuple[object, ...]] = [
    ("x", "w"),
    ("/tmp/x",),
    ("http://a",),
    ("<% x %>",),
    (["a", "b"],),
    ({"a": "b"},),
    (b"x",),
    (FUNCTION,),
    (1, "w"),
    ("x" * 65,),
]
REFUSED += [(Call(Name("pathlib", "PosixPath"), "x"),), (Call(Name("builtins", "str"), "x"),), (Build(NAMESPACE, {"a": "b"}),)]


@pytest.mark.parametrize("arguments", REFUSED)
def test_a_constructor_of_nobody_knows_what_acts_on_what_it_is_given(arguments: tuple[object, ...]) -> None:
    assert calls(Call(Name("acme", "File"), *arguments)) == ["acme.File"]
    rebuild = Call(
        Name("torch._tensor", "_rebuild_from_type_v2"), Name("acme", "File"), Name("torch", "Tensor"), arguments, None
    )
    assert "acme.File" in calls(rebuild)
    assert calls(Call(Name("torch.optim.lr_scheduler", "LambdaLR"), *arguments)) != []


@pytest.mark.parametrize("arguments", [(), (1,), (0.5, None, True), ("cosine_with_restarts",), ([1, (2.5,)],)], ids=repr)
def test_a_constructor_that_is_given_numbers_or_a_word_is_an_ordinary_value(arguments: tuple[object, ...]) -> None:
    assert calls(Call(Name("acme", "Schedule"), *arguments)) == []


def test_constructors_of_the_network_need_no_argument() -> None:
    assert calls(Call(Name("aiohttp.client", "ClientSession"))) == ["aiohttp.client.ClientSession"]


def test_classes_as_their_users_pickle_them_pass(made: types.ModuleType) -> None:
    values: list[Any] = [
        enum.Enum("Kind", {"A": "every_save"}, module="acme"),
        own(made, "Parameters", dict)(lr=0.1),
        own(made, "Ordered", collections.OrderedDict)(a=1),
        own(made, "Plain")(),
    ]
    made.Kind = values[0]  # type: ignore[attr-defined]
    values[0] = values[0].A
    values[3].__dict__.update(values=np.ones(3), items=[values[1]], keys=None, path="/data")
    for protocol in range(2, 6):
        assert criticals(read(pickle_file, pickle.dumps(values, protocol))) == []
    assert criticals(read(pickle_file, pickle.dumps(values[3], 0))) == []


@pytest.mark.parametrize(
    "path", ["__main__.Net", "deepspeed.utils.tensor_fragment.fragment_address", "scipy.sparse._csr.csr_matrix"]
)
def test_an_instance_is_no_call(path: str) -> None:
    module, _, name = path.rpartition(".")
    named = f"c{module}\n{name}\n".encode()
    for data, expected in ((named + b")\x81}S'a'\nI1\nsb.", []), (named + b")R.", [path]), (b"(i" + named[1:] + b".", [path])):
        seen = Globals()
        run(data, 0, LIMITS, seen)
        assert dangerous(seen) == expected


@pytest.mark.parametrize("path", ["scipy.stats._distn_infrastructure.rv_continuous", "__main__.os.system", "numpy.memmap"])
def test_an_instance_of_these_is_as_bad_as_a_call(path: str) -> None:
    module, _, name = path.partition(".") if path.startswith("__main__") else path.rpartition(".")
    seen = Globals()
    run(f"c{module}\n{name}\n)".encode() + b"\x81.", 0, LIMITS, seen)
    assert dangerous(seen) == [path]


def test_a_tree_of_scikit_learn_passes_and_its_function_makes_nothing_else() -> None:
    new = Name("sklearn.neighbors._kd_tree", "newObj")
    assert calls(Call(new, Name("sklearn.neighbors._kd_tree", "KDTree"))) == []
    assert calls(Call(new, Name("subprocess", "Popen"))) == ["subprocess.Popen"]
    assert calls(Call(new, Name("acme", "function"))) == ["acme.function"]
    assert calls(Call(new, Build(NAMESPACE, {"__new__": FUNCTION}))) != []


def test_a_distributed_tensor_passes(tmp_path: Any) -> None:
    torch = pytest.importorskip("torch")
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        placed = {str(p): distribute_tensor(torch.ones(4, 3), mesh, [p]) for p in (Shard(0), Replicate())}
        buffer = io.BytesIO()
        torch.save(placed, buffer)
    finally:
        distributed.destroy_process_group()
    container = read(torch_zip, buffer.getvalue())
    assert [f.message for f in container.findings if f.severity in ("critical", "high")] == []
    assert [r[1] for r in rows(container) if "_local_tensor" in r[0]] == [(4, 3), (4, 3)]


# -- what grows


@pytest.mark.parametrize(
    "value",
    [
        Call(Name("builtins", "bytearray"), (1 << 31) - 1),
        Call(Name("__builtin__", "bytes"), 1 << 40),
        Call(Name("builtins", "list"), Call(Name("builtins", "range"), 1 << 50)),
        Call(Name("collections", "deque"), Call(Name("__builtin__", "xrange"), 1 << 50)),
        Call(Name("builtins", "int"), Call(Name("decimal", "Decimal"), "1E+999999999")),
        Call(Name("fractions", "Fraction"), "1e999999999"),
    ],
    ids=lambda c: c.callee.name,
)
def test_calls_that_allot_without_bound_are_refused(value: Call) -> None:
    assert calls(value, 2) != []


@pytest.mark.parametrize("protocol", range(6))
def test_what_pickle_writes_of_these_passes(protocol: int) -> None:
    value: list[Any] = [
        bytearray(b"x" * 9),
        bytearray(),
        b"",
        b"y",
        {1, 2},
        frozenset((3,)),
        collections.deque([1], 5),
        range(1 << 40),
    ]
    value += [collections.Counter("aab"), Decimal("1E+99"), 1j, types.SimpleNamespace(a=1)]
    assert criticals(read(pickle_file, pickle.dumps(value, protocol))) == []


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\xff", b"r\x00\x10\x00\x00", b"p4000000000\n"])
def test_a_memo_index_that_no_pickle_of_this_size_can_need_is_malformed(put: bytes) -> None:
    assert "memo" in failure(pickle_file, b"\x80\x02N" + put + b".").detail


def test_lists_of_lists_that_grow_without_bound_are_a_limit() -> None:
    laughs = b"]q\x00(K\x01K\x02e0" + b"".join(b"]q%c(" % (i + 1) + b"h%c" % i * 10 + b"e0" for i in range(30)) + b"h\x1e."
    assert failure(pickle_file, b"\x80\x02" + laughs).reason == "limit"


def repeats() -> Iterator[tuple[str, bytes]]:
    many = b"(" + b"".join(b"K\x01" for _ in range(50_000))
    yield (
        "a large state, given again",
        b"cacme\nNet\n)\x81" + b"(" + b"Vk\nK\x01" * 50_000 + b"dq\x00b" + b"h\x00b" * 50_000 + b".",
    )
    yield "a call of many arguments, repeated", many + b"tq\x000" + b"cbuiltins\nset\nh\x00R0" * 20_000 + b"N."
    yield (
        "a constructor of lists of lists",
        b"(lq\x000"
        + b"("
        + b"h\x00" * 900
        + b"lq\x010"
        + b"("
        + b"h\x01" * 900
        + b"l\x85q\x020"
        + b"cacme\nNet\nh\x02R0" * 500
        + b"N.",
    )
    yield "a state of nested tuples", b"cacme\nNet\n)\x81" + b")" + b"\x85" * 20_000 + b"b0N."
    pairs = b"(" + b"Vk\nK\x01\x86" * 900 + b"l"
    yield (
        "mappings of mappings",
        b"ccollections\nOrderedDict\nq\x00"
        + pairs
        + b"\x85R"
        + b"q\x010h\x00h\x01\x85R" * 50
        + b"q\x030cacme\nNet\n)\x81"
        + b"h\x03b" * 500
        + b"0N.",
    )
    yield (
        "hooks looked at again",
        b"cacme\nNet\n)\x81(Vkeys\ncacme\nNet\n)\x81(" + b"K\x01" * 900 + b"lbdq\x00b" + b"h\x00b" * 100_000 + b"0N.",
    )


@pytest.mark.parametrize("data", [d for _, d in repeats()], ids=[n for n, _ in repeats()])
def test_looking_at_arguments_is_bounded(data: bytes) -> None:
    started = time.perf_counter()
    with suppress(Unreadable):
        run(b"\x80\x02" + data, 0, LIMITS, Globals())
    assert time.perf_counter() - started < 8


# -- frames


@pytest.mark.parametrize("protocol", [4, 5])
def test_frames_as_pickle_writes_them(protocol: int) -> None:
    value = {"a": list(range(40_000)), "large": b"x" * 200_000, "end": "y" * 100}
    data = pickle.dumps(value, protocol)
    assert data.count(b"\x95") > 1
    assert read(pickle_file, data).scalars["end"] == "y" * 100


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"B\x07\0\0\0.......0N.", 2),  # bytes that go on behind the frame
        (b"K\x010N.", 1),  # an opcode in it, its argument behind it
        (b"X\x03\0\0\0abc0N.", 7),
        (b"\x8c\x03abc0N.", 3),
        (b"Vabc\n0N.", 3),
        (b"cos\nsystem\n0N.", 4),
        (b"N.N", 3),  # stops before its end
        (b"N0\x95\x02\0\0\0\0\0\0\0N.", 13),  # a frame in a frame
    ],
)
def test_a_frame_that_is_not_kept_to_is_malformed(body: bytes, length: int) -> None:
    error = failure(pickle_file, FRAMED + pack("<Q", length) + body)
    assert error.reason == "malformed" and "frame" in error.detail


def test_a_straddled_call_is_not_hidden_in_bytes() -> None:
    hidden = (b"cos\nsystem\n(Vecho\ntR(").ljust(261, b"N")
    data = FRAMED + pack("<Q", 2) + b"B\x07\x01\0\0\0\0" + hidden + b"1."
    assert failure(pickle_file, data).reason == "malformed"
    assert sniffs(pickle_file, data[2:])


# -- what is a pickle


@pytest.mark.parametrize(
    "after",
    [
        b"",
        b"\xff",
        b"000000.",
        b"h\x07.",
        b"X\x02\0\0\0\xff\xfe.",
        b"Iabc\n.",
        b"\x80\x09.",
        b"}Nb.",
        b"\x97.",
        b"K\x01K\x02\x93.",
    ],
)
def test_what_fails_after_a_call_has_called(after: bytes) -> None:
    for name, data in payloads("true").items():
        bare = data[2:] if data[:1] == b"\x80" else data
        assert sniffs(pickle_file, bare[:-1] + b"0" + after), name


@pytest.mark.parametrize(
    "before",
    [b"\x89", b"\x88", b"\x96" + bytes(8), b"I5\0x\n", b"I010\n", b"I0x1f\n", b"F1\0x\n", b"L1_0L\n", b"\x8f"],
    ids=repr,
)
def test_what_the_c_unpickler_takes_as_a_value_is_one(before: bytes) -> None:
    data = before + b"cbuiltins\nlen\n(]tR."
    assert pickle.loads(data) == 0
    assert sniffs(pickle_file, data)


def test_the_end_of_the_file_ends_a_line() -> None:
    data = b"(ibuiltins\nlen0"  # the last character is cut, as an unpickler does
    with pytest.raises(TypeError, match="len"):  # it has been called, with nothing
        pickle._Unpickler(io.BytesIO(data)).load()  # type: ignore[attr-defined]  # the one in Python, as joblib has it
    assert sniffs(pickle_file, data)


def test_names_that_a_call_makes_are_refused() -> None:
    name = ops(Call(Name("builtins", "str"), b"posix", "ascii"))
    data = name + ops("system") + b"\x93" + ops(("true",)) + b"R."
    assert sniffs(pickle_file, data)
    assert "builtins.str" in failure(pickle_file, data).detail


def test_protocol_0_may_be_announced() -> None:
    assert sniffs(pickle_file, b"\x80\x00cposix\nsystem\n(VX\ntR.")
    assert not sniffs(pickle_file, b"\x80\x00\x00\x01" + bytes(60))


def test_a_text_that_calls_late_is_no_text() -> None:
    late = b"N0" * 40_000 + b"cposix\nsystem\n(Vtrue\ntR."
    with pytest.raises(Unreadable, match="pickle"):
        signatures.explain(InMemory("notes", late), late[: 64 << 10], LIMITS)
    for harmless in (b"N0" * 40_000, b"I am a text.\n" * 9000, b"(a list)\n" * 9000, b"country,code\n" * 9000):
        signatures.explain(InMemory("notes", harmless), harmless[: 64 << 10], LIMITS)


@pytest.mark.parametrize("under", [b"K\x01", b"N" * 100, b"]", b"\x80\x02K\x01"], ids=repr)
def test_a_legacy_file_with_a_value_under_its_magic_number_is_not_let_be(under: bytes) -> None:
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(3)}, buffer, _use_new_zipfile_serialization=False)
    source = InMemory("model", under + buffer.getvalue())
    if under[:1] == b"\x80":
        container = identify(source, LIMITS)
        assert container is not None and [r[1] for r in rows(container)] == [(3,)]
    else:
        with pytest.raises(Unreadable, match="outside"):
            identify(source, LIMITS)


def test_a_call_in_a_later_pickle_makes_it_one() -> None:
    assert sniffs(pickle_file, b"K\x01.M\xe9\x03.}.cposix\nsystem\n(Vtrue\ntR.")
    assert not sniffs(pickle_file, b"K\x01.M\xe9\x03.}.N.")


# -- constants that are pickles


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("encode", [base64.b64encode, bytes.hex], ids=["base64", "hex"])
def test_a_pickle_in_base64_or_hex_is_found(protocol: int, encode: Any) -> None:
    inner = stream(Call(Name("posix", "system"), "true"), protocol)
    found = encode(inner)
    for constant in (found, found.decode()) if isinstance(found, bytes) else (found, found.encode()):
        assert criticals(read(pickle_file, pickle.dumps({"a": constant}))) != []
    assert criticals(read(pickle_file, pickle.dumps({"a": encode(pickle.dumps([1, 2], protocol))}))) == []
