"""Which of OpenAI's endpoints a model speaks: chat, responses or embeddings. It asks no network.

What litellm's model list says of it counts: where litellm is not imported, as the file in its package; where it is, as
it stands there (a person may have registered a model). A model that is in no list speaks chat, and makes vectors if it
is asked to.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from jupyter_batch.core.errors import ModelError
from jupyter_batch.providers.records import RECORDS
from jupyter_batch.providers.table import BATCH, LOCAL, chat_path, split_model
from jupyter_batch.wire.openai import CHAT, EMBEDDINGS, RESPONSES

LIST = "model_prices_and_context_window_backup.json"
"""litellm's model list in its package."""
PREFIX = "responses/"
"""litellm's own way to say in a model's id that it is to be asked by /v1/responses: "openai/responses/gpt-5"."""

_TEXT = frozenset({"chat", "completion", "responses"})
AT_RESPONSES = frozenset({"openai", "hosted_vllm", "litellm_proxy", "xai", LOCAL})
"""Whose batches take request lines for /v1/responses: OpenAI's (batch guide), servers of its API, ours, and xAI's
(docs.x.ai: a line's url picks its endpoint). Azure's REST reference (2024-10-21) knows chat alone."""
_VECTORS = frozenset({"openai", "hosted_vllm", "litellm_proxy", "mistral", LOCAL})
"""Whose batches take those for /v1/embeddings: OpenAI's (batch guide), servers of its API, ours, Mistral's (API
reference, batch jobs)."""
_PACKED = frozenset({"https://api.openai.com/v1", None})


class Spoken(NamedTuple):
    """How a model is asked: the url of a request line, and the model's name in its body."""

    endpoint: str
    model: str


class _Entry(msgspec.Struct):
    mode: Any = None
    litellm_provider: Any = None
    supported_endpoints: Any = None


def for_text(model: str, *, mode: str) -> Spoken:
    """The endpoint at which this model answers with text, in a batch or in real time.

    Raises ModelError for a model that makes no text, and for one whose endpoint can't be used here, with the way out.
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
    asked = name.startswith(PREFIX) and (provider in AT_RESPONSES or provider == "azure")
    if asked or _only_responses(entry):
        return _responses(model, provider, name.removeprefix(PREFIX), mode)
    return Spoken(chat_path(provider) if mode == BATCH else CHAT, name)


def _only_responses(entry: _Entry) -> bool:
    told = entry.supported_endpoints
    ways = {str(one) for one in told if one != "/v1/batch"} if isinstance(told, list) else set()
    return entry.mode == "responses" or ways == {RESPONSES}


def _responses(model: str, provider: str, name: str, mode: str) -> Spoken:
    if provider in AT_RESPONSES:
        return Spoken(RESPONSES, name)
    title = RECORDS[provider].title if provider in RECORDS else repr(provider)
    if mode != BATCH:
        if importlib.util.find_spec("mcp") is not None:
            return Spoken(CHAT, name)  # litellm's chat call asks it as it has to be asked
        raise ModelError(
            f"{model} speaks /v1/responses alone; litellm asks {title} for that only where the package "
            "mcp is installed: pip install mcp"
        )
    raise ModelError(
        f"{model} speaks /v1/responses alone, and jupyter_batch can't ask {title} for that in a batch: "
        "take a model that speaks chat"
    )


def makes_vectors(model: str) -> bool:
    """Whether this is known to be an embedding model."""
    return bool(_listed(*split_model(model)).mode == "embedding")


def for_vectors(model: str, *, mode: str) -> Spoken:
    """The endpoint at which this model makes vectors.

    Raises ModelError for a model that makes none, and for a provider whose batches don't take such requests.
    """
    provider, name = split_model(model)
    kind = _listed(provider, name).mode
    if name.startswith(PREFIX) and provider in AT_RESPONSES:
        kind = "responses"
    if isinstance(kind, str) and kind != "embedding":
        raise ModelError(
            f"{model} makes no vectors (litellm knows it for {kind.replace('_', ' ')}): take an embedding "
            'model, such as "openai/text-embedding-3-small"'
        )
    if mode == BATCH and provider not in _VECTORS:
        title = RECORDS[provider].title if provider in RECORDS else repr(provider)
        raise ModelError(
            f'{title} takes no embeddings in a batch: mode="realtime" asks at once, at the full price, '
            "without the discount of a batch"
        )
    return Spoken(EMBEDDINGS, name)


def packs(provider: str, api_base: str | None) -> bool:
    """Whether vectors can be asked for in base64 without a thought: OpenAI itself, and our own server."""
    return provider == LOCAL or (provider == "openai" and api_base in _PACKED)


def _listed(provider: str, name: str) -> _Entry:
    """What litellm's list says of a model; an empty entry where it says nothing."""
    loaded = getattr(sys.modules.get("litellm"), "model_cost", None)
    held: Mapping[str, Any] = loaded if isinstance(loaded, Mapping) else _file()
    for key in (
        f"{provider}/{name}",
        name,
    ):  # bare names are OpenAI's, or of the provider that stands beside them
        found = held.get(key)
        if isinstance(found, Mapping):
            found = _Entry(
                found.get("mode"), found.get("litellm_provider"), found.get("supported_endpoints")
            )
        if isinstance(found, _Entry) and (
            key != name or provider in ("openai", found.litellm_provider)
        ):
            return found
    return _Entry()


@cache
def _file() -> dict[str, _Entry]:
    """The entries of litellm's list, of each the fields that are looked at: 10 ms, once."""
    spec = importlib.util.find_spec("litellm")
    path = Path(str(spec.origin)).parent / LIST if spec is not None else None
    if path is None or not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=dict[str, _Entry])
