"""ECCN 4E091 of the US Export Administration Regulations: model weights trained with 1e26 or more operations."""

from weightguard.rules.us_ear_4e091.entry import FOLDER, ID, SOURCES, TITLE, classify

__all__ = ["FOLDER", "ID", "SOURCES", "TITLE", "classify"]
