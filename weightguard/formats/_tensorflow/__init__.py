"""Pieces of the readers of TensorFlow checkpoints, SavedModels and graphs."""
