"""Rules of litellm that came with a later version than the lowest that this package takes."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from packaging.version import Version

BRIDGES = pytest.mark.skipif(
    Version(version("litellm")) < Version("1.106"),
    reason="an older litellm has another rule for /v1/responses, which its real time follows, too",
)
