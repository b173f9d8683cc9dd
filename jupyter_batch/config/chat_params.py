"""The parameters of a request, each declared once: type, accepted values, help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

from jupyter_batch.config import types as t
from jupyter_batch.config.option import Col, Option

FlagParam = Annotated[bool | Col | None, t.FLAG]
LineParam = Annotated[str | Col | None, t.LINE]
NumberParam = Annotated[float | Col | None, t.NUMBER]
ObjectParam = Annotated[Mapping[Any, Any] | Col | None, t.OBJECT]
SomeParam = Annotated[int | Col | None, t.SOME]


class ChatParams(TypedDict, total=False):
    """Chat parameters of litellm that make sense in a batch with text answers."""

    temperature: Annotated[float | Col | None, t.TEMPERATURE, Option("sampling temperature")]
    top_p: Annotated[float | Col | None, t.SHARE, Option("nucleus sampling")]
    max_tokens: Annotated[SomeParam, Option("the most tokens in an answer")]
    max_completion_tokens: Annotated[
        SomeParam, Option("the same, reasoning included, for models that take it under this name")
    ]
    stop: Annotated[
        str | Sequence[str] | Col | None,
        t.STOPS,
        Option("where the answer ends (may be given several times)"),
    ]
    seed: Annotated[
        int | Col | None, t.WHOLE, Option("for repeatable answers, where the provider supports it")
    ]
    presence_penalty: Annotated[NumberParam, Option("against words that occurred before")]
    frequency_penalty: Annotated[NumberParam, Option("against words that occurred often")]
    logit_bias: Annotated[ObjectParam, Option("token id -> bias")]
    parallel_tool_calls: Annotated[
        FlagParam, Option("whether a model may call several tools at once")
    ]
    logprobs: Annotated[FlagParam, Option("ask for log probabilities")]
    top_logprobs: Annotated[
        int | Col | None, t.COUNT, Option("the number of log probabilities for each token")
    ]
    response_format: Annotated[
        Mapping[Any, Any] | Col | None, t.RESPONSE_FORMAT, Option("OpenAI's response_format")
    ]
    reasoning_effort: Annotated[
        LineParam,
        Option(
            "how long a reasoning model thinks: low, medium, high, ...",
            suggested=("low", "medium", "high"),
        ),
    ]
    verbosity: Annotated[
        LineParam,
        Option("how long the answer is: low, medium, high", suggested=("low", "medium", "high")),
    ]
    thinking: Annotated[ObjectParam, Option("Anthropic's thinking")]
    web_search_options: Annotated[ObjectParam, Option("OpenAI's web_search_options")]
    prediction: Annotated[ObjectParam, Option("OpenAI's predicted output")]
    safety_identifier: Annotated[LineParam, Option("the same, as OpenAI names it now")]
    prompt_cache_key: Annotated[LineParam, Option("OpenAI's prompt_cache_key")]
    prompt_cache_retention: Annotated[LineParam, Option("OpenAI's prompt_cache_retention")]
    service_tier: Annotated[LineParam, Option("OpenAI's service_tier")]
    store: Annotated[FlagParam, Option("whether the provider stores the answer")]


class RequestFields(TypedDict, total=False):
    """Parameters of chat and embedding requests."""

    user: Annotated[LineParam, Option("your own user's id, for the provider")]
    extra_body: Annotated[
        Mapping[Any, Any] | Col | None,
        t.BODY,
        Option("further fields of each request's body, by the provider's names"),
    ]


class Vectors(TypedDict, total=False):
    """Parameters of embedding requests alone."""

    dimensions: Annotated[
        int | None, t.SOME, Option("the length of a vector, where the model can shorten it")
    ]
