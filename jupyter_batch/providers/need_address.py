"""Models of litellm that must have an address of their own: without one litellm would call OpenAI."""

from __future__ import annotations

from jupyter_batch.core.errors import OptionError

NEED_BASE = frozenset({"hosted_vllm", "litellm_proxy", "openai_like", "custom_openai"})
"""Without an address litellm sends what is meant for these to OPENAI_BASE_URL or to api.openai.com, key and all."""


def check_place(model: str, api_base: str | None) -> None:
    """Refuse a model that would go to a stranger without an address of its own. Raises OptionError."""
    provider = model.partition("/")[0]
    if provider in NEED_BASE and not api_base:
        raise OptionError(
            f"{model}: give api_base= (the server's address, such as http://localhost:8000/v1); without "
            "it the rows would be sent to OpenAI"
        )
