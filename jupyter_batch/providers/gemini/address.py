"""Normalization of the Gemini API's address."""

from __future__ import annotations

import re

VERSION = "v1beta"
"""The API's version with batches (Gemini API reference)."""


def root_of(base: str) -> str:
    """Return the address above the version, where uploads and downloads have paths of their own."""
    return re.sub(r"/v1(alpha|beta)?$", "", base.rstrip("/")).rstrip("/")


def versioned(base: str) -> str:
    """Return litellm's form of the address, to which it appends "/models/..."."""
    return f"{root_of(base)}/{VERSION}"
