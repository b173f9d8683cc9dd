"""Result lines -> parts of an answer besides its text: reasoning, logprobs, citations.

Based on a line's shape. Never raises: an unreadable line has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from jupyter_batch.wire import tolerant
from jupyter_batch.wire.translated import dicts_in, mapping

_THOUGHT = re.compile(r"\s*<think(?:ing)?>(.*?)</think(?:ing)?>", re.DOTALL)
_APART = "\n\n"
_JSON = json.JSONDecoder(strict=False)


def kept(line: bytes) -> dict[str, Any]:
    """Return the KINDS (core/schema.py) in a result line's answer; None for missing ones."""
    try:
        data = tolerant.loads(line)
        return _of(data) if isinstance(data, dict) else {}
    except Exception:  # bytes from outside, in an unknown shape
        return {}


def _of(data: dict[str, Any]) -> dict[str, Any]:
    if "result" in data:
        return _anthropic(mapping(mapping(data["result"]).get("message")))
    if "modelOutput" in data:
        output = mapping(mapping(data["modelOutput"]).get("output"))
        return _bedrock(mapping(output.get("message")))
    body = tolerant.body_of(data)
    if isinstance(body.get("candidates"), list):
        return _gemini(body)
    if isinstance(body.get("output"), list):
        return _response(body)
    return _chat(body)


def _made(
    *,
    reasoning: Iterable[Any] = (),
    logprobs: Any = None,
    citations: Any = None,
    annotations: Any = None,
    transcript: Any = None,
) -> dict[str, Any]:
    return {
        "reasoning": _joined(reasoning),
        "logprobs": logprobs or None,
        "citations": citations or None,
        "annotations": annotations or citations or None,
        "transcript": transcript if isinstance(transcript, str) and transcript else None,
    }


def _joined(texts: Iterable[Any]) -> str | None:
    return _APART.join(text for text in texts if isinstance(text, str) and text) or None


def _flat(lists: Iterable[Any]) -> list[Any]:
    return [item for held in lists if isinstance(held, list) for item in held]


def _first(*values: Any) -> Any:
    return next((value for value in values if value), None)


# --- citations of a structured answer ---------------------------------------------------------


def _placed(text: Any, annotations: Any) -> Any:
    """Annotations with start and end, with their field where the text is an object in JSON."""
    if not isinstance(text, str) or not dicts_in(annotations) or not text.lstrip().startswith("{"):
        return annotations
    return _by_field(text, [(*_span(one), one) for one in annotations])


def _span(annotation: Any) -> tuple[int, int]:
    held = mapping(annotation)
    held = mapping(held.get(str(held.get("type")))) or held  # chat nests it, Responses does not
    start, end = held.get("start_index"), held.get("end_index")
    return (start, end) if isinstance(start, int) and isinstance(end, int) else (-1, -1)


def _by_field(text: str, cited: list[tuple[int, int, Any]]) -> list[Any]:
    """Citations in order; those of a structured answer with `field`: the key whose value they are in."""
    members = _members(text) if cited else []
    made = []
    for start, end, citation in cited:
        field = next((key for key, first, last in members if start < last and end > first), None)
        placed = field is not None and isinstance(citation, dict)
        made.append({**citation, "field": field} if placed else citation)
    return made


def _members(text: str) -> list[tuple[str, int, int]]:
    """(key, start, end of its value) of an object in JSON; none for any other text."""
    found: list[tuple[str, int, int]] = []
    at = len(text) - len(text.lstrip())
    if text[at : at + 1] != "{":
        return found
    try:
        while text[at] in "{,":
            key, at = _JSON.raw_decode(text, _skip(text, at + 1))
            start = _skip(text, _skip(text, at) + 1)  # behind the colon
            _, end = _JSON.raw_decode(text, start)
            found.append((str(key), start, end))
            at = _skip(text, end)
    except (ValueError, IndexError, RecursionError):  # empty, or cut off
        pass
    return found


def _skip(text: str, at: int) -> int:
    while text[at].isspace():
        at += 1
    return at


# --- chat completions -----------------------------------------------------------------------------------------------


def _chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's, and those of compatible servers and of litellm."""
    choices = dicts_in(body.get("choices"))
    choice = next(
        (one for one in choices if one.get("index", 0) == 0), choices[0] if choices else {}
    )
    message = mapping(choice.get("message"))
    more = mapping(message.get("provider_specific_fields"))
    annotations = _placed(message.get("content"), message.get("annotations"))
    citations = _first(
        annotations,
        message.get("citations"),
        _citations_of(more.get("citations")),
        body.get("citations"),
        body.get("search_results"),
        body.get("vertex_ai_grounding_metadata"),
    )
    return _made(
        reasoning=_thoughts(message, more),
        logprobs=_token_list(choice.get("logprobs")),
        citations=citations,
        annotations=annotations,
        transcript=mapping(message.get("audio")).get("transcript"),
    )


def _thoughts(message: Mapping[str, Any], more: Mapping[str, Any]) -> list[Any]:
    """The reasoning of a message, under the first of the names that servers use."""
    for key in ("reasoning_content", "reasoning"):
        if isinstance(text := message.get(key), str) and text:
            return [text]
    details = dicts_in(message.get("reasoning_details"))
    blocks = dicts_in(message.get("thinking_blocks") or more.get("thinking_blocks"))
    content = message.get("content")
    thoughts = [
        *(detail.get("text") or detail.get("summary") for detail in details),
        *(block.get("thinking") for block in blocks if not details),
        *(_part_thought(part) for part in dicts_in(content)),
    ]
    if not any(thoughts) and isinstance(content, str) and (found := _THOUGHT.match(content)):
        return [found[1].strip()]
    return thoughts


def _part_thought(part: Mapping[str, Any]) -> Any:
    """Mistral's content parts, and Anthropic's."""
    if part.get("type") not in ("thinking", "reasoning"):
        return None
    held = part.get("thinking") or part.get("text")
    return (
        "".join(str(piece.get("text") or "") for piece in dicts_in(held))
        if isinstance(held, list)
        else held
    )


def _citations_of(held: Any) -> Any:
    """Anthropic's citations: a list for each block of text, as in litellm."""
    return (
        _flat(held) if isinstance(held, list) and all(isinstance(x, list) for x in held) else held
    )


def _token_list(logprobs: Any) -> Any:
    """The tokens, one by one; for the old completions, and unknown shapes, the whole object."""
    if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
        return logprobs["content"]
    if isinstance(logprobs, dict) and not any(logprobs.values()):
        return None
    return logprobs


# --- responses ------------------------------------------------------------------------------------------------------


def _response(body: Mapping[str, Any]) -> dict[str, Any]:
    items = dicts_in(body.get("output"))
    parts = [
        part
        for item in items
        if item.get("type") == "message"
        for part in dicts_in(item.get("content"))
    ]
    spoken = [part.get("transcript") for part in parts if part.get("type") == "output_audio"]
    return _made(
        reasoning=[
            text
            for item in items
            if item.get("type") == "reasoning"
            for text in _texts(item.get("content")) or _texts(item.get("summary"))
        ],
        logprobs=_flat(part.get("logprobs") for part in parts),
        citations=_flat(_placed(part.get("text"), part.get("annotations")) for part in parts),
        transcript=_joined(spoken),
    )


def _texts(parts: Any) -> list[Any]:
    return [part["text"] for part in dicts_in(parts) if part.get("text")]


# --- providers' own formats -------------------------------------------------------------------


def _anthropic(message: Mapping[str, Any]) -> dict[str, Any]:
    blocks = dicts_in(message.get("content"))
    texts = [str(block.get("text") or "") for block in blocks]
    spans: list[tuple[int, int, Any]] = []
    for block, text, end in zip(blocks, texts, accumulate(map(len, texts)), strict=True):
        spans += [(end - len(text), end, one) for one in block.get("citations") or ()]
    return _made(
        reasoning=[block.get("thinking") for block in blocks if block.get("type") == "thinking"],
        citations=_by_field("".join(texts), spans),
    )


def _gemini(body: Mapping[str, Any]) -> dict[str, Any]:
    first = next(iter(dicts_in(body.get("candidates"))), {})
    parts = dicts_in(mapping(first.get("content")).get("parts"))
    logprobs = mapping(first.get("logprobsResult"))
    cited = mapping(first.get("citationMetadata"))
    sources = mapping(first.get("groundingMetadata")).get("groundingChunks")
    return _made(
        reasoning=[part.get("text") for part in parts if part.get("thought")],
        logprobs=logprobs.get("chosenCandidates") or logprobs,
        citations=_flat([cited.get("citations") or cited.get("citationSources"), sources]),
    )


def _bedrock(message: Mapping[str, Any]) -> dict[str, Any]:
    blocks = dicts_in(message.get("content"))
    thought = [
        mapping(mapping(block.get("reasoningContent")).get("reasoningText")) for block in blocks
    ]
    return _made(
        reasoning=[part.get("text") for part in thought],
        citations=_flat(
            mapping(block.get("citationsContent")).get("citations") for block in blocks
        ),
    )
