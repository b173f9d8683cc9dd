"""Gemini's generateContent: chat requests by litellm, answers -> Results; no network.

Shared by Vertex AI (vertex.py) and the Gemini API (gemini_api.py), which differ in their lines.
"""

from __future__ import annotations

import copy
import importlib
import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.request import Finish, Result, Status, Usage
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.row_error import code_of, reason_of
from jupyter_batch.wire.translated import (
    StopWords,
    answered,
    dicts_in,
    failed,
    mapping,
    refuse_downloads,
    value_of,
)
from jupyter_batch.wire.whole import Translation, without_developers

_FILTERS = (
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "LANGUAGE",
    "MODEL_ARMOR",
)
_STOP_WORDS = StopWords("finishReason", "MAX_TOKENS", ("STOP",))
_CODES = {
    "1": "CANCELLED",
    "3": "INVALID_ARGUMENT",
    "4": "DEADLINE_EXCEEDED",
    "5": "NOT_FOUND",
    "7": "PERMISSION_DENIED",
    "8": "RESOURCE_EXHAUSTED",
    "9": "FAILED_PRECONDITION",
    "13": "INTERNAL",
    "14": "UNAVAILABLE",
}
"""google.rpc.Code, the numbers in a row's error."""
_CANCELLED = 1


# --- requests -------------------------------------------------------------------------------------------------------


def gemini_name(model: str) -> str:
    """A Gemini model's bare name, without litellm's optional "gemini/" or "google/"."""
    return model.rpartition("/")[2]


class GeminiTranslation(Translation):
    """litellm's translation of chat requests for one Gemini model at Vertex AI."""

    provider = "vertex_ai"
    title = "Vertex AI"

    def __init__(self, litellm: Any, model: str) -> None:
        super().__init__(litellm, gemini_name(model))
        module = importlib.import_module(f"{litellm.__name__}.llms.vertex_ai.gemini.transformation")
        self._transform = (
            getattr(module, "transform_request_body", None) or module._transform_request_body  # noqa: SLF001
        )

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Translate parameters to Gemini's. Raises OptionError (unknown), Refused (bad value)."""
        if params.get("extra_headers"):
            raise OptionError(f"extra_headers: a batch at {self.title} takes none")
        made = self._mapped({key: value for key, value in params.items() if key != "stream"})
        return {key: value for key, value in made.items() if key != "stream"}

    def body(self, messages: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the generateContent request. Raises Refused."""
        refuse_downloads(messages, self._known)
        converted = without_developers(messages)
        try:
            data: dict[str, Any] = dict(
                self._transform(
                    messages=converted,
                    model=self._model,
                    optional_params=copy.deepcopy(dict(options)),
                    custom_llm_provider=self.provider,
                    litellm_params={},
                    cached_content=None,
                )
            )
        except Exception as e:
            raise self._refused(e) from None
        return data

    @staticmethod
    def _known(url: str) -> bool:
        """Whether litellm passes an address on: Gemini fetches it itself, if its type is known."""
        return not url.startswith("http://") and bool(posixpath.splitext(urlsplit(url).path)[1])


# --- answers --------------------------------------------------------------------------------------------------------


def decode(line: bytes) -> Result:
    """Decode one stored line. Never raises: an unreadable line is a failed Result."""
    try:
        data = tolerant.loads(line)
        custom_id = data["custom_id"]
    except Exception:  # not JSON, or not Vertex's; the other dialect's reader reports it
        return tolerant.read(line)
    custom_id = custom_id if isinstance(custom_id, str) else None
    try:
        return _outcome(custom_id, data)
    except Exception as error:  # an unknown shape must not lose the other rows
        return failed(custom_id, f"a line that can't be read: {error!r}")


def decode_lines(block: bytes) -> Iterator[Result]:
    r"""Decode a block of whole lines; a line ends at b"\n" only, and empty lines are skipped."""
    for line in block.split(b"\n"):
        if line and not line.isspace():
            yield decode(line)


def _outcome(custom_id: str | None, data: dict[str, Any]) -> Result:
    response = data.get("response")
    response = response if isinstance(response, dict) else {}
    usage = usage_of(response.get("usageMetadata"))
    wrong = data.get("status") or data.get("error")
    if wrong and not response.get("candidates"):
        cancelled = mapping(wrong).get("code") == _CANCELLED
        status = Status.CANCELLED if cancelled else Status.FAILED
        # Gemini API, billing: a request that fails with an error is not charged.
        unbilled = usage is None
        return failed(custom_id, _reason(wrong), usage, status=status, unbilled=unbilled)
    value, reason = _answer(response)
    stop = _stop(response)
    if value is None:
        return failed(custom_id, reason, usage, stop=stop)
    return answered(custom_id, value, usage, stop)


def _stop(response: Mapping[str, Any]) -> Any:
    """The finish reason of the first candidate; a blocked prompt has no candidates."""
    candidates = response.get("candidates")
    if isinstance(candidates, list) and candidates:
        return mapping(candidates[0]).get("finishReason")
    blocked = mapping(response.get("promptFeedback")).get("blockReason")
    return Finish.CONTENT_FILTER if blocked else None


def _reason(status: Any) -> str:
    """The reason in a google.rpc.Status, or in text with one ('Bad Request: {"error": {...}}')."""
    text = status if isinstance(status, str) else ""
    if text:
        head, brace, tail = text.partition("{")
        try:
            status = json.loads(brace + tail)
        except ValueError:
            return reason_of(text)
        text = head.strip(" :")
    if not status:
        return text
    inner = mapping(mapping(status).get("error")) or mapping(status)
    code = code_of(status)
    return reason_of({"error": status}, str(inner.get("status") or _CODES.get(code, code)))


def _answer(response: dict[str, Any]) -> tuple[Any, str]:
    """Return (value, "") or (None, reason)."""
    candidates = response.get("candidates")
    if not isinstance(candidates, list) or not candidates or not isinstance(candidates[0], dict):
        return None, _no_candidate(mapping(response.get("promptFeedback")))
    first = candidates[0]
    stop = str(first.get("finishReason") or "")
    parts = dicts_in(mapping(first.get("content")).get("parts"))
    parts = [part for part in parts if not part.get("thought")]
    text = "".join(str(part["text"]) for part in parts if isinstance(part.get("text"), str))
    if stop in _FILTERS and not text:
        return None, f"content_filter: the answer was held back ({stop}){_more(first)}"
    calls = [
        {"id": call.get("id"), "name": call.get("name"), "arguments": call.get("args") or {}}
        for call in dicts_in([part.get("functionCall") for part in parts])
    ]
    value, reason = value_of(text, calls, stop, _STOP_WORDS)
    return value, f"{reason}{_more(first)}" if reason else ""


def _no_candidate(feedback: Mapping[str, Any]) -> str:
    """The reason of an answer without candidates."""
    blocked, more = feedback.get("blockReason"), feedback.get("blockReasonMessage")
    if not blocked:
        return "the answer has no candidates"
    return f"content_filter: the prompt was blocked ({blocked}){f': {more}' if more else ''}"


def _more(candidate: Mapping[str, Any]) -> str:
    message = candidate.get("finishMessage")
    return f": {message}" if message else ""


def usage_of(usage: Any) -> Usage | None:
    """Tokens as billed: thinking is output, counted separately or with the candidates'."""
    if not isinstance(usage, Mapping) or usage.get("promptTokenCount") is None:
        return None

    def of(key: str) -> int:
        return tolerant.count(usage.get(key))

    prompt, answered, thought = (
        of("promptTokenCount"),
        of("candidatesTokenCount"),
        of("thoughtsTokenCount"),
    )
    within = thought and prompt + of("toolUsePromptTokenCount") + answered == of("totalTokenCount")

    def kind(details: str, modality: str) -> int:
        """The tokens of one modality, from a list by modality."""
        listed = usage.get(details)
        return sum(
            tolerant.count(each.get("tokenCount"))
            for each in (listed if isinstance(listed, list) else [])
            if isinstance(each, Mapping) and each.get("modality") == modality
        )

    return Usage(
        prompt + of("toolUsePromptTokenCount"),
        answered if within else answered + thought,
        of("cachedContentTokenCount"),
        thought,
        input_audio_tokens=kind("promptTokensDetails", "AUDIO"),
        input_image_tokens=kind("promptTokensDetails", "IMAGE"),
        output_audio_tokens=kind("candidatesTokensDetails", "AUDIO"),
        output_image_tokens=kind("candidatesTokensDetails", "IMAGE"),
    )
