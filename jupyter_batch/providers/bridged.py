"""Choice of /v1/responses for chat requests that need it, as tools with reasoning (from gpt-5.4).

It applies litellm's rule for the same call in real time, without network access.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jupyter_batch.config.option import Col
from jupyter_batch.core.errors import OptionError
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.providers.endpoints import Spoken
from jupyter_batch.providers.registry import RECORDS
from jupyter_batch.providers.table import BATCH, split_model
from jupyter_batch.wire.openai import CHAT, RESPONSES

_TOOLS, _SEARCH, _EFFORT = "tools", "web_search_options", "reasoning_effort"
_OF_ROWS: Mapping[str, Any] = {_SEARCH: {}, _EFFORT: "medium"}
"""Placeholders for values that differ by row: all rows use one endpoint."""


def for_params(
    spoken: Spoken,
    model: str,
    params: Mapping[str, Any],
    *,
    api_base: str | None,
    mode: str,
    load: Callable[[], Any],
) -> Spoken:
    """Return the endpoint for a chat request with these parameters.

    load: loads litellm, which is imported only where a given parameter may matter. Raises
    OptionError where the provider's batches don't take such requests.
    """
    provider, _ = split_model(model)
    record = RECORDS.get(provider)
    if record is None or not record.bridged or not spoken.endpoint.endswith("/chat/completions"):
        return spoken
    if params.get(_TOOLS) is None and params.get(_SEARCH) is None:
        return spoken
    if not _is_bridged(load(), provider, spoken.model, params, api_base):
        return spoken
    if record.responses:
        return Spoken(RESPONSES, spoken.model)
    if mode != BATCH:
        return Spoken(CHAT, spoken.model)  # litellm's call chooses the endpoint itself
    raise OptionError(
        f"{model} takes tools with reasoning at /v1/responses alone, and {provider}'s batches have no such requests: "
        f'give {_EFFORT}="none", leave the tools out, or take mode="realtime", which asks at the full price'
    )


@quiet()
def _is_bridged(
    litellm: Any, provider: str, model: str, params: Mapping[str, Any], api_base: str | None
) -> bool:
    check = getattr(litellm.main, "responses_api_bridge_check", None)
    if check is None:  # it is private; then litellm decides elsewhere
        return False
    given = {
        name: _OF_ROWS.get(name) if isinstance(value, Col) else value
        for name, value in params.items()
        if name in (_TOOLS, _SEARCH, _EFFORT)
    }
    taken = inspect.signature(check).parameters
    told = {name: value for name, value in {**given, "api_base": api_base}.items() if name in taken}
    info, _ = check(model=model, custom_llm_provider=provider, **told)
    return bool(info.get("mode") == "responses")
