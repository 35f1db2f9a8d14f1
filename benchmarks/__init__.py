"""Benchmarks, one file a question; `python -m benchmarks.table` prints the table that the README quotes."""
