"""The one decorator of all kernels: plain Python while the work is small, compiled by Numba once it is large.

Importing Numba and loading a cached kernel costs about half a second, so a scan pays it only after the plain function would
have cost more: the decision is by the work done so far in this process, not by the size of one call.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import update_wrapper
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

COMPILE_ABOVE = 5_000_000
"""Work, in loop steps of about 100 ns each in plain Python, after which kernels run compiled."""

calls: Counter[tuple[str, str]] = Counter()
"""How often each kernel ran in this process: (name, "plain" or "compiled") -> calls."""

small_process = False
"""Whether only a call that is large by itself runs compiled: Numba holds some 130 MB, which a sweep of small files does without."""

_lock = threading.Lock()
_done = 0  # work of all kernel calls of this process so far, in steps


class Kernel(Generic[P, R]):
    """A kernel: callable like the plain function `py_func`, with its signature and docstring.

    `work(*args)` is the cheap count of loop steps of a call.
    """

    def __init__(self, plain: Callable[P, R], work: Callable[P, int]) -> None:
        self.py_func = plain
        self._work = work
        self._compiled: Callable[P, R] | None = None
        update_wrapper(self, plain)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.pays(self._work(*args, **kwargs)):
            return self.compiled(*args, **kwargs)
        calls[self.py_func.__name__, "plain"] += 1
        return self.py_func(*args, **kwargs)

    def pays(self, steps: int) -> bool:
        """Counts `steps` of work as done, and says whether a call of that size should run compiled."""
        global _done
        _done += steps
        return (steps if small_process else _done) > COMPILE_ABOVE

    def compiled(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same by Numba, compiled or loaded from its cache at the first call."""
        calls[self.py_func.__name__, "compiled"] += 1
        if self._compiled is None:
            with _lock:
                self._compiled = self._compiled or _compile(self.py_func)
        return self._compiled(*args, **kwargs)


def kernel(work: Callable[P, int]) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Decorator: `@kernel(work=lambda values, ...: len(values))`."""
    return lambda plain: Kernel(plain, work)


def _compile(plain: Callable[P, R]) -> Callable[P, R]:
    from numba import njit

    try:
        fast: Callable[P, R] = njit(nogil=True, cache=True)(plain)
    except RuntimeError:  # no folder takes Numba's cache: a read-only install without a home
        fast = njit(nogil=True)(plain)
    return fast
