"""Spans of calls in real time and of tools; prompts, answers and arguments only where the user asked for them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jupyter_batch.telemetry import meters, spans

_REQUEST = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
}

Answered = Callable[[Mapping[str, Any]], None]


_UNTRACED: contextlib.nullcontext[Answered] = contextlib.nullcontext(lambda _: None)


def realtime_call(
    body: Mapping[str, Any], clock: Callable[[], float] = time.monotonic
) -> contextlib.AbstractContextManager[Answered]:
    """A span and the metrics of one call; the function that it yields is called with the answer."""
    if spans.api() is None and not meters.is_active():
        return _UNTRACED
    return _traced_call(body, clock)


@contextlib.contextmanager
def _traced_call(body: Mapping[str, Any], clock: Callable[[], float]) -> Iterator[Answered]:
    began, tokens, failed = clock(), dict[str, int](), ""
    asked = {name: body[key] for key, name in _REQUEST.items() if _is_number(body.get(key))}
    with spans.span(
        f"{spans.operation_of_job()} {spans.model_of_job()}",
        {**spans.of_call(), **asked},
        client=True,
    ) as made:
        if made is not None and spans.is_captured():
            given = body.get("messages", body.get("input"))
            made.set_attribute("gen_ai.input.messages", spans.parts(_messages(given)))

        def answered(answer: Mapping[str, Any]) -> None:
            tokens.update(_tokens(answer))
            if made is not None:
                made.set_attributes(_response(answer, tokens))
                if spans.is_captured():
                    made.set_attribute("gen_ai.output.messages", spans.parts(_outputs(answer)))

        try:
            yield answered
        except BaseException as e:
            failed = type(e).__name__
            raise
        finally:
            meters.call(clock() - began, tokens, failed)


@contextlib.contextmanager
def tool_call(name: str, id_: str, arguments: Any) -> Iterator[Answered]:
    """A span of one tool's execution; the function that it yields is called with {"result": ...}."""
    about = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": id_,
        "gen_ai.tool.type": "function",
    }
    with spans.span(f"execute_tool {name}", about) as made:
        if made is not None and spans.is_captured():
            made.set_attribute("gen_ai.tool.call.arguments", spans.parts(arguments))

        def answered(answer: Mapping[str, Any]) -> None:
            if made is not None and spans.is_captured():
                made.set_attribute("gen_ai.tool.call.result", spans.parts(answer["result"]))

        yield answered


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _tokens(answer: Mapping[str, Any]) -> dict[str, int]:
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return {}
    found = {
        "input": usage.get("prompt_tokens", usage.get("input_tokens")),
        "output": usage.get("completion_tokens", usage.get("output_tokens")),
    }
    return {kind: number for kind, number in found.items() if isinstance(number, int)}


def _response(answer: Mapping[str, Any], tokens: Mapping[str, int]) -> dict[str, Any]:
    finishes = [str(one["finish_reason"]) for one in _choices(answer) if one.get("finish_reason")]
    found: dict[str, Any] = {
        "gen_ai.response.id": answer.get("id"),
        "gen_ai.response.model": answer.get("model"),
        "gen_ai.response.finish_reasons": finishes or None,
    }
    found |= {f"gen_ai.usage.{kind}_tokens": number for kind, number in tokens.items()}
    return {name: value for name, value in found.items() if isinstance(value, str | int | list)}


def _choices(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = answer.get("choices")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _messages(given: Any) -> list[dict[str, Any]]:
    """Messages in the conventions' form: parts of text; other parts by their type alone."""
    if not isinstance(given, list):
        return [{"role": "user", "parts": _parts(given)}]
    return [
        {"role": one.get("role", "user"), "parts": _parts(one.get("content"))}
        for one in given
        if isinstance(one, Mapping)
    ]


def _parts(content: Any) -> list[dict[str, Any]]:
    held = content if isinstance(content, list) else [{"text": content}]
    return [
        {"type": "text", "content": part["text"]}
        if isinstance(part.get("text"), str)
        else {"type": str(part.get("type", "other"))}
        for part in held
        if isinstance(part, Mapping)
    ]


def _outputs(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not _choices(answer):
        return _messages(answer.get("output"))
    return [
        {**_messages([one.get("message")])[0], "finish_reason": one.get("finish_reason")}
        for one in _choices(answer)
        if isinstance(one.get("message"), Mapping)
    ]
