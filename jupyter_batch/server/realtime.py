"""The routes of `/v1/chat/completions`, `/v1/responses`, `/v1/embeddings`, `/v1/models`: answered at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import orjson
from aiohttp import web

from jupyter_batch.server import echo
from jupyter_batch.server.answers import Answer
from jupyter_batch.server.errors import ApiError
from jupyter_batch.server.service import json_body, reply, service

STARTED = 1_735_689_600
"""`created` of the models: the first of January 2025; there is no better truth for them."""
_PIECE = 16

routes = web.RouteTableDef()


async def _answer(request: web.Request, endpoint: str, body: dict[str, Any]) -> Answer:
    answers = service(request).answers
    refusal = answers.refusal(endpoint, body)
    if refusal is not None:
        raise refusal
    return await answers.later(endpoint, body, id_=uuid.uuid4().hex)


@routes.post("/v1/chat/completions")
async def chat(request: web.Request) -> web.StreamResponse:
    """A chat completion, whole or as server-sent events."""
    body = await json_body(request)
    answer = await _answer(request, "/v1/chat/completions", body)
    if not body.get("stream") or answer.status != 200:  # noqa: PLR2004 - HTTP's own
        return reply(answer.body, answer.status)
    response = web.StreamResponse(
        headers={"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    )
    await response.prepare(request)
    for chunk in chunks(
        answer.body, with_usage=bool((body.get("stream_options") or {}).get("include_usage"))
    ):
        await response.write(b"data: " + orjson.dumps(chunk) + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


@routes.post("/v1/responses")
async def responses(request: web.Request) -> web.Response:
    """A response, whole: this server streams chat alone, and keeps no responses."""
    body = await json_body(request)
    if body.get("stream"):
        raise ApiError(
            400,
            "Streaming is not supported here: this server streams /v1/chat/completions alone.",
            param="stream",
            code="unsupported_value",
        )
    answer = await _answer(request, "/v1/responses", body)
    return reply(answer.body, answer.status)


def chunks(completion: dict[str, Any], *, with_usage: bool) -> Iterator[dict[str, Any]]:
    """The pieces that a completion is streamed in."""
    head = {
        name: completion.get(name)
        for name in ("id", "created", "model", "service_tier", "system_fingerprint")
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
    if not service(request).answers.serves(name):
        raise ApiError(
            404, f"The model '{name}' does not exist", param="model", code="model_not_found"
        )
    return reply(_model(name))
