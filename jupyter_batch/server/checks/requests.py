"""Checks of chat, responses, completions and embeddings requests, in real time and in batches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jupyter_batch.server.checks.completion_prompt import check_prompt
from jupyter_batch.server.errors import (
    ApiError,
    missing,
    no_texts,
    out_of_range,
    too_many,
    wrong_type,
    wrong_value,
)

MOST_INPUTS = 2048
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_BOUNDS: dict[str, tuple[bool, int | None, int | None]] = {
    "temperature": (False, 0, 2),
    "top_p": (False, 0, 1),
    "frequency_penalty": (False, -2, 2),
    "presence_penalty": (False, -2, 2),
    "max_tokens": (True, 1, None),
    "max_completion_tokens": (True, 1, None),
    "max_output_tokens": (True, 16, None),
    "n": (True, 1, 128),
    "best_of": (True, 1, 20),
    "top_logprobs": (True, 0, 20),
    "seed": (True, None, None),
}
"""Of each number: whether it is whole, the least and the most that it may be."""


def check(endpoint: str, body: Any) -> ApiError | None:
    """The refusal of a request's body, or None. `endpoint` is one of those served."""
    if not isinstance(body, dict):
        return wrong_type("body", "an object", body)
    if not body.get("model"):
        return ApiError(400, "you must provide a model parameter")
    if not isinstance(body["model"], str):
        return wrong_type("model", "a string", body["model"])
    checks = {
        "/v1/chat/completions": _chat,
        "/v1/responses": _responses,
        "/v1/completions": _completions,
    }
    return checks.get(endpoint, _embeddings)(body)


def _chat(body: Mapping[str, Any]) -> ApiError | None:
    if "messages" not in body:
        return missing("messages")
    messages = body["messages"]
    if not isinstance(messages, list):
        return wrong_type("messages", "an array of objects", messages)
    if not messages:
        return ApiError(
            400,
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            param="messages",
            code="empty_array",
        )
    for place, message in enumerate(messages):
        wrong = _message(f"messages[{place}]", message)
        if wrong:
            return wrong
    return (
        _turns(messages)
        or _tools(body)
        or _streaming(body)
        or _bounds(body)
        or _form(body.get("response_format"))
    )


def _turns(messages: list[dict[str, Any]]) -> ApiError | None:
    """Each tool call of a turn is answered right after it, and nothing else is: in OpenAI's own words."""
    open_calls: list[str] = []
    answering = False
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            if not answering:
                return ApiError(
                    400,
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                    "message with 'tool_calls'.",
                    param=f"messages.[{place}].role",
                )
            if message.get("tool_call_id") not in open_calls:
                return ApiError(
                    400,
                    f"Invalid parameter: 'tool_call_id' of {message.get('tool_call_id')!r} not found "
                    "in 'tool_calls' of previous message.",
                    param=f"messages.[{place}].tool_call_id",
                )
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            break
        calls = message.get("tool_calls") if message["role"] == "assistant" else None
        answering, open_calls = bool(calls), [str(call.get("id")) for call in calls or ()]
    if not open_calls:
        return None
    return ApiError(
        400,
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        "'tool_call_id'. The following tool_call_ids did not have response messages: "
        + ", ".join(open_calls),
        param="messages",
    )


def _tools(body: Mapping[str, Any]) -> ApiError | None:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools is None:
        return (
            None
            if choice is None
            else ApiError(
                400,
                "Invalid value for 'tool_choice': 'tool_choice' is only "
                "allowed when 'tools' are specified.",
                param="tool_choice",
            )
        )
    if not isinstance(tools, list):
        return wrong_type("tools", "an array of objects", tools)
    if not tools:
        return ApiError(
            400,
            "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty "
            "array instead.",
            param="tools",
            code="empty_array",
        )
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict):
            return wrong_type(f"tools[{place}]", "an object", tool)
        if tool.get("type") != "function":
            continue
        function = tool.get("function")
        if not isinstance(function, dict) or not function.get("name"):
            return missing(f"tools[{place}].function.name")
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", str(function["name"])):
            return ApiError(
                400,
                f"Invalid 'tools[{place}].function.name': string does not match pattern. Expected a "
                "string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
                param=f"tools[{place}].function.name",
            )
    return None


def _message(where: str, message: Any) -> ApiError | None:
    if not isinstance(message, dict):
        return wrong_type(where, "an object", message)
    role = message.get("role")
    if role is None:
        return missing(f"{where}.role")
    if role not in _ROLES:
        return wrong_value(f"{where}.role", role, _ROLES)
    content = message.get("content")
    if content is None:
        return (
            None
            if role == "assistant"
            else wrong_type(f"{where}.content", "a string or array of objects", None)
        )
    if not isinstance(content, str | list):
        return wrong_type(f"{where}.content", "a string or array of objects", content)
    return None


def _streaming(body: Mapping[str, Any]) -> ApiError | None:
    stream, options = body.get("stream"), body.get("stream_options")
    if stream is not None and not isinstance(stream, bool):
        return wrong_type("stream", "a boolean", stream)
    if options is None:
        return None
    if not isinstance(options, dict):
        return wrong_type("stream_options", "an object", options)
    if not stream:
        return ApiError(
            400,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    usage = options.get("include_usage")
    return (
        None
        if usage is None or isinstance(usage, bool)
        else wrong_type("stream_options.include_usage", "a boolean", usage)
    )


def _bounds(body: Mapping[str, Any]) -> ApiError | None:
    for name, value in body.items():
        if name not in _BOUNDS or value is None:
            continue
        whole, low, high = _BOUNDS[name]
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            return wrong_type(name, "an integer" if whole else "a decimal", value)
        wrong = out_of_range(
            name, value, low=low, high=high, kind="integer" if whole else "decimal"
        )
        if wrong:
            return wrong
    stop = body.get("stop")
    if stop is not None and not isinstance(stop, str | list):
        return wrong_type("stop", "a string or array of strings", stop)
    return None


def _form(form: Any) -> ApiError | None:
    if form is None:
        return None
    if not isinstance(form, dict):
        return wrong_type("response_format", "an object", form)
    if "type" not in form:
        return missing("response_format.type")
    if form["type"] not in ("text", "json_object", "json_schema"):
        return wrong_value(
            "response_format.type", form["type"], ("json_object", "json_schema", "text")
        )
    if form["type"] != "json_schema":
        return None
    schema = form.get("json_schema")
    if schema is None:
        return missing("response_format.json_schema")
    if not isinstance(schema, dict):
        return wrong_type("response_format.json_schema", "an object", schema)
    return missing("response_format.json_schema.name") if "name" not in schema else None


def _response_input(asked: Any) -> ApiError | None:
    if not isinstance(asked, str | list):
        return wrong_type("input", "a string or array of objects", asked)
    if not asked:
        return ApiError(
            400,
            "Invalid 'input': it is empty. Expected a text or at least one item.",
            param="input",
            code="empty_array" if asked == [] else "empty_string",
        )
    items = enumerate(asked if isinstance(asked, list) else ())
    wrong = (_item(f"input[{place}]", item) for place, item in items)
    return next(filter(None, wrong), None)


def _responses(body: Mapping[str, Any]) -> ApiError | None:
    if "input" not in body:
        return missing("input")
    wrong = _response_input(body["input"])
    if wrong:
        return wrong
    if body.get("instructions") is not None and not isinstance(body["instructions"], str):
        return wrong_type("instructions", "a string", body["instructions"])
    for name in ("previous_response_id", "conversation", "prompt"):
        if body.get(name) is not None:
            return ApiError(
                400,
                f"'{name}' is not supported here: this server keeps no responses.",
                param=name,
                code="unsupported_parameter",
            )
    for name in ("text", "reasoning"):
        if body.get(name) is not None and not isinstance(body[name], dict):
            return wrong_type(name, "an object", body[name])
    return _streaming(body) or _bounds(body) or _text_format((body.get("text") or {}).get("format"))


def _item(where: str, item: Any) -> ApiError | None:
    if not isinstance(item, dict):
        return wrong_type(where, "an object", item)
    if item.get("type", "message") != "message":
        return None
    if item.get("role") not in _ROLES[:4]:
        return (
            missing(f"{where}.role")
            if item.get("role") is None
            else wrong_value(f"{where}.role", item["role"], _ROLES[:4])
        )
    content = item.get("content")
    if not isinstance(content, str) and not (
        isinstance(content, list) and all(isinstance(part, dict) for part in content)
    ):
        return wrong_type(f"{where}.content", "a string or array of objects", content)
    return None


def _text_format(form: Any) -> ApiError | None:
    if form is None:
        return None
    if not isinstance(form, dict):
        return wrong_type("text.format", "an object", form)
    if form.get("type") not in ("text", "json_object", "json_schema"):
        return (
            missing("text.format.type")
            if "type" not in form
            else wrong_value(
                "text.format.type", form["type"], ("json_object", "json_schema", "text")
            )
        )
    if form["type"] != "json_schema":
        return None
    for name in ("name", "schema"):
        if name not in form:
            return missing(f"text.format.{name}")
    return (
        None
        if isinstance(form["schema"], dict)
        else wrong_type("text.format.schema", "an object", form["schema"])
    )


def _completions(body: Mapping[str, Any]) -> ApiError | None:
    wrong = check_prompt(body)
    if wrong is not None:
        return wrong
    for name in ("echo", "stream"):
        if body.get(name) is not None and not isinstance(body[name], bool):
            return wrong_type(name, "a boolean", body[name])
    if body.get("suffix") is not None and not isinstance(body["suffix"], str):
        return wrong_type("suffix", "a string", body["suffix"])
    best, count = body.get("best_of"), body.get("n") or 1
    wrong = _streaming(body) or _bounds(body)
    if wrong is None and best is not None and best < count:
        wrong = ApiError(
            400,
            f"You requested that the server return more choices than it will generate (HINT: you must "
            f"set 'n' (currently {count}) to be at most 'best_of' (currently {best})).",
        )
    return wrong


def _is_input(one: Any) -> bool:
    """Whether this is a text, a token, or a list of tokens."""
    if isinstance(one, list):
        return bool(one) and all(isinstance(number, int) for number in one)
    return isinstance(one, str | int) and not isinstance(one, bool)


def _embedded(value: Any) -> ApiError | None:
    if not isinstance(value, str | list):
        return no_texts("input")
    inputs = value if isinstance(value, list) else [value]
    if not all(map(_is_input, inputs)):
        return no_texts("input")
    if not inputs or "" in inputs:
        several = " or array" if not value else ""
        return ApiError(
            400,
            f"Invalid 'input': input cannot be an empty string{several}.",
            param="input",
            code="empty_string" if inputs else "empty_array",
        )
    if len(inputs) > MOST_INPUTS and not isinstance(inputs[0], int):
        return too_many("input", MOST_INPUTS, value)
    return None


def _embeddings(body: Mapping[str, Any]) -> ApiError | None:
    if "input" not in body:
        return missing("input")
    wrong = _embedded(body["input"])
    if wrong:
        return wrong
    form = body.get("encoding_format")
    if form is not None and form not in ("float", "base64"):
        return wrong_value("encoding_format", form, ("float", "base64"))
    dimensions = body.get("dimensions")
    if dimensions is None:
        return None
    if isinstance(dimensions, bool) or not isinstance(dimensions, int):
        return wrong_type("dimensions", "an integer", dimensions)
    return out_of_range("dimensions", dimensions, low=1, high=4096)
