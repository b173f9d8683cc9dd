"""Which provider a model belongs to, what that provider takes, and with which address and key it is called.

Read without litellm, so that a wrong model or a missing key is told in the first second.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

from jupyter_batch.core.errors import KeyMissingError, ModelError, OptionError
from jupyter_batch.core.request import Limits
from jupyter_batch.providers.protocol import Access, Facts

LOCAL = "local"
"""The provider of models that the embedded server answers."""

OPENAI = Facts(
    name="openai", dialect="openai", key="OPENAI_API_KEY",
    limits=Limits(requests=50_000, bytes=200_000_000),  # OpenAI's batch guide: 50,000 requests, 200 MB a file
)
PROVIDERS: dict[str, Facts] = {
    "openai": OPENAI,
    LOCAL: msgspec.structs.replace(OPENAI, name=LOCAL, key=""),
}

_NEAR = {"poll_first": 0.2, "poll_last": 5.0, "settle": 1.0}
"""On this machine asking costs nothing."""


def split_model(model: str | None) -> tuple[str, str]:
    """("openai", "gpt-4.1-mini") of "openai/gpt-4.1-mini". Raises ModelError where it can't be told."""
    if not model:
        raise ModelError('no model: give model="openai/gpt-4.1-mini" (--model in the magic), or set it once with '
                         '%config LLMBatch.model = "openai/gpt-4.1-mini" or JUPYTER_BATCH_MODEL; "local/echo" needs no '
                         "key")
    provider, slash, name = model.partition("/")
    if not slash or not name or not provider:
        raise ModelError(f'the model {model!r} has no provider: write it as litellm does, such as "openai/{model}"')
    if provider not in PROVIDERS:
        known = ", ".join(f"{p}/..." for p in PROVIDERS)
        raise ModelError(f"{provider!r} (of the model {model!r}) has no batch API that jupyter_batch can use: it can "
                         f'use {known}; a server that speaks OpenAI\'s batch API is "openai/{name}" with api_base=')
    return provider, name


def access_for(provider: str, *, api_base: str | None, api_key: str | None, environ: Mapping[str, str]) -> Access:
    """Address and key: the call's own, else where litellm looks. Raises KeyMissingError, OptionError."""
    litellm = sys.modules.get("litellm")  # what the user set on it counts, but it isn't imported for that
    base = (api_base or getattr(litellm, "api_base", None) or environ.get("OPENAI_BASE_URL")
            or environ.get("OPENAI_API_BASE") or "https://api.openai.com/v1")
    key = (api_key or getattr(litellm, "api_key", None) or getattr(litellm, "openai_key", None)
           or environ.get("OPENAI_API_KEY"))
    check_base(base)
    if not key and is_near(base):
        key = "no-key"  # the SDK wants one; servers on one's own machine rarely do
    if not key:
        raise KeyMissingError(f"no API key for {provider}: set {PROVIDERS[provider].key} in the environment before "
                              "Jupyter starts (or os.environ in a cell), or give api_key= for this call; it is kept "
                              "in memory alone")
    return Access(api_base=base.rstrip("/"), api_key=str(key))


def check_base(base: str) -> None:
    """An address that can be called and may be written down."""
    url = urlsplit(base)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise OptionError(f"api_base={base.rpartition('@')[2]!r} is no address: it looks like https://host/v1")
    if url.username or url.password:
        raise OptionError("api_base holds a user name or a password: give the key as api_key= instead, since the "
                          "address is written to the ledger")


def is_near(base: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(base).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def facts_of(provider: str, base: str | None) -> Facts:
    """The facts of a provider at an address: one on this machine is asked more often."""
    facts = PROVIDERS[provider]
    return msgspec.structs.replace(facts, **_NEAR) if provider == LOCAL or (base and is_near(base)) else facts
