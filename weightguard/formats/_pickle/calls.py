"""What a call of the pickle machine means: which names it uses, and how. Nothing is called.

Sources: CPython, `pickle.py` (load_reduce, load_newobj, load_build ...), and the callables themselves, each named in `allowed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import (
    ACTS,
    ASKED,
    BUILT,
    CALLED,
    HOOKS,
    MADE,
    METHODS,
    MUTATED,
    RESULT_CALLED,
    Dict,
    Global,
    Globals,
    Object,
    Persistent,
    Set,
    Value,
)
from weightguard.formats._pickle.allowed import is_allowed, is_layer, looks_like_class

_WORD = re.compile(r"[\w +-]{0,64}", re.ASCII)  # an enumeration's value: no path, address, command or source is of this kind
_ITEMS = 1000  # of containers that a constructor is given
_LOOKS = 20_000_000  # attributes of all states: one that is given again and again is looked at each time
_DEPTH = 4  # of mappings made of mappings
_LISTING = frozenset(
    "builtins.list builtins.tuple builtins.set builtins.frozenset builtins.bytes builtins.bytearray collections.deque "
    "collections.Counter torch.Size".split()
)
_NUMBERS = frozenset(("builtins.int", "builtins.float", "builtins.complex"))
# The argument that holds attributes which the callable sets.
_STATES = {
    "torch._tensor._rebuild_from_type": 3,
    "torch._tensor._rebuild_from_type_v2": 3,
    "torch.tensor._rebuild_from_type": 3,
    "torch.tensor._rebuild_from_type_v2": 3,
    "torch._utils._rebuild_parameter_with_state": 3,
}


def call(callee: Value, args: Value, seen: Globals, use: int = CALLED) -> Object:
    """The object that stands for callee(*args), with the use recorded: CALLED, or MADE where only `__new__` is."""
    if type(callee) is Global and type(args) is tuple:
        callee.uses |= use
        made = Object(callee, args)
        if not callee.plain:
            _look(callee, args, use, seen)
            if callee.through is not None:
                _call_through(callee, args, made, seen)
        return made
    if type(args) is not tuple:
        args = (args,)  # a real unpickler would refuse; what lies in it must be found all the same
        if type(callee) is Global and callee.through is not None:
            callee.uses |= RESULT_CALLED
    callee = _class_of_module(callee)
    if type(callee) is not Global:
        return Object(use_result(callee), (callee, *args))
    callee.uses |= use
    _look(callee, args, use, seen)
    return Object(callee, args)


def _look(callee: Global, args: tuple[Value, ...], use: int, seen: Globals) -> None:
    """Records what these arguments make of a call that would be harmless with others."""
    place = _STATES.get(callee.modern)
    if place is not None and place < len(args):
        _plant_all(args[place], seen)
    if _acts(callee, args, use):
        callee.uses |= ACTS


def _acts(callee: Global, args: tuple[Value, ...], use: int) -> bool:
    """Whether a call does more with these arguments than to make what a checkpoint holds. No pickler writes such arguments."""
    path = callee.modern
    few = args[:2]  # none of those below takes more, and a call of a million arguments may be repeated
    if path in _LISTING:  # lists as many numbers as a range says, or allots as many bytes
        first = args[0] if args else None
        return any(type(a) is Object and a.callee.modern == "builtins.range" for a in few) or (
            type(first) is int and path in ("builtins.bytes", "builtins.bytearray")
        )
    if path in _NUMBERS:  # of a Decimal 1e999999999
        return any(type(a) is Object for a in few)
    if path == "fractions.Fraction":  # computes the power
        return any(type(a) is Object or (type(a) is str and ("e" in a or "E" in a)) for a in few)
    if path.startswith("numpy.random._pickle.__"):  # call any class, and NumPy gives them its own
        return any(type(a) is Global and not a.module.startswith("numpy.random.") for a in few)
    if path == "types.SimpleNamespace":  # attributes at once, from Python 3.13 on
        return bool(args) and use == CALLED
    if use == MADE or (is_allowed(callee.module, callee.name) and not is_layer(callee.module)):
        return False
    if len(args) == 1 and type(args[0]) is str:
        return _WORD.fullmatch(args[0]) is None
    return not _is_data(args)


def _is_data(value: Value) -> bool:
    """Numbers, arrays, tensors, and containers of a few such: a constructor finds no file, address or command in them."""
    todo: list[Value] = [value]
    left = _ITEMS
    while todo:
        value = todo.pop()
        kind = type(value)
        if kind in (tuple, list, Dict, Set):
            left -= len(value)  # type: ignore[arg-type]
            if left < 0:
                return False
            todo += value  # type: ignore[arg-type]
        elif kind is Object:
            if not _is_array(value):  # type: ignore[arg-type]
                return False
        elif kind not in (int, float, bool, type(None)):
            return False
    return True


def _is_array(made: Object) -> bool:
    callee = made.callee
    if callee.path == "joblib.numpy_pickle.NumpyArrayWrapper":
        return True  # the array itself stands in its place before anything takes it
    if not callee.module.startswith(("numpy", "torch")) or not is_allowed(callee.module, callee.name):
        return False
    # a text of NumPy's would be longer
    return callee.name != "scalar" or all(type(a) is not bytes or len(a) <= 8 for a in made.args[:2])


def _class_of_module(callee: Value) -> Value:
    """torch's legacy form wraps a module's class, with its source code, in a persistent id."""
    if type(callee) is Persistent and type(callee.id) is tuple and len(callee.id) > 1 and callee.id[0] == "module":
        return callee.id[1]
    return callee


def _call_through(callee: Global, args: tuple[Value, ...], made: Object, seen: Globals) -> None:
    """Records as called what `callee` would call, by `callee.through`: see `allowed.CALLS_ARGUMENTS`."""
    while callee.through is not None:
        places, nested, classes = callee.through
        if not places and not classes:
            seen.deferred.append(made)
        for place in classes:
            kind = _class_of_module(args[place]) if place < len(args) else None
            if type(kind) is Global:
                kind.uses |= MADE
            elif type(kind) is Object and not callee.modern.startswith("numpy.random."):  # those take a generator itself
                use_result(kind)
        for i, place in enumerate(places):
            if place < len(args):
                inner = _class_of_module(args[place])
                if type(inner) is Global:
                    inner.uses |= CALLED
                    if not inner.plain:
                        given = args[nested] if i == 0 and nested is not None and nested < len(args) else ()
                        _look(inner, given if type(given) is tuple else (given,), CALLED, seen)
                elif inner is not None and type(inner) is not str:  # old versions of NumPy name the generator by a text
                    use_result(inner)
        if nested is None or nested >= len(args):
            return
        inner, inner_args = args[places[0]], args[nested]
        if type(inner) is not Global or inner.through is None:
            return
        if type(inner_args) is not tuple:
            inner.uses |= RESULT_CALLED
            return
        callee, args = inner, inner_args


def use_result(callee: Value) -> Global:
    """The result of a call is called: nothing says what it is, so the name that began it answers for it."""
    if type(callee) is Object:
        callee = callee.callee
    if type(callee) is not Global:
        raise Unreadable("malformed", f"pickle: calls a {type(callee).__name__.lower()}")
    callee.uses |= RESULT_CALLED
    return callee


def name_of(module: Value, name: Value, seen: Globals) -> Global:
    """What STACK_GLOBAL names. Names that a call would make can't be known, and no pickler writes them."""
    if type(module) is str and type(name) is str:
        return seen.named(module, name)
    for part in (module, name):
        if type(part) is Object:
            use_result(part)
    raise Unreadable("malformed", "pickle: STACK_GLOBAL needs two texts")


def set_items(target: Value, items: list[Value]) -> None:
    """SETITEM, SETITEMS and DICT: keys and values in turn."""
    if len(items) % 2:
        raise Unreadable("malformed", "pickle: a key without a value")
    if type(target) is Dict:
        target.extend(items)
    elif type(target) is Object:
        if target.items is None:
            target.items = Dict()
        target.items.extend(items)
    elif type(target) is Global:  # os.environ[...] = ...
        target.uses |= MUTATED
    else:
        raise Unreadable("malformed", "pickle: sets items of what has none")


def append(target: Value, items: list[Value], kind: type[list[Value]]) -> None:
    """APPEND, APPENDS and ADDITEMS; kind: `list` or `Set`."""
    if type(target) is kind:
        target.extend(items)
    elif type(target) is Object:
        if target.elements is None:
            target.elements = []
        target.elements.extend(items)
    elif type(target) is Global:  # sys.path.append(...)
        target.uses |= MUTATED
    else:
        raise Unreadable("malformed", "pickle: appends to what can't grow")


def _plant_all(state: Value, seen: Globals) -> None:
    """Records as called what a state puts where something looks it up on the instance, and calls it.

    That is an opcode (`__setstate__`, `append`), or a callable of the allow-list: `dict(x)` asks for `x.keys()`,
    torch's Parameter for `x.detach()`, an optimizer for `group.setdefault(...)`.
    """
    for attributes in state[:2] if type(state) is tuple else (state,):  # a dictionary, or a pair of that and the slots
        for key, value in _attributes(attributes, 0):
            seen.looked_at += 1
            if type(value) is Global or type(value) is Object:
                _plant(key, value, seen)
    if seen.looked_at > _LOOKS:
        raise Unreadable("limit", f"pickle: states of more than {_LOOKS} attributes")


def _plant(key: Value, value: Global | Object, seen: Globals) -> None:
    name = key if type(key) is str else ""
    made = type(key) is Object and is_allowed(key.callee.module, key.callee.name)  # str("keys"), and NumPy's texts
    if type(value) is Global:
        if made or name in HOOKS or name in METHODS:
            value.uses |= CALLED
    elif name in HOOKS or ((made or name in ASKED) and _carries(value, seen)):
        value.callee.uses |= RESULT_CALLED  # type: ignore[union-attr]


def _carries(value: Value, seen: Globals) -> bool:
    """Whether an object has a function among what it was given, which calling it may call: a layer has hooks."""
    todo: list[Value] = [value]
    left = _ITEMS
    while todo:
        value = todo.pop()
        if type(value) is Global and not _is_class(value):
            return True
        parts: tuple[Value, ...] | list[Value] = ()
        if type(value) is Object:
            parts = (value.args, value.state, value.items, value.elements)
        elif type(value) in (tuple, list, Dict, Set):
            parts = value  # type: ignore[assignment]
        left -= len(parts)
        if left < 0:
            return True
        seen.looked_at += len(parts)
        todo += parts
    return False


def _is_class(value: Global) -> bool:
    return looks_like_class(value.name) or is_allowed(value.module, value.name)


def _attributes(state: Value, depth: int) -> Iterator[tuple[Value, Value]]:
    """Keys and values of a dictionary, or of a mapping that calls make of items, of pairs, or of another mapping."""
    if type(state) is Dict:
        yield from zip(state[::2], state[1::2], strict=False)
    elif type(state) is Object and depth < _DEPTH:
        yield from _attributes(state.items, depth)
        for argument in state.args[:2]:
            if type(argument) in (list, tuple):
                yield from (tuple(p) for p in argument if type(p) in (list, tuple) and len(p) == 2)  # type: ignore[attr-defined]
            else:
                yield from _attributes(argument, depth + 1)


def build(target: Value, state: Value, seen: Globals) -> None:
    """BUILD."""
    _plant_all(state, seen)
    if type(target) is Object:
        target.callee.uses |= BUILT
        target.state = state if target.state is None else [target.state, state]
    elif type(target) is Global:  # the state would be set on the class itself
        target.uses |= MUTATED
    else:
        raise Unreadable("malformed", "pickle: gives a state to what has none")
