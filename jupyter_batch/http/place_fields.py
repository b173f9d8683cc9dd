"""Fields by which litellm decides where a call goes, and with which key: no request's body may hold one. Pure.

A body is on disk, where someone else may have written it; the address and the key are decided elsewhere.
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
    """Whether a field says where a call goes, or as whom."""
    name = name.lower()
    return name in _NAMES or _FORMS.fullmatch(name) is not None


def without_place(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body without these fields. litellm reads none of them within `extra_body`."""
    return {name: value for name, value in body.items() if not decides_place(name)}
