"""Pieces of the ONNX reader."""
