"""Cases that go wrong today, each by the fault that it waits for. A case that is mended must leave this list: the test says so."""

from __future__ import annotations

_FAULTS: dict[str, str] = {
    "an allowed callable calls what it is given, or an attribute of it, and what is called is merely named": """
        bare-planted-detach bare-planted-keys-dict bare-planted-keys-ordered bare-planted-parameter
        call-bit-generator-ctor call-generator-ctor call-randomstate-ctor way-planted-detach way-planted-keys-dict
        way-planted-keys-ordered way-planted-parameter
    """,
    "a class of an unknown package whose constructor acts is low": """
        call-aiohttp call-h5py-file call-mako
    """,
    "a small pickle without PROTO 1 to 5 that fails later, or calls late, is let be as a file of no known kind": """
        bare-buffer-ops bare-dynamic-names bare-readonly-buffer bare-str-made-names bare-then-bad-int bare-then-bad-text
        bare-then-build-error bare-then-garbage bare-then-missing-memo bare-then-proto-9 bare-then-underflow
        bare-then-wrong-type legacy-under-magic proto-0-unnamed text-late
    """,
    "values that cross their frame's end are taken as the frame says, which the C unpickler doesn't": """
        legacy-frame-straddled torch-frame-straddled way-frame-straddled
    """,
    "up to 64 KiB that no rule explains are let be without a look at what they are": """
        gif-zip keras-pickle-member legacy-zip npy-then-pickle pdf-zip safetensors-zip-inside torch-bin-member
        torch-nested-zip torch-storage-pickle torch-two-roots torch-version-pickle way-second-after-zeros
    """,
    "what grows without bound once it is loaded or walked is no finding": """
        bomb-bytes-bomb bomb-laughs bomb-memo-far bomb-range-bomb bomb-tuples
    """,
    "constants that are pickles in base64 or hex are no finding": """
        way-nested-in-base64 way-nested-in-hex
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
    "a whole Sequential is taken for a part of a model": """
        ok-whole-transformer
    """,
    "what makes an instance is taken for a call of a function": """
        ok-deepspeed ok-joblib-neighbours ok-own-module ok-sklearn-neighbours
    """,
}

OPEN: dict[str, str] = {name: fault for fault, names in _FAULTS.items() for name in names.split()}
