"""Model names: a bare name to litellm's full name, by the prefixes in the records; and names to suggest."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping

from jupyter_batch.core.errors import ModelError
from jupyter_batch.providers.record import Record
from jupyter_batch.providers.registry import RECORDS


def full_name(model: str, *, api_base: str | None, environ: Mapping[str, str]) -> str:
    """Return `openai/gpt-4o-mini` for `gpt-4o-mini` or `openai:gpt-4o-mini`; full names unchanged.

    api_base: with an explicit address a bare name is `openai/NAME`, as for every compatible server.
    Raises ModelError where several hosts serve the model, or none is known.
    """
    name = model.strip()
    if not name or "?" in name or "#" in name:
        return model
    prefix, _, rest = name.partition(":")
    provider = _named(prefix.strip()) if rest else None
    if provider is not None:
        return f"{provider}/{rest.strip()}"
    if "/" in name:
        return model
    if api_base is not None:
        return f"openai/{name}"
    low = name.lower()
    makers = [record for record in RECORDS.values() if record.bare and re.match(record.bare, low)]
    if makers:
        makers.sort(key=lambda record: bool(record.settings))  # Google: its API, then its cloud
        made = next((record for record in makers if is_set_up(record, environ)), makers[0])
        return f"{made.name}/{name}"
    raise ModelError(_refusal(name, low, environ))


def _named(prefix: str) -> str | None:
    """The provider that libraries with "name:model" call so."""
    if prefix in RECORDS:
        return prefix
    return next((record.name for record in RECORDS.values() if prefix in record.also), None)


def is_set_up(record: Record, environ: Mapping[str, str]) -> bool:
    """Whether the environment has the provider's key, or the first setting of a cloud."""
    names = record.settings[0].environ if record.settings else record.key
    return any(environ.get(name) for name in names)


def _refusal(name: str, low: str, environ: Mapping[str, str]) -> str:
    hosts = [record for record in RECORDS.values() if low.startswith(record.serves or ("/",))]
    if not hosts:
        return (
            f"the model {name!r} has no provider, and which one is meant is not known: write it as "
            f'litellm does, PROVIDER/{name} (such as "openai/...", "anthropic/...", "mistral/..."), or '
            "give api_base= for a server of OpenAI's API"
        )
    here = [record for record in hosts if is_set_up(record, environ)]
    named = " or ".join(f'"{record.name}/{name}"' for record in here or hosts)
    keys = "the hosts whose keys are here" if here else "such as"
    return f"the model {name!r} is served by several hosts: name the one that is meant, {keys}: {named}"


def common_models() -> list[str]:
    """Return common models, those of providers with a key in the environment first."""
    order = sorted(
        RECORDS.items(), key=lambda item: not any(key in os.environ for key in item[1].key)
    )
    return [f"{provider}/{name}" for provider, record in order for name in record.models]


def listed_models() -> Iterator[str]:
    """Yield the models of batch providers in litellm's list; none before litellm is imported."""
    listed = getattr(sys.modules.get("litellm"), "models_by_provider", {})
    for provider, record in RECORDS.items():
        for name in sorted(listed.get(provider, ()) if record.batch else ()):
            yield name if name.startswith(f"{provider}/") else f"{provider}/{name}"
