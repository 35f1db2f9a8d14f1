"""A bare pickle, protocols 0 to 5: training arguments, dictionaries of NumPy arrays, tensors saved without torch.save.

Source: CPython, `pickletools` (protocols and opcodes). Several pickles may follow one another in a file.
"""

from __future__ import annotations

from dataclasses import replace

from weightguard.errors import Unreadable
from weightguard.formats._pickle.findings import constant_findings, dangerous, name_findings
from weightguard.formats._pickle.legacy import load_nested
from weightguard.formats._pickle.machine import Globals, run
from weightguard.formats._pickle.opcodes import HIGHEST_PROTOCOL
from weightguard.formats._pickle.rebuild import Collector, structure_findings
from weightguard.formats._pickle.storages import Storages
from weightguard.formats.protocol import Container
from weightguard.formats.torch_legacy_magic import is_legacy
from weightguard.limits import LIMITS, Limits
from weightguard.stores import ByteSource

NAME = "pickle"
SPEC = "CPython, Lib/pickletools.py, protocols 0 to 5"

_TRIAL = replace(LIMITS, pickle_opcodes=20_000)
