"""Pieces of the GGUF reader."""
