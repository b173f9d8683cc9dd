"""The parameters of a request, each declared once: type, accepted values, help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

from jupyter_batch.config import types as t
from jupyter_batch.config.option import Col, Option

TextParam = str | Col | None
NumberParam = float | Col | None
WholeParam = int | Col | None
FlagParam = bool | Col | None
DictParam = Mapping[Any, Any] | Col | None


class ChatParams(TypedDict, total=False):
    """Chat parameters of litellm that make sense in a batch with text answers."""

    temperature: Annotated[NumberParam, Option(t.NUMBER, "sampling temperature")]
    top_p: Annotated[NumberParam, Option(t.NUMBER, "nucleus sampling")]
    max_tokens: Annotated[WholeParam, Option(t.SOME, "the most tokens in an answer")]
    max_completion_tokens: Annotated[
        WholeParam,
        Option(t.SOME, "the same, reasoning included, for models that take it under this name"),
    ]
    stop: Annotated[
        str | Sequence[str] | Col | None,
        Option(t.STOPS, "where the answer ends (may be given several times)"),
    ]
    seed: Annotated[
        WholeParam, Option(t.WHOLE, "for repeatable answers, where the provider supports it")
    ]
    presence_penalty: Annotated[NumberParam, Option(t.NUMBER, "against words that occurred before")]
    frequency_penalty: Annotated[NumberParam, Option(t.NUMBER, "against words that occurred often")]
    logit_bias: Annotated[DictParam, Option(t.OBJECT, "token id -> bias")]
    parallel_tool_calls: Annotated[
        FlagParam, Option(t.FLAG, "whether a model may call several tools at once")
    ]
    logprobs: Annotated[FlagParam, Option(t.FLAG, "ask for log probabilities")]
    top_logprobs: Annotated[
        WholeParam, Option(t.COUNT, "the number of log probabilities for each token")
    ]
    response_format: Annotated[DictParam, Option(t.OBJECT, "OpenAI's response_format")]
    reasoning_effort: Annotated[
        TextParam,
        Option(
            t.LINE,
            "how long a reasoning model thinks: low, medium, high, ...",
            suggested=("low", "medium", "high"),
        ),
    ]
    verbosity: Annotated[
        TextParam,
        Option(
            t.LINE, "how long the answer is: low, medium, high", suggested=("low", "medium", "high")
        ),
    ]
    thinking: Annotated[DictParam, Option(t.OBJECT, "Anthropic's thinking")]
    web_search_options: Annotated[DictParam, Option(t.OBJECT, "OpenAI's web_search_options")]
    prediction: Annotated[DictParam, Option(t.OBJECT, "OpenAI's predicted output")]
    safety_identifier: Annotated[TextParam, Option(t.LINE, "the same, as OpenAI names it now")]
    prompt_cache_key: Annotated[TextParam, Option(t.LINE, "OpenAI's prompt_cache_key")]
    prompt_cache_retention: Annotated[TextParam, Option(t.LINE, "OpenAI's prompt_cache_retention")]
    service_tier: Annotated[TextParam, Option(t.LINE, "OpenAI's service_tier")]
    store: Annotated[FlagParam, Option(t.FLAG, "whether the provider stores the answer")]


class RequestFields(TypedDict, total=False):
    """Parameters of chat and embedding requests."""

    user: Annotated[TextParam, Option(t.LINE, "your own user's id, for the provider")]
    extra_body: Annotated[
        DictParam, Option(t.BODY, "further fields of each request's body, by the provider's names")
    ]


class Vectors(TypedDict, total=False):
    """Parameters of embedding requests alone."""

    dimensions: Annotated[
        int | None,
        Option(t.SOME, "the length of a vector, where the model can shorten it"),
    ]
