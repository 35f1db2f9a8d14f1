"""ECCN 3A090 of the US Export Administration Regulations: integrated circuits by processing performance, for § 734.9(l)."""

from weightguard.rules.us_ear_3a090.entry import FOLDER, Class, classify, of_device

__all__ = ["FOLDER", "Class", "classify", "of_device"]
