"""Checks of chat, responses, completions and embeddings requests, in real time and in batches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jupyter_batch.server.errors import (
    ApiError,
    bad_request,
    empty_array,
    missing,
    no_texts,
    out_of_range,
    too_many,
    wrong_type,
    wrong_value,
)

MOST_INPUTS = 2048
"""Of an embeddings request, and prompts of a completions request."""
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_FORMS = ("json_object", "json_schema", "text")
_TEXTS = "a string or array of objects"
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
        return bad_request("you must provide a model parameter")
    if not isinstance(body["model"], str):
        return wrong_type("model", "a string", body["model"])
    checks = {
        "/v1/chat/completions": _chat,
        "/v1/responses": _responses,
        "/v1/completions": _completions,
    }
    return checks.get(endpoint, _embeddings)(body)


def _typed(value: Any, param: str, kind: Any, expected: str) -> ApiError | None:
    """The refusal of a parameter of another type; null is as good as absent."""
    if value is None or isinstance(value, kind):
        return None
    return wrong_type(param, expected, value)


def _chat(body: Mapping[str, Any]) -> ApiError | None:
    if "messages" not in body:
        return missing("messages")
    messages = body["messages"]
    if not isinstance(messages, list):
        return wrong_type("messages", "an array of objects", messages)
    if not messages:
        return empty_array("messages")
    for place, message in enumerate(messages):
        wrong = _message(f"messages[{place}]", message)
        if wrong:
            return wrong
    return (
        _turns(messages)
        or _tools(body)
        or _streaming(body)
        or _bounds(body)
        or _response_format(body.get("response_format"))
    )


def _turns(messages: list[dict[str, Any]]) -> ApiError | None:
    """Each tool call of a turn is answered right after it, and nothing else is: in OpenAI's own words."""
    open_calls: list[str] = []
    answering = False
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            if not answering:
                return bad_request(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                    "message with 'tool_calls'.",
                    param=f"messages.[{place}].role",
                )
            if message.get("tool_call_id") not in open_calls:
                return bad_request(
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
    return bad_request(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        "'tool_call_id'. The following tool_call_ids did not have response messages: "
        + ", ".join(open_calls),
        param="messages",
    )


def _tools(body: Mapping[str, Any]) -> ApiError | None:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools is None and choice is not None:
        message = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
        return bad_request(message, param="tool_choice")
    if tools is None:
        return None
    if not isinstance(tools, list):
        return wrong_type("tools", "an array of objects", tools)
    if not tools:
        return empty_array("tools")
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict):
            return wrong_type(f"tools[{place}]", "an object", tool)
        if tool.get("type") != "function":
            continue
        where, function = f"tools[{place}].function.name", tool.get("function")
        if not isinstance(function, dict) or not function.get("name"):
            return missing(where)
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", str(function["name"])):
            return bad_request(
                f"Invalid '{where}': string does not match pattern. Expected a "
                "string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
                param=where,
            )
    return None


def _role(where: str, item: Mapping[str, Any], roles: tuple[str, ...]) -> ApiError | None:
    role = item.get("role")
    if role is None:
        return missing(f"{where}.role")
    return None if role in roles else wrong_value(f"{where}.role", role, roles)


def _message(where: str, message: Any) -> ApiError | None:
    if not isinstance(message, dict):
        return wrong_type(where, "an object", message)
    wrong = _role(where, message, _ROLES)
    if wrong:
        return wrong
    content = message.get("content")
    if isinstance(content, str | list) or (content is None and message["role"] == "assistant"):
        return None
    return wrong_type(f"{where}.content", _TEXTS, content)


def _streaming(body: Mapping[str, Any]) -> ApiError | None:
    stream, options = body.get("stream"), body.get("stream_options")
    wrong = _typed(stream, "stream", bool, "a boolean")
    wrong = wrong or _typed(options, "stream_options", dict, "an object")
    if wrong or options is None:
        return wrong
    if not stream:
        return bad_request(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    usage = options.get("include_usage")
    return _typed(usage, "stream_options.include_usage", bool, "a boolean")


def _bounds(body: Mapping[str, Any]) -> ApiError | None:
    for name, value in body.items():
        if name not in _BOUNDS or value is None:
            continue
        whole, low, high = _BOUNDS[name]
        kind = "integer" if whole else "decimal"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            return wrong_type(name, "an integer" if whole else "a decimal", value)
        wrong = out_of_range(name, value, low=low, high=high, kind=kind)
        if wrong:
            return wrong
    return _typed(body.get("stop"), "stop", str | list, "a string or array of strings")


def _form(form: Any, where: str) -> ApiError | None:
    """The refusal of a format of answers; None where it is absent, too."""
    if form is None or not isinstance(form, dict):
        return _typed(form, where, dict, "an object")
    if "type" not in form:
        return missing(f"{where}.type")
    if form["type"] not in _FORMS:
        return wrong_value(f"{where}.type", form["type"], _FORMS)
    return None


def _response_format(form: Any) -> ApiError | None:
    wrong = _form(form, "response_format")
    if wrong or form is None or form["type"] != "json_schema":
        return wrong
    schema = form.get("json_schema")
    if schema is None:
        return missing("response_format.json_schema")
    if not isinstance(schema, dict):
        return wrong_type("response_format.json_schema", "an object", schema)
    return missing("response_format.json_schema.name") if "name" not in schema else None


def _text_format(form: Any) -> ApiError | None:
    wrong = _form(form, "text.format")
    if wrong or form is None or form["type"] != "json_schema":
        return wrong
    for name in ("name", "schema"):
        if name not in form:
            return missing(f"text.format.{name}")
    if not isinstance(form["schema"], dict):
        return wrong_type("text.format.schema", "an object", form["schema"])
    return None


def _response_input(asked: Any) -> ApiError | None:
    if not isinstance(asked, str | list):
        return wrong_type("input", _TEXTS, asked)
    if not asked:
        return bad_request(
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
    wrong = wrong or _typed(body.get("instructions"), "instructions", str, "a string")
    if wrong:
        return wrong
    for name in ("previous_response_id", "conversation", "prompt"):
        if body.get(name) is not None:
            return bad_request(
                f"'{name}' is not supported here: this server keeps no responses.",
                param=name,
                code="unsupported_parameter",
            )
    for name in ("text", "reasoning"):
        wrong = wrong or _typed(body.get(name), name, dict, "an object")
    wrong = wrong or _streaming(body) or _bounds(body)
    return wrong or _text_format((body.get("text") or {}).get("format"))


def _item(where: str, item: Any) -> ApiError | None:
    if not isinstance(item, dict):
        return wrong_type(where, "an object", item)
    if item.get("type", "message") != "message":
        return None
    wrong = _role(where, item, _ROLES[:4])
    if wrong:
        return wrong
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    if not isinstance(content, str | list) or not all(isinstance(part, dict) for part in parts):
        return wrong_type(f"{where}.content", _TEXTS, content)
    return None


def _prompts(body: Mapping[str, Any]) -> ApiError | None:
    """The refusal of the `prompt` of /v1/completions: texts, or lists of token numbers."""
    if "prompt" not in body:
        return missing("prompt")
    prompt = body["prompt"]
    if prompt is not None and not isinstance(prompt, str) and not _is_prompts(prompt):
        return no_texts("prompt")
    if isinstance(prompt, list) and len(prompt) > MOST_INPUTS and not isinstance(prompt[0], int):
        return too_many("prompt", MOST_INPUTS, prompt)
    return None


def _is_prompts(value: Any) -> bool:
    """A list that is not empty, of texts alone, of token numbers alone, or of lists of token numbers."""
    if not isinstance(value, list) or not value:
        return False
    texts = all(isinstance(one, str) for one in value)
    return texts or _is_tokens(value) or all(_is_tokens(one) for one in value)


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) is int for one in value)


def _completions(body: Mapping[str, Any]) -> ApiError | None:
    wrong = _prompts(body)
    for name in ("echo", "stream"):
        wrong = wrong or _typed(body.get(name), name, bool, "a boolean")
    wrong = wrong or _typed(body.get("suffix"), "suffix", str, "a string")
    wrong = wrong or _streaming(body) or _bounds(body)
    best, count = body.get("best_of"), body.get("n") or 1
    if wrong is None and best is not None and best < count:
        wrong = bad_request(
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
    inputs = value if isinstance(value, list) else [value]
    if not isinstance(value, str | list) or not all(map(_is_input, inputs)):
        return no_texts("input")
    if not inputs or "" in inputs:
        several = " or array" if not value else ""
        return bad_request(
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
