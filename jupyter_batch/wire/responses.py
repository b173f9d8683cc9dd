"""Chat requests -> request lines for OpenAI's /v1/responses, translated once by litellm.

No network, and no import of litellm at module level: the creator of an Encoder passes the loaded
module (providers/openai/batches.py). Result lines of this endpoint are in OpenAI's dialect
(openai.py).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from jupyter_batch.core.errors import OptionError
from jupyter_batch.wire import openai, whole
from jupyter_batch.wire.anthropic import requests as anthropic_requests
from jupyter_batch.wire.part_keys import parts_in
from jupyter_batch.wire.whole import Refused, sentence

LEAST_TOKENS = 16
"""The smallest `max_output_tokens` (OpenAI API reference, create response); litellm raises a smaller one, too."""

_NO_PLACE = (
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "prediction",
    "thinking",
    "modalities",
    "audio",
)
"""Chat parameters that /v1/responses does not have; litellm drops them silently."""
_MAPPED = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "response_format",
        "reasoning_effort",
        "verbosity",
        "web_search_options",
        "n",
        "stream",
        "stream_options",
    }
)
_NO_PARTS = frozenset({"video_url", "audio_url"})
_LIMITS = ("max_tokens", "max_completion_tokens")
_ALLOWED = ("reasoning_effort", "verbosity", "web_search_options")
"""Chat parameters that a model may lack in chat but has here; litellm allows the first one, too."""


class Encoder(anthropic_requests.Encoder):
    """Encodes lines `{"custom_id", "method", "url", "body"}` with Responses requests."""

    taker = openai.RESPONSES
    line = b'{"custom_id":%%b,"method":"POST","url":"%b","body":%%b}\n' % openai.RESPONSES.encode()

    def __init__(
        self,
        endpoint: str,
        body: Mapping[str, Any],
        *,
        litellm: Any,
        extra: Mapping[str, Any] | None = None,
        provider: str = "openai",
    ) -> None:
        """See the parent class. provider: litellm's name of it, which determines the parameters."""
        self._provider = provider
        super().__init__(endpoint, body, litellm=litellm, extra=extra)

    def _translate(self, litellm: Any, model: str) -> Translation:
        return Translation(litellm, model, self._provider)


class Translation(whole.Translation):
    """litellm's translation of chat requests for one model at /v1/responses, in two steps."""

    def __init__(self, litellm: Any, model: str, provider: str = "openai") -> None:
        from litellm.completion_extras.litellm_responses_transformation.transformation import (
            LiteLLMResponsesTransformationHandler,
        )
        from litellm.types.llms.openai import ResponsesAPIOptionalRequestParams
        from litellm.types.router import GenericLiteLLMParams

        super().__init__(litellm, model)
        self.provider = provider
        self._bridge = LiteLLMResponsesTransformationHandler()
        self._config = litellm.utils.ProviderConfigManager.get_provider_responses_api_config(
            model=model, provider=litellm.LlmProviders.OPENAI
        )
        self._nothing = GenericLiteLLMParams()
        self._known = frozenset(ResponsesAPIOptionalRequestParams.__annotations__) | _MAPPED

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Translate the parameters. Raises OptionError for one that this endpoint does not have."""
        lost = [
            name for name in _NO_PLACE if params.get(name) is not None and params[name] is not False
        ]
        if lost:
            raise OptionError(
                f"`{lost[0]}` can't be given: {self._model} is asked by OpenAI's /v1/responses, which "
                "has no such parameter; leave it out, or give it in extra_body=, which is sent as it is"
            )
        given = {
            name: value
            for name, value in params.items()
            if value is not None and name not in (*_NO_PLACE, "n", "stream", "stream_options")
        }
        self._check(given)
        for name in _LIMITS:
            if isinstance(given.get(name), int):
                given[name] = max(given[name], LEAST_TOKENS)
        return given

    def _check(self, params: Mapping[str, Any]) -> None:
        """Raise OptionError for a parameter that litellm would not send to this model."""
        chat = self._litellm.utils.DEFAULT_CHAT_COMPLETION_PARAM_VALUES
        known = {name: copy.deepcopy(value) for name, value in params.items() if name in chat}
        self._mapped(known, allowed_openai_params=[*_ALLOWED])

    def body(self, messages: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request's body. Raises Refused."""
        _refuse_media(messages)
        theirs = {name: value for name, value in options.items() if name in self._known}
        own = {
            name: value for name, value in options.items() if name not in self._known
        }  # from extra_body
        try:
            request: dict[str, Any] = self._bridge.transform_request(
                model=self._model,
                messages=copy.deepcopy(messages),
                optional_params=copy.deepcopy(theirs),
                litellm_params={},
                headers={},
                litellm_logging_obj=SimpleNamespace(),
            )
            asked = _with_addresses(request.pop("input"))
            rest = {
                name: value
                for name, value in request.items()
                if name not in ("model", "client", "litellm_logging_obj") and value is not None
            }
            if not asked and rest.get(
                "instructions"
            ):  # a system message only; older litellm leaves the input empty
                part = {"type": "input_text", "text": rest.pop("instructions")}
                asked = [{"type": "message", "role": "system", "content": [part]}]
            if "verbosity" in options:  # older litellm leaves it out
                rest["text"] = {**(rest.get("text") or {}), "verbosity": options["verbosity"]}
            made: dict[str, Any] = self._config.transform_responses_api_request(
                model=self._model,
                input=asked,
                response_api_optional_request_params=rest,
                litellm_params=self._nothing,
                headers={},
            )
        except Exception as e:
            raise Refused(sentence(e)) from None
        return {**made, **own}


def _refuse_media(messages: Any) -> None:
    """Refuse parts unknown to this endpoint: litellm would insert their Python repr as text."""
    for path, part in parts_in(messages):
        kind = part.get("type")
        if kind in _NO_PARTS:
            message = path.partition(".")[0]
            raise Refused(f"{message} has a {kind}, which /v1/responses does not take")


def _with_addresses(asked: Any) -> Any:
    """Move a file's address to this endpoint's field: litellm writes it as a file's id."""
    for item in asked if isinstance(asked, list) else ():
        content = item.get("content") if isinstance(item, Mapping) else None
        for part in content if isinstance(content, list) else ():
            if str(part.get("file_id") or "").startswith(("http://", "https://")):
                part["file_url"] = part.pop("file_id")
    return asked
