"""Check of litellm providers that need an address: without one litellm would call OpenAI."""

from __future__ import annotations

from jupyter_batch.core.errors import OptionError

_PROVIDERS = frozenset({"hosted_vllm", "litellm_proxy", "openai_like", "custom_openai"})
"""Without an address litellm sends their requests and key to OPENAI_BASE_URL or api.openai.com."""


def lacks_address(model: str, api_base: str | None) -> bool:
    """Whether a model, or its provider alone, needs an address and none is given."""
    return model.partition("/")[0] in _PROVIDERS and not api_base


def check_place(model: str, api_base: str | None) -> None:
    """Reject a model whose provider needs an address if none is given. Raises OptionError."""
    if lacks_address(model, api_base):
        raise OptionError(
            f"{model}: give api_base= (the server's address, such as http://localhost:8000/v1); without "
            "it the rows would be sent to OpenAI"
        )
