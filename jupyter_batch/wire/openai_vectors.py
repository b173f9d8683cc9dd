"""Embedding requests -> lines with the parameters as litellm maps them for that model (Mistral: output_dimension)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jupyter_batch.core.errors import OptionError
from jupyter_batch.process.warnings_context import quiet
from jupyter_batch.wire import openai
from jupyter_batch.wire.anthropic.requests import sentence, unsupported
from jupyter_batch.wire.openai_requests import Route, is_foreign

_FORMAT = "encoding_format"
"""How a vector is packed: ours to choose, and no matter of the model's."""
_LENGTH = "dimensions"


class Encoder(openai.Encoder):
    """Lines whose parameters were mapped: their request hash is made of those that the user gave."""


def encoder(
    endpoint: str,
    body: Mapping[str, Any],
    load: Callable[[], Any],
    route: Route,
    extra: Mapping[str, Any],
) -> openai.Encoder:
    """The encoder of a route's embedding requests. Raises OptionError for a parameter that the model does not take."""
    params = {key: value for key, value in body.items() if key not in ("model", "input", _FORMAT)}
    if not params:
        return openai.Encoder(endpoint, {**body, **extra})
    # litellm knows by its name which of OpenAI's own models can make a vector shorter; other servers are asked.
    foreign = {_LENGTH: params.pop(_LENGTH)} if _LENGTH in params and is_foreign(route) else {}
    mapped = _mapped(load(), route, params)
    if route.as_given:
        return Encoder(endpoint, {**body, **({"extra_body": extra} if extra else {})})
    rest = {key: value for key, value in body.items() if key not in params}
    return Encoder(endpoint, {**rest, **foreign, **mapped, **extra})


@quiet()
def _mapped(litellm: Any, route: Route, params: Mapping[str, Any]) -> dict[str, Any]:
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
