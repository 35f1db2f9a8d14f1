"""What the callables of the pickle allow-list call of what they are given: each is called with an object that records it.

An entry that a new version of torch or NumPy, or of the allow-list, adds here is a way to run what a pickle merely names, until
`weightguard.formats._pickle` knows of it.
"""

from __future__ import annotations

import collections
import importlib
import pkgutil
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from weightguard.formats._pickle.allowed import ALLOWED, is_allowed

# callable -> what it calls: the argument itself, or an attribute of it
KNOWN = {
    "builtins.dict": "keys",
    "collections.OrderedDict": "keys",
    "collections.defaultdict": "keys",
    "numpy.random._pickle.__generator_ctor": "itself",
    "numpy.random._pickle.__randomstate_ctor": "itself",
    "torch._tensor._rebuild_from_type": "itself",
    "torch._tensor._rebuild_from_type_v2": "itself",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "to",
    "torch._utils._rebuild_parameter": "detach",
    "torch._utils._rebuild_parameter_with_state": "detach items",
    "torch.nn.Parameter": "detach",
    "torch.nn.parameter.Buffer": "detach",
    "torch.nn.parameter.Parameter": "detach",
    "torch.nn.modules.linear_cross_entropy_options.LinearCrossEntropyOptions": "partition",
    "torch.optim.lr_scheduler.LambdaLR": "itself",
    "torch.optim.lr_scheduler._SchedulePhase": "keys",
    "uuid.UUID": "replace",
}


class Recorder:
    """Has every attribute that an instance can have, and notes those that are called, and when it is called itself."""

    def __init__(self, called: set[str], path: tuple[str, ...] = ()) -> None:
        self._called = called
        self._path = path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Recorder(self._called, (*self._path, name))

    def __call__(self, *args: object, **named: object) -> Recorder:
        self._called.add(self._path[0] if self._path else "itself")
        return Recorder(self._called, (*self._path, "()"))


def allowed() -> Iterator[tuple[str, Any]]:
    import torch

    found = set(ALLOWED)
    for package in (torch.nn.modules, torch.optim):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            module = importlib.import_module(info.name)
            own = (n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == info.name)
            found |= {f"{info.name}.{n}" for n in own if is_allowed(info.name, n)}
    for path in sorted(found):
        home, _, name = path.rpartition(".")
        try:
            yield path, getattr(importlib.import_module(home), name)
        except (ImportError, AttributeError):
            continue  # a name of another version


def calls(function: Any) -> set[str]:
    """The attributes of its arguments that it calls."""
    import torch

    linear = torch.nn.Linear(1, 1)
    plain: tuple[Any, ...] = (None, 1, 0.5, True, "x", (1,), torch.ones(1), linear, collections.OrderedDict(), torch.float32)
    called: set[str] = set()
    for count in range(1, 6):
        rows = [[other] * count for other in (*plain, torch.optim.SGD(linear.parameters(), 0.1))]
        for row in rows:
            for at in range(count):
                recorder = Recorder(called)
                for given in (recorder, [recorder], (recorder,), {"a": recorder}):
                    _try(function, [*row[:at], given, *row[at + 1 :]])
        _try(function, [Recorder(called) for _ in range(count)])
    return called


def _try(function: Any, arguments: list[Any]) -> None:
    try:
        function(*arguments)
    except Exception:
        return


@pytest.mark.full
def test_what_allowed_callables_call_is_known() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {path: " ".join(sorted(c)) for path, function in allowed() if (c := {n for n in calls(function) if n != "()"})}
    new = {
        path: what
        for path, what in found.items()
        if not set(what.split()) <= set(KNOWN.get(path, "").split()) | {"as_subclass"}
    }
    assert new == {}
