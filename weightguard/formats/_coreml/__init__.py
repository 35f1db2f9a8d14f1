"""Pieces of the CoreML reader."""
