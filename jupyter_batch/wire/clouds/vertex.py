"""Vertex AI's dialect: chat requests -> Gemini's batch lines, result lines -> Results.

No network. A request line is {"request": <a generateContent request>}; a result line repeats it,
with "response" or a "status" that describes the error, in no order. A row is identified by a
label of its request: labels are returned, and Google documents them as "for billing and reporting
only". litellm makes a row's request; answers are decoded here. On this disk each line has its id
first, as in all dialects: `sent` converts a line for upload, `slim` converts a result, without the
repeated request. Jobs become BatchViews.
"""

from __future__ import annotations

import copy
import importlib
import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from jupyter_batch.core.batch import BatchView
from jupyter_batch.core.errors import OptionError
from jupyter_batch.core.finish import Finish
from jupyter_batch.core.refusals.sentence import short
from jupyter_batch.core.result import Result, ToolCalls, Usage
from jupyter_batch.core.status import State
from jupyter_batch.wire import tolerant
from jupyter_batch.wire.anthropic import requests as anthropic_requests
from jupyter_batch.wire.anthropic.requests import Translation, refused, sentence, unsupported
from jupyter_batch.wire.row_error import code_of, cut, reason_of
from jupyter_batch.wire.translated import answered, failed, mapping, refuse_downloads, time_of
from jupyter_batch.wire.whole import Refused

ROW = "jupyter_batch_row"
"""The label of a request with its row's id."""

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


# --- requests -------------------------------------------------------------------------------------------------------


class Encoder(anthropic_requests.Encoder):
    """Encodes Gemini's batch lines; see its parent for how few are translated singly."""

    taker = "Vertex AI"

    def _translate(self, litellm: Any, model: str) -> Translation:
        return GeminiTranslation(litellm, model)

    def _request(self, custom_id: bytes, params: bytes) -> bytes:
        return b'{"custom_id":%b,"request":%b}\n' % (custom_id, params)


def sent(line: bytes) -> bytes:
    """Convert a stored request line to the line to send."""
    head, _, rest = line.partition(b',"request":{')  # an id has no quote: the request begins here
    return b'{"request":{"labels":{"%b":%b},%b' % (
        ROW.encode(),
        head.removeprefix(b'{"custom_id":'),
        rest,
    )


def kept(line: bytes) -> bytes:
    """Return the line from which `sent` made a request line."""
    start = b'{"request":{"labels":{"%b":' % ROW.encode()
    head, _, rest = line.removeprefix(start).partition(b"},")
    return b'{"custom_id":%b,"request":{%b' % (head, rest)


def gemini_name(model: str) -> str:
    """A Gemini model's bare name, without litellm's optional "gemini/" or "google/"."""
    return model.rpartition("/")[2]


class GeminiTranslation(Translation):
    """litellm's translation of chat requests for one Gemini model."""

    def __init__(self, litellm: Any, model: str) -> None:
        self._litellm = litellm
        self._model = gemini_name(model)
        module = importlib.import_module(f"{litellm.__name__}.llms.vertex_ai.gemini.transformation")
        self._transform = (
            getattr(module, "transform_request_body", None) or module._transform_request_body  # noqa: SLF001
        )
        self.betas: list[str] = []
        self.tool_names: dict[str, str] = {}

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Translate parameters to Gemini's. Raises OptionError (unknown), Refused (bad value)."""
        if params.get("extra_headers"):
            raise OptionError("extra_headers: a batch at Vertex AI takes none")
        given = {key: value for key, value in params.items() if key != "stream"}
        try:
            made = self._litellm.utils.get_optional_params(
                model=self._model, custom_llm_provider="vertex_ai", **given
            )
        except self._litellm.UnsupportedParamsError as e:
            raise unsupported(f"vertex_ai/{self._model}", e) from None
        except Exception as e:
            raise Refused(sentence(e)) from None
        return {key: value for key, value in dict(made).items() if key != "stream"}

    def body(self, messages: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the generateContent request. Raises Refused."""
        refuse_downloads(messages, self._known)
        said = [
            {**message, "role": "system"} if message.get("role") == "developer" else dict(message)
            for message in copy.deepcopy(messages)
        ]
        try:
            data: dict[str, Any] = dict(
                self._transform(
                    messages=said,
                    model=self._model,
                    optional_params=copy.deepcopy(dict(options)),
                    custom_llm_provider="vertex_ai",
                    litellm_params={},
                    cached_content=None,
                )
            )
        except Exception as e:
            raise refused(self._litellm, f"vertex_ai/{self._model}", e) from None
        if "labels" in data:
            raise Refused(
                "labels of a request are taken: a row is known by them. Give metadata= to label the batch"
            )
        return data

    @staticmethod
    def _known(url: str) -> bool:
        """Whether litellm passes an address on: Gemini fetches it itself, if its type is known."""
        return not url.startswith("http://") and bool(posixpath.splitext(urlsplit(url).path)[1])


# --- results --------------------------------------------------------------------------------------------------------


class _Labels(msgspec.Struct, gc=False):
    row: str = msgspec.field(name=ROW)


class _Asked(msgspec.Struct, gc=False):
    labels: _Labels


class _Came(msgspec.Struct, gc=False):
    request: _Asked
    response: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_came = msgspec.json.Decoder(_Came).decode


def slim(line: bytes) -> bytes:
    """Reduce a result to {"custom_id", "response", "status", "error"}; keep an unreadable one."""
    try:
        came = _came(line)
        made = [b'{"custom_id":%b' % msgspec.json.encode(came.request.labels.row)]
        for name, held in (
            (b"response", came.response),
            (b"status", came.status),
            (b"error", came.error),
        ):
            if bytes(held):
                made.append(b'"%b":%b' % (name, msgspec.json.format(held, indent=-1)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _slim_instance(line)
    return b",".join(made) + b"}\n"


def _slim_instance(line: bytes) -> bytes:
    """Convert Vertex's older form of a failed line: {"instance": <the request>, "error": {...}}."""
    try:
        data = tolerant.loads(line)
        sent = data["instance"]
        row = sent.get("request", sent)["labels"][ROW]
        made = {
            "custom_id": row,
            **{key: data[key] for key in ("response", "status", "error") if key in data},
        }
        return msgspec.json.encode(made) + b"\n"
    except Exception:  # bytes from outside: the reader of the file reports unreadable lines
        return line.rstrip(b"\n") + b"\n"


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
        return failed(custom_id, _reason(wrong), usage)
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
    return reason_of({"error": status}, str(inner.get("status") or code_of(status)))


def _answer(response: dict[str, Any]) -> tuple[Any, str]:
    """Return (value, "") or (None, reason)."""
    candidates = response.get("candidates")
    first = (
        candidates[0]
        if isinstance(candidates, list) and candidates and isinstance(candidates[0], dict)
        else None
    )
    if first is None:
        feedback = response.get("promptFeedback")
        blocked = feedback.get("blockReason") if isinstance(feedback, dict) else None
        if blocked:
            more = feedback.get("blockReasonMessage") if isinstance(feedback, dict) else None
            return (
                None,
                f"content_filter: the prompt was blocked ({blocked}){f': {more}' if more else ''}",
            )
        return None, "the answer has no candidates"
    content, finish = first.get("content"), str(first.get("finishReason") or "")
    parts = content.get("parts") if isinstance(content, dict) else None
    parts = [part for part in parts or [] if isinstance(part, dict) and not part.get("thought")]
    text = "".join(str(part["text"]) for part in parts if isinstance(part.get("text"), str))
    calls = [part["functionCall"] for part in parts if isinstance(part.get("functionCall"), dict)]
    if finish in _FILTERS and not text:
        return None, f"content_filter: the answer was held back ({finish}){_more(first)}"
    if calls:
        return ToolCalls(
            [
                {
                    "id": call.get("id"),
                    "name": call.get("name"),
                    "arguments": call.get("args") or {},
                }
                for call in calls
            ],
            text,
        ), ""
    if text:
        return text, ""
    if finish == "MAX_TOKENS":
        return (
            None,
            "MAX_TOKENS: all the tokens were used up before any text came; allow more (max_tokens)",
        )
    if finish == "STOP":
        return "", ""  # the model had no output: an empty text is an answer
    return None, f"the answer has no content (finishReason: {finish or 'none'}){_more(first)}"


def _more(candidate: Mapping[str, Any]) -> str:
    said = candidate.get("finishMessage")
    return f": {said}" if said else ""


def usage_of(usage: Any) -> Usage | None:
    """Tokens as billed: thinking is output, counted separately or with the candidates'."""
    if not isinstance(usage, Mapping) or usage.get("promptTokenCount") is None:
        return None

    def of(key: str) -> int:
        return tolerant.count(usage.get(key))

    prompt, said, thought = (
        of("promptTokenCount"),
        of("candidatesTokenCount"),
        of("thoughtsTokenCount"),
    )
    within = thought and prompt + of("toolUsePromptTokenCount") + said == of("totalTokenCount")

    def kind(details: str, modality: str) -> int:
        """The tokens of one modality, from a list by modality."""
        told = usage.get(details)
        return sum(
            tolerant.count(each.get("tokenCount"))
            for each in (told if isinstance(told, list) else [])
            if isinstance(each, Mapping) and each.get("modality") == modality
        )

    return Usage(
        prompt + of("toolUsePromptTokenCount"),
        said if within else said + thought,
        of("cachedContentTokenCount"),
        thought,
        input_audio_tokens=kind("promptTokensDetails", "AUDIO"),
        input_image_tokens=kind("promptTokensDetails", "IMAGE"),
        output_audio_tokens=kind("candidatesTokensDetails", "AUDIO"),
        output_image_tokens=kind("candidatesTokensDetails", "IMAGE"),
    )


# --- jobs -----------------------------------------------------------------------------------------------------------

# Vertex AI REST reference, JobState. Partially succeeded: "some results may be missing due to errors".
_ENDINGS = {
    "JOB_STATE_SUCCEEDED": State.COMPLETED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": State.COMPLETED,
    "JOB_STATE_FAILED": State.FAILED,
    "JOB_STATE_CANCELLED": State.CANCELLED,
    "JOB_STATE_EXPIRED": State.EXPIRED,
}
_EXHAUSTED = 8  # google.rpc.Code.RESOURCE_EXHAUSTED


def read_job(job: Mapping[str, Any]) -> BatchView:
    """Convert a BatchPredictionJob; fields may be missing or null, an unknown state is running.

    output_file_id: the folder of its results, once reported; its files are not checked here.
    """
    state = str(job.get("state") or "unknown")
    stats, error = mapping(job.get("completionStats")), mapping(job.get("error"))
    partial = [mapping(one).get("message") for one in job.get("partialFailures") or []]
    messages = [str(said) for said in (error.get("message"), *partial) if said]
    done, lost = (
        tolerant.count(stats.get("successfulCount")),
        tolerant.count(stats.get("failedCount")),
    )
    uris = mapping(mapping(job.get("inputConfig")).get("gcsSource")).get("uris")
    output = mapping(job.get("outputInfo")).get("gcsOutputDirectory") or mapping(
        mapping(job.get("outputConfig")).get("gcsDestination")
    ).get("outputUriPrefix")
    shown = cut(short("; ".join(messages[:3])))
    return BatchView(
        id=str(job.get("name") or ""),
        status=state.removeprefix("JOB_STATE_").lower(),
        ending=_ENDINGS.get(state),
        input_file_id=uris[0] if isinstance(uris, list) and uris else None,
        output_file_id=str(output) if output else None,
        total=done + lost + tolerant.count(stats.get("incompleteCount")),
        completed=done,
        failed=lost,
        created_at=time_of(job.get("createTime")),
        errors=shown,
        quota=error.get("code") == _EXHAUSTED and not done,
    )
