"""The version of this package, as pyproject.toml has it: apart, so that every room can tell it."""

VERSION = "0.1.0"
