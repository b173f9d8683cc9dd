"""Fields by which litellm chooses a call's address and key, which no request body may hold.

A body is on disk, possibly written by someone else; address and key are decided elsewhere.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

_NAMES = frozenset(
    {
        "api_base",
        "api_key",
        "api_version",
        "base_url",
        "client",
        "context_window_fallback_dict",
        "custom_llm_provider",
        "default_headers",
        "extra_headers",
        "fallbacks",
        "headers",
        "model_list",
        "organization",
        "provider_specific_header",
        "proxy_server_request",
        "region_name",
        "shared_session",
        "ssl_verify",
        "use_litellm_proxy",
    }
)
_FORMS = re.compile(
    r"(aws|azure|gcs|langfuse|litellm|s3|sagemaker|vertex)_.*|.*_(base|credentials|endpoint|host|proxy|url)"
)


_OF_THE_CALL = frozenset({"stream", "stream_options", "timeout", "mock_response"})
"""Fields that decide the form of the response, which the caller reads in one form alone."""


@functools.lru_cache(maxsize=1024)
def decides_place(name: str) -> bool:
    """Whether a field decides the address or the key of a call."""
    name = name.lower()
    return name in _NAMES or _FORMS.fullmatch(name) is not None


def sendable(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request's body that may be sent.

    litellm reads no address and no key within `extra_body`.
    """
    left_out = _left_out(tuple(body))
    if not left_out:
        return dict(body)
    return {name: value for name, value in body.items() if name not in left_out}


@functools.lru_cache(maxsize=64)
def _left_out(names: tuple[str, ...]) -> frozenset[str]:
    """Those of a body's fields that may not be sent: the bodies of a job have the same fields."""
    return frozenset(name for name in names if name in _OF_THE_CALL or decides_place(name))
