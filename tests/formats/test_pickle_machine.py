"""The pickle machine: the same values as CPython's unpickler, every name seen, nothing run, bounded work."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import math
import pathlib
import pickle
import pickletools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats._torch_files import Bytes, criticals, failure, payloads, read, rows, sniffs, text, total
from weightguard.errors import Unreadable
from weightguard.formats import pickle_file
from weightguard.formats._pickle import machine
from weightguard.formats._pickle.abstract import Dict, Globals, Object, Set
from weightguard.formats._pickle.allowed import is_allowed, judge
from weightguard.formats._pickle.findings import dangerous
from weightguard.formats._pickle.machine import run
from weightguard.formats._pickle.opcodes import CONSTANTS
from weightguard.limits import LIMITS
from weightguard.tensors import DTYPE_CODES


def plain(value: object) -> Any:
    """The Python value that an abstract one stands for."""
    if type(value) is Dict:
        return {plain(k): plain(v) for k, v in zip(value[::2], value[1::2], strict=True)}
    if type(value) is list:
        return [plain(v) for v in value]
    if type(value) is tuple:
        return tuple(plain(v) for v in value)
    if type(value) is Set:
        return frozenset(plain(v) for v in value)
    if type(value) is Object:
        args = [plain(a) for a in value.args]
        name = value.callee.name
        if name == "encode":
            return args[0].encode(args[1])
        if name in ("set", "frozenset"):
            return frozenset(args[0])
        if name == "bytes":
            return b""
        raise AssertionError(name)
    return value


atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(1 << 600), max_value=1 << 600)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
hashable = st.recursive(atoms, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=6)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(hashable, inner, max_size=5)
        | st.frozensets(hashable, max_size=4)
    ),
    max_leaves=25,
)


@given(values, st.integers(0, 5))
@settings(max_examples=400, deadline=None)
def test_the_value_is_the_one_that_pickle_loads_makes(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    found = run(data, 0, LIMITS, Globals())
    assert found.end == len(data)
    assert plain(found.value) == pickle.loads(data) == value


@pytest.mark.parametrize("protocol", range(6))
def test_a_boolean_is_no_number(protocol: int) -> None:
    # 1 == True == 1.0, so equality alone would let one pass as the other.
    value = [True, 1, 1.0, False, 0, 0.0, (1, True), {"a": True, "b": 1}, "1", b"1", 1 << 70]
    assert repr(plain(run(pickle.dumps(value, protocol), 0, LIMITS, Globals()).value)) == repr(value)


def test_every_opcode_of_pickletools_is_known() -> None:
    source = Path(machine.__file__).read_text()
    for op in pickletools.opcodes:
        code = ord(op.code)
        if code not in CONSTANTS:
            assert f"op == {code:#04x}".lower() in source.lower().replace("0X", "0x"), op.name


@given(values, st.integers(0, 5), st.integers(0, 1 << 16), st.integers(0, 255))
@settings(max_examples=400, deadline=None)
def test_a_changed_byte_gives_a_value_or_an_unreadable(value: object, protocol: int, where: int, byte: int) -> None:
    data = bytearray(pickle.dumps(value, protocol))
    data[where % len(data)] = byte
    try:
        run(bytes(data), 0, LIMITS, Globals())
    except Unreadable as error:
        assert "\n" not in error.detail


@given(st.binary(max_size=400))
@settings(max_examples=400, deadline=None)
def test_any_bytes_give_a_value_or_an_unreadable(data: bytes) -> None:
    try:
        read(pickle_file, data)
    except Unreadable as error:
        assert "\n" not in error.detail


@given(values, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_pickle_cut_anywhere_is_unreadable(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    for end in range(len(data)):
        with pytest.raises(Unreadable):
            run(data[:end], 0, LIMITS, Globals())


# -- names


@pytest.mark.parametrize("route", payloads("true"))
def test_a_payload_is_named_and_not_run(route: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = payloads(f"touch {canary}")[route]
    container = read(pickle_file, data)
    assert criticals(container), route
    assert not canary.exists()
    if route not in ("getattr", "builtins"):
        assert "system" in criticals(container)[0]


def test_the_payloads_of_these_tests_do_run_when_unpickled(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle.loads(payloads(f"touch {canary}")["STACK_GLOBAL by memo"])
    assert canary.exists()


@pytest.mark.parametrize("route", payloads("true"))
def test_a_payload_is_named_when_the_file_then_turns_out_unreadable(route: str) -> None:
    data = payloads("true")[route]
    error = failure(pickle_file, data[:-1] + b"\xff.")
    assert error.reason == "malformed"
    assert "calls" in error.detail


@pytest.mark.parametrize("code", [b"\x82\x05", b"\x83\x05\x01", b"\x84\x05\x01\x00\x00"])
def test_an_extension_code_is_critical_since_nothing_says_what_it_is(code: bytes) -> None:
    assert criticals(read(pickle_file, b"\x80\x02" + code + b"."))


def test_calling_the_result_of_a_call_is_critical() -> None:
    assert criticals(read(pickle_file, b"\x80\x02ccollections\nOrderedDict\n)R)R."))


@pytest.mark.parametrize("ops", [b"cos\nenviron\n" + text("PATH") + text("/x") + b"s.", b"csys\npath\n" + text("/x") + b"a."])
def test_altering_what_a_name_stands_for_is_critical(ops: bytes) -> None:
    assert criticals(read(pickle_file, b"\x80\x02" + ops))


def test_a_state_for_a_class_itself_is_critical() -> None:
    assert criticals(read(pickle_file, b"\x80\x02clogging\nHandler\n}b."))


def test_many_calls_of_results_take_linear_time() -> None:
    started = time.perf_counter()
    read(pickle_file, b"\x80\x02ccollections\nOrderedDict\n" + b")R" * 20_000 + b"0N.")
    assert time.perf_counter() - started < 2


def test_a_pickle_inside_of_a_constant_is_looked_at() -> None:
    inner = payloads("true")["GLOBAL REDUCE"]
    container = read(pickle_file, pickle.dumps({"blob": inner}))
    assert "posix.system" in criticals(container)[0]
    container = read(pickle_file, pickle.dumps({"blob": payloads("true")["protocol 0"].decode()}))
    assert "posix.system" in criticals(container)[0]


@pytest.mark.parametrize(
    ("module", "name", "called", "expected"),
    [
        ("collections", "OrderedDict", True, None),
        ("collections", "OrderedDict.fromkeys", True, "critical"),
        ("__builtin__", "set", True, None),
        ("__builtin__", "eval", True, "critical"),
        ("builtins", "getattr", True, "critical"),
        ("builtins", "getattr", False, "critical"),
        ("posix", "system", False, "critical"),
        ("typing", "Any", False, None),
        ("torch.multiprocessing", "Pool", True, "critical"),
        ("torch.utils.cpp_extension", "subprocess.Popen", True, "critical"),
        ("torch._C", "PyTorchFileWriter", True, "critical"),
        ("lightning.pytorch", "Config", True, "low"),
        ("commands", "getoutput", True, "critical"),
        ("subprocess", "Popen", True, "critical"),
        ("subprocess.sub", "Popen", True, "critical"),
        ("_interpreters", "run_string", True, "critical"),
        ("transformers.training_args", "TrainingArguments", True, "low"),
        ("transformers.configs", "Config.load_config", True, "critical"),
        ("torch.hub", "load", True, "critical"),
        ("torch", "load", True, "critical"),
        ("torch", "FloatStorage", False, None),
        ("torch", "bfloat16", False, None),
        ("torch", "_C", False, "low"),
        ("torch._dynamo", "guards", True, "critical"),
        ("torch.nn.modules.linear", "Linear", True, None),
        ("torch.nn.modules.linear", "load", True, "critical"),
        ("torch.nn.functional", "relu", False, "low"),
        ("numpy", "float64", True, None),
        ("numpy", "load", True, "critical"),
        ("numpy.testing", "run", True, "critical"),
        ("pip", "main", True, "critical"),
        ("posix\nsystem", "x", True, "critical"),
    ],
)
def test_what_a_name_is_worth(module: str, name: str, called: bool, expected: str | None) -> None:
    assert judge(module, name, called, False) == expected


def test_nothing_of_the_interpreter_that_runs_code_is_allowed() -> None:
    names = "eval exec compile __import__ getattr setattr open input breakpoint globals vars map filter type print".split()
    assert not [n for n in names if is_allowed("builtins", n) or is_allowed("__builtin__", n)]


def test_names_are_escaped_in_messages() -> None:
    container = read(pickle_file, b"\x80\x02cpo\x1b[2Jsix\nsys\rtem\n)R.")
    assert criticals(container)[0].isprintable()


def test_training_arguments_of_plain_python_have_no_finding() -> None:
    value = argparse.Namespace(
        lr=1e-4, when=datetime.datetime(2026, 1, 1), where=pathlib.PurePosixPath("a/b"), log=collections.deque([1], 3)
    )
    for protocol in range(6):
        container = read(pickle_file, pickle.dumps(value, protocol))
        assert not container.findings
        assert container.scalars["lr"] == 1e-4


# -- bounds


def run_within(data: bytes, seconds: float, reasons: set[str]) -> None:
    started = time.perf_counter()
    error = failure(pickle_file, data)
    assert error.reason in reasons, error
    assert time.perf_counter() - started < seconds


@pytest.mark.parametrize(
    "announced", [b"\x8d" + b"\xff" * 7 + b"\x7f", b"\x8e" + b"\xff" * 8, b"X\xff\xff\xff\xff", b"\x8b\xff\xff\xff\x7f"]
)
def test_a_length_beyond_the_file_is_refused_before_it_is_used(announced: bytes) -> None:
    run_within(b"\x80\x04" + announced + b"abc.", 0.5, {"truncated"})


def test_a_negative_length_is_refused() -> None:
    run_within(b"\x80\x02\x8b\xff\xff\xff\xff.", 0.5, {"truncated"})


@pytest.mark.parametrize("opcodes", [b"(" * 300_000, b"\x80\x02" + b"(" * 300_000 + b"t" * 300_000 + b"."])
def test_marks_are_bounded(opcodes: bytes) -> None:
    run_within(opcodes, 5, {"limit", "truncated"})


def test_deep_nesting_is_a_limit_and_no_recursion() -> None:
    run_within(b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".", 20, {"limit"})


def test_deeply_nested_tuples_are_a_limit_and_no_recursion() -> None:
    run_within(b"\x80\x02)" + b"\x85" * 1_000_000 + b".", 20, {"limit"})


def test_deeply_nested_keys_are_neither_hashed_nor_compared() -> None:
    data = b"\x80\x02})" + b"\x85" * 500_000 + b"K\x01s."
    assert read(pickle_file, data).scalars == {"tuple": 1}


def test_opcodes_are_bounded() -> None:
    small = replace(LIMITS, pickle_opcodes=1000)
    with pytest.raises(Unreadable, match="opcodes"):
        run(b"N0" * 1000 + b"N.", 0, small, Globals())
    assert run(b"N0" * 400 + b"N.", 0, small, Globals()).value is None


def test_the_memo_is_bounded() -> None:
    small = replace(LIMITS, pickle_memo=1000)
    with pytest.raises(Unreadable, match="memo"):
        run(b"\x80\x04N" + b"\x94" * 200_000 + b".", 0, small, Globals())


def test_memo_indices_cannot_be_chosen_to_collide() -> None:
    run_within(b"N" + b"p%d\n" % ((1 << 61) - 1) + b".", 1, {"malformed"})


def test_integers_as_text_are_bounded() -> None:
    run_within(b"(I" + b"9" * 1_000_000 + b"\nl.", 1, {"limit"})


def test_keys_cannot_be_chosen_to_collide() -> None:
    modulus = (1 << 61) - 1  # hash(k * modulus) is 0 for each
    entries = b"".join(b"\x8a\x0d" + (k * modulus).to_bytes(13, "little", signed=True) + b"N" for k in range(1, 20_000))
    started = time.perf_counter()
    read(pickle_file, b"\x80\x02}(" + entries + b"u.")
    assert time.perf_counter() - started < 3


def test_shared_tuples_do_not_multiply_without_bound() -> None:
    ops = b"\x80\x02]" + b"".join(b"2\x86" for _ in range(100)) + b"."
    started = time.perf_counter()
    assert failure(pickle_file, ops).reason == "limit"  # whoever loads and compares them never ends
    assert time.perf_counter() - started < 5
    assert total(read(pickle_file, ops[:3] + b"2\x86" * 20 + b".")) == 0


def test_shared_tuples_with_an_array_inside_are_a_limit() -> None:
    array = pickle.dumps(np.zeros(1, np.float32), 2)[:-1]
    run_within(array + b"".join(b"2\x86" for _ in range(60)) + b".", 30, {"limit"})


def test_a_list_that_holds_itself_ends() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert len(read(pickle_file, pickle.dumps(value)).tensors) == 0


def test_a_key_that_stands_twice_is_refused() -> None:
    error = failure(pickle_file, b"\x80\x02}(" + text("a") + b"K\x01" + text("a") + b"K\x02u.")
    assert error.reason == "inconsistent"


def test_a_long_key_shared_by_many_does_not_multiply() -> None:
    ops = b"\x80\x02]" + text("k" * 1_000_000) + b"q\x000(" + b"}h\x00]N\x85as" * 20_000 + b"e."
    started = time.perf_counter()
    read(pickle_file, ops)
    assert time.perf_counter() - started < 5


# -- sniffing


@pytest.mark.parametrize(
    "data",
    [
        b"# A readme\n\nconfig of the model.\n",
        b"certifi\nchardet\nTorch\n",
        b"cat\ndog\nRat\n",
        b'{"a": 1}',
        b"[1, 2]",
        b"id,name\n1,a\n",
        b"Id,name\n1,a\n",
        b"I am a text.\n",
        b"#version: 0.2\n\xc4\xa0 t\n",
        b"(a list)\n",
        b"N.\n",
        b"[PAD]\n[UNK]\n",
        b"c\nd\ne\n",
        b"import os\nos.system('x')\n",
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    ],
)
def test_text_is_no_pickle(data: bytes) -> None:
    assert not sniffs(pickle_file, data)


@pytest.mark.parametrize("route", payloads("id"))
def test_a_payload_is_a_pickle_whatever_the_protocol(route: str) -> None:
    assert sniffs(pickle_file, payloads("id")[route])


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol_are_sniffed(protocol: int) -> None:
    assert sniffs(pickle_file, pickle.dumps({"a": collections.OrderedDict(b=np.zeros(3))}, protocol))


def test_the_python_library_itself_is_no_pickle() -> None:
    files = sorted(Path(collections.__file__).parents[1].glob("*.py"))
    assert len(files) > 100
    assert not [f for f in files if sniffs(pickle_file, f.read_bytes())]


# -- arrays


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "dtype",
    "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128".split(),
)
def test_arrays_have_their_name_shape_and_dtype(protocol: int, dtype: str) -> None:
    arrays = {"a": np.ones((2, 3), dtype), "f": np.asfortranarray(np.ones((4, 5), dtype)), "s": np.array(1, dtype)}
    container = read(pickle_file, pickle.dumps({"net": arrays, "empty": np.zeros((0, 3), dtype)}, protocol))
    safe = {"bool": "BOOL"}.get(dtype) or dtype[0].upper().replace("C", "C") + dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    expected = [(f"net.{k}", v.shape, DTYPE_CODES[safe], v.size, 0) for k, v in arrays.items()]
    assert rows(container) == [*expected, ("empty", (0, 3), DTYPE_CODES[safe], 0, 0)]
    assert container.unexplained == 0
    assert not container.findings


def test_one_array_under_two_names_is_one_storage() -> None:
    array = np.ones(7, np.float32)
    t = read(pickle_file, pickle.dumps({"a": array, "b": array, "c": array.copy()})).tensors
    assert t.storages[0] == t.storages[1] != t.storages[2]


def test_texts_records_and_objects_are_counted_as_what_they_hold() -> None:
    value = {
        "text": np.array(["ab", "c"]),
        "record": np.zeros(3, [("x", "f4"), ("y", "i2")]),
        "objects": np.array([np.zeros(5, np.float32), {"w": np.zeros(2)}], object),
        "when": np.array(["2020"], "M8[s]"),
    }
    container = read(pickle_file, pickle.dumps(value))
    found = {n: (s, e) for n, s, _, e, _ in rows(container)}
    assert found == {
        "text": ((2, 8), 16),
        "record": ((3, 6), 18),
        "objects.0": ((5,), 5),
        "objects.1.w": ((2,), 2),
        "when": ((1,), 1),
    }
    assert container.unexplained == 0


def test_scalars_of_numpy_are_numbers() -> None:
    value = {"epoch": np.int64(3), "loss": np.float32(0.5), "ok": np.bool_(True), "f": 1.5, "s": "x", "n": None}
    scalars = read(pickle_file, pickle.dumps(value)).scalars
    assert scalars == {"epoch": 3, "loss": 0.5, "ok": True, "f": 1.5, "s": "x", "n": None}


def test_an_array_that_claims_another_shape_is_refused() -> None:
    data = pickle.dumps(np.zeros(16, np.float32), 2)
    assert failure(pickle_file, data.replace(b"K\x10\x85", b"K\x11\x85")).reason == "inconsistent"


def test_bytes_that_are_no_array_are_unexplained() -> None:
    container = read(pickle_file, pickle.dumps({"w": bytes(100_000), "a": np.zeros(10)}))
    assert container.unexplained == 100_000


def test_bytes_that_the_pickle_throws_away_are_unexplained() -> None:
    assert read(pickle_file, b"\x80\x03B\x10\x27\x00\x00" + bytes(10_000) + b"0N.").unexplained == 10_000


def test_weights_as_lists_of_numbers_are_unexplained() -> None:
    assert read(pickle_file, pickle.dumps({"w": [float(i) for i in range(200_000)]})).unexplained == 8 * 200_000
    assert read(pickle_file, pickle.dumps({"history": [0.5] * 1000})).unexplained == 0


def test_bytes_after_the_last_pickle_are_unexplained() -> None:
    data = pickle.dumps({"a": 1})
    assert read(pickle_file, data + b"\xff" * 500).unexplained == 500


def test_pickles_that_follow_one_another_are_all_read() -> None:
    data = pickle.dumps({"a": np.zeros(3)}) + pickle.dumps({"b": np.zeros(4)}) + payloads("x")["INST"]
    container = read(pickle_file, data)
    assert [r[0] for r in rows(container)] == ["a", "#1.b"]
    assert container.unexplained == 0
    assert criticals(container)


def test_a_reference_to_data_elsewhere_is_unsupported() -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: object) -> object:
            return ("storage", 1) if obj == "here" else None

    out = io.BytesIO()
    Pickler(out).dump(["here"])
    assert failure(pickle_file, out.getvalue()).reason == "unsupported"


def test_scalars_are_capped() -> None:
    scalars = read(pickle_file, pickle.dumps({str(i): i for i in range(30_000)})).scalars
    assert len(scalars) == 10_000


def test_not_a_number_stays_one() -> None:
    value = read(pickle_file, pickle.dumps({"loss": float("nan")})).scalars["loss"]
    assert isinstance(value, float) and math.isnan(value)


def test_a_source_is_read_once() -> None:
    source = Bytes(pickle.dumps({"a": 1}))
    pickle_file.read(source, LIMITS)
    assert source.reads == [(0, source.size)]


def test_the_stack_is_bounded() -> None:
    small = replace(LIMITS, pickle_memo=1000)
    with pytest.raises(Unreadable, match="stack"):
        run(b"\x80\x02" + b"]" * 200_000 + b".", 0, small, Globals())


def test_arrays_in_a_long_list_are_still_found() -> None:
    value = [0.5] * 100 + [np.zeros(3), {"w": np.zeros(4)}]
    assert [r[0] for r in rows(read(pickle_file, pickle.dumps(value)))] == ["100", "101.w"]


def test_texts_that_no_output_could_hold_are_escaped() -> None:
    container = read(pickle_file, pickle.dumps({"\ud800é": np.zeros(2), "s": "\udfff"}))
    assert list(container.tensors.names) == ["\\ud800é"]
    assert container.scalars == {"s": "\\udfff"}


@pytest.mark.parametrize("key", ["__setstate__", "append", "add"])
def test_a_callable_planted_in_a_state_is_a_call(key: str) -> None:
    """BUILD sets attributes, and a later BUILD, APPEND or ADDITEMS calls the attribute of that name."""
    planted = b"cargparse\nNamespace\n)R}S'" + key.encode() + b"'\ncacme.tools\nlaunch\nsb."
    seen = Globals()
    run(planted, 0, LIMITS, seen)
    assert dangerous(seen) == ["acme.tools.launch"]


def test_a_class_that_is_given_a_state_itself_is_altered() -> None:
    seen = Globals()
    run(b"cargparse\nNamespace\n(N}S'x'\nI1\nstb.", 0, LIMITS, seen)
    assert dangerous(seen) == ["argparse.Namespace"]


def test_a_pickle_is_asked_for_by_every_opcode_that_it_can_start_with() -> None:
    from weightguard.formats import PICKLE_STARTS

    assert {n for n in range(256) if pickle_file._FIRST.match(bytes([n]))} == set(PICKLE_STARTS)
