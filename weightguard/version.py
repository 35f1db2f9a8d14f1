"""The version, as a constant: reading it from installed metadata would cost more than the whole start-up."""

VERSION = "0.1.0"
