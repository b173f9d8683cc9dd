"""Embedding requests -> lines with the parameters mapped by litellm (Mistral: output_dimension)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jupyter_batch.core.errors import OptionError
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.wire import openai
from jupyter_batch.wire.openai_requests import Route, is_foreign
from jupyter_batch.wire.whole import sentence, unsupported

_FORMAT = "encoding_format"
"""The encoding of a vector: chosen by us, independent of the model."""
_LENGTH = "dimensions"


class Encoder(openai.Encoder):
    """Lines with mapped parameters: their request hash is of the user's own parameters."""


def encoder(
    endpoint: str,
    body: Mapping[str, Any],
    load: Callable[[], Any],
    route: Route,
    extra: Mapping[str, Any],
) -> openai.Encoder:
    """Return a route's encoder of embeddings. Raises OptionError for an unsupported parameter."""
    params = {key: value for key, value in body.items() if key not in ("model", "input", _FORMAT)}
    if not params:
        return openai.Encoder(endpoint, {**body, **extra})
    # litellm knows by name which of OpenAI's models shorten vectors; other servers decide.
    foreign = {_LENGTH: params.pop(_LENGTH)} if _LENGTH in params and is_foreign(route) else {}
    made = mapped(load(), route, params)
    if route.as_given:
        return Encoder(endpoint, {**body, **({"extra_body": extra} if extra else {})})
    rest = {key: value for key, value in body.items() if key not in params}
    return Encoder(endpoint, {**rest, **foreign, **made, **extra})


@quiet()
def mapped(litellm: Any, route: Route, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return an embedding's parameters as litellm maps them. Raises OptionError."""
    model = f"{route.provider}/{route.model}"
    try:
        made = litellm.utils.get_optional_params_embeddings(
            model=route.model, custom_llm_provider=route.provider, **params
        )
    except litellm.UnsupportedParamsError as e:
        raise unsupported(model, e) from None
    except Exception as e:
        raise OptionError(f"{model}: {sentence(e)}") from None
    options = dict(made)
    more = options.pop("extra_body", None)
    return {**options, **(more if isinstance(more, Mapping) else {})}
