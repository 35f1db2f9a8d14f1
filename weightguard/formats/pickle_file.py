"""A bare pickle, protocols 0 to 5: training arguments, dictionaries of NumPy arrays, tensors saved without torch.save.

Source: CPython, `pickletools` (protocols and opcodes). Several pickles may follow one another in a file.
"""

from __future__ import annotations

from dataclasses import replace

from weightguard.limits import LIMITS

NAME = "pickle"
SPEC = "CPython, Lib/pickletools.py, protocols 0 to 5"

_TRIAL = replace(LIMITS, pickle_opcodes=20_000)
