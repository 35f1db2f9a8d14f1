"""A reader of HDF5's metadata, for `formats.hdf5` and `formats.keras_zip`: every address and length checked, nothing converted."""
