"""HDF5: files of Keras, h5py, PyTables and NetCDF 4. No library opens them: their metadata are read here, every address checked."""

from __future__ import annotations

from weightguard.formats._hdf5.file import SIGNATURE, USER_BLOCKS
from weightguard.formats._hdf5.reader import read_hdf5
from weightguard.formats.protocol import Container
from weightguard.limits import Limits
from weightguard.stores import ByteSource

NAME = "hdf5"
SPEC = "HDF5 File Format Specification, version 3.0"


def sniff(head: bytes, tail: bytes) -> bool:
    """The signature, at the start or after a user block."""
    return any(head.startswith(SIGNATURE, start) for start in USER_BLOCKS)


def read(source: ByteSource, limits: Limits) -> Container:
    """All datasets by their paths; what a Keras configuration would run is a finding. Raises `Unreadable`."""
    return read_hdf5(source, limits, NAME)
