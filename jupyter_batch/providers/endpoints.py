"""Choice of the OpenAI endpoint of a model: chat, responses or embeddings. No network.

Based on litellm's model list: the file in its package, or the list in memory where litellm is
imported (the user may have registered a model). A model that is not listed uses chat, or
embeddings where vectors are requested. Chat requests that need /v1/responses, as tools with
reasoning (from gpt-5.4), follow litellm's rule for the same call in real time.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.config.option import Col
from jupyter_batch.core.errors import ModelError, OptionError
from jupyter_batch.http.litellm import price_list
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.providers.record import RECORDS
from jupyter_batch.providers.table import BATCH, chat_path, split_model
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS, RESPONSES

PREFIX = "responses/"
"""litellm's prefix of a model to be called by /v1/responses: "openai/responses/gpt-5"."""

_TEXT = frozenset({"chat", "completion", "responses"})

_TOOLS, _SEARCH, _EFFORT = "tools", "web_search_options", "reasoning_effort"
_OF_ROWS: Mapping[str, Any] = {
    _TOOLS: [{"type": "function", "function": {"name": "a_tool", "parameters": {}}}],
    _SEARCH: {},
    _EFFORT: "medium",
}
"""Placeholders for values that differ by row: all rows use one endpoint."""


class Spoken(NamedTuple):
    """How a model is called: the url of a request line, and the model's name in its body."""

    endpoint: str
    model: str


class _Entry(msgspec.Struct):
    mode: Any = None
    litellm_provider: Any = None
    supported_endpoints: Any = None


def for_text(model: str, *, mode: str) -> Spoken:
    """Return the endpoint at which this model generates text, in a batch or in real time.

    Raises ModelError, with a workaround, for a model that generates no text or whose endpoint is
    not supported.
    """
    provider, name = split_model(model)
    entry = _listed(provider, name.removeprefix(PREFIX))
    kind = entry.mode if isinstance(entry.mode, str) else "chat"
    if kind == "embedding":
        raise ModelError(
            f'{model} makes vectors, not text: df.llm.embed("column", model="{model}") is the call for it'
        )
    if kind not in _TEXT:
        raise ModelError(f"{model} makes no text (litellm knows it for {kind.replace('_', ' ')})")
    if kind == "completion" and mode == BATCH:
        raise ModelError(
            f"{model} speaks the old /v1/completions alone: take a model that speaks chat, or "
            'mode="realtime", which asks at the full price'
        )
    record = RECORDS.get(provider)
    asked = name.startswith(PREFIX) and record is not None and record.responses_names
    if asked or _only_responses(entry):
        return _responses(model, provider, name.removeprefix(PREFIX), mode)
    return Spoken(chat_path(provider) if mode == BATCH else CHAT, name)


def _only_responses(entry: _Entry) -> bool:
    listed = entry.supported_endpoints
    ways = {str(one) for one in listed if one != "/v1/batch"} if isinstance(listed, list) else set()
    return entry.mode == "responses" or ways == {RESPONSES}


def for_responses(model: str) -> str:
    """Return the model's id for /v1/responses. Raises OptionError for a provider that has no such ids."""
    provider, name = split_model(model)
    record = RECORDS.get(provider)
    if record is None or not record.responses_names:
        title = record.title if record is not None else repr(provider)
        raise OptionError(f"`endpoint`: {title} is not known to have /v1/responses: take chat")
    return f"{provider}/{PREFIX}{name.removeprefix(PREFIX)}"


def _responses(model: str, provider: str, name: str, mode: str) -> Spoken:
    record = RECORDS.get(provider)
    if record is not None and record.responses:
        return Spoken(RESPONSES, name)
    title = record.title if record is not None else repr(provider)
    if mode != BATCH:
        if importlib.util.find_spec("mcp") is not None:
            return Spoken(CHAT, name)  # litellm's chat call selects the endpoint
        raise ModelError(
            f"{model} speaks /v1/responses alone; litellm asks {title} for that only where the package "
            "mcp is installed: pip install mcp"
        )
    raise ModelError(
        f"{model} speaks /v1/responses alone, and jupyter_batch can't ask {title} for that in a batch: "
        "take a model that speaks chat"
    )


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
    arguments = {
        name: value for name, value in {**given, "api_base": api_base}.items() if name in taken
    }
    info, _ = check(model=model, custom_llm_provider=provider, **arguments)
    return bool(info.get("mode") == "responses")


def makes_vectors(model: str) -> bool:
    """Whether this is a known embedding model."""
    return bool(_listed(*split_model(model)).mode == "embedding")


def for_vectors(model: str, *, mode: str) -> Spoken:
    """Return the endpoint at which this model makes vectors.

    Raises ModelError for other models, and for a provider whose batches don't take such requests.
    """
    provider, name = split_model(model)
    kind = _listed(provider, name).mode
    record = RECORDS.get(provider)
    if name.startswith(PREFIX) and record is not None and record.responses:
        kind = "responses"
    if isinstance(kind, str) and kind != "embedding":
        raise ModelError(
            f"{model} makes no vectors (litellm knows it for {kind.replace('_', ' ')}): take an embedding "
            'model, such as "openai/text-embedding-3-small"'
        )
    if mode == BATCH and not (record is not None and record.vectors):
        title = record.title if record is not None else repr(provider)
        raise ModelError(
            f'{title} takes no embeddings in a batch: mode="realtime" asks at once, at the full price, '
            "without the discount of a batch"
        )
    return Spoken(EMBEDDINGS, name)


def check_structured(model: str) -> None:
    """Raise OptionError for a model that is known to have no structured output."""
    provider, name = split_model(model)
    record = RECORDS.get(provider)
    if record is not None and record.unstructured and re.match(record.unstructured, name):
        raise OptionError(
            f"{model} has no structured output: take a newer model, or leave `schema` out and ask for "
            "JSON in the prompt"
        )


def packs(provider: str, api_base: str | None) -> bool:
    """Whether base64 vectors are known to be supported: by OpenAI itself, and our own server."""
    record = RECORDS.get(provider)
    return record is not None and record.packed_vectors and api_base in (None, record.default_base)


def _listed(provider: str, name: str) -> _Entry:
    """Return litellm's list entry for a model, or an empty one."""
    loaded = getattr(sys.modules.get("litellm"), "model_cost", None)
    held: Mapping[str, Any] = loaded if isinstance(loaded, Mapping) else _file()
    record = RECORDS.get(provider)
    bare = record is not None and record.listed_bare
    for key in (f"{provider}/{name}", name):
        found = held.get(key)
        if isinstance(found, Mapping):
            found = _Entry(
                found.get("mode"), found.get("litellm_provider"), found.get("supported_endpoints")
            )
        if isinstance(found, _Entry) and (
            key != name or bare or provider == found.litellm_provider
        ):
            return found
    return _Entry()


@cache
def _file() -> dict[str, _Entry]:
    """Return litellm's list, reduced to the fields used: 10 ms, once."""
    path = price_list()
    if path is None:
        return {}
    return msgspec.json.decode(path.read_bytes(), type=dict[str, _Entry])
