"""The HTTP library that the installed OpenAI SDK speaks: httpx up to openai 2, httpx2 since openai 3.

A client, a limit or a response that is handed to the SDK has to be of its own library.
"""

from __future__ import annotations

import importlib
from typing import Any


def http_module() -> Any:
    """The module `httpx` or `httpx2`, whichever the SDK imports. Imports the SDK."""
    import openai

    # Found by a base class and not by a version number: which release changed it does not matter here.
    client = next(
        kind for kind in openai.DefaultAsyncHttpxClient.__mro__ if kind.__name__ == "AsyncClient"
    )
    return importlib.import_module(client.__module__.partition(".")[0])
