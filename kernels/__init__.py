"""Numba kernels over NumPy arrays: no Python objects, no I/O, no knowledge of models. Import as `weightguard.kernels`."""
