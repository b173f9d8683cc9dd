"""Fields by which litellm chooses a call's address and key, which no request body may hold.

A body is on disk, possibly written by someone else; address and key are decided elsewhere.
"""

from __future__ import annotations

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


def decides_place(name: str) -> bool:
    """Whether a field decides the address or the key of a call."""
    name = name.lower()
    return name in _NAMES or _FORMS.fullmatch(name) is not None


def without_place(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body without these fields. litellm reads none of them within `extra_body`."""
    return {name: value for name, value in body.items() if not decides_place(name)}
