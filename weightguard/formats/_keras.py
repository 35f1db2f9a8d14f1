"""Keras' configurations: JSON that names the classes and functions which loading a model makes and calls.

Source: Keras, `keras/src/saving/serialization_lib.py` (`deserialize_keras_object`) and, for HDF5, `keras/src/legacy/saving`; the
advisories CVE-2024-3660, CVE-2025-1550, CVE-2025-8747, CVE-2025-9905, CVE-2025-9906 and CVE-2025-12058. A Lambda carries
marshalled bytecode, a `module` is imported, a function is looked up in it and may be called.
"""

from __future__ import annotations

import builtins
import json
import re
from typing import NamedTuple

from weightguard.limits import Limits
from weightguard.values import Finding

_REPORTED = 50
_SHORT = 64  # characters of a name; longer texts are free text
_NUMBERS = 64 << 10  # numbers of a configuration: shapes, rates; not weights
_CODE = {
    "Lambda": "a Lambda layer, whose function is run",
    "__lambda__": "a function as marshalled bytecode",
    "TorchModuleWrapper": "a torch module, which is unpickled",
    "TFSMLayer": "a layer that loads a SavedModel and runs it",
}
_KERAS = re.compile(
    r"(?:(?:tf_)?keras|keras_(?:hub|nlp|cv|core|tuner|rs)|tensorflow\.(?:python\.)?keras|tensorflow\.python\.framework"
    r"|tensorflow\.python\.trackable)(?:\.[\w.]*)?"
)
# Parts of Keras that no model is made of: they load, download, save, or switch safety off.
_ROOT = r"(?:tf_)?keras(?:_core)?(?:\.(?:src|api|_tf_keras|keras|engine|python))*\."
_NO_CLASSES = re.compile(_ROOT + r"(?:utils|config|saving|export|datasets|distribution)(?:\.|$)")
_NO_FUNCTIONS = re.compile(
    _ROOT
    + r"(?:utils|config|saving|export|datasets|distribution|callbacks|backend|legacy|trainers|applications|preprocessing)(?:\.|$)"
)
_LOADERS = re.compile(r"(?:load|get_file|enable_|disable_|clear_|save|deserialize|export|from_json|model_from|clone_model)")
_TF_CALLS = re.compile(
    r"^(?:io\.|raw_ops\.|saved_model|py_function|numpy_function|compat\.|config\.|debugging\.|train\.|load_)"
)
_LOOKUPS = ("StringLookup", "IntegerLookup", "TextVectorization", "Hashing", "IndexLookup")


class Examined(NamedTuple):
    """findings: what loading it would run. hidden: bytes of texts and numbers that are no names and settings."""

    findings: list[Finding]
    hidden: int


def examine(text: bytes, path: str, limits: Limits) -> Examined | None:
    """What a configuration says, at any depth; None if the text isn't a JSON object or too large for one."""
    if len(text) > limits.sidecar_bytes:
        return None
    try:
        top = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if type(top) is not dict:
        return None
    messages: dict[str, Finding] = {}
    texts: set[str] = set()
    numbers = 0
    waiting: list[object] = [top]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            for finding in _judge(value, path):
                messages.setdefault(finding.message, finding)
            texts.update(k for k in value if len(k) > _SHORT)
            waiting += value.values()
        elif type(value) is list:
            waiting += value
        elif type(value) is str:
            if len(value) > _SHORT:
                texts.add(value)
        elif type(value) in (int, float):
            numbers += 1
    hidden = sum(len(t.encode("utf-8", "surrogatepass")) for t in texts) + (8 * numbers if numbers > _NUMBERS else 0)
    found = list(messages.values())
    if len(found) > _REPORTED:
        text_ = f"and {len(found) - _REPORTED} more such parts of the configuration"
        found[_REPORTED:] = [Finding("keras-lambda", found[_REPORTED].severity, text_, path)]
    return Examined(found, hidden)


def _judge(part: dict[str, object], path: str) -> list[Finding]:
    """What one object of a configuration makes a loader do."""
    kind, module, config = part.get("class_name"), part.get("module"), part.get("config")
    if type(kind) is not str:
        return []
    shown = ascii(kind[:80])
    inner = config if type(config) is dict else {}
    if kind in _CODE:
        named = inner.get("name", part.get("name"))
        suffix = f" ({named[:80]!a})" if type(named) is str else ""
        return [Finding("keras-lambda", "critical", f"loading this model meets {_CODE[kind]}{suffix}", path)]
    found = []
    name = config if kind == "function" and type(config) is str else kind
    if type(module) is str and module and _is_foreign(module, kind, name):
        text = f"loading this model imports {module[:80]!a} and takes {name[:80]!a} from it"
        found.append(Finding("keras-lambda", "critical", text, path))
    elif type(module) is str and _runs(module, kind, name):
        text = f"loading this model calls {module[:80]!a}.{ascii(name[:80])[1:-1]}, which is no part of a model"
        found.append(Finding("keras-lambda", "critical", text, path))
    elif module is None and type(part.get("registered_name")) is str and ">" in str(part["registered_name"]):
        text = f"loading this model makes a custom object {str(part['registered_name'])[:80]!a}"
        found.append(Finding("keras-custom-object", "medium", text, path))
    if (
        kind in ("TFOpLambda", "SlicingOpLambda")
        and type(inner.get("function")) is str
        and _TF_CALLS.match(str(inner["function"]))
    ):
        text = f"loading this model calls TensorFlow's {str(inner['function'])[:80]!a}"
        found.append(Finding("keras-lambda", "critical", text, path))
    if kind in _LOOKUPS and type(inner.get("vocabulary")) is str:
        text = f"loading this model opens {str(inner['vocabulary'])[:80]!a} as the vocabulary of a {shown}"
        found.append(Finding("keras-file", "high", text, path))
    return found


def _is_foreign(module: str, kind: str, name: str) -> bool:
    """Whether a module is none of Keras' own. `builtins` stands for Keras' functions where Python has none of that name."""
    if module == "builtins":
        return kind != "function" or hasattr(builtins, name.rpartition(".")[2])
    return _KERAS.fullmatch(module) is None


def _runs(module: str, kind: str, name: str) -> bool:
    """Whether it is a function of Keras that a model isn't made of: a download, a loader, a switch."""
    if kind == "function":
        return _NO_FUNCTIONS.match(module) is not None or _LOADERS.match(name) is not None
    return _NO_CLASSES.match(module) is not None or _LOADERS.match(kind) is not None
