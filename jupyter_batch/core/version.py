"""The version of this package, as in pyproject.toml, in a module that any other can import."""

VERSION = "0.2.0"
