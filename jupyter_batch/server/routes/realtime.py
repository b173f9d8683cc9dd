"""The realtime routes: chat, text completions, responses, embeddings, models."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import orjson
from aiohttp import web

from jupyter_batch.server.answers import Answer
from jupyter_batch.server.echo import model as echo
from jupyter_batch.server.errors import ApiError, bad_request
from jupyter_batch.server.service import json_body, reply, service, streamed
from jupyter_batch.server.upstream import EMBEDDINGS

STARTED = 1_735_689_600
"""`created` of the models: the first of January 2025; there is no better truth for them."""
_PIECE = 16
DEFAULT, FLEX, PRIORITY = "default", "flex", "priority"
"""Service tiers (OpenAI's API reference)."""

routes = web.RouteTableDef()


async def _answer(request: web.Request, endpoint: str, body: dict[str, Any]) -> Answer:
    answers = service(request).answers
    refusal = answers.refusal(endpoint, body)
    if refusal is not None:
        raise refusal
    tier = _served(request, body.get("service_tier"))
    answer = await answers.later(endpoint, body, id_=uuid.uuid4().hex)
    if tier and answer.status == 200 and answers.at_once(body["model"], endpoint):  # noqa: PLR2004 - HTTP's OK
        answer.body["service_tier"] = tier
    return answer


def _served(request: web.Request, asked: Any) -> str:
    """The service tier that an answer of ours names; "" where it is the usual one.

    An upstream model names its own.
    """
    box = service(request).faults
    if asked != FLEX:
        return asked if asked == PRIORITY else ""
    if box.turn(box.now.flex_refuse, "flex_refuse"):
        raise ApiError(
            429, "Resource Unavailable", type_="resource_unavailable", code="resource_unavailable"
        )
    return DEFAULT if box.turn(box.now.flex_default, "flex_default") else FLEX


@routes.post("/v1/chat/completions")
async def chat(request: web.Request) -> web.StreamResponse:
    """A chat completion, whole or as server-sent events."""
    return await _whole_or_streamed(request, "/v1/chat/completions", chunks)


async def _whole_or_streamed(
    request: web.Request, endpoint: str, pieces: Callable[..., Iterator[dict[str, Any]]]
) -> web.StreamResponse:
    """An answer, as the request wants it. pieces: those that it is streamed in."""
    body = await json_body(request)
    answer = await _answer(request, endpoint, body)
    if not body.get("stream") or answer.status != 200:  # noqa: PLR2004 - HTTP's own
        return reply(answer.body, answer.status)
    usage = bool((body.get("stream_options") or {}).get("include_usage"))
    encoded = map(orjson.dumps, pieces(answer.body, with_usage=usage))
    return await streamed(request, (b"data: %b\n\n" % one for one in chain(encoded, [b"[DONE]"])))


@routes.post("/v1/responses")
async def responses(request: web.Request) -> web.Response:
    """A response, whole: this server streams chat alone, and keeps no responses."""
    body = await json_body(request)
    if body.get("stream"):
        raise bad_request(
            "Streaming is not supported here: this server streams /v1/chat/completions alone.",
            param="stream",
            code="unsupported_value",
        )
    answer = await _answer(request, "/v1/responses", body)
    return reply(answer.body, answer.status)


def chunks(completion: dict[str, Any], *, with_usage: bool) -> Iterator[dict[str, Any]]:
    """The pieces that a completion is streamed in."""
    head: dict[str, Any] = {
        name: completion[name]
        for name in ("id", "created", "model", "service_tier", "system_fingerprint")
        if name in completion
    }
    head["object"] = "chat.completion.chunk"
    if with_usage:
        head["usage"] = None

    def piece(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {
            **head,
            "choices": [
                {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
            ],
        }

    for choice in completion["choices"]:
        index, message = choice["index"], choice["message"]
        text = message.get("content") or ""
        yield piece(index, {"role": "assistant", "content": "", "refusal": None})
        for start in range(0, len(text), _PIECE):
            yield piece(index, {"content": text[start : start + _PIECE]})
        if message.get("tool_calls"):
            yield piece(
                index,
                {
                    "tool_calls": [
                        {"index": at, **one} for at, one in enumerate(message["tool_calls"])
                    ]
                },
            )
        yield piece(index, {}, choice["finish_reason"])
    if with_usage:
        yield {**head, "choices": [], "usage": completion.get("usage")}


@routes.post("/v1/completions")
async def completions(request: web.Request) -> web.StreamResponse:
    """Text completions, whole or as server-sent events."""
    return await _whole_or_streamed(request, "/v1/completions", text_chunks)


def text_chunks(completion: dict[str, Any], *, with_usage: bool) -> Iterator[dict[str, Any]]:
    """The pieces that a text completion is streamed in."""
    head = {name: value for name, value in completion.items() if name not in ("choices", "usage")}
    for choice in completion["choices"]:
        text = choice["text"]
        for start in range(0, len(text), _PIECE):
            piece = {**choice, "text": text[start : start + _PIECE], "finish_reason": None}
            yield {**head, "choices": [piece]}
        yield {**head, "choices": [{**choice, "text": ""}]}
    if with_usage:
        yield {**head, "choices": [], "usage": completion.get("usage")}


@routes.post("/v1/embeddings")
async def embeddings(request: web.Request) -> web.Response:
    """Embeddings."""
    answer = await _answer(request, "/v1/embeddings", await json_body(request))
    return reply(answer.body, answer.status)


def _model(name: str) -> dict[str, Any]:
    owner = "jupyter_batch (rules, no language model)" if echo.is_echo(name) else "upstream"
    return {"id": name, "object": "model", "created": STARTED, "owned_by": owner}


@routes.get("/v1/models")
async def models(request: web.Request) -> web.Response:
    """The models here."""
    return reply(
        {"object": "list", "data": [_model(name) for name in service(request).answers.names()]}
    )


@routes.get("/v1/models/{model:.+}")
async def model(request: web.Request) -> web.Response:
    """One model."""
    name = request.match_info["model"]
    answers = service(request).answers
    if not answers.serves(name) and not answers.serves(name, EMBEDDINGS):
        raise ApiError(
            404, f"The model '{name}' does not exist", param="model", code="model_not_found"
        )
    return reply(_model(name))
