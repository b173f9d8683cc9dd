"""`local/echo`: the built-in model, deterministic and by rules; it is no language model.

The rules for a chat completion, in this order; "the prompt" is the text of the last user message, with a line for each
picture and file in it that says what it is and how large (`[image png 64x48]`):

0. Tools are called as calls.py says; when nothing is left to be called, the tools' results stand for the prompt below,
   and are repeated by rule 4.
1. `response_format` with a JSON schema: a JSON object that fits it. Enumerated values are chosen as labels are (rule
   3), numbers called score, rating, ... follow the text's sentiment, other text fields hold the text. The text is the
   prompt, or what follows its labels.
2. `response_format` `json_object`: `{"text": <the prompt>}`.
3. The prompt (or a system message) asks for a choice and offers labels - "Classify the sentiment
   (positive/negative/neutral): ...", "one of: a, b, c" (labels.py has all forms): one of the labels, letter for
   letter. A scale of sentiment is judged by a small word list with negation, other labels by whether the text has the
   word.
4. Anything else is answered with the prompt's own text, letter for letter.

A request of the Responses API is answered as the chat request that asks the same
(server/translate/responses.py), a text completion as
a chat of each prompt by itself (its `max_tokens` has no default here; `echo` repeats the prompt before the answer).
`stop` cuts, `max_tokens` cuts (finish_reason `length`), `n` gives the same answer n times. A token is four characters,
rounded up. An embedding is a unit vector out of the text's hash, of 256 numbers if `dimensions` says nothing else.
"""

from __future__ import annotations

import base64
import binascii
import math
from array import array
from collections.abc import Mapping
from hashlib import shake_128
from typing import Any

import orjson

from jupyter_batch.core.media import kind_of, pixels_of
from jupyter_batch.server.echo.calls import calls, results
from jupyter_batch.server.echo.fill import Budget, fill
from jupyter_batch.server.echo.labels import choose, offered

NAMES = ("local/echo", "echo")
DIMENSIONS = 256
TOKEN = 4
_MOST_TEXT = 64 << 20
_CHARS = 200
_KINDS = ("text", "input_text", "image_url", "file")


def is_echo(model: str) -> bool:
    """Whether the built-in model is meant."""
    return model in NAMES


def tokens(text: str) -> int:
    """Tokens of a text by our rule: four characters each, rounded up."""
    return -(-len(text) // TOKEN)


def text_of(content: Any) -> str:
    """The text of a message's content, which may be a list of parts; of a picture or a file what it is."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            str(part.get("text", "")) if part.get("type") in ("text", "input_text") else seen(part)
            for part in content
            if isinstance(part, Mapping) and part.get("type") in _KINDS
        )
    return ""


def seen(part: Mapping[str, Any]) -> str:
    """A line for a part of a message's content: `[image png 64x48]`, `[image https://...]`, `[file a.pdf pdf]`."""
    kind = part.get("type")
    if kind == "image_url":
        held = part.get("image_url")
        return f"[image {_what(held.get('url') if isinstance(held, Mapping) else held)}]"
    if kind == "file":
        held = part.get("file")
        held = held if isinstance(held, Mapping) else {}
        named = held.get("filename") or held.get("file_id")
        words = ["file", named and str(named)[:_CHARS], _what(held.get("file_data"))]
        return f"[{' '.join(filter(None, words))}]"
    return ""


def _what(url: Any) -> str:
    if not isinstance(url, str) or not url.startswith("data:"):
        return str(url or "")[:_CHARS]
    try:
        data = base64.b64decode(url.partition(",")[2], validate=True)
    except binascii.Error:
        return "that is no base64"
    pixels = pixels_of(data)
    return (kind_of(data) or "of no known kind") + (f" {pixels[0]}x{pixels[1]}" if pixels else "")


def answer_text(body: Mapping[str, Any]) -> str:
    """What echo says to these messages: the rules above, without cuts."""
    messages = body["messages"]
    outcomes = results(messages)
    prompt = "\n".join(map(text_of, outcomes)) if outcomes else prompt_of(messages)
    form: Any = body.get("response_format")
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "json_object":
        return orjson.dumps({"text": prompt}).decode()
    found = None if outcomes else offered(prompt)
    if kind == "json_schema":
        schema = form["json_schema"].get("schema") or {"type": "object"}
        return orjson.dumps(fill(schema, found[1] if found else prompt)).decode()
    if found is None and not outcomes:
        for message in messages:
            if message.get("role") in ("system", "developer"):
                asked = offered(text_of(message.get("content")))
                if asked:
                    return choose(asked[0], prompt)
    return prompt if found is None else choose(*found)


def prompt_of(messages: Any) -> str:
    """The text of the last user message; of the last one where there is none."""
    return next(
        (text_of(one.get("content")) for one in reversed(messages) if one.get("role") == "user"),
        text_of(messages[-1].get("content")),
    )


def chat(
    body: Mapping[str, Any], *, id_: str, created: int, names_stop: bool = False
) -> dict[str, Any]:
    """A chat completion object. The body was checked before (server/checks/requests.py).

    names_stop: each choice says in `stop_reason`, as vLLM's do, which stop sequence ended its text.
    """
    called = calls(body, prompt_of(body["messages"]))
    text, reason = "" if called else answer_text(body), "tool_calls" if called else "stop"
    text, stopped = _stopped(text, body.get("stop"))
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    if most and tokens(text) > most:
        text, reason = text[: most * TOKEN], "length"
    count = body.get("n") or 1
    Budget(_MOST_TEXT).spend(len(text) * (count - 1))
    asked = sum(tokens(text_of(message.get("content"))) for message in body["messages"])
    written = (tokens(text) + sum(tokens(name + arguments) for name, arguments in called)) * count
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if called else text,
        "refusal": None,
        "annotations": [],
    }
    if called:
        message["tool_calls"] = [
            {
                "id": f"call_{id_}_{at}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for at, (name, arguments) in enumerate(called)
        ]
    more = {"stop_reason": stopped} if names_stop else {}
    return {
        "id": f"chatcmpl-{id_}",
        "object": "chat.completion",
        "created": created,
        "model": body["model"],
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": reason, **more}
            for index in range(count)
        ],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": written,
            "total_tokens": asked + written,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_echo",
    }


def completion(body: Mapping[str, Any], *, id_: str, created: int) -> dict[str, Any]:
    """A text completion object. The body was checked before (server/checks/requests.py)."""
    prompts = [text_of_prompt(one) for one in inputs_of(body["prompt"] or "")]
    count, budget = body.get("n") or 1, Budget(_MOST_TEXT)
    choices: list[dict[str, Any]] = []
    written = 0
    for prompt in prompts:
        text, _ = _stopped(
            answer_text({"messages": [{"role": "user", "content": prompt}]}), body.get("stop")
        )
        text, reason = _cut(text, body.get("max_tokens"))
        written += tokens(text) * count
        shown = prompt + text if body.get("echo") else text
        budget.spend(len(shown) * count)
        choices += [
            {"index": len(choices) + at, "text": shown, "logprobs": None, "finish_reason": reason}
            for at in range(count)
        ]
    asked = sum(map(tokens, prompts))
    return {
        "id": f"cmpl-{id_}",
        "object": "text_completion",
        "created": created,
        "model": body["model"],
        "choices": choices,
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": written,
            "total_tokens": asked + written,
        },
        "system_fingerprint": "fp_echo",
    }


def text_of_prompt(prompt: str | list[int]) -> str:
    """A prompt as text; of token numbers the numbers."""
    return prompt if isinstance(prompt, str) else " ".join(map(str, prompt))


def _cut(text: str, most: int | None) -> tuple[str, str]:
    """The text within so many tokens, and the finish reason."""
    if most and tokens(text) > most:
        return text[: most * TOKEN], "length"
    return text, "stop"


def _stopped(text: str, stop: Any) -> tuple[str, str | None]:
    """The text up to the first stop sequence in it, and that sequence."""
    found = None
    for one in [stop] if isinstance(stop, str) else stop or ():
        head, mark, _ = text.partition(one) if one else (text, "", "")
        if mark:
            text, found = head, one
    return text, found


def inputs_of(value: Any) -> list[Any]:
    """The single inputs of an embedding request: texts, or lists of token numbers."""
    if isinstance(value, str) or (value and isinstance(value[0], int)):
        return [value]
    return list(value)


def vector(text: str, dimensions: int = DIMENSIONS) -> array[float]:
    """A unit vector (float32) out of the text's hash."""
    raw = array("I", shake_128(text.encode(errors="surrogatepass")).digest(4 * dimensions))
    centred = [number / 2147483648.0 - 1.0 for number in raw]
    norm = math.sqrt(math.fsum(number * number for number in centred)) or 1.0
    return array("f", [number / norm for number in centred])


def embeddings(body: Mapping[str, Any]) -> dict[str, Any]:
    """An embeddings list object. The body was checked before (server/checks/requests.py)."""
    data, used = [], 0
    for index, one in enumerate(inputs_of(body["input"])):
        numbers = vector(
            one if isinstance(one, str) else repr(one), body.get("dimensions") or DIMENSIONS
        )
        packed = body.get("encoding_format") == "base64"
        data.append(
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(numbers.tobytes()).decode()
                if packed
                else numbers.tolist(),
            }
        )
        used += tokens(one) if isinstance(one, str) else len(one)
    return {
        "object": "list",
        "data": data,
        "model": body["model"],
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }
