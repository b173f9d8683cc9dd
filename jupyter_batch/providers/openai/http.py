"""The HTTP library of the installed OpenAI SDK: httpx up to openai 2, httpx2 since openai 3.

A client, limit or response passed to the SDK has to be from the same library.
"""

from __future__ import annotations

import importlib
from typing import Any


def http_module() -> Any:
    """The module `httpx` or `httpx2`, whichever the SDK imports. Imports the SDK."""
    import openai

    # Found by a base class instead of a version number: the release of the change does not matter.
    client = next(
        kind for kind in openai.DefaultAsyncHttpxClient.__mro__ if kind.__name__ == "AsyncClient"
    )
    return importlib.import_module(client.__module__.partition(".")[0])
