"""Cases that go wrong today, each by the fault that it waits for. A case that is mended must leave this list: the test says so."""

from __future__ import annotations

_FAULTS: dict[str, str] = {
    "up to 64 KiB that no rule explains are let be without a look at what they are": """
        gif-zip keras-pickle-member legacy-zip npy-then-pickle pdf-zip safetensors-zip-inside torch-bin-member
        torch-nested-zip torch-storage-pickle torch-two-roots torch-version-pickle way-second-after-zeros
    """,
    "a SavedModel that begins with another field than its version is taken for text": """
        savedmodel-text
    """,
    "a link to another file is not critical": """
        h5-external-link keras-external-link
    """,
    "an operator that runs Python is no critical finding": """
        onnx-custom-op
    """,
}

OPEN: dict[str, str] = {name: fault for fault, names in _FAULTS.items() for name in names.split()}
